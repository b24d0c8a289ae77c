//! ICE as a lite agent does it (RFC 8445 §2.5): we have one address, answer checks, and send where
//! the other side nominates.

use std::fmt;
use std::net::SocketAddr;

use super::source::plain;
use super::stun::{Answer, Failure, Request, Role};

/// What the two sides told each other for their checks.
#[derive(Clone, PartialEq, Eq)]
pub struct Ice {
    /// Our `ice-ufrag` and `ice-pwd`.
    pub ufrag: String,
    pub pwd: String,
    /// The other side's `ice-ufrag`.
    pub theirs: String,
}

/// What a datagram of STUN came to.
#[derive(Debug)]
pub(super) struct Checked {
    pub answer: Answer,
    /// Its sender is where to send from now on.
    pub chosen: bool,
}

#[derive(Debug)]
pub(super) struct Lite {
    ice: Ice,
    /// Who has proved to know the password, the last one first.
    known: Vec<SocketAddr>,
    chosen: Option<SocketAddr>,
}

impl Lite {
    pub fn new(ice: Ice) -> Self {
        Self { ice, known: Vec::new(), chosen: None }
    }

    pub fn ice(&self) -> &Ice {
        &self.ice
    }

    /// Whether anything but STUN is taken from there.
    pub fn knows(&self, from: SocketAddr) -> bool {
        self.known.contains(&plain(from))
    }

    /// Judges a check; `None` for what does not come from the other side.
    pub fn check(&mut self, datagram: &[u8], from: SocketAddr) -> Option<Checked> {
        let request = Request::parse(datagram)?;
        // RFC 8445 §7.2.2: whom it is for, and who asks.
        let (ours, theirs) = request.username.split_once(':')?;
        let Ice { ufrag, pwd, theirs: expected } = &self.ice;
        if ours != ufrag || theirs != expected || !request.is_genuine(pwd) {
            return None;
        }
        let failure = match (request.unknown, request.role) {
            (Some(kind), _) => Some(Failure::UnknownAttribute(kind)),
            // RFC 8445 §6.1.1: beside a lite agent the other one always chooses.
            (None, Some(Role::Controlled)) => Some(Failure::RoleConflict),
            (None, Some(Role::Controlling) | None) => None,
        };
        if let Some(failure) = failure {
            return Some(Checked { answer: request.refuse(failure, pwd), chosen: false });
        }
        let answer = request.accept(plain(from), pwd);
        let chosen = self.note(plain(from), request.nominates);
        Some(Checked { answer, chosen })
    }

    /// Whether a genuine check from there makes it the way to take: the first one until one is
    /// nominated, then whichever is nominated last.
    fn note(&mut self, from: SocketAddr, nominates: bool) -> bool {
        self.known.retain(|known| *known != from);
        self.known.insert(0, from);
        self.known.truncate(KNOWN);
        let first = self.chosen.is_none();
        if !nominates && !first {
            return false;
        }
        self.chosen.replace(from) != Some(from)
    }
}

impl fmt::Debug for Ice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ***", self.ufrag, self.theirs)
    }
}

/// Addresses of one client: each interface, each way through a NAT, each relay.
const KNOWN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::stun::tests::{NOMINATED, check};

    fn lite() -> Lite {
        Lite::new(Ice { ufrag: "us".into(), pwd: "secret".into(), theirs: "them".into() })
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn the_first_way_is_taken_until_one_is_nominated() {
        let mut lite = lite();
        let (wifi, wire) = (at("192.0.2.1:5000"), at("198.51.100.1:6000"));
        let plain = check("us:them", "secret", &[]);
        let nominated = check("us:them", "secret", &[NOMINATED]);
        assert!(lite.check(&plain, wifi).unwrap().chosen);
        assert!(!lite.check(&plain, wire).unwrap().chosen);
        assert!(lite.check(&nominated, wire).unwrap().chosen);
        assert!(!lite.check(&nominated, wire).unwrap().chosen, "said again");
        assert!(!lite.check(&plain, wifi).unwrap().chosen, "kept alive");
        assert!(lite.check(&nominated, wifi).unwrap().chosen, "walked out of the office");
        assert!(lite.knows(wifi) && lite.knows(wire) && !lite.knows(at("192.0.2.1:5001")));
    }

    #[test]
    fn strangers_get_no_answer() {
        let mut lite = lite();
        let from = at("203.0.113.9:1");
        for (username, password) in
            [("us:them", "guess"), ("us:other", "secret"), ("you:them", "secret"), ("us", "secret")]
        {
            assert!(lite.check(&check(username, password, &[NOMINATED]), from).is_none());
        }
        assert!(!lite.knows(from));
    }

    #[test]
    fn whoever_will_not_choose_is_told_to() {
        let mut lite = lite();
        let check = check("us:them", "secret", &[(0x8029, &[0; 8])]);
        let checked = lite.check(&check, at("192.0.2.1:5000")).unwrap();
        assert!(!checked.chosen && checked.answer.bytes.windows(2).any(|two| two == [4, 0x57]));
    }

    #[test]
    fn only_so_many_addresses_are_known() {
        let mut lite = lite();
        let check = check("us:them", "secret", &[]);
        for port in 1..200 {
            lite.check(&check, SocketAddr::new([192, 0, 2, 1].into(), port));
        }
        assert_eq!(lite.known.len(), KNOWN);
    }
}
