//! How a stream is protected, and how its way is found: what the two descriptions agreed on.

use std::fmt;

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::ice::Ice;
use super::srtp::Keys;

/// What was agreed with the peer about one stream, beside the stream itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    pub keying: Keying,
    /// The peer asks before it sends, and says where to.
    pub ice: Option<Ice>,
}

/// Where the keys come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Keying {
    /// There are none: plain RTP.
    #[default]
    Clear,
    /// The descriptions had them (RFC 4568).
    Sdes(Box<Keys>),
    /// A handshake between the two ports makes them (RFC 5764).
    Dtls { theirs: Fingerprint, role: Role },
}

/// Who begins a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We do.
    Client,
    Server,
}

/// Of a certificate (RFC 8122 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fingerprint {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

impl Fingerprint {
    pub(super) fn fits(&self, certificate: &[u8]) -> bool {
        match self {
            Self::Sha1(told) => Sha1::digest(certificate)[..] == *told,
            Self::Sha256(told) => Sha256::digest(certificate)[..] == *told,
            Self::Sha384(told) => Sha384::digest(certificate)[..] == *told,
            Self::Sha512(told) => Sha512::digest(certificate)[..] == *told,
        }
    }
}

/// What one call needs of chance: keys that nobody guesses, another for each suite.
#[derive(Clone)]
pub struct Secrets {
    keys: [u8; 4 * KEY],
    names: [u8; UFRAG + PWD],
}

impl Secrets {
    pub fn new() -> Option<Self> {
        let (mut keys, mut names) = ([0; 4 * KEY], [0; UFRAG + PWD]);
        getrandom::fill(&mut keys).and_then(|()| getrandom::fill(&mut names)).ok()?;
        Some(Self { keys, names })
    }

    /// The same each time: for tests.
    #[doc(hidden)]
    pub fn known() -> Self {
        Self { keys: [7; 4 * KEY], names: [7; UFRAG + PWD] }
    }

    /// A key for the suite of this number, 0 to 3; as long as wanted.
    pub fn key(&self, number: usize, length: usize) -> &[u8] {
        let own = self.keys.chunks(KEY).nth(number).unwrap_or_default();
        &own[..length.min(own.len())]
    }

    /// `ice-ufrag` and `ice-pwd`: RFC 8445 §5.3 wants 24 and 128 bits of chance, which 8 and 24 of
    /// 64 letters are.
    pub fn ice(&self) -> (String, String) {
        let text =
            |bytes: &[u8]| bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 64)])).collect();
        let (ufrag, pwd) = self.names.split_at(UFRAG);
        (text(ufrag), text(pwd))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The longest key with its salt.
const KEY: usize = 46;
const UFRAG: usize = 8;
const PWD: usize = 24;
