//! Tags, branches and Call-IDs: drawn from a seed, so that a test can repeat them and nobody
//! outside can foresee them (RFC 3261 §19.3 asks for 32 bits of real randomness; these have 80).

use std::time::Duration;

use sha2::{Digest, Sha256};

pub(super) struct Chance {
    seed: [u8; 32],
    drawn: u64,
}

impl Chance {
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// A fresh token.
    pub fn token(&mut self) -> String {
        self.drawn += 1;
        let drawn = self.drawn.to_be_bytes();
        hex(&[b"drawn", &drawn], &self.seed)
    }

    /// A key that nothing else is drawn from.
    pub fn key(&mut self) -> [u8; 32] {
        self.drawn += 1;
        let drawn = self.drawn.to_be_bytes();
        Sha256::new()
            .chain_update(self.seed)
            .chain_update(b"key")
            .chain_update(drawn)
            .finalize()
            .into()
    }

    /// Anything from `least` to `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_millis().try_into().unwrap_or(u32::MAX);
        least + Duration::from_millis(self.below(span).into())
    }

    /// RFC 3261 §8.1.1.7.
    pub fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.token())
    }

    /// The same token for the same text: a tag for answers that keep no state, equal for every
    /// retransmission (RFC 3261 §8.2.7).
    pub fn token_for(&self, text: &str) -> String {
        hex(&[b"for", text.as_bytes()], &self.seed)
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        let token = self.token();
        u32::from_str_radix(&token[..8], 16).unwrap_or(0) % bound.max(1)
    }
}

fn hex(parts: &[&[u8]], seed: &[u8; 32]) -> String {
    let mut hash = Sha256::new();
    hash.update(seed);
    for part in parts {
        hash.update(part);
    }
    let digest = hash.finalize();
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
    digest[..10].iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}
