//! Who is speaking to us: symmetric RTP, locked to one source.
//!
//! The address in the SDP is believed at once. Anyone else must send two packets in sequence
//! (RFC 3550 A.1), and even then the owner of the SDP address may still take the call back for a
//! while: whoever floods a port range must not capture a call (RTP bleed).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::rtp::Packet;

#[derive(Debug)]
pub(super) struct Source {
    /// Where the SDP says that the peer listens.
    offered: Option<SocketAddr>,
    /// Whom we heard last; known again without probation after a silence.
    last: Option<SocketAddr>,
    state: State,
    candidate: Option<Candidate>,
    /// When the stream that we are locked to was heard.
    heard: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Somebody else than the SDP said; final at `until`, unless its owner appears before.
    Learnt {
        from: SocketAddr,
        ssrc: u32,
        until: Instant,
    },
    Locked {
        from: SocketAddr,
        ssrc: u32,
    },
    /// The other side has said where to send (RFC 8445 §8); whoever is let in is believed.
    Chosen {
        to: SocketAddr,
    },
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    from: SocketAddr,
    ssrc: u32,
    next: u16,
}

/// What a valid packet's sender is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// Accepted, and nobody else will be from now on.
    Locked,
    Stranger,
}

impl Source {
    pub fn new(offered: Option<SocketAddr>) -> Self {
        let offered = offered.map(plain);
        Self { offered, last: None, state: State::Open, candidate: None, heard: None }
    }

    /// Takes a new description of the peer. One that says nothing new changes nothing.
    pub fn offer(&mut self, offered: Option<SocketAddr>) -> bool {
        let offered = offered.map(plain);
        let changed = offered != self.offered;
        if let State::Chosen { .. } = self.state {
            self.offered = offered;
        } else if changed {
            *self = Self::new(offered);
        }
        changed
    }

    /// Opens the ears again, for a peer that has fallen silent may come back from elsewhere.
    pub fn forget(&mut self) {
        if let State::Chosen { .. } = self.state {
            return;
        }
        self.state = State::Open;
        self.candidate = None;
    }

    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Sends there from now on, wherever packets come from.
    pub fn choose(&mut self, to: SocketAddr) {
        self.state = State::Chosen { to: plain(to) };
    }

    /// Where our packets go.
    pub fn target(&self) -> Option<SocketAddr> {
        match self.state {
            State::Open => self.last.or(self.offered),
            State::Learnt { from, .. } | State::Locked { from, .. } => Some(from),
            State::Chosen { to } => Some(to),
        }
    }

    /// Judges the sender of a packet that is valid in itself.
    pub fn hear(&mut self, from: SocketAddr, packet: &Packet<'_>, now: Instant) -> Verdict {
        let from = plain(from);
        match self.state {
            State::Locked { from: known, ssrc } if known == from => {
                if ssrc == packet.ssrc {
                    // Whoever comes between does not take its place.
                    self.candidate = None;
                    self.heard = Some(now);
                    return Verdict::Accepted;
                }
                let quiet =
                    self.heard.is_none_or(|heard| now.saturating_duration_since(heard) >= SWITCH);
                if self.proved(from, packet) && quiet {
                    self.state = State::Locked { from, ssrc: packet.ssrc };
                    self.heard = Some(now);
                    return Verdict::Accepted;
                }
                Verdict::Stranger
            }
            State::Locked { .. } => Verdict::Stranger,
            State::Learnt { from: known, ssrc, until } => {
                if self.offered == Some(from) {
                    return self.lock(from, packet, now);
                }
                if known != from || (ssrc != packet.ssrc && !self.proved(from, packet)) {
                    return Verdict::Stranger;
                }
                if now >= until {
                    return self.lock(from, packet, now);
                }
                self.state = State::Learnt { from, ssrc: packet.ssrc, until };
                Verdict::Accepted
            }
            State::Open => self.learn(from, packet, now),
            State::Chosen { .. } => Verdict::Accepted,
        }
    }

    fn learn(&mut self, from: SocketAddr, packet: &Packet<'_>, now: Instant) -> Verdict {
        if self.offered == Some(from) || self.last == Some(from) {
            return self.lock(from, packet, now);
        }
        if !self.proved(from, packet) {
            return Verdict::Stranger;
        }
        // The same host on another port is the ordinary NAT, not a stranger.
        if self.offered.is_none_or(|offered| offered.ip() == from.ip()) {
            return self.lock(from, packet, now);
        }
        self.last = Some(from);
        self.state = State::Learnt { from, ssrc: packet.ssrc, until: now + DOUBT };
        Verdict::Accepted
    }

    fn lock(&mut self, from: SocketAddr, packet: &Packet<'_>, now: Instant) -> Verdict {
        self.last = Some(from);
        self.heard = Some(now);
        self.state = State::Locked { from, ssrc: packet.ssrc };
        self.candidate = None;
        Verdict::Locked
    }

    /// Whether the packet follows the one before it from the same sender.
    fn proved(&mut self, from: SocketAddr, packet: &Packet<'_>) -> bool {
        let known = self.candidate.is_some_and(|candidate| {
            candidate.from == from
                && candidate.ssrc == packet.ssrc
                && candidate.next == packet.sequence
        });
        let next = packet.sequence.wrapping_add(1);
        self.candidate = Some(Candidate { from, ssrc: packet.ssrc, next });
        known
    }

    /// Whether keys from there are the caller's: some send them in a stream of their own.
    pub fn is_from(&self, from: SocketAddr) -> bool {
        match self.state {
            State::Locked { from: known, .. } => known == plain(from),
            State::Open | State::Learnt { .. } | State::Chosen { .. } => false,
        }
    }

    /// Whether this is the stream that we hear.
    pub fn is_stream(&self, ssrc: u32) -> bool {
        match self.state {
            State::Locked { ssrc: known, .. } | State::Learnt { ssrc: known, .. } => known == ssrc,
            State::Open | State::Chosen { .. } => true,
        }
    }
}

/// An IPv4 address is the same one when a dual-stack socket shows it mapped.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(address.ip().to_canonical(), v6.port())
        }
        _ => address,
    }
}

/// The address as a socket bound to `bound` must be given it.
pub(super) fn reachable(address: SocketAddr, bound: IpAddr) -> SocketAddr {
    match (address.ip(), bound) {
        (IpAddr::V4(v4), IpAddr::V6(_)) => {
            SocketAddr::new(v4.to_ipv6_mapped().into(), address.port())
        }
        _ => address,
    }
}

/// A stream is over, for another one from the same address, when it has not been heard for so long:
/// less than two packets, and more than they come unevenly.
const SWITCH: Duration = Duration::from_millis(30);
/// How long a learnt source can still be displaced by the one in the SDP.
const DOUBT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str = "192.0.2.1:4000";
    const STRANGER: &str = "203.0.113.9:5";

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    /// Hears packets `from ssrc sequence` and tells `a`ccepted, `L`ocked or `-` for each.
    fn verdicts(source: &mut Source, now: Instant, packets: &str) -> String {
        let told = packets.split(',').map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let packet = Packet {
                payload_type: 0,
                sequence: words[2].parse().unwrap(),
                timestamp: 0,
                ssrc: words[1].parse().unwrap(),
                payload: &[],
            };
            match source.hear(at(words[0]), &packet, now) {
                Verdict::Accepted => 'a',
                Verdict::Locked => 'L',
                Verdict::Stranger => '-',
            }
        });
        told.collect()
    }

    #[test]
    fn the_address_in_the_sdp_is_believed_at_once() {
        let mut source = Source::new(Some(at(PHONE)));
        assert_eq!(source.target(), Some(at(PHONE)));
        let heard = format!("{PHONE} 1 10, {STRANGER} 9 1, {STRANGER} 9 2, {PHONE} 1 11");
        assert_eq!(verdicts(&mut source, Instant::now(), &heard), "L--a");
    }

    #[test]
    fn another_port_of_that_host_needs_two_packets() {
        let mut source = Source::new(Some(at(PHONE)));
        let heard = "192.0.2.1:4711 1 10, 192.0.2.1:4711 1 11, 192.0.2.1:4711 1 12";
        assert_eq!(verdicts(&mut source, Instant::now(), heard), "-La");
        assert_eq!(source.target(), Some(at("192.0.2.1:4711")));
    }

    #[test]
    fn another_host_is_learnt_but_yields_to_the_sdp() {
        let now = Instant::now();
        let mut source = Source::new(Some(at(PHONE)));
        let heard = format!("{STRANGER} 9 1, {STRANGER} 9 2, {STRANGER} 9 3");
        assert_eq!(verdicts(&mut source, now, &heard), "-aa");
        let heard = format!("{PHONE} 1 10, {STRANGER} 9 4");
        assert_eq!(verdicts(&mut source, now, &heard), "L-");
    }

    #[test]
    fn behind_nat_the_learnt_source_is_final_after_a_while() {
        let now = Instant::now();
        let mut source = Source::new(Some(at("10.0.0.7:4000")));
        assert_eq!(verdicts(&mut source, now, &format!("{PHONE} 1 1, {PHONE} 1 2")), "-a");
        let heard = format!("{PHONE} 1 3, 10.0.0.7:4000 1 4, {PHONE} 1 4");
        assert_eq!(verdicts(&mut source, now + DOUBT, &heard), "L-a");
    }

    #[test]
    fn scattered_packets_never_lock() {
        let mut source = Source::new(None);
        let heard = format!("{STRANGER} 9 1, {STRANGER} 8 2, {STRANGER} 9 7, {PHONE} 9 8");
        assert_eq!(verdicts(&mut source, Instant::now(), &heard), "----");
        assert_eq!(source.target(), None);
    }

    #[test]
    fn a_new_stream_of_the_same_source_needs_two_packets_and_the_end_of_the_old_one() {
        let mut source = Source::new(Some(at(PHONE)));
        let now = Instant::now();
        let heard = format!("{PHONE} 1 1, {PHONE} 2 50, {PHONE} 1 2, {PHONE} 2 51, {PHONE} 2 52");
        assert_eq!(verdicts(&mut source, now, &heard), "L-a--", "two at once: the first stays");
        let heard = format!("{PHONE} 2 53, {PHONE} 2 54, {PHONE} 1 3");
        assert_eq!(verdicts(&mut source, now + SWITCH, &heard), "aa-");
    }

    #[test]
    fn after_a_silence_the_old_source_is_known_and_a_new_one_can_come() {
        let now = Instant::now();
        let mut source = Source::new(Some(at(PHONE)));
        verdicts(&mut source, now, &format!("{PHONE} 1 1"));
        source.forget();
        assert_eq!(source.target(), Some(at(PHONE)));
        let rebound = "192.0.2.1:4999 1 9, 192.0.2.1:4999 1 10";
        assert_eq!(verdicts(&mut source, now, rebound), "-L");
        source.forget();
        assert_eq!(verdicts(&mut source, now, "192.0.2.1:4999 1 11"), "L");
    }

    #[test]
    fn a_new_offer_opens_and_the_same_offer_does_not() {
        let mut source = Source::new(Some(at(PHONE)));
        verdicts(&mut source, Instant::now(), &format!("{PHONE} 1 1"));
        assert!(!source.offer(Some(at(PHONE))));
        assert!(!source.is_open());
        assert!(source.offer(Some(at("192.0.2.2:6000"))));
        assert!(source.is_open());
        assert_eq!(source.target(), Some(at("192.0.2.2:6000")));
    }

    #[test]
    fn mapped_addresses_are_plain_inside_and_mapped_outside() {
        let mapped = at("[::ffff:192.0.2.1]:4000");
        assert_eq!(plain(mapped), at(PHONE));
        assert_eq!(reachable(at(PHONE), "::".parse().unwrap()), mapped);
        assert_eq!(reachable(at(PHONE), "0.0.0.0".parse().unwrap()), at(PHONE));
    }
}
