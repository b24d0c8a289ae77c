//! PINs, sealed: some vendors' interfaces show the PIN to administrators, so a hash cannot serve.
//!
//! XChaCha20-Poly1305 with a random nonce and the mailbox's UUID as associated data; the key lies
//! outside the spool, so that a copy of the spool tells no PIN.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit as _, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{Error, read_or_make};

const KEY: usize = 32;
const NONCE: usize = 24;

pub struct PinKey {
    cipher: XChaCha20Poly1305,
    key: [u8; KEY],
}

impl PinKey {
    pub(super) fn load(path: &Path) -> Result<Self, Error> {
        let mut fresh = [0; KEY];
        chance(&mut fresh)?;
        let key = read_or_make(path, &fresh).map_err(|source| Error::Io {
            doing: "read",
            path: path.to_owned(),
            source,
        })?;
        let Ok(key) = <[u8; KEY]>::try_from(&key[..]) else {
            return Err(Error::Refused(format!(
                "{} is damaged ({} bytes instead of {KEY}): restore it from a backup, or remove it and give each mailbox a new PIN",
                path.display(),
                key.len()
            )));
        };
        Ok(Self { cipher: XChaCha20Poly1305::new(Key::from_slice(&key)), key })
    }

    /// A key for another purpose, that says nothing of this one.
    pub fn derived(&self, purpose: &str) -> [u8; KEY] {
        self.mark(&[purpose.as_bytes()])
    }

    /// By which a PIN is known again without being kept.
    pub fn fingerprint(&self, mailbox: Uuid, pin: &str) -> String {
        STANDARD_NO_PAD.encode(self.mark(&[b"pin", mailbox.as_bytes(), pin.as_bytes()]))
    }

    fn mark(&self, parts: &[&[u8]]) -> [u8; KEY] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            unreachable!("HMAC takes keys of any length")
        };
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    pub fn seal(&self, mailbox: Uuid, pin: &str) -> Result<String, Error> {
        let mut nonce = [0; NONCE];
        chance(&mut nonce)?;
        let sealed = self
            .cipher
            .encrypt(
                XNonce::from_slice(&nonce),
                Payload { msg: pin.as_bytes(), aad: mailbox.as_bytes() },
            )
            .map_err(|_| Error::Refused("the PIN cannot be sealed".into()))?;
        Ok(STANDARD_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// `None` for what this key did not seal for this mailbox.
    pub fn open(&self, mailbox: Uuid, sealed: &str) -> Option<String> {
        let bytes = STANDARD_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
        let payload = Payload { msg: sealed, aad: mailbox.as_bytes() };
        let pin = self.cipher.decrypt(XNonce::from_slice(nonce), payload).ok()?;
        String::from_utf8(pin).ok()
    }

    /// Compares in constant time.
    pub fn is_pin(&self, mailbox: Uuid, sealed: &str, tried: &str) -> bool {
        self.open(mailbox, sealed)
            .is_some_and(|pin| bool::from(pin.as_bytes().ct_eq(tried.as_bytes())))
    }
}

/// Fills `bytes` from the system's source of randomness.
pub fn chance(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes)
        .map_err(|error| Error::Refused(format!("the system gives no random numbers: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_opens_only_for_its_mailbox() {
        let dir = tempfile::tempdir().unwrap();
        let key = PinKey::load(&dir.path().join("pin.key")).unwrap();
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = key.seal(mine, "0042").unwrap();
        assert!(!sealed.contains("0042"));
        assert!(key.is_pin(mine, &sealed, "0042"));
        assert!(!key.is_pin(mine, &sealed, "42"));
        assert!(!key.is_pin(other, &sealed, "0042"));
        assert_eq!(key.open(mine, "no base64 !"), None);
        let again = PinKey::load(&dir.path().join("pin.key")).unwrap();
        assert_eq!(again.open(mine, &sealed).as_deref(), Some("0042"));
    }

    #[test]
    fn a_damaged_key_is_refused_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin.key");
        std::fs::write(&path, b"short").unwrap();
        assert!(PinKey::load(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }
}
