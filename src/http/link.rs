//! Links that need no login, for a while: a browser's audio element sends no credentials.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::state::State;

#[derive(Clone)]
pub(super) struct Links {
    key: [u8; 32],
    longest: i64,
}

/// Seconds that a link is good for, at most.
pub(super) const LONGEST: i64 = 600;
/// The same for those that wait in somebody's mail.
const LONGEST_IN_LETTERS: i64 = 31 * 86_400;

impl Links {
    pub(super) fn new(state: &State) -> Self {
        Self { key: state.pin_key().derived("links"), longest: LONGEST }
    }

    pub(super) fn in_letters(state: &State) -> Self {
        Self { key: state.pin_key().derived("letters"), longest: LONGEST_IN_LETTERS }
    }

    /// The query that makes `path` readable until `expires`, Unix seconds.
    pub(super) fn query(&self, path: &str, expires: i64) -> String {
        let signature: String =
            self.mark(path, expires).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("expires={expires}&signature={signature}")
    }

    pub(super) fn is_good(&self, path: &str, expires: i64, signature: &str, now: i64) -> bool {
        let bytes: Option<Vec<u8>> = (0..signature.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(signature.get(at..at + 2)?, 16).ok())
            .collect();
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return false };
        mac.update(&expires.to_be_bytes());
        mac.update(path.as_bytes());
        (now..=now + self.longest).contains(&expires)
            && bytes.is_some_and(|bytes| mac.verify_slice(&bytes).is_ok())
    }

    fn mark(&self, path: &str, expires: i64) -> Vec<u8> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            unreachable!("HMAC takes keys of any length")
        };
        mac.update(&expires.to_be_bytes());
        mac.update(path.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_is_good_for_its_path_and_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let links = Links::new(&State::open(dir.path()).await.unwrap());
        let query = links.query("/v1/x", 100);
        let signature = query.strip_prefix("expires=100&signature=").unwrap();
        assert!(links.is_good("/v1/x", 100, signature, 50));
        assert!(!links.is_good("/v1/x", 100, signature, 101));
        assert!(!links.is_good("/v1/y", 100, signature, 50));
        assert!(!links.is_good("/v1/x", 99, signature, 50));
        assert!(!links.is_good("/v1/x", 100, "", 50));
        assert!(!links.is_good("/v1/x", 100, "zz\u{e9}", 50));
        let far = links.query("/v1/x", 10_000);
        let far = far.rsplit('=').next().unwrap();
        assert!(!links.is_good("/v1/x", 10_000, far, 50));
        let letters = Links::in_letters(&State::open(&dir.path().join("other")).await.unwrap());
        assert!(!letters.is_good("/v1/x", 10_000, far, 50), "another kind of link");
        let query = letters.query("/v1/x", 10_000);
        assert!(letters.is_good("/v1/x", 10_000, query.rsplit('=').next().unwrap(), 50));
    }
}
