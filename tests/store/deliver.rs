//! Drafts become messages, whatever happens on the way.

use super::*;

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
                fs::rename(place(&inbox_dir, stem, "txt"), place(&tmp, call, "txt")).unwrap();
            }
            _ => {
                fs::rename(place(&inbox_dir, stem, "wav"), place(&tmp, call, "wav")).unwrap();
                fs::remove_file(place(&inbox_dir, stem, "txt")).unwrap();
                match step {
                    "sidecar written" => fs::write(place(&tmp, call, "txt"), &sidecar).unwrap(),
                    // A power cut may leave the new text's beginning and the old one's end.
                    "half a sidecar" => {
                        let mut text = fs::read(place(&tmp, call, "txt")).unwrap();
                        text[..512].copy_from_slice(&sidecar[..512]);
                        fs::write(place(&tmp, call, "txt"), text).unwrap();
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
    fs::write(tmp.join(format!("{call}.txt")), sidecar).unwrap();
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
