//! Links that need no login, for a while: a browser's audio element sends no credentials.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::state::State;

#[derive(Clone)]
pub(super) struct Links([u8; 32]);

/// Seconds that a link is good for, at most.
pub(super) const LONGEST: i64 = 600;

impl Links {
    pub(super) fn new(state: &State) -> Self {
        Self(state.pin_key().derived("links"))
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
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return false };
        mac.update(&expires.to_be_bytes());
        mac.update(path.as_bytes());
        (now..=now + LONGEST).contains(&expires)
            && bytes.is_some_and(|bytes| mac.verify_slice(&bytes).is_ok())
    }

    fn mark(&self, path: &str, expires: i64) -> Vec<u8> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
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
        assert!(!links.is_good("/v1/x", 10_000, far.rsplit('=').next().unwrap(), 50));
    }
}
