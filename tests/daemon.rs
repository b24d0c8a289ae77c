//! The whole daemon, called by real clients: `SIPp`, baresip, linphone, our own caller, and a bare
//! socket.
//!
//! Every test runs a daemon of its own, on its own spool and ports. `tests/run` installs the
//! clients.

#![expect(clippy::unwrap_used, reason = "a test stops where anything fails")]

#[path = "daemon/acme.rs"]
mod acme;
#[path = "sip/authority.rs"]
mod authority;
#[path = "daemon/browser.rs"]
mod browser;
#[path = "daemon/calls.rs"]
mod calls;
#[path = "daemon/carriers.rs"]
mod carriers;
#[path = "daemon/clients.rs"]
mod clients;
#[path = "daemon/desk.rs"]
mod desk;
#[path = "daemon/dialogs.rs"]
mod dialogs;
#[path = "daemon/exits.rs"]
mod exits;
#[path = "daemon/faces.rs"]
mod faces;
#[path = "daemon/flood.rs"]
mod flood;
#[path = "daemon/hook.rs"]
mod hook;
#[path = "daemon/house.rs"]
mod house;
#[path = "daemon/kills.rs"]
mod kills;
#[path = "daemon/lamps.rs"]
mod lamps;
#[path = "daemon/mail.rs"]
mod mail;
#[path = "daemon/manual.rs"]
mod manual;
#[path = "daemon/menus.rs"]
mod menus;
#[path = "daemon/notices.rs"]
mod notices;
#[path = "daemon/operator.rs"]
mod operator;
#[path = "daemon/owner.rs"]
mod owner;
#[path = "daemon/phone.rs"]
mod phone;
#[path = "daemon/proxy.rs"]
mod proxy;
#[path = "daemon/refusals.rs"]
mod refusals;
#[path = "daemon/rounds.rs"]
mod rounds;
#[path = "daemon/secured.rs"]
mod secured;
#[path = "daemon/survival.rs"]
mod survival;
#[path = "daemon/transports.rs"]
mod transports;
#[path = "daemon/voice.rs"]
mod voice;
#[path = "daemon/watching.rs"]
mod watching;
#[path = "daemon/wide.rs"]
mod wide;
