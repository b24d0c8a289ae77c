//! How long messages live, how full a mailbox is, and whether all that lies there is whole.

use super::*;

use afterbeep::mailbox::Level;
use afterbeep::mailbox::retention::{Ceiling, Halt, Retention};
use afterbeep::spool::{Gauge, Progress, Swept, What, check};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 24 * 60 * 60;

#[tokio::test]
async fn what_is_too_old_goes_into_the_trash_and_out_of_it() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let (kept, heard) = (leave(&spool, 800).await, leave(&spool, 800).await);
    edit(&spool, heard.id, Edit::MarkHeard).await;
    let retention = Retention { inbox: 10, ..Retention::default() };
    let at = |day: i64| 1_700_000_000 + day * DAY;
    let sweep = async |day| spool.sweep(&retention, at(day), false).await.unwrap();
    assert_eq!(sweep(9).await, Swept::default());
    assert_eq!(sweep(10).await, Swept { expired: 1, ..Swept::default() });
    assert_eq!(list(&spool, Folder::Deleted).await[0].id, heard.id);
    assert_eq!(sweep(5).await.halted, Some(Halt::Clock(-5 * 24)), "the clock was set back");
    assert_eq!(sweep(39).await, Swept::default(), "it was off for a month");
    assert_eq!(sweep(40).await, Swept { purged: 1, ..Swept::default() });
    assert_eq!(inbox(&spool).await[0].id, kept.id);
    assert_eq!(spool.len(), 1);
    let force = spool.sweep(&Retention::default(), at(0), true).await.unwrap();
    assert_eq!(force, Swept::default());
}

#[tokio::test]
async fn a_mailbox_that_was_removed_goes_after_its_days() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 800).await;
    let now =
        i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let grave = home.spool().join(".removed/6f1b");
    fs::create_dir_all(grave.parent().unwrap()).unwrap();
    fs::rename(home.mailbox(), &grave).unwrap();
    spool.forget(&id());
    let sweep = async |days: i64, removed: u32| {
        let retention = Retention { removed, ..Retention::default() };
        spool.sweep(&retention, now + days * DAY, true).await.unwrap().mailboxes
    };
    assert_eq!((sweep(29, 30).await, sweep(99, 0).await), (0, 0));
    assert!(grave.join(format!("INBOX/{}.wav", message.stem)).is_file());
    assert_eq!((sweep(31, 30).await, sweep(31, 30).await), (1, 0));
    assert!(files(grave.parent().unwrap()).is_empty());
}

#[tokio::test]
async fn an_owner_is_told_once_that_the_mailbox_fills() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    spool.limit(|_| Ceiling { messages: Some(5), ..Ceiling::default() });
    let mut changes = spool.changes();
    let mut levels = async |spool: &Spool, messages: usize| {
        for _ in 0..messages {
            leave(spool, 800).await;
        }
        let mut levels = vec![];
        while let Ok(change) = changes.try_recv() {
            if let Change::Filled { level, .. } = change {
                levels.push(level);
            }
        }
        levels
    };
    assert_eq!(levels(&spool, 3).await, []);
    assert_eq!(levels(&spool, 2).await, [Level::NearlyFull, Level::Full]);
    assert_eq!(levels(&spool, 1).await, []);
    assert_eq!(spool.level(&id()), Level::Full);
    for message in inbox(&spool).await.iter().take(4) {
        edit(&spool, message.id, Edit::Delete).await;
    }
    assert_eq!((levels(&spool, 0).await, spool.level(&id())), (vec![], Level::Room));
    assert_eq!(levels(&spool, 2).await, [Level::NearlyFull]);
    // Another run tells nothing anew.
    let (spool, _) = home.reopen(spool).await;
    spool.limit(|_| Ceiling { messages: Some(5), ..Ceiling::default() });
    let mut changes = spool.changes();
    edit(&spool, inbox(&spool).await[0].id, Edit::MarkHeard).await;
    assert!(matches!(changes.try_recv(), Ok(Change::Edited { .. })));
    assert!(changes.try_recv().is_err());
}

#[tokio::test]
async fn a_check_finds_what_is_not_whole() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let messages = [leave(&spool, 800).await, leave(&spool, 800).await, leave(&spool, 800).await];
    let checked = || {
        let last = Arc::new(Mutex::new(Progress::default()));
        let told = last.clone();
        let gauge = Gauge::new(move |progress| *told.lock().unwrap() = progress);
        let (messages, flaws) = check(&home.spool(), WAV, &gauge).unwrap();
        let last = *last.lock().unwrap();
        assert_eq!((last.mailboxes, last.of, last.messages), (1, 1, messages));
        let mut whats: Vec<_> = flaws.into_iter().map(|flaw| flaw.what).collect();
        whats.sort_by_key(|what| format!("{what:?}"));
        (messages, whats)
    };
    assert_eq!(checked(), (3, vec![]));
    let path = |message: &Message, extension: &str| {
        home.inbox().join(format!("{}.{extension}", message.stem))
    };
    let mut audio = fs::read(path(&messages[0], "wav")).unwrap();
    audio[100] ^= 1;
    fs::write(path(&messages[0], "wav"), audio).unwrap();
    fs::remove_file(path(&messages[1], "wav")).unwrap();
    fs::copy(path(&messages[2], "wav"), home.inbox().join("copy.wav")).unwrap();
    fs::copy(path(&messages[2], "txt"), home.inbox().join("copy.txt")).unwrap();
    let (messages, whats) = checked();
    assert_eq!(messages, 3);
    assert!(matches!(&whats[..], [What::Changed, What::NoAudio, What::SameId(_)]), "{whats:?}");
}

#[tokio::test]
async fn what_is_no_file_is_no_audio() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 800).await;
    let audio = home.inbox().join(format!("{}.wav", message.stem));
    fs::remove_file(&audio).unwrap();
    fs::create_dir(audio).unwrap();
    let (messages, flaws) = check(&home.spool(), WAV, &Gauge::default()).unwrap();
    let whats: Vec<_> = flaws.into_iter().map(|flaw| flaw.what).collect();
    assert!(matches!((messages, &whats[..]), (0, [What::NoAudio])), "{whats:?}");
}
