//! Beside Asterisk: its audio files, its spool, its configuration, and back again; and a backup.
//!
//! `sox` makes the audio, and is the judge of ours; `tests/run` installs it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "the daemon's tests use the rest of what they share")]

#[path = "asterisk/backup.rs"]
mod backup;
#[path = "asterisk/export.rs"]
mod export;
#[path = "asterisk/formats.rs"]
mod formats;
#[path = "daemon/house.rs"]
mod house;
#[path = "asterisk/import.rs"]
mod import;
#[path = "daemon/phone.rs"]
mod phone;
#[path = "asterisk/spool.rs"]
mod spool;
#[path = "asterisk/takeover.rs"]
mod takeover;
#[path = "daemon/voice.rs"]
mod voice;
