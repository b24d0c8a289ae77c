//! What a description says of keys and ways: SDES (RFC 4568, RFC 7714), DTLS-SRTP (RFC 5763,
//! RFC 8122) and ICE (RFC 8839).

use std::fmt::{self, Write};
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sdp_types::{Media, Session};

/// How the transport of an `m=` line is protected, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `RTP/AVP`, `RTP/AVPF`: not; though keys beside it are an invitation.
    Plain,
    /// `RTP/SAVP`, `RTP/SAVPF`.
    Secure,
    /// `UDP/TLS/RTP/SAVP`, `UDP/TLS/RTP/SAVPF`.
    Dtls,
}

impl Profile {
    /// By its name in upper case; `None` for what carries no RTP.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "RTP/AVP" | "RTP/AVPF" => Some(Self::Plain),
            "RTP/SAVP" | "RTP/SAVPF" => Some(Self::Secure),
            "UDP/TLS/RTP/SAVP" | "UDP/TLS/RTP/SAVPF" => Some(Self::Dtls),
            _ => None,
        }
    }
}

/// RFC 4568 §6.2, RFC 7714 §14.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    AesCm80,
    AesCm32,
    Gcm128,
    Gcm256,
}

impl Suite {
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Gcm128 => "AEAD_AES_128_GCM",
            Self::Gcm256 => "AEAD_AES_256_GCM",
        }
    }

    /// Octets of a master key and its salt.
    pub const fn length(self) -> usize {
        match self {
            Self::AesCm80 | Self::AesCm32 => 16 + 14,
            Self::Gcm128 => 16 + 12,
            Self::Gcm256 => 32 + 12,
        }
    }

    fn of(name: &str) -> Option<Self> {
        let all = [Self::AesCm80, Self::AesCm32, Self::Gcm128, Self::Gcm256];
        all.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }
}

/// `a=crypto`: the key that its sender sends with.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    pub tag: u32,
    pub suite: Suite,
    /// The master key, and its salt behind it.
    pub key: Vec<u8>,
}

impl Crypto {
    /// Reads the value of the attribute; `None` for what we cannot do, such as an MKI or a stream
    /// that is not authenticated.
    pub fn read(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        // RFC 4568 §9.1: at most nine digits.
        let tag = words.next().filter(|tag| tag.len() <= 9)?.parse().ok()?;
        let suite = Suite::of(words.next()?)?;
        let keys = words.next()?;
        // §6.3.5 and §6.3.7: what has a dash before it, and the size of a window, may be passed over.
        if !words.all(|parameter| parameter.starts_with('-') || parameter.starts_with("WSH=")) {
            return None;
        }
        // Several keys are told apart by an MKI.
        let key = keys.get(..7).filter(|method| method.eq_ignore_ascii_case("inline:"));
        let mut parts = key.and(keys.get(7..)).filter(|rest| !rest.contains(';'))?.split('|');
        let written = parts.next()?.trim_end_matches('=');
        // What is left is a lifetime, or an MKI and how long it is.
        if parts.any(|part| part.contains(':')) {
            return None;
        }
        let key = STANDARD_NO_PAD.decode(written).ok().filter(|key| key.len() == suite.length())?;
        Some(Self { tag, suite, key })
    }

    /// As the attribute has it.
    pub fn write(&self) -> String {
        format!("{} {} inline:{}", self.tag, self.suite.name(), STANDARD.encode(&self.key))
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ***", self.tag, self.suite.name())
    }
}

/// `a=fingerprint`: of the certificate that its sender will show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    pub hash: Hash,
    pub octets: Vec<u8>,
}

/// RFC 8122 §5; MD5 and MD2 prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Fingerprint {
    pub fn read(value: &str) -> Option<Self> {
        let (hash, octets) = value.trim().split_once(' ')?;
        let (hash, length) = match hash.to_ascii_lowercase().as_str() {
            "sha-1" => (Hash::Sha1, 20),
            "sha-256" => (Hash::Sha256, 32),
            "sha-384" => (Hash::Sha384, 48),
            "sha-512" => (Hash::Sha512, 64),
            _ => return None,
        };
        let octets = octets.trim().split(':').take(length + 1);
        let octet = |octet: &str| {
            let right = octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(octet, 16).ok().filter(|_| right)
        };
        let octets: Option<Vec<u8>> = octets.map(octet).collect();
        Some(Self { hash, octets: octets.filter(|octets| octets.len() == length)? })
    }

    /// As the attribute has it.
    pub fn write(&self) -> String {
        let hash = match self.hash {
            Hash::Sha1 => "sha-1",
            Hash::Sha256 => "sha-256",
            Hash::Sha384 => "sha-384",
            Hash::Sha512 => "sha-512",
        };
        let octets: Vec<String> = self.octets.iter().map(|octet| format!("{octet:02X}")).collect();
        format!("{hash} {}", octets.join(":"))
    }
}

/// `a=setup` (RFC 4145 §4): who begins the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    Active,
    Passive,
    ActPass,
}

impl Setup {
    fn read(value: &str) -> Option<Self> {
        match value.trim() {
            "active" => Some(Self::Active),
            "passive" => Some(Self::Passive),
            "actpass" => Some(Self::ActPass),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        }
    }
}

/// `a=ice-ufrag` and `a=ice-pwd` (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Ice {
    pub ufrag: String,
    pub pwd: String,
    /// Its sender only answers checks; between two such nobody would ask.
    pub lite: bool,
}

impl Ice {
    fn read(session: &Session, media: &Media) -> Option<Self> {
        let part = |name, shortest: usize| {
            let text = value(session, media, name)?.trim();
            let right = (shortest..=256).contains(&text.len())
                && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/');
            right.then(|| text.to_owned())
        };
        let lite = session.attributes.iter().any(|a| a.attribute == "ice-lite");
        Some(Self { ufrag: part("ice-ufrag", 4)?, pwd: part("ice-pwd", 22)?, lite })
    }
}

impl fmt::Debug for Ice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ***", self.ufrag)
    }
}

/// All that a description says about one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secured {
    /// What we can do of the keys that are offered, the preferred one first.
    pub crypto: Vec<Crypto>,
    pub fingerprint: Option<Fingerprint>,
    pub setup: Option<Setup>,
    pub ice: Option<Ice>,
}

impl Secured {
    pub(super) fn read(session: &Session, media: &Media) -> Self {
        let of_media = |name| media.attributes.iter().filter(move |a| a.attribute == name);
        let crypto = of_media("crypto").filter_map(|a| Crypto::read(a.value.as_deref()?));
        // RFC 8122 §5: of several the strongest that we know.
        let own = of_media("fingerprint").filter_map(|a| Fingerprint::read(a.value.as_deref()?));
        let common = session.attributes.iter().filter(|a| a.attribute == "fingerprint");
        let common = common.filter_map(|a| Fingerprint::read(a.value.as_deref()?));
        let strongest = |prints: &mut dyn Iterator<Item = Fingerprint>| {
            prints.take(MOST).max_by_key(|print| print.octets.len())
        };
        Self {
            crypto: crypto.take(MOST).collect(),
            fingerprint: strongest(&mut { own }).or_else(|| strongest(&mut { common })),
            setup: value(session, media, "setup").and_then(Setup::read),
            ice: Ice::read(session, media),
        }
    }
}

/// What our description says about our stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protection {
    pub crypto: Vec<Crypto>,
    pub dtls: Option<(Fingerprint, Setup)>,
    pub ice: Option<Ice>,
    /// Where we are, by component: RTP, and RTCP unless it goes with it.
    pub candidates: Vec<SocketAddr>,
}

impl Protection {
    /// The lines for the session.
    pub(super) fn of_session(&self, line: &mut dyn FnMut(&str)) {
        if self.ice.is_some() {
            line("ice-lite");
        }
    }

    /// The lines for the stream.
    pub(super) fn of_media(&self, line: &mut dyn FnMut(&str)) {
        for crypto in &self.crypto {
            line(&format!("crypto:{}", crypto.write()));
        }
        if let Some((fingerprint, setup)) = &self.dtls {
            line(&format!("fingerprint:{}", fingerprint.write()));
            line(&format!("setup:{}", setup.name()));
        }
        let Some(ice) = &self.ice else { return };
        line(&format!("ice-ufrag:{}", ice.ufrag));
        line(&format!("ice-pwd:{}", ice.pwd));
        for (component, at) in (1..).zip(&self.candidates) {
            // RFC 8445 §5.1.2: the best there is; one address has one foundation.
            let priority = (126 << 24) + (65_535 << 8) + (256 - component);
            let mut text = format!("candidate:1 {component} UDP {priority} ");
            let _a_string_takes_all = write!(text, "{} {} typ host", at.ip(), at.port());
            line(&text);
        }
        line("end-of-candidates");
    }
}

/// An attribute of the stream, else of the session.
fn value<'a>(session: &'a Session, media: &'a Media, name: &str) -> Option<&'a str> {
    let mut attributes = media.attributes.iter().chain(&session.attributes);
    attributes.find(|attribute| attribute.attribute == name)?.value.as_deref()
}

/// Keys or fingerprints of one stream.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4568 §10.1's key.
    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn a_key_is_read_with_a_lifetime_and_without() {
        for more in ["", "|2^20", "|2^20 WSH=64", "|1048576 -FOO=1", " -BAR"] {
            let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{more}");
            let crypto = Crypto::read(&line).expect(&line);
            assert_eq!((crypto.tag, crypto.suite, crypto.key.len()), (1, Suite::AesCm80, 30));
            assert_eq!(crypto.write(), format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"));
            assert_eq!(format!("{crypto:?}"), "1 AES_CM_128_HMAC_SHA1_80 ***");
        }
        let padded = "7 aead_aes_128_gcm inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==";
        assert_eq!(Crypto::read(padded).expect(padded).suite, Suite::Gcm128);
    }

    #[test]
    fn what_we_cannot_do_is_no_key_for_us() {
        for line in [
            "1 AES_CM_128_HMAC_SHA1_80",
            "1 F8_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGV",
            "1 AES_CM_128_HMAC_SHA1_80 uri:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|1:4",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz UNENCRYPTED_SRTP",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz KDR=1",
            "1234567890 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
            "x AES_CM_128_HMAC_SHA1_80 inline:é",
            "",
        ] {
            assert_eq!(Crypto::read(line), None, "{line}");
        }
    }

    #[test]
    fn a_fingerprint_is_as_long_as_its_hash() {
        let text = format!("sha-256 {}", ["0a"; 32].join(":"));
        let print = Fingerprint::read(&text).expect(&text);
        assert_eq!(print.octets, [10; 32]);
        assert_eq!(print.write(), format!("sha-256 {}", ["0A"; 32].join(":")));
        for wrong in [
            "sha-256 0A:0B".to_owned(),
            format!("md5 {}", ["0A"; 16].join(":")),
            format!("sha-1 {}", ["+A"; 20].join(":")),
            format!("sha-1 {}", ["0A"; 21].join(":")),
        ] {
            assert_eq!(Fingerprint::read(&wrong), None, "{wrong}");
        }
    }
}
