//! SIP against the pure endpoint, in virtual time: transcripts, a lossy pair, what is malformed,
//! and mutations of it. Real sockets only in `wire`.

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
#[path = "sip/wire.rs"]
mod wire;
