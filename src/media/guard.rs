//! What stands between a call's sockets and its line where its stream is protected: checks are
//! answered, handshakes passed on, packets opened and sealed. Plain calls have none.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handshakes::Peer;
use super::ice::Lite;
use super::keying::{Fingerprint, Keying, Role, Security};
use super::rtcp;
use super::source::plain;
use super::srtp::{Keys, Opener, Sealer};
use super::stun::{self, Answer};

#[derive(Debug)]
pub(super) struct Guard {
    security: Security,
    ice: Option<Lite>,
    shield: Shield,
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
    /// `None` where there is nothing to guard. What has not changed since `before` goes on: a key
    /// that begins anew would let old packets in again.
    pub fn new(
        security: Security,
        before: Option<Box<Self>>,
        peer: impl FnOnce(Fingerprint, Role, bool) -> Arc<Peer>,
    ) -> Option<Box<Self>> {
        if security == Security::default() {
            return None;
        }
        let before = match before {
            Some(before) if before.security == security => return Some(before),
            Some(before) => Some(*before),
            None => None,
        };
        let (shield, ice) = before.map_or((None, None), |b| (Some(b.shield), b.ice));
        let same_ice = ice.filter(|lite| security.ice.as_ref() == Some(lite.ice()));
        let shield = match (&security.keying, shield) {
            (Keying::Clear, _) => Shield::Clear,
            (Keying::Sdes(keys), Some(Shield::Up(up))) => Shield::up(up.rekeyed(keys)),
            (Keying::Sdes(keys), _) => Shield::up(Up::new(keys)),
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
        Some(Box::new(Self { security, ice, shield }))
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

impl Shield {
    fn up(up: Option<Up>) -> Self {
        up.map_or(Self::Broken, |up| Self::Up(Box::new(up)))
    }
}

impl Up {
    fn new(keys: &Keys) -> Option<Self> {
        let (sealer, opener) = (Sealer::new(&keys.ours)?, Opener::new(&keys.theirs)?);
        Some(Self { keys: keys.clone(), sealer, opener })
    }

    /// Takes what is new of the keys.
    fn rekeyed(self, keys: &Keys) -> Option<Self> {
        let sealer =
            if keys.ours == self.keys.ours { self.sealer } else { Sealer::new(&keys.ours)? };
        let opener =
            if keys.theirs == self.keys.theirs { self.opener } else { Opener::new(&keys.theirs)? };
        Some(Self { keys: keys.clone(), sealer, opener })
    }
}
