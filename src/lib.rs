//! Afterbeep, the voicemail server behind your PBX.

pub mod config;
pub mod directory;
pub mod http;
pub mod ivr;
pub mod mailbox;
pub mod say;
pub mod spool;
pub mod state;
