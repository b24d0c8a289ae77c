//! What stands between a call's sockets and its line where its stream is protected: checks are
//! answered, handshakes passed on, packets opened and sealed. Plain calls have none.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handshakes::Peer;
use super::ice::Lite;
use super::keying::{Fingerprint, Keying, Role, Security};
use super::rtcp;
use super::source::plain;
use super::srtp::{Keys, MasterKey, Opener, Sealer};
use super::stun::{self, Answer};

#[derive(Debug)]
pub(super) struct Guard {
    security: Security,
    ice: Option<Lite>,
    shield: Shield,
    past: Past,
}

#[derive(Debug)]
enum Shield {
    /// Nothing to protect with: ICE alone.
    Clear,
    Up(Box<Up>),
    /// Until a handshake has made keys, nothing passes.
    Handshake {
        peer: Arc<Peer>,
        with: Option<SocketAddr>,
        up: Option<Box<Up>>,
    },
    /// The keys are no keys.
    Broken,
}

#[derive(Debug)]
struct Up {
    keys: Keys,
    sealer: Sealer,
    opener: Opener,
}

/// How far the keys of descriptions had come that hold no longer. They may hold again, after audio
/// in clear or under another suite, and then go on: a key that began anew would repeat its keystream
/// (RFC 3711 §9.1) and let old packets in again.
#[derive(Debug, Default)]
struct Past {
    sealers: Vec<(MasterKey, Sealer)>,
    openers: Vec<(MasterKey, Opener)>,
}

/// What a datagram turned out to be.
#[derive(Debug)]
pub(super) enum Passed {
    /// RTP or RTCP, so long now.
    Media(usize),
    /// To be sent back; if the sender was chosen, what we send goes there from now on.
    Check {
        answer: Answer,
        chosen: bool,
    },
    /// For this peer's handshake.
    Handshake(Arc<Peer>),
    Stranger,
}

/// Which of a call's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Socket {
    Rtp {
        /// RFC 5761: for RTCP too.
        mux: bool,
    },
    Rtcp,
}

impl Guard {
    /// `None` where there is nothing to guard, and was not before. What has not changed since
    /// `before` goes on.
    pub fn new(
        security: Security,
        before: Option<Box<Self>>,
        peer: impl FnOnce(Fingerprint, Role, bool) -> Arc<Peer>,
    ) -> Option<Box<Self>> {
        let (shield, ice, mut past) = match before {
            Some(before) if before.security == security => return Some(before),
            Some(before) => (Some(before.shield), before.ice, before.past),
            None if security == Security::default() => return None,
            None => (None, None, Past::default()),
        };
        let same_ice = ice.filter(|lite| security.ice.as_ref() == Some(lite.ice()));
        let shield = past.keep(shield);
        let shield = match (&security.keying, shield) {
            (Keying::Clear, _) => Shield::Clear,
            (Keying::Sdes(keys), _) => past.up(keys).map_or(Shield::Broken, Shield::Up),
            // RFC 8842 §3.1: with the same certificates it is the same association, also when ICE
            // begins anew.
            (Keying::Dtls { theirs, role }, Some(Shield::Handshake { peer, with, up }))
                if peer.is_for(theirs, *role) =>
            {
                Shield::Handshake { peer, with, up }
            }
            (Keying::Dtls { theirs, role }, _) => {
                let peer = peer(theirs.clone(), *role, security.ice.is_some());
                Shield::Handshake { peer, with: None, up: None }
            }
        };
        let ice = same_ice.or_else(|| security.ice.clone().map(Lite::new));
        Some(Box::new(Self { security, ice, shield, past }))
    }

    /// Whether anybody whom the other side chooses may send: the socket must stay open to all.
    pub fn moves(&self) -> bool {
        self.ice.is_some()
    }

    /// Whether what we send now would be understood.
    pub fn is_up(&self) -> bool {
        match &self.shield {
            Shield::Clear | Shield::Up(_) => true,
            Shield::Handshake { up, .. } => up.is_some(),
            Shield::Broken => false,
        }
    }

    /// Judges a datagram, and opens it in its place. `offered` is where the description says that
    /// the other side is.
    pub fn take(
        &mut self,
        datagram: &mut [u8],
        from: SocketAddr,
        socket: Socket,
        offered: Option<SocketAddr>,
    ) -> Passed {
        // RFC 7983 §7.
        match datagram.first() {
            Some(0..=3) if stun::is_stun(datagram) => self.check(datagram, from, socket),
            Some(20..=63) if socket != Socket::Rtcp => self.handshake(from, offered),
            Some(128..=191) => {
                self.open(datagram, from, socket).map_or(Passed::Stranger, Passed::Media)
            }
            _ => Passed::Stranger,
        }
    }

    fn check(&mut self, datagram: &[u8], from: SocketAddr, socket: Socket) -> Passed {
        let checked = self.ice.as_mut().and_then(|lite| lite.check(datagram, from));
        checked.map_or(Passed::Stranger, |checked| Passed::Check {
            answer: checked.answer,
            chosen: checked.chosen && socket != Socket::Rtcp,
        })
    }

    fn handshake(&mut self, from: SocketAddr, offered: Option<SocketAddr>) -> Passed {
        let Shield::Handshake { peer, with, up } = &mut self.shield else {
            return Passed::Stranger;
        };
        let from = plain(from);
        match &self.ice {
            Some(lite) if !lite.knows(from) => return Passed::Stranger,
            Some(_) => {}
            None => match *with {
                Some(known) if known == from => {}
                // A stranger who was faster keeps nobody out whom the description names.
                Some(_) if up.is_none() && offered.map(plain) == Some(from) => {
                    *peer = Arc::new(peer.again());
                    *with = Some(from);
                }
                Some(_) => return Passed::Stranger,
                None => *with = Some(from),
            },
        }
        Passed::Handshake(Arc::clone(peer))
    }

    fn open(&mut self, datagram: &mut [u8], from: SocketAddr, socket: Socket) -> Option<usize> {
        if self.ice.as_ref().is_some_and(|lite| !lite.knows(from)) {
            return None;
        }
        let up = match &mut self.shield {
            Shield::Clear => return Some(datagram.len()),
            Shield::Up(up) => up,
            Shield::Handshake { up, .. } => up.as_mut()?,
            Shield::Broken => return None,
        };
        let is_report = match socket {
            Socket::Rtp { mux } => mux && rtcp::is_rtcp(datagram),
            Socket::Rtcp => true,
        };
        if is_report { up.opener.open_report(datagram) } else { up.opener.open(datagram) }
    }

    /// Protects a packet of RTP, behind which there is room for the trailer.
    pub fn seal(&mut self, packet: &mut [u8], length: usize) -> Option<usize> {
        self.with_sealer(length, |sealer| sealer.seal(packet, length))
    }

    pub fn seal_report(&mut self, report: &mut [u8], length: usize) -> Option<usize> {
        self.with_sealer(length, |sealer| sealer.seal_report(report, length))
    }

    fn with_sealer(
        &mut self,
        length: usize,
        seal: impl FnOnce(&mut Sealer) -> Option<usize>,
    ) -> Option<usize> {
        match &mut self.shield {
            Shield::Clear => Some(length),
            Shield::Up(up) => seal(&mut up.sealer),
            Shield::Handshake { up, .. } => seal(&mut up.as_mut()?.sealer),
            Shield::Broken => None,
        }
    }

    /// Whose handshake we have to begin, and have not yet.
    pub fn begin(&mut self, target: Option<SocketAddr>) -> Option<(Arc<Peer>, SocketAddr)> {
        let Shield::Handshake { peer, with, .. } = &mut self.shield else { return None };
        let target = target.filter(|_| with.is_none() && peer.begins())?;
        *with = Some(target);
        Some((Arc::clone(peer), target))
    }

    pub fn is_with(&self, ticket: u64) -> bool {
        matches!(&self.shield, Shield::Handshake { peer, .. } if peer.ticket == ticket)
    }

    /// The handshake has made keys.
    pub fn key(&mut self, ticket: u64, keys: &Keys) {
        if self.is_with(ticket)
            && let Shield::Handshake { up, .. } = &mut self.shield
        {
            *up = Up::new(keys).map(Box::new);
        }
    }
}

impl Past {
    /// Takes in what descriptions had keyed, and gives back any other shield.
    fn keep(&mut self, shield: Option<Shield>) -> Option<Shield> {
        let Some(Shield::Up(up)) = shield else { return shield };
        let Up { keys, sealer, opener } = *up;
        self.sealers.push((keys.ours, sealer));
        self.openers.push((keys.theirs, opener));
        if self.openers.len() > OPENERS {
            self.openers.remove(0);
        }
        None
    }

    /// Takes keys up where they were left; `None` if they are no keys.
    fn up(&mut self, keys: &Keys) -> Option<Box<Up>> {
        let sealer = self.sealers.iter().position(|(key, _)| *key == keys.ours);
        let sealer = match sealer {
            Some(at) => self.sealers.swap_remove(at).1,
            // A call has one key of ours for each suite; more than that, and none is forgotten.
            None => (self.sealers.len() < SEALERS).then(|| Sealer::new(&keys.ours)).flatten()?,
        };
        let opener = self.openers.iter().position(|(key, _)| *key == keys.theirs);
        let opener = match opener {
            Some(at) => self.openers.remove(at).1,
            None => Opener::new(&keys.theirs)?,
        };
        Some(Box::new(Up { keys: keys.clone(), sealer, opener }))
    }
}

impl Up {
    fn new(keys: &Keys) -> Option<Self> {
        let (sealer, opener) = (Sealer::new(&keys.ours)?, Opener::new(&keys.theirs)?);
        Some(Self { keys: keys.clone(), sealer, opener })
    }
}

/// Keys of ours that one call may have.
const SEALERS: usize = 8;
/// Keys of theirs that are remembered. Some telephones say another one with each description.
const OPENERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::srtp::{Suite, TRAILER};
    use super::*;

    fn key(suite: Suite, octet: u8) -> MasterKey {
        MasterKey::new(suite, &vec![octet; suite.key_length() + suite.salt_length()]).unwrap()
    }

    fn sdes(suite: Suite) -> Security {
        let keys = Keys { ours: key(suite, 1), theirs: key(suite, 2) };
        Security { keying: Keying::Sdes(Box::new(keys)), ice: None }
    }

    fn agree(security: Security, before: Option<Box<Guard>>) -> Option<Box<Guard>> {
        Guard::new(security, before, |_, _, _| unreachable!("no handshake is asked for"))
    }

    fn packet(sequence: u16) -> ([u8; 32 + TRAILER], usize) {
        let mut packet = [0; 32 + TRAILER];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        (packet, 32)
    }

    fn hears(guard: &mut Guard, datagram: &[u8]) -> bool {
        let (mut datagram, from) = (datagram.to_vec(), SocketAddr::from(([192, 0, 2, 1], 4000)));
        let passed = guard.take(&mut datagram, from, Socket::Rtp { mux: false }, None);
        matches!(passed, Passed::Media(_))
    }

    #[test]
    fn keys_that_hold_again_go_on_where_they_were() {
        let mine = Suite::AesCm80;
        let between = [Security::default(), sdes(Suite::Gcm128)];
        for between in between {
            let mut guard = agree(sdes(mine), None).unwrap();
            let mut caller = Opener::new(&key(mine, 1)).unwrap();
            let mut says = |guard: &mut Guard, sequence| {
                let (mut packet, length) = packet(sequence);
                let length = guard.seal(&mut packet, length).unwrap();
                caller.open(&mut packet[..length])
            };
            // The rollover counter is 1 now.
            assert_eq!([65_535, 0].map(|n| says(&mut guard, n)), [Some(32); 2]);
            let (mut said, length) = packet(7);
            let length = Sealer::new(&key(mine, 2)).unwrap().seal(&mut said, length).unwrap();
            assert!(hears(&mut guard, &said[..length]));

            let guard = agree(between.clone(), Some(guard));
            let mut guard = agree(sdes(mine), guard).unwrap();
            assert_eq!(says(&mut guard, 1), Some(32), "{between:?}");
            assert!(!hears(&mut guard, &said[..length]), "twice, after {between:?}");
        }
    }

    #[test]
    fn a_key_with_every_description_is_taken_and_nothing_grows() {
        let mut guard = None;
        for octet in 10..100 {
            let keys = Keys { ours: key(Suite::AesCm80, 1), theirs: key(Suite::AesCm80, octet) };
            let keying = Keying::Sdes(Box::new(keys));
            guard = agree(Security { keying, ice: None }, guard);
            let guard = guard.as_ref().unwrap();
            assert!(guard.is_up());
            assert!(guard.past.openers.len() <= OPENERS && guard.past.sealers.is_empty());
        }
    }

    #[test]
    fn clear_calls_have_no_guard() {
        assert!(agree(Security::default(), None).is_none());
    }
}
