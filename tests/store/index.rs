//! The index: never stale, whatever ended the last run, and as good as a look at the tree.

use super::*;

use afterbeep::spool::{Glance, Order};
use futures_util::FutureExt;

/// Killed at any moment: what was acknowledged is listed by the next start, even by one that does
/// not wait for the tree to be read.
#[tokio::test]
async fn an_index_that_a_crash_left_is_not_stale() {
    for written in [false, true] {
        let home = Home::new();
        let (spool, _) = home.open().await;
        let kept = leave(&spool, 8000).await;
        let filed = leave(&spool, 8000).await;
        let purged = leave(&spool, 8000).await;
        if written {
            spool.write_out().await.unwrap();
        }
        edit(&spool, filed.id, Edit::File(Folder::Work)).await;
        edit(&spool, kept.id, Edit::MarkHeard).await;
        edit(&spool, purged.id, Edit::Purge).await;
        let late = leave(&spool, 8000).await;
        drop(spool);
        let (spool, found) = home.reopen_at_once().await;
        assert_eq!(found, Found { messages: 3, ..Found::default() }, "{written}");
        let ids: Vec<_> = inbox(&spool).await.iter().map(|message| message.id).collect();
        assert_eq!(ids, [kept.id, late.id], "{written}");
        assert_eq!(list(&spool, Folder::Work).await[0].id, filed.id);
        assert_eq!(spool.counts(&id()), Counts { new: 1, old: 1, ..Counts::default() });
        assert!(spool.get(&id(), purged.id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn an_index_that_was_left_whole_is_answered_from_at_once() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 8000).await;
    let transcript = "first words".to_owned();
    let message = edit(&spool, message.id, Edit::Annotate { transcript }).await.unwrap();
    let deleted = leave(&spool, 8000).await;
    let deleted = edit(&spool, deleted.id, Edit::Delete).await.unwrap();
    home.close(spool).await;
    let (spool, found) = home.reopen_at_once().await;
    assert_eq!(found.messages, 2);
    assert_eq!(inbox(&spool).await, std::slice::from_ref(&message));
    assert_eq!(list(&spool, Folder::Deleted).await, [deleted]);
    assert_eq!(spool.usage(&id()).messages, 1);
    assert_eq!(spool.numbered(message.number).await.unwrap(), Some(message));
}

/// A daemon that stops does so while the index is being written, more often than not.
#[tokio::test]
async fn a_writing_that_is_broken_off_loses_nothing() {
    let home = Home::new();
    let mailboxes: Vec<MailboxId> = (1000..1040).map(|n| n.to_string().parse().unwrap()).collect();
    for mailbox in &mailboxes {
        let inbox = home.spool().join(format!("default/{}/INBOX", mailbox.number()));
        fs::create_dir_all(&inbox).unwrap();
        wav(&inbox.join("msg0000.wav"), 80);
        let text = format!("[message]\norigtime=1600000000\nmsg_id=16-{}\n", mailbox.number());
        fs::write(inbox.join("msg0000.txt"), text).unwrap();
    }
    let (spool, found) = home.open().await;
    assert_eq!(found.messages, 40);
    let mut broken_off = 0;
    for mailbox in &mailboxes[..10] {
        let id = spool.list(mailbox, &Query::default()).await.unwrap()[0].id;
        spool.edit(mailbox, id, &Edit::MarkHeard, &by()).await.unwrap();
        // It may have been written already by whoever writes it beside us.
        broken_off += usize::from(spool.write_out().now_or_never().is_none());
    }
    assert!(broken_off > 0, "begun, and dropped");
    home.close(spool).await;
    let (spool, found) = home.reopen_at_once().await;
    assert_eq!(found.messages, 40);
    for (at, mailbox) in mailboxes.iter().enumerate() {
        let counts = spool.counts(mailbox);
        assert_eq!((counts.new, counts.old), if at < 10 { (0, 1) } else { (1, 0) }, "{mailbox}");
    }
}

/// A database that is not one, or of another tree, is made anew.
#[tokio::test]
async fn an_index_that_cannot_be_used_is_made_anew() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 8000).await;
    home.close(spool).await;
    let database = home.0.path().join("state/index.db");
    fs::write(&database, "no database at all").unwrap();
    let (spool, found) = home.reopen_at_once().await;
    assert_eq!((found.messages, inbox(&spool).await[0].id), (1, message.id));
    home.close(spool).await;
    fs::rename(home.spool(), home.0.path().join("before")).unwrap();
    fs::create_dir(home.spool()).unwrap();
    let (spool, found) = home.reopen_at_once().await;
    assert_eq!((found.messages, spool.len()), (0, 0));
}

/// Killed while it read the tree for the first time: what it had written is nobody's promise.
#[tokio::test]
async fn an_index_that_was_never_filled_is_made_anew() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    leave(&spool, 8000).await;
    home.close(spool).await;
    let unfilled = home.0.path().join("state/index.db-unfilled");
    assert!(!unfilled.exists());
    fs::remove_dir_all(home.inbox()).unwrap();
    fs::write(&unfilled, "").unwrap();
    let (spool, found) = home.reopen_at_once().await;
    assert_eq!((found.messages, inbox(&spool).await), (0, vec![]));
    assert!(!unfilled.exists());
    let message = leave(&spool, 8000).await;
    home.close(spool).await;
    assert_eq!(inbox(&home.reopen_at_once().await.0).await[0].id, message.id);
}

#[tokio::test]
async fn words_are_found_in_names_numbers_and_transcripts() {
    let home = Home::new();
    let dir = home.inbox();
    fs::create_dir_all(&dir).unwrap();
    for (n, (name, number, transcript)) in [
        ("Zoë Müller", "+12125550102", "please call me back"),
        ("Bob \" OR mailbox", "2002", "the Invoice is late; call"),
        ("", "", ""),
    ]
    .iter()
    .enumerate()
    {
        wav(&dir.join(format!("m{n}.wav")), 80);
        let text = format!(
            "[message]\norigtime={n}\ncaller_name={name}\ncaller_num={number}\nmsg_id=x{n}\n\
             transcript={}\n",
            transcript.replace(';', "\\;")
        );
        fs::write(dir.join(format!("m{n}.txt")), text).unwrap();
    }
    let (spool, _) = home.open().await;
    for written in [false, true] {
        for (text, found) in [
            ("call", vec![0, 1]),
            ("INVOICE", vec![1]),
            ("inv", vec![1]),
            ("555", vec![0]),
            ("5550102", vec![0]),
            ("zoë call", vec![0]),
            ("bob call back", vec![]),
            ("\" OR *", vec![1]),
            ("m0", vec![]),
            ("?!", vec![]),
        ] {
            let query = Query { text: Some(text.into()), ..Query::default() };
            let list = spool.list(&id(), &query).await.unwrap();
            let received: Vec<_> = list.iter().map(|m| m.envelope.received).collect();
            assert_eq!(received, found, "{text}, written: {written}");
            assert_eq!(spool.total(&id(), &query).await.unwrap(), found.len(), "{text}");
            assert_eq!(spool.list_all("default", &query).await.unwrap(), list, "{text}");
        }
        spool.write_out().await.unwrap();
    }
}

#[tokio::test]
async fn lists_have_an_order_and_leave_out_what_is_not_wanted() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let mut ids = vec![];
    for (n, samples) in [16_000, 800, 8000].into_iter().enumerate() {
        let draft = speak(&spool, samples).await;
        ids.push(spool.deliver(draft).await.unwrap().id);
        if n == 1 {
            edit(&spool, ids[1], Edit::MarkHeard).await;
            edit(&spool, ids[1], Edit::SetUrgent(true)).await;
        }
    }
    let other: MailboxId = "2000@sales".parse().unwrap();
    let source = spool.get(&id(), ids[0]).await.unwrap().unwrap();
    spool.copy(&source, (&other, 1), CopyAs::Also, &by()).await.unwrap();
    let ask = async |query: Query| {
        let total = spool.total(&id(), &query).await.unwrap();
        let list = spool.list(&id(), &query).await.unwrap();
        let places = list.iter().map(|m| ids.iter().position(|id| *id == m.id).unwrap());
        let seen = list.iter().map(|m| Glance {
            number: m.number,
            received: m.envelope.received,
            folder: m.folder.clone(),
            heard: m.heard.is_some(),
            urgent: m.urgent,
        });
        let glances = spool.glance(&id(), &query);
        assert_eq!(glances, seen.collect::<Vec<_>>());
        let numbers: Vec<u64> = glances.iter().map(|glance| glance.number).collect();
        assert_eq!(spool.read(&id(), &numbers).await.unwrap(), list);
        assert_eq!(spool.read(&other, &numbers).await.unwrap(), []);
        (places.collect::<Vec<_>>(), total)
    };
    let all = Query::default;
    assert_eq!(ask(Query { order: Order::Duration, ..all() }).await, (vec![1, 2, 0], 3));
    let newest = Query { order: Order::Number, newest_first: true, ..all() };
    assert_eq!(ask(newest).await, (vec![2, 1, 0], 3));
    assert_eq!(ask(Query { heard: Some(false), ..all() }).await, (vec![0, 2], 2));
    assert_eq!(ask(Query { urgent: Some(true), ..all() }).await, (vec![1], 1));
    assert_eq!(ask(Query { skip: 1, limit: Some(1), ..all() }).await, (vec![1], 3));
    let none = Query { folders: vec![Folder::Other("None".into())], ..all() };
    assert_eq!(ask(none).await, (vec![], 0));
    assert_eq!(spool.list_all("sales", &all()).await.unwrap().len(), 1);
    assert_eq!(spool.total_of_all("nowhere", &all()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_renamed_mailbox_keeps_its_messages_and_their_ids() {
    let home = Home::new();
    asterisks_message(&home, "msg0000");
    let (spool, _) = home.open().await;
    let ours = leave(&spool, 8000).await;
    let theirs = inbox(&spool).await.into_iter().find(|m| m.id != ours.id).unwrap();
    let to: MailboxId = "2000@sales".parse().unwrap();
    fs::create_dir_all(home.spool().join("sales")).unwrap();
    fs::rename(home.mailbox(), home.spool().join(to.path())).unwrap();
    let mut changes = spool.changes();
    spool.rename(&id(), &to).await.unwrap();
    assert!(matches!(changes.try_recv(), Ok(Change::Renamed { to: there, .. }) if there == to));
    let check = async |spool: &Spool| {
        let all = spool.list(&to, &Query::default()).await.unwrap();
        let ids: Vec<_> = all.iter().map(|m| (m.id, m.number)).collect();
        assert_eq!(ids, [(theirs.id, theirs.number), (ours.id, ours.number)]);
        assert!(spool.audio(&to, ours.id).await.is_ok());
        assert_eq!((spool.counts(&to).new, spool.counts(&id()).new), (2, 0));
        assert_eq!(spool.list_all("default", &Query::default()).await.unwrap().len(), 0);
    };
    check(&spool).await;
    home.close(spool).await;
    check(&home.reopen_at_once().await.0).await;
    // And where the index is lost.
    home.state_is_free().await;
    fs::remove_file(home.0.path().join("state/index.db")).unwrap();
    check(&home.open().await.0).await;
}

/// The mailbox's directory had its new name when the daemon was killed; nothing else knew of it.
#[tokio::test]
async fn a_renaming_that_is_broken_off_costs_no_message_its_id() {
    for renamed in [true, false] {
        let home = Home::new();
        asterisks_message(&home, "msg0000");
        let (spool, _) = home.open().await;
        let theirs = inbox(&spool).await[0].clone();
        spool.write_out().await.unwrap();
        let to: MailboxId = "2000@sales".parse().unwrap();
        spool.will_rename(&id(), &to).await.unwrap();
        fs::create_dir_all(home.spool().join("sales")).unwrap();
        if renamed {
            fs::rename(home.mailbox(), home.spool().join(to.path())).unwrap();
        }
        let (spool, _) = home.reopen(spool).await;
        let there = if renamed { &to } else { &id() };
        let all = spool.list(there, &Query::default()).await.unwrap();
        let found: Vec<_> = all.iter().map(|m| (m.id, m.number)).collect();
        assert_eq!(found, [(theirs.id, theirs.number)], "{renamed}");
        assert_eq!(spool.len(), 1);
    }
}
