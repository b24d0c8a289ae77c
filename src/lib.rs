//! Afterbeep, the voicemail server behind your PBX.
//!
//! The map, each room knowing only those below it:
//!
//! ```text
//! cli       → control, daemon        what an operator types
//! daemon                             builds everything, knows everything
//! call      http     control         the shell: three ways in
//! notice                             and the way out: mail, hooks, lamps
//! spool     directory                what is kept, in the tree
//! state                              what is kept beside it
//! accept    tls                      connections, also when there are none to take
//! sip       media    config          protocols and wishes; they know nothing of voicemail
//! ivr  →  say  →  mailbox            the core: no I/O, no clock, no async, cannot fail
//! ```
//!
//! The laws: a recording is never lost (write beside, sync, rename; the sidecar makes a message
//! exist). Decisions live in the core and in pure files; the shell performs them. Nothing from
//! outside becomes a path, a header or a log line without the type that escapes it.
//! `tests/architecture.rs` holds the house to this map.

pub mod accept;
pub mod call;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod directory;
#[doc(hidden)]
pub mod fuzz;
pub mod http;
pub mod ivr;
pub mod mailbox;
pub mod media;
pub mod notice;
pub mod pii;
pub mod say;
pub mod sip;
pub mod spool;
pub mod state;
pub mod tls;
