//! What encrypts and authenticates one kind of packet one way: the keys of a session, derived from
//! the master key (RFC 3711 §4, RFC 7714 §8 and §9).

use aes::cipher::BlockCipherEncrypt;
use aes::{Aes128, Aes256, Block};
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{self, AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::{MasterKey, Suite};

/// RFC 3711 §4.3.2: the first of the three labels of a kind of packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Rtp = 0,
    Rtcp = 3,
}

pub(super) enum Cipher {
    /// Counter mode and HMAC-SHA1, of which so many octets are sent.
    Counter {
        aes: Box<Aes128>,
        hmac: Box<Hmac<Sha1>>,
        salt: [u8; 14],
        tag: usize,
    },
    Gcm {
        key: Box<LessSafeKey>,
        salt: [u8; 12],
    },
}

/// Where a packet stands in its stream: what makes each initial vector another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub ssrc: u32,
    /// RTP: rollover counter and sequence number. RTCP: its own index.
    pub index: u64,
}

impl Cipher {
    pub fn new(master: &MasterKey, kind: Kind) -> Option<Self> {
        let suite = master.suite;
        let first = kind as u8;
        Some(match suite {
            Suite::AesCm80 | Suite::AesCm32 => {
                let (mut key, mut auth, mut salt) = ([0; 16], [0; 20], [0; 14]);
                derive(master, first, &mut key);
                derive(master, first + 1, &mut auth);
                derive(master, first + 2, &mut salt);
                let tag = match (suite, kind) {
                    // RFC 4568 §6.2.2: reports keep the long one.
                    (Suite::AesCm32, Kind::Rtp) => 4,
                    _ => 10,
                };
                let hmac = Box::new(Hmac::new_from_slice(&auth).ok()?);
                Self::Counter { aes: Box::new(Aes128::new(&key.into())), hmac, salt, tag }
            }
            Suite::Gcm128 | Suite::Gcm256 => {
                let (mut key, mut salt) = ([0; 32], [0; 12]);
                let key = &mut key[..suite.key_length()];
                derive(master, first, key);
                derive(master, first + 2, &mut salt);
                let algorithm = if suite == Suite::Gcm128 { &AES_128_GCM } else { &AES_256_GCM };
                let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
                Self::Gcm { key: Box::new(key), salt }
            }
        })
    }

    /// Encrypts what follows the head of a packet of `length` octets and puts the tag behind it;
    /// says how long it is then. `after` is what is authenticated too without being in the packet.
    pub fn seal(
        &self,
        packet: &mut [u8],
        head: usize,
        length: usize,
        place: Place,
        after: [u8; 4],
        kind: Kind,
    ) -> Option<usize> {
        match self {
            Self::Counter { aes, hmac, salt, tag } => {
                apply(aes, salt, place, packet.get_mut(head..length)?);
                let (packet, rest) = packet.split_at_mut_checked(length)?;
                // RTCP's own index is in the packet; there it comes before the tag.
                let skipped = if let Kind::Rtcp = kind { after.len() } else { 0 };
                rest.get_mut(..skipped)?.copy_from_slice(&after[..skipped]);
                let sum = sum(hmac, packet, after);
                rest.get_mut(skipped..skipped + tag)?.copy_from_slice(&sum[..*tag]);
                Some(length + skipped + tag)
            }
            Self::Gcm { key, salt } => {
                let (packet, rest) = packet.split_at_mut_checked(length)?;
                let (aad, text) = packet.split_at_mut_checked(head)?;
                let nonce = nonce(salt, place, kind);
                let sealed = match kind {
                    Kind::Rtp => key.seal_in_place_separate_tag(nonce, Aad::from(aad), text),
                    Kind::Rtcp => {
                        let aad = Aad::from(report_aad(aad, after)?);
                        key.seal_in_place_separate_tag(nonce, aad, text)
                    }
                };
                let tag = sealed.ok()?;
                rest.get_mut(..GCM_TAG)?.copy_from_slice(tag.as_ref());
                let Kind::Rtcp = kind else { return Some(length + GCM_TAG) };
                rest.get_mut(GCM_TAG..GCM_TAG + 4)?.copy_from_slice(&after);
                Some(length + GCM_TAG + 4)
            }
        }
    }

    /// Octets that follow the encrypted part of a packet of RTP.
    pub fn tag(&self) -> usize {
        match self {
            Self::Counter { tag, .. } => *tag,
            Self::Gcm { .. } => GCM_TAG,
        }
    }

    /// Checks and decrypts what `seal` made; `None` if it made it not.
    pub fn open(
        &self,
        packet: &mut [u8],
        head: usize,
        place: Place,
        after: [u8; 4],
        kind: Kind,
    ) -> Option<usize> {
        let skipped = if let Kind::Rtcp = kind { after.len() } else { 0 };
        let length = packet.len().checked_sub(skipped + self.tag()).filter(|end| *end >= head)?;
        match self {
            Self::Counter { aes, hmac, salt, tag } => {
                let (packet, rest) = packet.split_at_mut(length);
                let sum = sum(hmac, packet, after);
                if !bool::from(sum[..*tag].ct_eq(&rest[skipped..])) {
                    return None;
                }
                apply(aes, salt, place, &mut packet[head..]);
            }
            Self::Gcm { key, salt } => {
                let (packet, _) = packet.split_at_mut(length + GCM_TAG);
                let (aad, text) = packet.split_at_mut(head);
                let nonce = nonce(salt, place, kind);
                let opened = match kind {
                    Kind::Rtp => key.open_in_place(nonce, Aad::from(aad), text),
                    Kind::Rtcp => {
                        key.open_in_place(nonce, Aad::from(report_aad(aad, after)?), text)
                    }
                };
                opened.ok()?;
            }
        }
        Some(length)
    }
}

fn sum(hmac: &Hmac<Sha1>, packet: &[u8], after: [u8; 4]) -> [u8; 20] {
    let mut hmac = hmac.clone();
    hmac.update(packet);
    hmac.update(&after);
    hmac.finalize().into_bytes().into()
}

/// RFC 3711 §4.1.1: `(salt << 16) ^ (ssrc << 64) ^ (index << 16)`.
fn apply(aes: &Aes128, salt: &[u8; 14], Place { ssrc, index }: Place, text: &mut [u8]) {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    mix(&mut iv[4..8], &ssrc.to_be_bytes());
    mix(&mut iv[8..14], &index.to_be_bytes()[2..]);
    count(iv, text, |blocks| aes.encrypt_blocks(blocks));
}

/// AES in counter mode, eight blocks at a time, which processors do at once. No packet is so long
/// that the 16 bits of the counter would wrap.
fn count(iv: [u8; 16], text: &mut [u8], encrypt: impl Fn(&mut [Block])) {
    let mut counter = 0_u16;
    for part in text.chunks_mut(8 * 16) {
        let mut blocks = [Block::from(iv); 8];
        let blocks = &mut blocks[..part.len().div_ceil(16)];
        for block in blocks.iter_mut() {
            block[14..].copy_from_slice(&counter.to_be_bytes());
            counter = counter.wrapping_add(1);
        }
        encrypt(blocks);
        part.chunks_mut(16).zip(blocks).for_each(|(text, block)| mix(text, block));
    }
}

/// RFC 7714 §8.1 and §9.1.
fn nonce(salt: &[u8; 12], Place { ssrc, index }: Place, kind: Kind) -> Nonce {
    let mut iv = *salt;
    mix(&mut iv[2..6], &ssrc.to_be_bytes());
    match kind {
        Kind::Rtp => mix(&mut iv[6..12], &index.to_be_bytes()[2..]),
        Kind::Rtcp => mix(&mut iv[8..12], &index.to_be_bytes()[4..]),
    }
    Nonce::assume_unique_for_key(iv)
}

/// RFC 7714 §9.2: the head of a report, and the word with its index.
fn report_aad(head: &[u8], word: [u8; 4]) -> Option<[u8; 12]> {
    let mut aad = [0; 12];
    aad[..8].copy_from_slice(head.get(..8)?);
    aad[8..].copy_from_slice(&word);
    Some(aad)
}

/// RFC 3711 §4.3.3: the generator is AES in counter mode, as wide as the master key.
pub(super) fn derive(master: &MasterKey, label: u8, out: &mut [u8]) {
    let (key, salt) = master.parts();
    let mut iv = [0; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label;
    out.fill(0);
    if let Ok(key) = <[u8; 32]>::try_from(key) {
        let aes = Aes256::new(&key.into());
        count(iv, out, |blocks| aes.encrypt_blocks(blocks));
    } else {
        let key = key.first_chunk::<16>().copied().unwrap_or_default();
        let aes = Aes128::new(&key.into());
        count(iv, out, |blocks| aes.encrypt_blocks(blocks));
    }
}

fn mix(into: &mut [u8], with: &[u8]) {
    into.iter_mut().zip(with).for_each(|(into, with)| *into ^= with);
}

pub(super) const GCM_TAG: usize = aead::MAX_TAG_LEN;
