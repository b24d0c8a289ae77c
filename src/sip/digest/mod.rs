//! Digest authentication: the words and sums of RFC 7616 as RFC 3261 §22 and RFC 8760 use them.
//!
//! `server` challenges and judges, `client` answers. Quoted values are kept as written between
//! their quotes: that is what both sides of RFC 7616 §3.4 hash (`unq`).

mod client;
mod server;

use md5::Md5;
use sha2::digest::Digest;
use sha2::{Sha256, Sha512_256};

pub(super) use client::Answering;
pub(super) use server::{Guard, Verdict};

use super::text::{is_token, split_outside_quotes};

/// Weakest first, so that the greatest is the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha256,
    Sha512_256,
}

impl Algorithm {
    pub const STRONGEST_FIRST: [Self; 3] = [Self::Sha512_256, Self::Sha256, Self::Md5];

    /// RFC 8760 §2.1.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// The `-sess` forms are not ours: they serve a third party that we do not have.
    pub fn read(name: &str) -> Option<Self> {
        Self::STRONGEST_FIRST.into_iter().find(|known| known.name().eq_ignore_ascii_case(name))
    }

    /// The parts, joined by colons, hashed, in lower-case hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> String {
        let text = parts.join(&b':');
        match self {
            Self::Md5 => hex(&Md5::digest(&text)),
            Self::Sha256 => hex(&Sha256::digest(&text)),
            Self::Sha512_256 => hex(&Sha512_256::digest(&text)),
        }
    }
}

/// RFC 7616 §3.4.2.
fn ha1(algorithm: Algorithm, username: &str, realm: &str, secret: &str) -> String {
    algorithm.hash(&[username.as_bytes(), realm.as_bytes(), secret.as_bytes()])
}

/// What a response covers: RFC 7616 §3.4.1.
struct Sum<'a> {
    algorithm: Algorithm,
    ha1: &'a str,
    nonce: &'a str,
    method: &'a str,
    uri: &'a str,
    quality: Quality<'a>,
}

/// `qop` and what goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quality<'a> {
    /// RFC 2069, from before `qop`.
    None,
    Auth {
        count: &'a str,
        cnonce: &'a str,
    },
    /// The body is covered too.
    AuthInt {
        count: &'a str,
        cnonce: &'a str,
        body: &'a [u8],
    },
}

impl Sum<'_> {
    fn response(&self) -> String {
        let Self { algorithm, ha1, nonce, method, uri, quality } = self;
        let [ha1, nonce, method, uri] = [ha1, nonce, method, uri].map(|part| part.as_bytes());
        let (count, cnonce, qop, ha2) = match quality {
            Quality::None => {
                let ha2 = algorithm.hash(&[method, uri]);
                return algorithm.hash(&[ha1, nonce, ha2.as_bytes()]);
            }
            Quality::Auth { count, cnonce } => {
                (count, cnonce, "auth", algorithm.hash(&[method, uri]))
            }
            Quality::AuthInt { count, cnonce, body } => {
                let body = algorithm.hash(&[body]);
                (count, cnonce, "auth-int", algorithm.hash(&[method, uri, body.as_bytes()]))
            }
        };
        let [count, cnonce, qop, ha2] = [count, cnonce, qop, &ha2].map(str::as_bytes);
        algorithm.hash(&[ha1, nonce, count, cnonce, qop, ha2])
    }
}

/// One challenge, or one set of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fields(Vec<(String, String)>);

impl Fields {
    /// Every `Digest` in a header value. RFC 3261 §20.7 allows one to a header, RFC 9110 several
    /// after each other; other schemes are passed over.
    fn read(value: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let mut ours = false;
        for element in split_outside_quotes(value, ',').map(str::trim) {
            let name = element.split('=').next().unwrap_or("").trim_end();
            let pair = match name.split_once([' ', '\t']) {
                Some((scheme, _)) => {
                    ours = scheme.eq_ignore_ascii_case("Digest") && found.len() < MOST;
                    found.extend(ours.then(|| Self(Vec::new())));
                    &element[scheme.len()..]
                }
                None => element,
            };
            if let (true, Some(fields), Some((name, value))) =
                (ours, found.last_mut(), pair.split_once('='))
            {
                fields.0.push((name.trim().to_ascii_lowercase(), inner(value.trim()).to_owned()));
            }
        }
        // A name that stands twice would be read in two ways by two readers.
        found.retain(|fields| {
            fields.0.iter().enumerate().all(|(at, (name, _))| {
                is_token(name) && !fields.0[..at].iter().any(|(known, _)| known == name)
            })
        });
        found
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// MD5 where none is named; `None` for one that we do not know.
    fn algorithm(&self) -> Option<Algorithm> {
        self.value("algorithm").map_or(Some(Algorithm::Md5), Algorithm::read)
    }
}

/// What stands between the quotes, escapes and all.
fn inner(value: &str) -> &str {
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    quoted.unwrap_or(value)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Challenges that are read of one header.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7616() {
        let of = |algorithm| {
            let ha1 = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
            let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            let quality = Quality::Auth { count: "00000001", cnonce };
            let (method, uri) = ("GET", "/dir/index.html");
            Sum { algorithm, ha1: &ha1, nonce, method, uri, quality }.response()
        };
        // §3.9.1
        assert_eq!(of(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            of(Algorithm::Sha256),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
        // §3.9.2, as erratum 4897 corrects it: the RFC printed SHA-512, cut short.
        let algorithm = Algorithm::Sha512_256;
        let ha1 = ha1(algorithm, "J\u{e4}s\u{f8}n Doe", "api@example.org", "Secret, or not?");
        let nonce = "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK";
        let cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v";
        let quality = Quality::Auth { count: "00000001", cnonce };
        let (method, uri) = ("GET", "/doe.json");
        assert_eq!(
            Sum { algorithm, ha1: &ha1, nonce, method, uri, quality }.response(),
            "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
        );
    }

    #[test]
    fn the_examples_of_rfc_2617_and_rfc_2069() {
        let ha1 = ha1(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
        let sum = |quality| {
            let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
            let (method, uri) = ("GET", "/dir/index.html");
            Sum { algorithm: Algorithm::Md5, ha1: &ha1, nonce, method, uri, quality }.response()
        };
        let quality = Quality::Auth { count: "00000001", cnonce: "0a4f113b" };
        assert_eq!(sum(quality), "6629fae49393a05397450978507c4ef1");
        assert_eq!(sum(Quality::None), "670fd8c2df070c60b045671b8b24ff02");
    }

    #[test]
    fn a_covered_body_changes_the_sum() {
        // No RFC has a vector for auth-int; this one was summed by Python's hashlib.
        let quality = Quality::AuthInt { count: "00000001", cnonce: "c", body: b"v=0\r\n" };
        let ha1 = ha1(Algorithm::Sha256, "alice", "example.com", "secret");
        let (nonce, method, uri) = ("n", "INVITE", "sip:401@example.com");
        let sum = Sum { algorithm: Algorithm::Sha256, ha1: &ha1, nonce, method, uri, quality };
        assert_eq!(
            sum.response(),
            "185141e68e1e3b5c2d39b9535e095b2173c62e8fade09a84ceb80dcb9e4cd624"
        );
    }

    #[test]
    fn challenges_are_told_apart_and_traps_avoided() {
        let read = Fields::read(
            r#"Basic realm="x, Digest realm=\"no\"", Digest realm="a, b=\"c\"" , nonce = "n" , Digest Realm=plain,algorithm="sha-256""#,
        );
        assert_eq!(read.len(), 2, "{read:?}");
        assert_eq!(read[0].value("realm"), Some(r#"a, b=\"c\""#));
        assert_eq!(read[0].value("nonce"), Some("n"));
        assert_eq!(read[0].algorithm(), Some(Algorithm::Md5));
        assert_eq!(read[1].value("realm"), Some("plain"));
        assert_eq!(read[1].algorithm(), Some(Algorithm::Sha256));
        assert_eq!(Fields::read("Digest algorithm=MD5-sess")[0].algorithm(), None);
        assert!(Fields::read(r#"Digest realm="a", realm="b""#).is_empty());
        assert!(Fields::read("Negotiate, =, ,\"").is_empty());
    }
}
