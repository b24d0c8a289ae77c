//! `kill -9` at any moment: what was told to be done is done, and nothing is there twice.
//!
//! `tests/long/crash.rs` does it a thousand times.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "crash/play.rs"]
mod play;

#[test]
fn a_killed_process_loses_nothing_that_it_has_acknowledged() {
    let tally = play::crashes(20, 1, &["--exact", "worker", "--nocapture"]);
    assert_eq!(tally.crashes, 20);
    // Some thousands, as a rule; a slow disk says when.
    assert!(tally.acknowledged > 40, "{tally:?}");
}

/// The process that is killed; as a test it does nothing.
#[test]
fn worker() {
    play::work_if_asked();
}
