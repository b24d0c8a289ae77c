//! What somebody asks of messages that are there, and crashes at every step of it.

use super::*;

#[tokio::test]
async fn an_edit_is_in_the_tree_the_list_and_the_counts_and_is_told() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 8000).await;
    let mut changes = spool.changes();
    let heard = edit(&spool, message.id, Edit::MarkHeard).await.unwrap();
    assert_eq!(spool.counts(&id()), Counts { old: 1, ..Counts::default() });
    let Ok(Change::Edited { was, message: told, counts }) = changes.try_recv() else {
        panic!("untold")
    };
    assert_eq!((was.heard.is_none(), told.clone(), counts.old), (true, heard.clone(), 1));
    let transcript = "call me;\nback".to_owned();
    edit(&spool, message.id, Edit::Annotate { transcript: transcript.clone() }).await;
    edit(&spool, message.id, Edit::SetUrgent(true)).await;
    changes = spool.changes();
    let filed = edit(&spool, message.id, Edit::File(Folder::Work)).await.unwrap();
    assert!(
        matches!(changes.try_recv(), Ok(Change::Moved { was, .. }) if was.folder == Folder::Inbox)
    );
    assert_eq!((spool.counts(&id()), files(&home.inbox()).len()), (Counts::default(), 0));
    let (spool, found) = home.reopen(spool).await;
    assert_eq!((found.messages, found.unreadable), (1, 0));
    assert_eq!(list(&spool, Folder::Work).await, std::slice::from_ref(&filed));
    assert_eq!((filed.transcript.as_str(), filed.urgent), (transcript.as_str(), true));
    assert_eq!(filed.heard.as_ref().map(|heard| heard.by.as_str()), Some("1000"));
}

#[tokio::test]
async fn what_is_deleted_is_restored_or_purged() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 8000).await;
    let deleted = edit(&spool, message.id, Edit::Delete).await.unwrap();
    assert_eq!((&deleted.folder, spool.kept(&id())), (&Folder::Deleted, 0));
    let (spool, _) = home.reopen(spool).await;
    let restored = edit(&spool, message.id, Edit::Restore).await.unwrap();
    assert_eq!((&restored.folder, restored.deleted.clone()), (&Folder::Inbox, None));
    let audio = spool.audio(&id(), message.id).await.unwrap();
    let mut changes = spool.changes();
    assert_eq!(edit(&spool, message.id, Edit::Purge).await, None);
    assert!(matches!(changes.try_recv(), Ok(Change::Removed { counts, .. }) if counts.new == 0));
    assert!(files(&home.inbox()).is_empty() && files(&home.mailbox().join("tmp")).is_empty());
    assert_eq!(audio.read(44, 4).unwrap(), [1; 4], "whoever listens goes on listening");
    let gone = spool.edit(&id(), message.id, &Edit::MarkHeard, &by()).await;
    assert!(matches!(gone, Err(Error::NoSuchMessage(_))));
    assert!(spool.get(&id(), message.id).await.unwrap().is_none());
}

#[tokio::test]
async fn purged_audio_is_written_over_where_the_house_wants_it() {
    let home = Home::new();
    let (spool, _) = home.open_with(Options { shred: true, ..Options::default() }).await;
    let message = leave(&spool, 8000).await;
    let audio = spool.audio(&id(), message.id).await.unwrap();
    edit(&spool, message.id, Edit::Purge).await;
    assert_eq!(audio.read(0, 64).unwrap(), [0; 64]);
}

#[tokio::test]
async fn audio_is_read_in_pieces() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 8000).await;
    let audio = spool.audio(&id(), message.id).await.unwrap();
    assert_eq!((audio.bytes(), message.bytes), (16_044, 16_044));
    assert_eq!(audio.read(0, 4).unwrap(), b"RIFF");
    assert_eq!(audio.read(16_040, 100).unwrap(), [1; 4]);
    assert!(
        audio.read(16_044, 100).unwrap().is_empty() && audio.read(u64::MAX, 1).unwrap().is_empty()
    );
}

#[tokio::test]
async fn a_message_is_marked_as_its_caller_wants() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let mut draft = speak(&spool, 8000).await;
    draft.mark(Marks { urgent: true, private: true, silent: false });
    let message = spool.deliver(draft).await.unwrap();
    assert_eq!(spool.counts(&id()), Counts { new: 1, urgent_new: 1, ..Counts::default() });
    let (spool, _) = home.reopen(spool).await;
    assert_eq!(inbox(&spool).await, [message]);
}

#[tokio::test]
async fn a_forwarded_message_is_new_to_its_recipient() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 8000).await;
    edit(&spool, message.id, Edit::MarkHeard).await;
    let intro = home.0.path().join("intro.wav");
    wav(&intro, 4000);
    let to: MailboxId = "2000@sales".parse().unwrap();
    let mut changes = spool.changes();
    let forward = |intro| CopyAs::Forward { by: "1000".into(), urgent: true, intro };
    let later = By::new("1000", 1_700_000_900);
    let plain = spool.copy(&message, (&to, 7), forward(None), &later).await.unwrap();
    let joined =
        spool.copy(&message, (&to, 7), forward(Some(intro.clone())), &later).await.unwrap();
    assert!(matches!(changes.try_recv(), Ok(Change::Delivered { counts, .. }) if counts.new == 1));
    assert_eq!((plain.origin, plain.heard.as_ref()), (Some(message.id), None));
    assert_eq!((plain.duration, joined.duration.as_millis()), (message.duration, 1500));
    assert_eq!((plain.envelope.received, &plain.sha256), (1_700_000_900, &message.sha256));
    let forwarded = plain.forwarded.as_ref().unwrap();
    assert_eq!((forwarded.by.as_str(), forwarded.received), ("1000", 1_700_000_000));
    let sent = spool.copy(&message, (&id(), 10_142), CopyAs::Sent, &later).await.unwrap();
    assert_eq!(list(&spool, Folder::Sent).await, std::slice::from_ref(&sent));
    assert_eq!(spool.counts(&id()), Counts { old: 1, ..Counts::default() });
    edit(&spool, message.id, Edit::Purge).await;
    let (spool, found) = home.reopen(spool).await;
    assert_eq!(found, Found { messages: 3, ..Found::default() });
    let theirs = spool.list(&to, &Query::default()).await.unwrap();
    assert_eq!(theirs, [plain.clone(), joined.clone()]);
    assert_eq!(fs::metadata(spool.audio_path(&joined)).unwrap().len(), 24_044);
    assert_eq!(fs::metadata(spool.audio_path(&plain)).unwrap().len(), 16_044);
}

#[tokio::test]
async fn a_private_message_is_not_sent_on() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 8000).await;
    let private = edit(&spool, message.id, Edit::SetPrivate(true)).await.unwrap();
    let how = CopyAs::Forward { by: "1000".into(), urgent: false, intro: None };
    let sent = spool.copy(&private, (&"2000".parse().unwrap(), 7), how, &by()).await;
    assert!(matches!(sent, Err(Error::Refused(_))));
}

/// Asterisk keeps a message in several formats, and lists it by its number.
#[tokio::test]
async fn a_message_of_several_formats_moves_as_one() {
    let home = Home::new();
    asterisks_message(&home, "msg0000");
    fs::write(home.inbox().join("msg0000-bak.txt"), "[message]\n").unwrap();
    fs::write(home.inbox().join("msg0000-prepend.wav"), "RIFF").unwrap();
    let old = home.mailbox().join("Old");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("msg0000.gsm"), "another's").unwrap();
    let (spool, found) = home.open().await;
    assert_eq!(found, Found { messages: 1, ..Found::default() });
    let message = &inbox(&spool).await[0];
    assert_eq!(message.formats.extensions().collect::<Vec<_>>(), ["wav", "WAV", "gsm"]);
    let moved = edit(&spool, message.id, Edit::File(Folder::Old)).await.unwrap();
    assert_eq!(moved.stem.as_str(), "msg0000_1");
    let names = files(&old);
    let ours = ["msg0000.gsm", "msg0000_1.WAV", "msg0000_1.gsm", "msg0000_1.txt", "msg0000_1.wav"];
    assert_eq!(names, ours);
    let text = fs::read_to_string(old.join("msg0000_1.txt")).unwrap();
    assert!(text.contains("\nmacrocontext=x\n") && text.contains("\nflag=\n"), "{text}");
    let (spool, _) = home.reopen(spool).await;
    assert_eq!(list(&spool, Folder::Old).await, [moved]);
}

/// Whatever step of an edit a crash falls on, the message is there once after the next start, as
/// it was or as it should be.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_an_edit_loses_and_doubles_nothing() {
    let edits = [Edit::MarkHeard, Edit::File(Folder::Work), Edit::Delete, Edit::Purge];
    for (edit, ours) in edits.iter().flat_map(|edit| [(edit, true), (edit, false)]) {
        for step in 1.. {
            let at = format!("{edit}, step {step}, ours: {ours}");
            let home = Home::new();
            let id = message_of(&home, ours).await;
            let (spool, _) = home.open_with(crash_at(step)).await;
            let done = spool.edit(&self::id(), id, edit, &by()).await;
            let tmp = home.mailbox().join("tmp");
            let (spool, found) = home.reopen(spool).await;
            assert_eq!(found.unreadable, 0, "{at}");
            let all = spool.list(&self::id(), &Query::default()).await.unwrap();
            if *edit == Edit::Purge {
                assert!(all.len() <= 1, "{at}");
            } else {
                assert_eq!(all.len(), 1, "{at}: {all:?}");
            }
            assert!(all.iter().all(|message| message.id == id), "{at}");
            let formats = if ours { 1 } else { 3 };
            for message in &all {
                assert_eq!(message.formats.extensions().count(), formats, "{at}");
            }
            assert!(files(&tmp).is_empty(), "{at}: {:?}", files(&tmp));
            assert_eq!(tree(&home), all.len() * (formats + 1), "{at}");
            if done.is_ok() {
                let left = usize::from(*edit != Edit::Purge);
                assert!(all.len() == left && step > 2, "{at}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_any_step_of_an_edit_leaves_all_as_it_was() {
    for ours in [true, false] {
        for step in 1.. {
            let home = Home::new();
            let id = message_of(&home, ours).await;
            let (spool, _) = home.open_with(fail_at(step)).await;
            let before = spool.get(&self::id(), id).await.unwrap();
            let done = spool.edit(&self::id(), id, &Edit::File(Folder::Work), &by()).await;
            if done.is_ok() {
                assert!(step > 2);
                break;
            }
            assert_eq!(spool.get(&self::id(), id).await.unwrap(), before, "{step}");
            assert_eq!(spool.audio(&self::id(), id).await.unwrap().read(0, 4).unwrap(), b"RIFF");
            let (spool, _) = home.reopen(spool).await;
            assert_eq!(spool.get(&self::id(), id).await.unwrap(), before, "{step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_a_copy_leaves_a_whole_copy_or_none() {
    for step in 1.. {
        let home = Home::new();
        let id = message_of(&home, true).await;
        let (spool, _) = home.open_with(crash_at(step)).await;
        let source = spool.get(&self::id(), id).await.unwrap().unwrap();
        let copied = spool.copy(&source, (&self::id(), 7), CopyAs::Sent, &by()).await;
        let (spool, found) = home.reopen(spool).await;
        assert_eq!((found.recovered, found.unreadable), (0, 0), "{step}");
        let copies = list(&spool, Folder::Sent).await;
        assert!(copies.iter().all(|copy| copy.origin == Some(id) && copy.id != id), "{step}");
        assert!(files(&home.mailbox().join("tmp")).is_empty(), "{step}");
        assert_eq!(tree(&home), 2 + copies.len() * 2, "{step}");
        assert_eq!(inbox(&spool).await, [source], "{step}");
        if copied.is_ok() {
            assert!(copies.len() == 1 && step > 3, "{step}");
            break;
        }
    }
}
