//! SIP against the pure endpoint, in virtual time: transcripts, a lossy pair, what is malformed,
//! and mutations of it. Real sockets only in `wire`, `connections` and `browser`.

#[path = "sip/abilities.rs"]
mod abilities;
#[path = "sip/abroad.rs"]
mod abroad;
#[path = "sip/authority.rs"]
mod authority;
#[path = "sip/browser.rs"]
mod browser;
#[path = "sip/connections.rs"]
mod connections;
#[path = "sip/forms.rs"]
mod forms;
#[path = "sip/malformed.rs"]
mod malformed;
#[path = "sip/mutation.rs"]
mod mutation;
#[path = "sip/pair.rs"]
mod pair;
#[path = "sip/proof.rs"]
mod proof;
#[path = "sip/transcript.rs"]
mod transcript;
#[path = "sip/vectors.rs"]
mod vectors;
#[path = "sip/wire.rs"]
mod wire;
