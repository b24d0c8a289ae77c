//! What the spool promises, whatever happens to it: deliveries, crashes at every step, strangers'
//! files.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[path = "store/index.rs"]
mod index;
#[path = "store/life.rs"]
mod life;
#[path = "store/others.rs"]
mod others;

use afterbeep::daemon::WAV;
use afterbeep::mailbox::{
    By, CallerId, Change, Counts, Edit, Envelope, Folder, MailboxId, Message, MessageId, Stem,
};
use afterbeep::spool::{CopyAs, Draft, Error, Found, Marks, Options, Probe, Query, Spool};
use afterbeep::state::State;

#[tokio::test]
async fn a_delivered_message_is_listed_told_and_there_after_a_restart() {
    let home = Home::new();
    let (spool, found) = home.open().await;
    assert_eq!(found, Found::default());
    let mut changes = spool.changes();
    let delivered = leave(&spool, 8000).await;
    let Ok(Change::Delivered { message, counts }) = changes.try_recv() else { panic!("untold") };
    assert_eq!((message.id, counts.new, counts.old), (delivered.id, 1, 0));
    assert_eq!(delivered.duration, Duration::from_secs(1));
    assert_eq!(delivered.stem.as_str().split('_').count(), 6, "{}", delivered.stem);
    assert!(delivered.stem.as_str().starts_with("voicemail_1700000000_1700000000"));
    assert!(delivered.stem.as_str().ends_with("_10142_2001_1"));
    let (spool, found) = home.reopen(spool).await;
    assert_eq!(found, Found { messages: 1, ..Found::default() });
    let read = inbox(&spool).await;
    assert_eq!(*read[0], delivered, "what is read is what was delivered");
    assert!(files(&home.mailbox().join("tmp")).is_empty());
}

#[tokio::test]
async fn two_messages_of_one_second_are_two() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let (first, second) = (leave(&spool, 8000).await, leave(&spool, 8000).await);
    assert_ne!(first.id, second.id);
    assert!(first.number < second.number);
    assert_ne!(first.stem, second.stem);
    assert_eq!(inbox(&spool).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_at_once_are_all_there() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let leaving: Vec<_> = (0..100)
        .map(|_| {
            let spool = spool.clone();
            tokio::spawn(async move { leave(&spool, 800).await.stem })
        })
        .collect();
    for leaving in leaving {
        let stem = leaving.await.unwrap();
        assert!(home.inbox().join(format!("{stem}.wav")).is_file());
        assert!(home.inbox().join(format!("{stem}.txt")).is_file());
    }
    assert_eq!(spool.counts(&id()).new, 100);
    let (spool, found) = home.reopen(spool).await;
    assert_eq!((found.messages, inbox(&spool).await.len()), (100, 100));
}

#[tokio::test]
async fn a_discarded_draft_leaves_nothing() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let draft = speak(&spool, 800).await;
    spool.discard(draft).await.unwrap();
    assert!(files(&home.mailbox().join("tmp")).is_empty());
    assert!(inbox(&spool).await.is_empty());
}

/// A draft whose caller still spoke: the header does not yet know of all audio.
#[tokio::test]
async fn a_draft_that_a_crash_left_becomes_a_message() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let draft = speak(&spool, 16_000).await;
    let audio = home.mailbox().join("tmp").join(only(&home.mailbox().join("tmp"), "wav"));
    let mut bytes = fs::read(&audio).unwrap();
    bytes[40..44].copy_from_slice(&100u32.to_le_bytes());
    bytes.push(7); // half a sample
    fs::write(&audio, bytes).unwrap();
    drop(draft);
    let (spool, found) = home.reopen(spool).await;
    assert_eq!(found, Found { messages: 1, recovered: 1, unreadable: 0 });
    let message = &inbox(&spool).await[0];
    assert_eq!(message.duration, Duration::from_secs(2));
    assert_eq!(message.envelope.caller.name, "Jane \"J\" Doe\u{e9}");
    assert_eq!(message.envelope.received, 1_700_000_000);
    assert!(message.stem.as_str().ends_with("_10142_2001_2"), "{}", message.stem);
    assert!(files(&home.mailbox().join("tmp")).is_empty());
    let (_, found) = home.reopen(spool).await;
    assert_eq!(found, Found { messages: 1, recovered: 0, unreadable: 0 }, "once");
}

/// Whatever step of a delivery a crash falls on, one whole message is there after the next start.
#[tokio::test]
async fn a_crash_at_any_step_of_a_delivery_loses_and_doubles_nothing() {
    for step in ["recorded", "sidecar written", "half a sidecar", "audio moved", "sidecar moved"] {
        let home = Home::new();
        let (spool, _) = home.open().await;
        let message = leave(&spool, 8000).await;
        // Back to where the step had brought it.
        let (tmp, inbox_dir) = (home.mailbox().join("tmp"), home.inbox());
        let place =
            |dir: &Path, name: &str, extension: &str| dir.join(format!("{name}.{extension}"));
        let (stem, call) = (message.stem.as_str(), message.envelope.call.as_str());
        let sidecar = fs::read(place(&inbox_dir, stem, "txt")).unwrap();
        let provisional: Vec<u8> = String::from_utf8(sidecar.clone())
            .unwrap()
            .lines()
            .take_while(|line| !line.starts_with("number="))
            .flat_map(|line| format!("{line}\n").into_bytes())
            .collect();
        fs::write(place(&tmp, call, "txt"), provisional).unwrap();
        match step {
            "sidecar moved" => {}
            "audio moved" => {
                fs::rename(place(&inbox_dir, stem, "txt"), place(&tmp, call, "new")).unwrap();
            }
            _ => {
                fs::rename(place(&inbox_dir, stem, "wav"), place(&tmp, call, "wav")).unwrap();
                fs::remove_file(place(&inbox_dir, stem, "txt")).unwrap();
                match step {
                    "sidecar written" => fs::write(place(&tmp, call, "new"), &sidecar).unwrap(),
                    "half a sidecar" => {
                        fs::write(place(&tmp, call, "new"), &sidecar[..90]).unwrap();
                    }
                    _ => {}
                }
            }
        }
        let (spool, _) = home.reopen(spool).await;
        let read = inbox(&spool).await;
        assert_eq!(read.len(), 1, "{step}");
        assert_eq!((read[0].id, read[0].duration), (message.id, message.duration), "{step}");
        assert_eq!(read[0].sha256, message.sha256, "{step}");
        assert_eq!(read[0].envelope, message.envelope, "{step}");
        assert_eq!(files(&tmp), Vec::<String>::new(), "{step}");
        assert_eq!(files(&inbox_dir).len(), 2, "{step}");
    }
}

#[tokio::test]
async fn a_draft_without_audio_is_nothing() {
    let home = Home::new();
    let tmp = home.mailbox().join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    fs::write(tmp.join("17000000000000009.txt"), "[message]\ncallerid=x\n").unwrap();
    fs::write(tmp.join("17000000000000008.wav"), b"").unwrap();
    let (spool, found) = home.open().await;
    assert_eq!(found, Found::default());
    assert!(inbox(&spool).await.is_empty() && files(&tmp).is_empty());
}

#[tokio::test]
async fn a_file_in_the_way_is_not_replaced() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let first = leave(&spool, 8000).await;
    let call: u64 = first.envelope.call.parse().unwrap();
    // The next call's name is taken, by somebody else's files.
    let taken = first.stem.as_str().replace(&call.to_string(), &(call + 1).to_string());
    for extension in ["wav", "txt"] {
        fs::write(home.inbox().join(format!("{taken}.{extension}")), "mine").unwrap();
    }
    let second = leave(&spool, 8000).await;
    assert_eq!(second.stem.as_str(), format!("{taken}_1"));
    for extension in ["wav", "txt"] {
        let kept = fs::read(home.inbox().join(format!("{taken}.{extension}"))).unwrap();
        assert_eq!(kept, b"mine");
    }
}

#[tokio::test]
async fn what_could_not_be_stored_is_tried_again() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let draft = speak(&spool, 8000).await;
    // A file where the folder should be: nothing can be moved there.
    fs::write(home.inbox(), "").unwrap();
    assert!(spool.deliver(draft).await.is_err());
    assert_eq!(spool.retry().await, 0);
    assert!(inbox(&spool).await.is_empty());
    fs::remove_file(home.inbox()).unwrap();
    let mut changes = spool.changes();
    assert_eq!((spool.retry().await, spool.retry().await), (1, 0));
    assert!(matches!(changes.try_recv(), Ok(Change::Delivered { .. })));
    assert_eq!(inbox(&spool).await[0].envelope.caller.number, "2001");
    assert!(files(&home.mailbox().join("tmp")).is_empty());
}

/// A disk that hung may go on writing long after the call is over.
#[tokio::test]
async fn a_recording_that_broke_off_is_a_message_once_its_recorder_is_done() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let envelope = Envelope { received: 1_700_000_000, ..Envelope::default() };
    let draft = spool.draft(&id(), 10_142, envelope, 1_700_000_000_000).await.unwrap();
    let open = draft.opener();
    spool.keep(draft);
    assert_eq!(spool.retry().await, 0);
    let mut file = open().unwrap();
    file.write_all(&header(0)).unwrap();
    assert_eq!(spool.retry().await, 0, "still being written");
    file.write_all(&vec![1; 16_000]).unwrap();
    drop(file);
    assert_eq!((spool.retry().await, spool.retry().await), (1, 0));
    assert_eq!(inbox(&spool).await[0].duration, Duration::from_secs(1));
    assert!(files(&home.mailbox().join("tmp")).is_empty());
}

#[tokio::test]
async fn a_recording_that_broke_off_before_a_word_leaves_nothing() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    spool.keep(speak(&spool, 0).await);
    spool.keep(spool.draft(&id(), 1, Envelope::default(), 0).await.unwrap());
    assert_eq!(spool.retry().await, 0);
    assert!(inbox(&spool).await.is_empty() && files(&home.mailbox().join("tmp")).is_empty());
}

/// Whoever can write a file into the spool cannot stop it.
#[tokio::test]
async fn a_number_beyond_all_numbers_stops_nothing() {
    let home = Home::new();
    let (mut spool, _) = home.open().await;
    let message = leave(&spool, 800).await;
    let sidecar = home.inbox().join(format!("{}.txt", message.stem));
    let text = fs::read_to_string(&sidecar).unwrap();
    let own = format!("number={}\n", message.number);
    for claimed in [i64::MAX.to_string(), (1_u64 << 53).to_string()] {
        fs::write(&sidecar, text.replace(&own, &format!("number={claimed}\n"))).unwrap();
        let found;
        (spool, found) = home.reopen(spool).await;
        assert_eq!(found.unreadable, 0);
        leave(&spool, 800).await;
    }
    assert_eq!(inbox(&home.reopen(spool).await.0).await.len(), 3);
}

#[tokio::test]
async fn a_number_given_twice_hides_no_message() {
    let home = Home::new();
    fs::create_dir_all(home.inbox()).unwrap();
    for id in ["01KE7P0J3R0000000000000001", "01KE7P0J3R0000000000000002"] {
        wav(&home.inbox().join(format!("{id}.wav")), 80);
        let text = format!("[message]\norigtime=1700000000\nid={id}\nnumber=7\n");
        fs::write(home.inbox().join(format!("{id}.txt")), text).unwrap();
    }
    let (spool, _) = home.open().await;
    assert_eq!((inbox(&spool).await.len(), spool.counts(&id()).new), (2, 2));
}

#[tokio::test]
async fn a_draft_that_a_start_could_not_store_is_tried_again() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    drop(speak(&spool, 8000).await);
    fs::write(home.inbox(), "").unwrap();
    let (spool, found) = home.reopen(spool).await;
    assert_eq!(found, Found { unreadable: 1, ..Found::default() });
    fs::remove_file(home.inbox()).unwrap();
    assert_eq!((spool.retry().await, spool.retry().await), (1, 0));
    assert_eq!(inbox(&spool).await.len(), 1);
}

/// The recording was moved, its sidecar was not, and moving it back failed.
#[tokio::test]
async fn a_stuck_draft_whose_recording_has_moved_is_completed() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 8000).await;
    let draft = speak(&spool, 8000).await;
    let (tmp, inbox_dir) = (home.mailbox().join("tmp"), home.inbox());
    let (call, stem) = (only(&tmp, "wav").replace(".wav", ""), "voicemail_2");
    let sidecar = fs::read_to_string(inbox_dir.join(format!("{}.txt", message.stem))).unwrap();
    let sidecar = sidecar.replace(&message.envelope.call, &call);
    fs::write(tmp.join(format!("{call}.new")), sidecar).unwrap();
    let moved = inbox_dir.join(format!("{stem}_{call}.wav"));
    fs::rename(tmp.join(format!("{call}.wav")), &moved).unwrap();
    spool.keep(draft);
    spool.retry().await;
    assert!(moved.with_extension("txt").is_file() && files(&tmp).is_empty());
}

#[tokio::test]
async fn what_another_program_records_is_left_alone() {
    let home = Home::new();
    let tmp = home.mailbox().join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    wav(&tmp.join("AbC123.wav"), 8000);
    fs::write(tmp.join("AbC123.txt"), "[message]\norigtime=5\n").unwrap();
    fs::write(tmp.join("zzz.txt"), "theirs").unwrap();
    let (spool, found) = home.open().await;
    assert_eq!((found, files(&tmp).len()), (Found::default(), 3));
    assert!(inbox(&spool).await.is_empty());
}

#[tokio::test]
async fn a_lost_database_gives_no_number_twice() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let delivered = leave(&spool, 8000).await;
    let draft = speak(&spool, 8000).await;
    drop((draft, spool));
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(home.0.path().join("state").join(name));
    }
    let (spool, found) = home.open().await;
    assert_eq!((found.messages, found.recovered), (2, 1));
    let read = inbox(&spool).await;
    assert_eq!(read.len(), 2);
    assert!(read.iter().any(|m| m.number == delivered.number));
    assert_ne!(read[0].number, read[1].number);
}

#[tokio::test]
async fn asterisks_spool_is_simply_there_and_keeps_its_numbers() {
    let home = Home::new();
    let old = home.mailbox().join("Old");
    fs::create_dir_all(&old).unwrap();
    let asterisk = "[message]\norigmailbox=1000\ncallerid=\"Bob\" <2002>\norigtime=1600000000\nmsg_id=1600000000-00000001\nduration=1\n";
    fs::write(old.join("msg0000.txt"), asterisk).unwrap();
    wav(&old.join("msg0000.wav"), 8000);
    wav(&old.join("msg0001.wav"), 4000); // nobody described it
    let before = (fs::read(old.join("msg0000.txt")).unwrap(), files(&old));
    let (spool, found) = home.open().await;
    assert_eq!(found.messages, 2);
    let listed = list(&spool, Folder::Old).await;
    let bob = listed.iter().find(|m| m.envelope.caller.name == "Bob").unwrap();
    let other = listed.iter().find(|m| m.stem.as_str() == "msg0001").unwrap();
    assert_eq!(
        (bob.envelope.received, other.duration),
        (1_600_000_000, Duration::from_millis(500))
    );
    assert_eq!((fs::read(old.join("msg0000.txt")).unwrap(), files(&old)), before, "untouched");
    let kept = (bob.id, bob.number, other.id, other.number);
    // Asterisk renumbers.
    fs::rename(old.join("msg0001.wav"), old.join("msg0005.wav")).unwrap();
    let (spool, _) = home.reopen(spool).await;
    let listed = list(&spool, Folder::Old).await;
    let bob = listed.iter().find(|m| m.envelope.caller.name == "Bob").unwrap();
    let other = listed.iter().find(|m| m.stem.as_str() == "msg0005").unwrap();
    assert_eq!((bob.id, bob.number, other.id, other.number), kept);
}

#[tokio::test]
async fn strange_files_do_no_harm() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let good = leave(&spool, 8000).await;
    let dir = home.inbox();
    fs::write(dir.join("alone.txt"), "[message]\nduration=3\n").unwrap();
    fs::write(dir.join("broken.wav"), "no RIFF").unwrap();
    fs::write(dir.join("broken.txt"), "[message]\nduration=3\norigtime=5\n").unwrap();
    wav(&dir.join("half.wav"), 8000);
    fs::write(dir.join("half.txt"), "[message]\ncallerid=\"A").unwrap();
    fs::write(dir.join("huge.txt"), vec![b'x'; 300_000]).unwrap();
    wav(&dir.join("huge.wav"), 10);
    fs::write(dir.join(".lock"), "").unwrap();
    fs::create_dir(dir.join("folder.wav")).unwrap();
    fs::create_dir_all(home.mailbox().join("a\\b")).unwrap();
    let before = files(&dir);
    let (spool, found) = home.reopen(spool).await;
    assert_eq!(found, Found { messages: 3, recovered: 0, unreadable: 2 });
    assert_eq!(files(&dir), before, "nothing is removed");
    let stems: Vec<_> = inbox(&spool).await.iter().map(|m| m.stem.to_string()).collect();
    assert!(
        stems.contains(&"broken".to_owned()) && stems.contains(&"half".to_owned()),
        "{stems:?}"
    );
    assert!(spool.get(&id(), good.id).await.unwrap().is_some());
    let half = inbox(&spool).await.into_iter().find(|m| m.stem.as_str() == "half").unwrap();
    assert_eq!(half.duration, Duration::from_secs(1));
}

#[tokio::test]
async fn a_copy_of_a_message_is_another_message() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let original = leave(&spool, 8000).await;
    for extension in ["wav", "txt"] {
        let from = home.inbox().join(format!("{}.{extension}", original.stem));
        fs::copy(from, home.inbox().join(format!("zz-copy.{extension}"))).unwrap();
    }
    let (spool, _) = home.reopen(spool).await;
    let read = inbox(&spool).await;
    assert_eq!(read.len(), 2);
    assert_ne!(read[0].id, read[1].id);
    assert_ne!(read[0].number, read[1].number);
    let ids: Vec<_> = read.iter().map(|m| m.id).collect();
    let (spool, _) = home.reopen(spool).await;
    assert_eq!(inbox(&spool).await.iter().map(|m| m.id).collect::<Vec<_>>(), ids, "at every start");
}

#[tokio::test]
async fn a_page_is_a_window_in_an_order() {
    let home = Home::new();
    let dir = home.inbox();
    fs::create_dir_all(&dir).unwrap();
    for n in 0..20 {
        wav(&dir.join(format!("m{n}.wav")), 80);
        let text = format!("[message]\norigtime={}\nmsg_id=x{n}\n", 100 + n / 2);
        fs::write(dir.join(format!("m{n}.txt")), text).unwrap();
    }
    let (spool, _) = home.open().await;
    let page = async |from, to, newest_first, skip, limit| {
        let folders = vec![Folder::Inbox];
        let query = Query { folders, from, to, newest_first, skip, limit, ..Query::default() };
        let page = spool.list(&id(), &query).await.unwrap();
        page.iter().map(|m| m.envelope.received).collect::<Vec<_>>()
    };
    assert_eq!(page(None, None, false, 0, None).await.len(), 20);
    assert_eq!(page(Some(103), Some(104), false, 0, None).await, [103, 103, 104, 104]);
    assert_eq!(page(None, None, true, 1, Some(2)).await, [109, 108]);
    assert!(page(Some(5), Some(4), false, 0, None).await.is_empty());
    let query = Query { folders: vec![Folder::Inbox], ..Query::default() };
    let all = spool.list(&id(), &query).await.unwrap();
    let mut turned = spool.list(&id(), &Query { newest_first: true, ..query }).await.unwrap();
    turned.reverse();
    assert_eq!(all, turned, "both orders agree on equal times");
    let missing = Stem::found("m99").unwrap();
    assert!(spool.find(&id(), &[Folder::Inbox], &missing).await.unwrap().is_none());
}

#[tokio::test]
async fn the_spool_is_private_and_has_one_owner() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 800).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&spool.audio_path(&message)), 0o600);
    assert_eq!(mode(&spool.audio_path(&message).with_extension("txt")), 0o600);
    assert_eq!(mode(&home.inbox()), 0o700);
    let other = State::open(&home.0.path().join("other")).await.unwrap();
    assert!(Spool::open(&home.spool(), &other, WAV).await.is_err());
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_a_delivery_leaves_one_message() {
    for step in 1.. {
        let home = Home::new();
        let (spool, _) = home.open_with(crash_at(step)).await;
        let draft = speak(&spool, 8000).await;
        let id = draft.id();
        let delivered = spool.deliver(draft).await;
        let (spool, found) = home.reopen(spool).await;
        let all = inbox(&spool).await;
        assert_eq!((all.len(), all[0].id, found.unreadable), (1, id, 0), "{step}");
        assert!(files(&home.mailbox().join("tmp")).is_empty(), "{step}");
        assert_eq!(all[0].envelope.caller.number, "2001", "{step}");
        if delivered.is_ok() {
            assert!(step > 2, "{step}");
            break;
        }
    }
}

/// One message of ours or of Asterisk's, in the INBOX.
async fn message_of(home: &Home, ours: bool) -> MessageId {
    if !ours {
        asterisks_message(home, "msg0000");
    }
    let (spool, _) = home.open().await;
    let id = if ours { leave(&spool, 8000).await.id } else { inbox(&spool).await[0].id };
    home.reopen(spool).await;
    id
}

fn asterisks_message(home: &Home, stem: &str) {
    let inbox = home.inbox();
    fs::create_dir_all(&inbox).unwrap();
    wav(&inbox.join(format!("{stem}.wav")), 8000);
    wav(&inbox.join(format!("{stem}.WAV")), 8000);
    fs::write(inbox.join(format!("{stem}.gsm")), [0xd0; 33]).unwrap();
    let text = "[message]\norigmailbox=1000\nmacrocontext=x\ncallerid=\"Bob\" <2002>\n\
                origtime=1600000000\nmsg_id=1600000000-00000001\nflag=\nduration=1\n";
    fs::write(inbox.join(format!("{stem}.txt")), text).unwrap();
}

/// Files in all folders but `tmp`.
fn tree(home: &Home) -> usize {
    let folders = files(&home.mailbox()).into_iter().filter(|name| name != "tmp");
    folders.map(|name| files(&home.mailbox().join(name)).len()).sum()
}

/// The spool's work stops after so many steps, as if the process had been killed.
fn crash_at(step: usize) -> Options {
    nth(step, || panic!("a crash"))
}

fn fail_at(step: usize) -> Options {
    nth(step, || Err(std::io::ErrorKind::StorageFull.into()))
}

fn nth(step: usize, then: fn() -> std::io::Result<()>) -> Options {
    let left = std::sync::atomic::AtomicUsize::new(step);
    let probe =
        Probe::new(move |_| match left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            1 => then(),
            _ => Ok(()),
        });
    Options { probe, ..Options::default() }
}

async fn edit(spool: &Spool, message: MessageId, edit: Edit) -> Option<std::sync::Arc<Message>> {
    spool.edit(&id(), message, &edit, &by()).await.unwrap()
}

fn by() -> By {
    By::new("1000", 1_700_000_100)
}

/// An empty place on disk, and the mailbox 1000 in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn spool(&self) -> PathBuf {
        self.0.path().join("spool")
    }

    fn mailbox(&self) -> PathBuf {
        self.spool().join("default/1000")
    }

    fn inbox(&self) -> PathBuf {
        self.mailbox().join("INBOX")
    }

    async fn open(&self) -> (Spool, Found) {
        let settle = Duration::ZERO;
        self.open_with(Options { settle, ..Options::default() }).await
    }

    async fn open_with(&self, options: Options) -> (Spool, Found) {
        let state = State::open(&self.0.path().join("state")).await.unwrap();
        Spool::open_with(&self.spool(), &state, WAV, options).await.unwrap()
    }

    async fn close(&self, spool: Spool) {
        spool.close().await;
        drop(spool);
        self.state_is_free().await;
    }

    /// As the daemon does it: where the index was left whole, the tree is not read first.
    async fn reopen_at_once(&self) -> (Spool, Found) {
        self.state_is_free().await;
        let (settle, at_once) = (Duration::ZERO, true);
        self.open_with(Options { settle, at_once, ..Options::default() }).await
    }

    /// As after a crash: nothing is told to stop.
    async fn reopen(&self, spool: Spool) -> (Spool, Found) {
        drop(spool);
        self.state_is_free().await;
        self.open().await
    }

    async fn state_is_free(&self) {
        // The database's connections close in threads of their own.
        for _ in 0..1000 {
            if State::open(&self.0.path().join("state")).await.is_ok() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn id() -> MailboxId {
    "1000".parse().unwrap()
}

/// A draft whose recording has ended.
async fn speak(spool: &Spool, samples: usize) -> Draft {
    let caller =
        CallerId { number: "2001".into(), name: "Jane \"J\" Doe\u{e9}".into(), ext: String::new() };
    let envelope = Envelope { caller, received: 1_700_000_000, ..Envelope::default() };
    let draft = spool.draft(&id(), 10_142, envelope, 1_700_000_000_000).await.unwrap();
    let mut file = draft.opener()().unwrap();
    file.write_all(&header(samples)).unwrap();
    file.write_all(&vec![1; samples * 2]).unwrap();
    draft
}

async fn leave(spool: &Spool, samples: usize) -> Message {
    let draft = speak(spool, samples).await;
    (*spool.deliver(draft).await.unwrap()).clone()
}

async fn inbox(spool: &Spool) -> Vec<std::sync::Arc<Message>> {
    list(spool, Folder::Inbox).await
}

async fn list(spool: &Spool, folder: Folder) -> Vec<std::sync::Arc<Message>> {
    spool.list(&id(), &Query { folders: vec![folder], ..Query::default() }).await.unwrap()
}

fn wav(path: &Path, samples: usize) {
    let mut bytes = header(samples);
    bytes.extend(vec![0; samples * 2]);
    fs::write(path, bytes).unwrap();
}

/// 16-bit, mono, 8 kHz.
fn header(samples: usize) -> Vec<u8> {
    let bytes = u32::try_from(samples * 2).unwrap();
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav
}

fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![] };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn only(dir: &Path, extension: &str) -> String {
    let mut named = files(dir);
    named.retain(|name| name.ends_with(extension));
    assert_eq!(named.len(), 1, "{named:?}");
    named.remove(0)
}
