//! One call's line and its sockets: what the thread that owns them does with both.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::filter;
use super::guard::{self, Guard, Passed};
use super::handshakes::{Handshakes, Peer};
use super::keying::{Fingerprint, Role, Security};
use super::line::{Ear, Line};
use super::pair::Pair;
use super::post::{HANDFUL, Moment, Post};
use super::rtcp::REPORT;
use super::sender::{FRAME_PACKET, PACKETS_PER_FRAME};
use super::source;
use super::srtp::TRAILER;
use super::stream::Rtcp;
use super::writer::Outbox;

/// How often a line's RTP socket is drained.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Tick,
    Round,
}

/// A line and its sockets.
pub(super) struct Wire {
    pub line: Line,
    pub pair: Pair,
    pub guard: Option<Box<Guard>>,
    handshakes: Handshakes,
    reach: Reach,
    pub slot: Slot,
    pub patience: Patience,
    /// When more came than a call sends: its socket would be full before the next round.
    flooded: Option<Instant>,
    /// The payload type of which the kernel keeps most packets from us.
    thinned: Option<u8>,
}

/// Who can reach the RTP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Anyone,
    /// The source, from now on: what lies in the socket may be anybody's.
    SourceNow,
    /// The source, and nothing else is left in the socket.
    Source(SocketAddr),
}

/// Whether the line is on the wheel.
#[derive(PartialEq, Eq)]
pub(super) enum Slot {
    None,
    Taken,
}

impl Wire {
    pub fn new(pair: Pair, line: Line, handshakes: Handshakes) -> Self {
        Self {
            line,
            pair,
            guard: None,
            handshakes,
            reach: Reach::Anyone,
            slot: Slot::None,
            patience: Patience::Tick,
            flooded: None,
            thinned: None,
        }
    }

    /// What the clock alone brings about.
    pub fn look(&mut self, tick: u64, now: Instant, bind: IpAddr, outbox: &mut Outbox) {
        let ear = self.line.tick(now, outbox);
        self.set_reach(&ear, bind);
        self.begin_handshake();
        self.report(tick, now, bind);
    }

    pub fn drain(
        &mut self,
        most: usize,
        bind: IpAddr,
        moment: &Moment,
        post: &mut Post,
        outbox: &mut Outbox,
    ) {
        let calm = if self.patience == Patience::Tick { FEW_PACKETS } else { MANY_PACKETS };
        let (mut came, before) = (0, self.reach);
        self.line.lend(outbox);
        for _ in 0..most.div_ceil(HANDFUL) {
            let fetched = match self.reach {
                Reach::Source(from) if self.patience == Patience::Round => {
                    post.fetch_from(from, &self.pair.rtp, moment)
                }
                Reach::Anyone | Reach::SourceNow | Reach::Source(_) => {
                    post.fetch(&self.pair.rtp, moment)
                }
            };
            match fetched {
                Ok(count) => {
                    came += count;
                    if came > calm {
                        self.flooded = Some(moment.now);
                    }
                    let mut now = moment.now;
                    for n in 0..count {
                        let Some((datagram, from, at)) = post.letter(n) else { continue };
                        let Some(length) = self.admit(datagram, from, bind) else { continue };
                        let ear = self.line.hear(&datagram[..length], from, at);
                        self.set_reach(&ear, bind);
                        now = at;
                    }
                    self.line.hand_over(now, outbox);
                    // An error ends a handful too: it does not prove that nothing is left.
                    if count < HANDFUL && self.reach != Reach::SourceNow {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.emptied(before);
                }
                // ECONNREFUSED: the peer's socket is not there, or not yet: it says so once for each packet that
                // we sent. Whether the call lives is for signalling to say.
                Err(_) => {}
            }
        }
    }

    /// The socket was emptied, and this was its reach when that began.
    fn emptied(&mut self, before: Reach) {
        if let (Reach::SourceNow, Reach::SourceNow, Some(source)) =
            (before, self.reach, self.line.target())
        {
            self.reach = Reach::Source(source);
        }
    }

    /// What still lies in the socket was sent under the agreement that is about to end.
    pub fn hear_out(
        &mut self,
        bind: IpAddr,
        moment: &Moment,
        post: &mut Post,
        outbox: &mut Outbox,
    ) {
        if self.patience == Patience::Round {
            self.drain(ALL, bind, moment, post, outbox);
        }
    }

    /// Takes the RTP socket from those that are heard at every tick while its line only records,
    /// and back. Where that fails, for want of memory, all stays as it is.
    pub fn settle(&mut self, index: usize, now: Instant, epoll: &Epoll, hurried: &mut usize) {
        self.thin();
        let is_calm = self.flooded.is_none_or(|at| now.saturating_duration_since(at) >= CALM);
        let only_records = self.line.is_recording() && !self.line.is_playing() && is_calm;
        match (self.patience, only_records) {
            (Patience::Tick, true) if epoll.delete(&self.pair.rtp).is_ok() => {
                self.patience = Patience::Round;
                *hurried -= 1;
            }
            (Patience::Round, false) if epoll.add(&self.pair.rtp, readable(index, 0)).is_ok() => {
                self.patience = Patience::Tick;
                *hurried += 1;
            }
            (Patience::Tick | Patience::Round, _) => {}
        }
    }

    /// Has the kernel keep from us what nobody needs to hear, or give it to us again.
    fn thin(&mut self) {
        let unheard = self.line.unheard();
        if unheard == self.thinned {
            return;
        }
        let done = match unheard {
            Some(payload_type) => filter::attach(&self.pair.rtp, payload_type),
            None => filter::detach(&self.pair.rtp),
        };
        // Without it, all is heard.
        if done.is_ok() {
            self.thinned = unheard;
            self.line.thin(unheard.is_some());
        }
    }

    pub fn hear_reports(&mut self, moment: &Moment, post: &mut Post) {
        // A flood of them is no better than one handful.
        let count = post.fetch(&self.pair.rtcp, moment).unwrap_or(0);
        for n in 0..count {
            let Some((datagram, from, at)) = post.letter(n) else { continue };
            let Some(length) = self.admit_report(datagram, from) else { continue };
            self.line.hear_report(&datagram[..length], from, at);
        }
    }

    /// Takes what was agreed about keys and ways.
    pub fn secure(
        &mut self,
        security: Security,
        peer: impl FnOnce(Fingerprint, Role, bool) -> Arc<Peer>,
    ) {
        self.guard = Guard::new(security, self.guard.take(), peer);
        if self.guard.as_ref().is_some_and(|guard| guard.moves()) {
            self.set_reach(&Ear::Open, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        }
    }

    /// Whether what we say now is understood.
    pub fn is_up(&self) -> bool {
        self.guard.as_ref().is_none_or(|guard| guard.is_up())
    }

    pub fn is_with(&self, ticket: u64) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.is_with(ticket))
    }

    pub fn begin_handshake(&mut self) {
        let target = self.line.target();
        if let Some((peer, with)) = self.guard.as_mut().and_then(|guard| guard.begin(target)) {
            self.handshakes.take(peer, with, None);
        }
    }

    /// Lets in what is for the line, and says how long it is now.
    fn admit(&mut self, datagram: &mut [u8], from: SocketAddr, bind: IpAddr) -> Option<usize> {
        let Some(guard) = &mut self.guard else { return Some(datagram.len()) };
        let socket = guard::Socket::Rtp { mux: self.line.is_mux() };
        match guard.take(datagram, from, socket, self.line.offered()) {
            Passed::Media(length) => return Some(length),
            Passed::Check { answer, chosen } => {
                // An answer that is lost is asked for again.
                let _ = self.pair.rtp.send_to(&answer.bytes, source::reachable(from, bind));
                if chosen {
                    self.line.choose(from);
                    self.begin_handshake();
                }
            }
            Passed::Handshake(peer) => {
                self.handshakes.take(peer, source::plain(from), Some(datagram));
            }
            Passed::Stranger => self.line.counters.strangers.add(1),
        }
        None
    }

    fn admit_report(&mut self, datagram: &mut [u8], from: SocketAddr) -> Option<usize> {
        let Some(guard) = &mut self.guard else { return Some(datagram.len()) };
        match guard.take(datagram, from, guard::Socket::Rtcp, self.line.offered()) {
            Passed::Media(length) => return Some(length),
            Passed::Check { answer, .. } => {
                let _ = self.pair.rtcp.send_to(&answer.bytes, from);
            }
            Passed::Handshake(_) | Passed::Stranger => self.line.counters.strangers.add(1),
        }
        None
    }

    fn report(&mut self, tick: u64, now: Instant, bind: IpAddr) {
        let mut report = [0; REPORT + TRAILER];
        let part = report.first_chunk_mut();
        if let Some(length) = part.and_then(|part| self.line.report(tick, now, part)) {
            self.send_report(&mut report, length, bind);
        }
    }

    /// Sends a report of so many octets, behind which there is room for what protects it.
    pub fn send_report(&mut self, report: &mut [u8], length: usize, bind: IpAddr) {
        let Some((rtcp, target)) = self.line.report_target() else { return };
        let length = match &mut self.guard {
            None => length,
            Some(guard) => match guard.seal_report(report, length) {
                Some(length) => length,
                None => return,
            },
        };
        let report = &report[..length];
        let target = source::reachable(target, bind);
        // What cannot leave now is told again in five seconds.
        let _ = match (rtcp, &self.reach) {
            (Rtcp::Mux, Reach::SourceNow | Reach::Source(_)) => self.pair.rtp.send(report),
            (Rtcp::Mux, Reach::Anyone) => self.pair.rtp.send_to(report, target),
            (Rtcp::Beside(_), _) => self.pair.rtcp.send_to(report, target),
        };
    }

    pub fn send(&mut self, tick: u64, bind: IpAddr) {
        let mut packet = [0; FRAME_PACKET + TRAILER];
        for _ in 0..PACKETS_PER_FRAME {
            self.send_packet(tick, bind, &mut packet);
        }
        self.line.sent_frame();
    }

    fn send_packet(&mut self, tick: u64, bind: IpAddr, packet: &mut [u8; FRAME_PACKET + TRAILER]) {
        let part = packet.first_chunk_mut();
        let length = part.and_then(|part| self.line.frame(tick, part));
        let length = match &mut self.guard {
            None => length,
            Some(guard) => length.and_then(|length| guard.seal(packet, length)),
        };
        let Some(packet) = length.and_then(|length| packet.get(..length)) else { return };
        // A packet that cannot leave now is late for ever.
        let _ = if self.reach != Reach::Anyone {
            self.pair.rtp.send(packet)
        } else if let Some(target) = self.line.target() {
            self.pair.rtp.send_to(packet, source::reachable(target, bind))
        } else {
            return;
        };
    }

    pub fn set_reach(&mut self, ear: &Ear, bind: IpAddr) {
        match ear {
            Ear::AsBefore => {}
            // Whom the other side chooses may be somebody else any time.
            Ear::Closed if self.guard.as_ref().is_some_and(|guard| guard.moves()) => {}
            Ear::Closed => {
                // Connected, the kernel finds the route once and drops strangers for us.
                let target = self.line.target().map(|target| source::reachable(target, bind));
                if target.is_some_and(|target| self.pair.rtp.connect(target).is_ok()) {
                    self.reach = Reach::SourceNow;
                }
            }
            Ear::Open => {
                if self.reach != Reach::Anyone {
                    let _ = rustix::net::connect_unspec(&self.pair.rtp);
                    self.reach = Reach::Anyone;
                }
            }
        }
    }
}

pub(super) fn readable(index: usize, is_rtcp: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, (index as u64) << 1 | is_rtcp)
}

/// Packets of one line in one tick: 6,400 a second, more than a hundred times what a call has.
pub(super) const MOST_PACKETS: usize = 32;
/// No more come to a line in one tick unless something is wrong,
const FEW_PACKETS: usize = 4;
/// and in one round: more than twice what comes of a sender of 10 ms.
const MANY_PACKETS: usize = 64;
/// All that such a socket can hold.
pub(super) const ALL: usize = 1024;
/// A socket that was flooded is drained at every tick for so long.
const CALM: Duration = Duration::from_secs(1);
