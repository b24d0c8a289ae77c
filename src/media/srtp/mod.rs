//! SRTP and SRTCP (RFC 3711, RFC 7714): packets are sealed and opened where they lie, without an
//! allocation.
//!
//! State is kept for a source only once a packet of it has proved genuine, and for a few sources:
//! nobody without the key makes it grow. What we do not do: MKI, rekeying by lifetime, and packets
//! that are not encrypted or not authenticated, which are refused.

mod cipher;

use std::fmt;

use cipher::{Cipher, GCM_TAG, Kind, Place};

/// What a stream is protected with (RFC 4568 §6.2, RFC 7714 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`
    AesCm80,
    /// `AES_CM_128_HMAC_SHA1_32`
    AesCm32,
    /// `AEAD_AES_128_GCM`
    Gcm128,
    /// `AEAD_AES_256_GCM`
    Gcm256,
}

impl Suite {
    pub const fn key_length(self) -> usize {
        match self {
            Self::AesCm80 | Self::AesCm32 | Self::Gcm128 => 16,
            Self::Gcm256 => 32,
        }
    }

    pub const fn salt_length(self) -> usize {
        match self {
            Self::AesCm80 | Self::AesCm32 => 14,
            Self::Gcm128 | Self::Gcm256 => 12,
        }
    }
}

/// A master key and its salt, for one way.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    suite: Suite,
    /// The key, the salt behind it, and zeros.
    bytes: [u8; LONGEST_KEY],
}

impl MasterKey {
    /// Takes the key with the salt behind it; `None` if they are not as long as the suite wants.
    pub fn new(suite: Suite, key_and_salt: &[u8]) -> Option<Self> {
        let length = suite.key_length() + suite.salt_length();
        let mut bytes = [0; LONGEST_KEY];
        bytes.get_mut(..length)?.copy_from_slice(Some(key_and_salt).filter(|k| k.len() == length)?);
        Some(Self { suite, bytes })
    }

    pub fn suite(&self) -> Suite {
        self.suite
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        let (key, rest) = self.bytes.split_at(self.suite.key_length());
        (key, &rest[..self.suite.salt_length()])
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ***", self.suite)
    }
}

/// Both keys of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Of what we send.
    pub ours: MasterKey,
    /// Of what we receive.
    pub theirs: MasterKey,
}

/// Protects what one sender sends.
pub(super) struct Sealer {
    rtp: Cipher,
    rtcp: Cipher,
    /// Rollover counter and sequence number of the last packet.
    last: Option<u64>,
    reports: u32,
}

impl Sealer {
    pub fn new(key: &MasterKey) -> Option<Self> {
        let (rtp, rtcp) = (Cipher::new(key, Kind::Rtp)?, Cipher::new(key, Kind::Rtcp)?);
        Some(Self { rtp, rtcp, last: None, reports: 0 })
    }

    /// Protects the packet of RTP in the first `length` octets, behind which there must be room for
    /// [`TRAILER`], and says how long it is then.
    pub fn seal(&mut self, packet: &mut [u8], length: usize) -> Option<usize> {
        let (head, sequence, ssrc) = rtp_head(packet.get(..length)?)?;
        let index = match self.last {
            None => sequence.into(),
            // We send in order.
            Some(last) => last + u64::from(sequence.wrapping_sub(low(last))),
        };
        self.last = Some(index);
        let place = Place { ssrc, index };
        self.rtp.seal(packet, head, length, place, rollover(index), Kind::Rtp)
    }

    /// The same for RTCP.
    pub fn seal_report(&mut self, packet: &mut [u8], length: usize) -> Option<usize> {
        let ssrc = report_ssrc(packet.get(..length)?)?;
        // RFC 3711 §3.4: encrypted, and which one it is, in 31 bits.
        let index = self.reports;
        self.reports = self.reports.checked_add(1).filter(|next| *next < ENCRYPTED)?;
        let word = (index | ENCRYPTED).to_be_bytes();
        let place = Place { ssrc, index: index.into() };
        self.rtcp.seal(packet, REPORT_HEAD, length, place, word, Kind::Rtcp)
    }
}

/// Checks and reads what somebody has protected.
pub(super) struct Opener {
    rtp: Cipher,
    rtcp: Cipher,
    /// The sources heard so far, RTP's and RTCP's.
    sources: [Vec<(u32, Window)>; 2],
}

impl Opener {
    pub fn new(key: &MasterKey) -> Option<Self> {
        let (rtp, rtcp) = (Cipher::new(key, Kind::Rtp)?, Cipher::new(key, Kind::Rtcp)?);
        Some(Self { rtp, rtcp, sources: Default::default() })
    }

    /// How many sources are known.
    pub fn sources(&self) -> usize {
        self.sources.iter().map(Vec::len).sum()
    }

    /// Reads a packet of RTP in its place and says how long it is without what protected it;
    /// `None` if it is not genuine, or comes again.
    pub fn open(&mut self, packet: &mut [u8]) -> Option<usize> {
        let (head, sequence, ssrc) = rtp_head(packet)?;
        let window = window(&self.sources[0], ssrc)?;
        let index = window.guess(sequence);
        window.is_new(index).then_some(())?;
        let place = Place { ssrc, index };
        let length = self.rtp.open(packet, head, place, rollover(index), Kind::Rtp)?;
        note(&mut self.sources[0], ssrc, index);
        Some(length)
    }

    /// The same for RTCP.
    pub fn open_report(&mut self, packet: &mut [u8]) -> Option<usize> {
        let ssrc = report_ssrc(packet)?;
        let word = match &self.rtcp {
            // RFC 3711 §3.4: index, then tag. RFC 7714 §9.3: the other way.
            Cipher::Counter { tag, .. } => packet.len().checked_sub(4 + tag)?,
            Cipher::Gcm { .. } => packet.len().checked_sub(4)?,
        };
        let word = *packet.get(word..)?.first_chunk::<4>()?;
        let index = u32::from_be_bytes(word);
        let index = u64::from(index.checked_sub(ENCRYPTED)?);
        window(&self.sources[1], ssrc)?.is_new(index).then_some(())?;
        let place = Place { ssrc, index };
        let length = self.rtcp.open(packet, REPORT_HEAD, place, word, Kind::Rtcp)?;
        note(&mut self.sources[1], ssrc, index);
        Some(length)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("last", &self.last).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// Which of the last packets have come (RFC 3711 §3.3.2).
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    /// `None` before the first.
    highest: Option<u64>,
    /// Bit n: the packet n before the highest has come.
    seen: u128,
}

impl Window {
    /// RFC 3711 §3.3.1: the index nearest to the highest one with this sequence number.
    fn guess(self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else { return sequence.into() };
        let ahead = sequence.wrapping_sub(low(highest));
        let back = u64::from(ahead.wrapping_neg());
        if ahead < 1 << 15 || back > highest { highest + u64::from(ahead) } else { highest - back }
    }

    fn is_new(self, index: u64) -> bool {
        let Some(back) = self.highest.and_then(|highest| highest.checked_sub(index)) else {
            return true;
        };
        back < WINDOW && self.seen >> back & 1 == 0
    }

    fn note(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {
                self.seen |= 1 << (highest - index).min(WINDOW - 1);
            }
            highest => {
                let step = highest.map_or(WINDOW, |highest| index - highest);
                let shift = u32::try_from(step).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
                self.highest = Some(index);
            }
        }
    }
}

/// What is known of a source; `None` if it is one too many. None is ever forgotten: it could be
/// played again then.
fn window(sources: &[(u32, Window)], ssrc: u32) -> Option<Window> {
    match sources.iter().find(|(known, _)| *known == ssrc) {
        Some((_, window)) => Some(*window),
        None => (sources.len() < SOURCES).then(Window::default),
    }
}

fn note(sources: &mut Vec<(u32, Window)>, ssrc: u32, index: u64) {
    let at = sources.iter().position(|(known, _)| *known == ssrc).unwrap_or_else(|| {
        sources.push((ssrc, Window::default()));
        sources.len() - 1
    });
    sources[at].1.note(index);
}

/// How long the head of a packet of RTP is, which stays readable, and what it says.
fn rtp_head(packet: &[u8]) -> Option<(usize, u16, u32)> {
    let (fixed, rest) = packet.split_first_chunk::<12>()?;
    let sources = usize::from(fixed[0] & 0x0f) * 4;
    let mut head = fixed.len() + sources;
    if fixed[0] & 0x10 != 0 {
        let extension = rest.get(sources..)?.first_chunk::<4>()?;
        head += 4 + usize::from(u16::from_be_bytes([extension[2], extension[3]])) * 4;
    }
    let sequence = u16::from_be_bytes([fixed[2], fixed[3]]);
    let ssrc = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
    (head <= packet.len()).then_some((head, sequence, ssrc))
}

fn report_ssrc(packet: &[u8]) -> Option<u32> {
    packet.get(4..)?.first_chunk().map(|ssrc| u32::from_be_bytes(*ssrc))
}

fn rollover(index: u64) -> [u8; 4] {
    u32::try_from(index >> 16 & u64::from(u32::MAX)).unwrap_or_default().to_be_bytes()
}

fn low(index: u64) -> u16 {
    u16::try_from(index & 0xffff).unwrap_or_default()
}

/// What protection adds to a packet at most: a report's tag, and its index.
pub(super) const TRAILER: usize = GCM_TAG + 4;
const LONGEST_KEY: usize = 32 + 14;
/// The part of a report that stays readable.
const REPORT_HEAD: usize = 8;
const ENCRYPTED: u32 = 1 << 31;
const WINDOW: u64 = 128;
/// Sources of one sender in the life of a key.
const SOURCES: usize = 32;

#[cfg(test)]
mod tests;
