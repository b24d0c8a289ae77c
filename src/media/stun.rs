//! STUN as ICE uses it (RFC 8489, RFC 8445 §7): binding requests are read, answers are written.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// A binding request whose lengths and fingerprint are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request<'d> {
    datagram: &'d [u8],
    pub transaction: [u8; 12],
    /// `ours:theirs`
    pub username: &'d str,
    pub role: Option<Role>,
    /// RFC 8445 §7.1.2: this is the way to take.
    pub nominates: bool,
    /// The first attribute that must be understood and is not.
    pub unknown: Option<u16>,
    /// Where MESSAGE-INTEGRITY begins.
    integrity: usize,
}

/// Who chooses among the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Controlling,
    Controlled,
}

/// What can be wrong with a request that is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    UnknownAttribute(u16),
    RoleConflict,
}

/// Whether a datagram that came where RTP comes too is STUN (RFC 7983 §7).
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4)
}

impl<'d> Request<'d> {
    /// Reads a datagram; `None` if it is no binding request, lies about its lengths, or lacks user
    /// name, integrity or a right fingerprint.
    pub fn parse(datagram: &'d [u8]) -> Option<Self> {
        let (head, mut rest) = datagram.split_first_chunk::<HEAD>()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let right = head[..2] == REQUEST && head[4..8] == COOKIE && length == rest.len();
        if !right || length % 4 != 0 {
            return None;
        }
        let transaction = *head.last_chunk()?;
        let (mut username, mut role, mut nominates, mut unknown) = (None, None, false, None);
        let mut integrity = None;
        while !rest.is_empty() {
            let at = datagram.len() - rest.len();
            let (&[a, b, c, d], after) = rest.split_first_chunk()?;
            let (kind, length) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let value = after.get(..length.into())?;
            rest = after.get(usize::from(length).next_multiple_of(4)..)?;
            match kind {
                FINGERPRINT => {
                    // RFC 8489 §14.7: it is the last one, over all before it.
                    let sum = (crc32fast::hash(datagram.get(..at)?) ^ MASK).to_be_bytes();
                    (rest.is_empty() && value == sum).then_some(())?;
                    return Some(Self {
                        datagram,
                        transaction,
                        username: username?,
                        role,
                        nominates,
                        unknown,
                        integrity: integrity?,
                    });
                }
                // RFC 8489 §14.5: what follows it is not protected by it, and does not count.
                _ if integrity.is_some() => {}
                INTEGRITY => {
                    (length == INTEGRITY_LENGTH).then_some(())?;
                    integrity = Some(at);
                }
                USERNAME => username = Some(std::str::from_utf8(value).ok()?),
                USE_CANDIDATE => nominates = true,
                CONTROLLING => role = Some(Role::Controlling),
                CONTROLLED => role = Some(Role::Controlled),
                PRIORITY | 0x8000.. => {}
                0..0x8000 => unknown = unknown.or(Some(kind)),
            }
        }
        None
    }

    /// Whether its sender knows the password.
    pub fn is_genuine(&self, password: &str) -> bool {
        let (before, after) = self.datagram.split_at(self.integrity);
        let told = after.get(4..4 + usize::from(INTEGRITY_LENGTH)).unwrap_or_default();
        integrity(before, password).is_some_and(|sum| sum.ct_eq(told).into())
    }

    /// Writes the answer that says where the request came from.
    pub fn accept(&self, from: SocketAddr, password: &str) -> Answer {
        let mut answer = Answer::new(SUCCESS, self.transaction);
        let port = from.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        let mut value = vec![0, 1];
        value.extend(port.to_be_bytes());
        let mask = COOKIE.into_iter().chain(self.transaction);
        match from.ip() {
            IpAddr::V4(ip) => value.extend(ip.octets().into_iter().zip(mask).map(|(a, b)| a ^ b)),
            IpAddr::V6(ip) => {
                value[1] = 2;
                value.extend(ip.octets().into_iter().zip(mask).map(|(a, b)| a ^ b));
            }
        }
        answer.attribute(XOR_MAPPED_ADDRESS, &value);
        answer.finish(password)
    }

    pub fn refuse(&self, failure: Failure, password: &str) -> Answer {
        let mut answer = Answer::new(ERROR, self.transaction);
        match failure {
            Failure::UnknownAttribute(kind) => {
                answer.attribute(ERROR_CODE, b"\0\0\x04\x14Unknown Attribute");
                answer.attribute(UNKNOWN_ATTRIBUTES, &kind.to_be_bytes());
            }
            Failure::RoleConflict => answer.attribute(ERROR_CODE, b"\0\0\x04\x57Role Conflict"),
        }
        answer.finish(password)
    }
}

/// A check with these attributes, as who knows the password would send it.
pub(super) fn genuine(username: &str, attributes: &[u8], password: &str) -> Vec<u8> {
    let mut check = Answer::new(REQUEST, *b"transaction!");
    check.attribute(USERNAME, username.as_bytes());
    check.bytes.extend(attributes);
    check.finish(password).bytes
}

/// An answer as it goes out.
#[derive(Debug)]
pub(super) struct Answer {
    pub bytes: Vec<u8>,
}

impl Answer {
    fn new(kind: [u8; 2], transaction: [u8; 12]) -> Self {
        let mut bytes = Vec::with_capacity(LONGEST);
        bytes.extend(kind);
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend(transaction);
        Self { bytes }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = u16::try_from(self.bytes.len() - HEAD).unwrap_or_default();
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }

    fn finish(mut self, password: &str) -> Self {
        let sum = integrity(&self.bytes, password).unwrap_or_default();
        self.attribute(INTEGRITY, &sum);
        // The fingerprint counts in the length over which it is taken (RFC 8489 §14.7).
        self.attribute(FINGERPRINT, &[0; 4]);
        let end = self.bytes.len() - 8;
        let sum = (crc32fast::hash(&self.bytes[..end]) ^ MASK).to_be_bytes();
        self.bytes[end + 4..].copy_from_slice(&sum);
        self
    }
}

/// RFC 8489 §14.5: over what is before it, with a length that ends behind it.
fn integrity(before: &[u8], password: &str) -> Option<[u8; 20]> {
    let (head, rest) = before.split_first_chunk::<HEAD>()?;
    let mut head = *head;
    let length = u16::try_from(rest.len()).ok()? + 4 + INTEGRITY_LENGTH;
    head[2..4].copy_from_slice(&length.to_be_bytes());
    let mut hmac = Hmac::<Sha1>::new_from_slice(password.as_bytes()).ok()?;
    hmac.update(&head);
    hmac.update(rest);
    Some(hmac.finalize().into_bytes().into())
}

const HEAD: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const REQUEST: [u8; 2] = [0, 1];
const SUCCESS: [u8; 2] = [1, 1];
const ERROR: [u8; 2] = [1, 0x11];
const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const INTEGRITY_LENGTH: u16 = 20;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const CONTROLLED: u16 = 0x8029;
const CONTROLLING: u16 = 0x802a;
/// "STUN"
const MASK: u32 = 0x5354_554e;
/// Of our answers.
const LONGEST: usize = HEAD + 28 + 24 + 8 + 12;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A check of somebody else's, made from parts.
    pub fn check(username: &str, password: &str, more: &[(u16, &[u8])]) -> Vec<u8> {
        let mut check = Answer::new(REQUEST, *b"transaction!");
        check.attribute(USERNAME, username.as_bytes());
        check.attribute(PRIORITY, &[0x6e, 0, 1, 0xff]);
        for (kind, value) in more {
            check.attribute(*kind, value);
        }
        check.finish(password).bytes
    }

    pub const NOMINATED: (u16, &[u8]) = (USE_CANDIDATE, &[]);

    /// RFC 5769 §2.1: the sample request.
    const SAMPLE: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\
        \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
        \x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\
        \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
        \x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn the_sample_request_of_rfc_5769_is_read_and_genuine() {
        let request = Request::parse(SAMPLE).unwrap();
        assert_eq!(request.username, "evtj:h6vY");
        assert_eq!((request.role, request.nominates), (Some(Role::Controlled), false));
        assert!(request.is_genuine(PASSWORD));
        assert!(!request.is_genuine("VOkJxbRl1RmTxUk/WvJxBT"));
    }

    #[test]
    fn whatever_bit_is_turned_it_is_refused() {
        for at in 0..SAMPLE.len() * 8 {
            let mut turned = SAMPLE.to_vec();
            turned[at / 8] ^= 1 << (at % 8);
            assert_eq!(Request::parse(&turned), None, "bit {at}");
        }
        for length in 0..SAMPLE.len() {
            assert_eq!(Request::parse(&SAMPLE[..length]), None);
        }
    }

    #[test]
    fn a_right_fingerprint_makes_no_request_genuine() {
        let forged = check("a:b", "guess", &[NOMINATED]);
        let request = Request::parse(&forged).unwrap();
        assert!(request.nominates);
        assert!(!request.is_genuine("another"));
        assert!(request.is_genuine("guess"));
    }

    #[test]
    fn what_follows_the_integrity_does_not_count() {
        let mut check = Answer::new(REQUEST, [7; 12]);
        check.attribute(USERNAME, b"a:b");
        let sum = integrity(&check.bytes, "password").unwrap();
        check.attribute(INTEGRITY, &sum);
        check.attribute(USE_CANDIDATE, &[]);
        check.attribute(FINGERPRINT, &[0; 4]);
        let end = check.bytes.len() - 8;
        let sum = (crc32fast::hash(&check.bytes[..end]) ^ MASK).to_be_bytes();
        check.bytes[end + 4..].copy_from_slice(&sum);
        let request = Request::parse(&check.bytes).unwrap();
        assert!(request.is_genuine("password") && !request.nominates);
    }

    #[test]
    fn the_answer_says_where_the_request_came_from() {
        // RFC 5769 §2.2 and §2.3, without SOFTWARE.
        let request = Request::parse(SAMPLE).unwrap();
        let answer = request.accept("192.0.2.1:32853".parse().unwrap(), PASSWORD).bytes;
        assert_eq!(answer[..2], SUCCESS);
        assert_eq!(answer[20..32], *b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
        assert_eq!(usize::from(answer[3]), answer.len() - HEAD);
        let from = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        let answer = request.accept(from, PASSWORD).bytes;
        assert_eq!(
            answer[20..44],
            *b"\x00\x20\x00\x14\x00\x02\xa1\x47\
               \x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9"
        );
    }

    #[test]
    fn an_attribute_that_must_be_understood_is_told() {
        let strange = check("a:b", "p", &[(0x7001, &[1, 2, 3]), (0xc057, &[0; 4])]);
        let request = Request::parse(&strange).unwrap();
        assert_eq!(request.unknown, Some(0x7001));
        let answer = request.refuse(Failure::UnknownAttribute(0x7001), "p").bytes;
        assert_eq!(answer[..2], ERROR);
        assert!(answer.windows(6).any(|six| six == [0, 0x0a, 0, 2, 0x70, 1]));
    }
}
