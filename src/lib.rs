//! Afterbeep, the voicemail server behind your PBX.

pub mod media;
pub mod sip;
