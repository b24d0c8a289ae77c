//! Telling owners: the mail, the page, the hook and the lamp. (`notify` is the file watcher's name.)
//!
//! ```text
//! Change ──errand──▶ outbox (rows that survive) ──▶ mailer · webhook     sent at least once
//! hours  ──calendar─▶ (digests and reminders)
//! Change ──mwi─────▶ the newest counts           ──▶ NOTIFY               state, not a queue
//!        ──────────▶ the newest counts           ──▶ extern_notify
//! ```
//!
//! The law: the intent to tell is on disk before the message exists; what cannot be sent waits, and
//! nothing that waits delays a call or another receiver. A message is deleted for having been mailed
//! only when every recipient's server has accepted it.

pub mod calendar;
mod date;
pub mod errand;
pub mod extern_notify;
pub mod facts;
pub mod lamps;
pub mod lanes;
pub mod letter;
pub mod mailer;
pub mod mwi;
pub mod office;
pub mod rounds;
pub mod template;
pub mod webhook;
mod words;
