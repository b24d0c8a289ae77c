//! Full and failing disks: what is said is kept where it can be, and becomes a message once.

use super::*;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A disk that is full for as long as the room kept on it is not let go.
fn full_disk(home: &Home, full: &Arc<AtomicBool>) -> Options {
    let (reserve, full) = (home.spool().join(".reserve"), full.clone());
    let probe = Probe::new(move |_| {
        let refused = full.load(Ordering::Relaxed) && reserve.exists();
        if refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    Options { probe, ..Options::default() }
}

#[tokio::test]
async fn on_a_full_disk_the_room_that_was_kept_stores_what_was_said_and_lets_owners_make_more() {
    let home = Home::new();
    let full = Arc::new(AtomicBool::new(false));
    let (spool, _) = home.open_with(full_disk(&home, &full)).await;
    let reserve = home.spool().join(".reserve");
    let kept = fs::metadata(&reserve).unwrap().len();
    assert!(kept > 0, "a part of this disk is kept");
    let draft = speak(&spool, 8000).await;
    full.store(true, Ordering::Relaxed);
    let message = spool.deliver(draft).await.unwrap();
    assert!(!reserve.exists());
    assert_eq!(inbox(&spool).await, std::slice::from_ref(&message));
    // With room again, some of it is kept again.
    spool.retry().await;
    assert_eq!(fs::metadata(&reserve).unwrap().len(), kept);
    assert!(edit(&spool, message.id, Edit::Delete).await.is_some());
    assert!(!reserve.exists());
    assert_eq!(list(&spool, Folder::Deleted).await.len(), 1);
}

#[tokio::test]
async fn what_the_spool_cannot_take_is_recorded_elsewhere_until_it_can() {
    for restarts in [false, true] {
        let home = Home::new();
        let elsewhere = home.0.path().join("state/stranded");
        let (spool, _) = home.open().await;
        // A file where the drafts should be, as on a disk that takes nothing.
        fs::create_dir_all(home.mailbox()).unwrap();
        fs::write(home.mailbox().join("tmp"), "").unwrap();
        let draft = speak(&spool, 8000).await;
        assert_eq!(draft.audio().parent(), Some(elsewhere.as_path()));
        assert_eq!(files(&elsewhere).len(), 2, "what is known of it lies beside it");
        assert!(spool.deliver(draft).await.is_err(), "the caller is told");
        assert_eq!(spool.retry().await, 0);
        fs::remove_file(home.mailbox().join("tmp")).unwrap();
        let spool = if restarts {
            let (spool, found) = home.reopen(spool).await;
            assert_eq!((found.recovered, found.unreadable), (1, 0));
            spool
        } else {
            assert_eq!((spool.retry().await, spool.retry().await), (1, 0));
            spool
        };
        let messages = inbox(&spool).await;
        assert_eq!((messages.len(), messages[0].duration), (1, Duration::from_secs(1)));
        assert_eq!(messages[0].envelope.caller.number, "2001");
        assert!(files(&elsewhere).is_empty() && files(&home.mailbox().join("tmp")).is_empty());
        let (spool, found) = home.reopen(spool).await;
        assert_eq!((found.recovered, spool.len()), (0, 1));
    }
}

/// The disk fails once the recording is on it: a copy is made while it can still be read, and the
/// two are never two messages.
#[tokio::test]
async fn a_recording_flees_from_a_disk_that_fails() {
    for (restarts, comes_back) in [(false, true), (true, true), (true, false)] {
        let home = Home::new();
        let elsewhere = home.0.path().join("state/stranded");
        let fails = Arc::new(AtomicBool::new(true));
        let failing = fails.clone();
        let probe = Probe::new(move |_| {
            let error = io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32);
            if failing.load(Ordering::Relaxed) { Err(error) } else { Ok(()) }
        });
        let (spool, _) = home.open_with(Options { probe, ..Options::default() }).await;
        let draft = speak(&spool, 8000).await;
        assert!(spool.deliver(draft).await.is_err());
        assert_eq!(files(&elsewhere).len(), 2);
        assert_eq!(spool.retry().await, 0);
        if !comes_back {
            fs::remove_dir_all(home.spool()).unwrap();
        }
        fails.store(false, Ordering::Relaxed);
        let spool = if restarts {
            home.reopen(spool).await.0
        } else {
            assert_eq!(spool.retry().await, 1);
            spool
        };
        assert_eq!(inbox(&spool).await.len(), 1, "{restarts} {comes_back}");
        assert_eq!(inbox(&spool).await[0].duration, Duration::from_secs(1));
        assert!(files(&elsewhere).is_empty());
    }
}

/// A crash after the message was made, before the copy elsewhere was removed.
#[tokio::test]
async fn what_has_become_a_message_is_not_brought_home_again() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 8000).await;
    let elsewhere = home.0.path().join("state/stranded");
    fs::create_dir_all(&elsewhere).unwrap();
    for extension in ["wav", "txt"] {
        let from = home.inbox().join(format!("{}.{extension}", message.stem));
        let to = elsewhere.join(format!("{}.{extension}", message.envelope.call));
        fs::copy(from, to).unwrap();
    }
    fs::write(elsewhere.join("strange.wav"), "somebody's").unwrap();
    let (spool, found) = home.reopen(spool).await;
    assert_eq!((found.recovered, spool.len()), (0, 1));
    assert_eq!(files(&elsewhere), ["strange.wav"]);
}
