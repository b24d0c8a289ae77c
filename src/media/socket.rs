//! The media threads: sockets, the tick, and the wheel.
//!
//! A call belongs to one thread. Every 5 ms the thread drains the sockets that have something and
//! sends the frames that are due; a frame comes due every fourth tick, so calls are spread over
//! four slots. In between it sleeps, and only a command wakes it.
//!
//! A call that only records is in no hurry, for the kernel notes when each packet came: its socket
//! is drained every 60 ms, three packets in one go, which costs little more than one, or every
//! 100 ms where the thread has many. There is something in nearly each, so nobody asks which. A
//! thread whose calls all record sleeps so long.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use super::command::{Bell, COMMANDS, Command, Way};
use super::guard::{self, Guard, Passed};
use super::handshakes::{Handshakes, Peer};
use super::keying::{Fingerprint, Role, Security};
use super::line::{Ear, FRAME_PACKET, Line, PACKETS_PER_FRAME, TICKS_PER_FRAME};
use super::port::{Rtcp, Told};
use super::ports::Ports;
use super::post::{self, HANDFUL, Moment, Post};
use super::rtcp::REPORT;
use super::source;
use super::srtp::TRAILER;
use super::writer::Outbox;

/// A way to one media thread, which ends with it.
#[derive(Debug)]
pub(super) struct Link {
    way: Way,
    lines: Arc<AtomicUsize>,
}

/// The sockets of a call.
#[derive(Debug)]
pub(super) struct Pair {
    pub number: u16,
    rtp: UdpSocket,
    /// For reports (RFC 3550 §11), unless they come and go with RTP.
    rtcp: UdpSocket,
}

struct Shard {
    ports: Arc<Mutex<Ports>>,
    bind: IpAddr,
    commands: Receiver<(usize, Command)>,
    bell: Arc<Bell>,
    lines: Arc<AtomicUsize>,
    way: Way,
    handshakes: Handshakes,
    /// Who is heard at every tick.
    epoll: Epoll,
    wires: Vec<Option<Box<Wire>>>,
    wheel: [Vec<usize>; SLOTS],
    outbox: Outbox,
    epoch: Instant,
    /// The last tick done.
    tick: u64,
    /// Lines whose sockets are drained at every tick.
    hurried: usize,
}

/// How often a line's RTP socket is drained.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Tick,
    Round,
}

/// A line and its sockets.
struct Wire {
    line: Line,
    pair: Pair,
    guard: Option<Box<Guard>>,
    handshakes: Handshakes,
    reach: Reach,
    slot: Slot,
    patience: Patience,
    /// When more came than a call sends: its socket would be full before the next round.
    flooded: Option<Instant>,
}

/// Who can reach the RTP socket.
#[derive(PartialEq, Eq)]
enum Reach {
    Anyone,
    Source,
}

/// Whether the line is on the wheel.
#[derive(PartialEq, Eq)]
enum Slot {
    None,
    Taken,
}

impl Link {
    /// Starts a media thread.
    pub fn start(
        name: String,
        bind: IpAddr,
        ports: Arc<Mutex<Ports>>,
        outbox: Outbox,
        handshakes: Handshakes,
    ) -> io::Result<Self> {
        let (sender, commands) = sync_channel(COMMANDS);
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let bell = Arc::new(Bell { event, rung: AtomicBool::new(false) });
        let lines = Arc::new(AtomicUsize::new(0));
        let way = Way { commands: sender, bell: Arc::clone(&bell) };
        let shard = Shard {
            ports,
            bind,
            commands,
            bell,
            lines: Arc::clone(&lines),
            way: way.clone(),
            handshakes,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            wires: Vec::new(),
            wheel: Default::default(),
            outbox,
            epoch: Instant::now(),
            tick: 0,
            hurried: 0,
        };
        thread::Builder::new().name(name).spawn(move || shard.run())?;
        Ok(Self { way, lines })
    }

    /// How many lines the thread has.
    pub fn load(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }

    /// Hands a line over; gives it back if the thread is behind with its commands.
    pub fn open(&self, index: usize, pair: Pair, line: Line) -> Result<(), Pair> {
        self.lines.fetch_add(1, Ordering::Relaxed);
        let command = Command::Open(Box::new(pair), Box::new(line));
        match self.way.commands.try_send((index, command)) {
            Ok(()) => {
                self.way.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full((_, Command::Open(pair, _)))) => {
                self.lines.fetch_sub(1, Ordering::Relaxed);
                Err(*pair)
            }
            Err(_) => Ok(()),
        }
    }

    pub fn send(&self, index: usize, command: Command) {
        self.way.send(index, command);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.send(0, Command::End);
    }
}

impl Pair {
    /// Binds the next pair that is free, stepping over those that other programs hold.
    pub fn bind(bind: IpAddr, ports: &Mutex<Ports>) -> io::Result<Option<Self>> {
        let ports = || ports.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let now = Instant::now();
            let Some(number) = ports().take(now) else { return Ok(None) };
            match Self::at(bind, number) {
                Ok(pair) => return Ok(Some(pair)),
                Err(error) => {
                    ports().give_back(number, now);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Closes the sockets and lets the pair rest.
    pub fn give_back(self, ports: &Mutex<Ports>) {
        let number = self.number;
        drop(self);
        let mut ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.give_back(number, Instant::now());
    }

    fn at(bind: IpAddr, number: u16) -> io::Result<Self> {
        let audio = socket(SocketAddr::new(bind, number))?;
        post::stamps(&audio);
        // Twice what is usual, for a flood that comes between two rounds; taken only where it does.
        let _ = audio.set_recv_buffer_size(BUFFER);
        // Expedited forwarding (RFC 4594 §4.1): voice goes first where the network cares.
        match bind {
            IpAddr::V4(_) => audio.set_tos_v4(EXPEDITED)?,
            IpAddr::V6(_) => audio.set_tclass_v6(EXPEDITED)?,
        }
        let reports = socket(SocketAddr::new(bind, number + 1))?;
        post::stamps(&reports);
        Ok(Self { number, rtp: audio.into(), rtcp: reports.into() })
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Shard {
    fn run(mut self) {
        let mut post = Post::new();
        loop {
            self.sleep();
            let moment = Moment::now();
            self.turn(&moment, &mut post);
            // Commands come after the tick, so that a frame which ends a sound is not overtaken.
            while let Ok((index, command)) = self.commands.try_recv() {
                if let Command::End = command {
                    self.outbox.close();
                    return;
                }
                self.obey(index, command, &moment, &mut post);
            }
            self.outbox.flush();
        }
    }

    /// Sleeps until the next tick where anything is to be done, or until the bell rings.
    fn sleep(&self) {
        let idle = self.lines.load(Ordering::Relaxed) == 0 && self.outbox.is_empty();
        let next =
            if self.hurried > 0 { 1 } else { self.unhurried() - self.tick % self.unhurried() };
        let due = self.epoch + Duration::from_millis(TICK * (self.tick + next));
        let wait = due.saturating_duration_since(Instant::now());
        let mut bell = [PollFd::new(self.bell.event.as_fd(), PollFlags::POLLIN)];
        // A signal that interrupts this is as good as a tick.
        let rung = ppoll(&mut bell, (!idle).then(|| TimeSpec::from_duration(wait)), None);
        if rung == Ok(1) {
            self.bell.answer();
        }
    }

    /// Does the ticks that are due.
    fn turn(&mut self, moment: &Moment, post: &mut Post) {
        let now = moment.now;
        let elapsed = now.saturating_duration_since(self.epoch).as_millis();
        let due = u64::try_from(elapsed).unwrap_or(u64::MAX) / TICK;
        if due <= self.tick {
            return;
        }
        // What is long past is not made up for: the sounds go on from here.
        let before = self.tick;
        self.tick = self.tick.max(due.saturating_sub(CATCH_UP));
        self.receive(moment, post);
        if before / self.unhurried() < due / self.unhurried() {
            self.receive_unhurried(moment, post);
        }
        while self.tick < due {
            self.tick += 1;
            self.send_due();
            self.look_round(now);
        }
        self.outbox.tick(now);
    }

    fn receive(&mut self, moment: &Moment, post: &mut Post) {
        let mut events = [EpollEvent::empty(); EVENTS];
        // Level-triggered, which measured no dearer than edge-triggered and needs no reading until
        // the socket is empty: each round begins with those not seen in the last one. What a flood
        // leaves unread waits for the next tick, like everybody else.
        for _ in 0..=self.lines.load(Ordering::Relaxed) / EVENTS {
            let count = self.epoll.wait(&mut events, 0_u8).unwrap_or(0);
            for event in &events[..count] {
                let (index, is_rtcp) = (event.data() >> 1, event.data() & 1 == 1);
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let Some(wire) = self.wires.get_mut(index).and_then(Option::as_mut) else {
                    continue;
                };
                if is_rtcp {
                    wire.hear_reports(moment, post);
                } else {
                    wire.drain(MOST_PACKETS, self.bind, moment, post, &mut self.outbox);
                }
            }
            if count < EVENTS {
                return;
            }
        }
    }

    /// Ticks between two rounds of those who are in no hurry.
    fn unhurried(&self) -> u64 {
        if self.lines.load(Ordering::Relaxed) < MANY { UNHURRIED } else { UNHURRIED_AMONG_MANY }
    }

    fn receive_unhurried(&mut self, moment: &Moment, post: &mut Post) {
        for (index, wire) in self.wires.iter_mut().enumerate() {
            let Some(wire) = wire.as_mut().filter(|wire| wire.patience == Patience::Round) else {
                continue;
            };
            wire.drain(ALL, self.bind, moment, post, &mut self.outbox);
            // While it is at hand.
            wire.look(self.tick, moment.now, self.bind, &mut self.outbox);
            wire.settle(index, moment.now, &self.epoll, &mut self.hurried);
        }
    }

    fn send_due(&mut self) {
        let slot = usize::try_from(self.tick % TICKS_PER_FRAME).unwrap_or_default();
        let mut due = std::mem::take(&mut self.wheel[slot]);
        due.retain(|&index| {
            let Some(wire) = self.wires.get_mut(index).and_then(Option::as_mut) else {
                return false;
            };
            // What cannot be understood yet is said when it can.
            if wire.line.is_playing() && wire.is_up() {
                wire.send(self.tick, self.bind);
            }
            let goes_on = wire.line.is_playing();
            if !goes_on {
                wire.slot = Slot::None;
            }
            goes_on
        });
        self.wheel[slot] = due;
    }

    /// Lets the clock work on some of the lines that are in a hurry, so that each of them has its
    /// turn every 100 ms.
    fn look_round(&mut self, now: Instant) {
        if self.hurried == 0 {
            return;
        }
        let first = usize::try_from(self.tick % ROUND).unwrap_or_default();
        let stride = usize::try_from(ROUND).unwrap_or(1);
        let lines = self.wires.iter_mut().enumerate().skip(first).step_by(stride);
        for (index, wire) in lines.filter_map(|(index, wire)| Some((index, wire.as_mut()?))) {
            if wire.patience == Patience::Tick {
                wire.look(self.tick, now, self.bind, &mut self.outbox);
                wire.settle(index, now, &self.epoll, &mut self.hurried);
            }
        }
    }

    fn obey(&mut self, index: usize, command: Command, moment: &Moment, post: &mut Post) {
        let now = moment.now;
        if let Command::Open(pair, line) = command {
            self.open(index, *pair, *line);
            return;
        }
        let Some(wire) = self.wires.get_mut(index).and_then(Option::as_mut) else { return };
        match command {
            Command::Secure(security) => {
                wire.hear_out(self.bind, moment, post, &mut self.outbox);
                let way = &self.way;
                wire.secure(*security, |theirs, role, checked| {
                    Arc::new(Peer::new(index, way.clone(), theirs, role, checked))
                });
            }
            Command::Connect(stream) => {
                wire.hear_out(self.bind, moment, post, &mut self.outbox);
                let ear = wire.line.connect(stream, now);
                wire.set_reach(&ear, self.bind);
                wire.begin_handshake();
                self.enrol(index);
            }
            Command::Play { playback, number } => {
                wire.line.play(playback, number);
                self.enrol(index);
            }
            Command::Control(control) => {
                wire.line.control(control);
                self.enrol(index);
            }
            Command::Press { keys, playback } => {
                wire.line.press(&keys, playback);
                self.enrol(index);
            }
            Command::StopPlaying => wire.line.stop_playing(),
            Command::Record(take) => {
                wire.line.record(take, now, &mut self.outbox);
            }
            Command::StopRecording => {
                // What the caller said before hanging up may still lie in the socket.
                wire.drain(ALL, self.bind, moment, post, &mut self.outbox);
                wire.line.stop_recording(now, &mut self.outbox);
            }
            Command::Transmit { ticket, to, datagram } => {
                if wire.is_with(ticket) {
                    // What cannot leave is repeated.
                    let _ = wire.pair.rtp.send_to(&datagram, source::reachable(to, self.bind));
                }
            }
            Command::Key { ticket, keys } => {
                if let Some(guard) = &mut wire.guard {
                    guard.key(ticket, &keys);
                }
            }
            Command::Unkeyed { ticket, why } => {
                if wire.is_with(ticket) {
                    wire.line.teller.tell(Told::Unkeyed(why));
                }
            }
            Command::Close => self.close(index, moment, post),
            Command::Open(..) | Command::End => {}
        }
        if let Some(wire) = self.wires.get_mut(index).and_then(Option::as_mut) {
            wire.settle(index, now, &self.epoll, &mut self.hurried);
        }
    }

    fn open(&mut self, index: usize, pair: Pair, line: Line) {
        let (rtp, rtcp) = (readable(index, 0), readable(index, 1));
        // Fails only for want of kernel memory: then the call is silent, and its own timers end it.
        let _ = self.epoll.add(&pair.rtp, rtp).and(self.epoll.add(&pair.rtcp, rtcp));
        if self.wires.len() <= index {
            self.wires.resize_with(index + 1, || None);
        }
        let wire = Wire {
            line,
            pair,
            guard: None,
            handshakes: self.handshakes.clone(),
            reach: Reach::Anyone,
            slot: Slot::None,
            patience: Patience::Tick,
            flooded: None,
        };
        self.hurried += 1;
        self.wires[index] = Some(Box::new(wire));
    }

    fn close(&mut self, index: usize, moment: &Moment, post: &mut Post) {
        let now = moment.now;
        let Some(mut wire) = self.wires.get_mut(index).and_then(Option::take) else { return };
        wire.drain(ALL, self.bind, moment, post, &mut self.outbox);
        wire.line.stop_recording(now, &mut self.outbox);
        let (mut report, tick) = ([0; REPORT + TRAILER], self.tick);
        let part = report.first_chunk_mut();
        if let Some(length) = part.and_then(|part| wire.line.farewell(tick, now, part)) {
            wire.send_report(&mut report, length, self.bind);
        }
        self.hurried -= usize::from(wire.patience == Patience::Tick);
        wire.pair.give_back(&self.ports);
        self.lines.fetch_sub(1, Ordering::Relaxed);
    }

    /// Puts a line that plays on the wheel. Its first frame leaves at once, unless it follows so
    /// closely on the last sound that it takes that one's next place.
    fn enrol(&mut self, index: usize) {
        let Some(wire) = self.wires.get_mut(index).and_then(Option::as_mut) else { return };
        if !wire.line.is_playing() || wire.slot == Slot::Taken {
            return;
        }
        let follows = wire.line.sent().filter(|sent| self.tick < sent + TICKS_PER_FRAME);
        if follows.is_none() && wire.is_up() {
            wire.send(self.tick, self.bind);
        }
        if wire.line.is_playing() {
            wire.slot = Slot::Taken;
            let slot = follows.unwrap_or(self.tick) % TICKS_PER_FRAME;
            self.wheel[usize::try_from(slot).unwrap_or_default()].push(index);
        }
    }
}

impl Wire {
    /// What the clock alone brings about.
    fn look(&mut self, tick: u64, now: Instant, bind: IpAddr, outbox: &mut Outbox) {
        let ear = self.line.tick(now, outbox);
        self.set_reach(&ear, bind);
        self.begin_handshake();
        self.report(tick, now, bind);
    }

    fn drain(
        &mut self,
        most: usize,
        bind: IpAddr,
        moment: &Moment,
        post: &mut Post,
        outbox: &mut Outbox,
    ) {
        let calm = if self.patience == Patience::Tick { FEW_PACKETS } else { MOST_PACKETS };
        let mut came = 0;
        for _ in 0..most.div_ceil(HANDFUL) {
            match post.fetch(&self.pair.rtp, moment) {
                Ok(count) => {
                    came += count;
                    if came > calm {
                        self.flooded = Some(moment.now);
                    }
                    for n in 0..count {
                        let Some((datagram, from, at)) = post.letter(n) else { continue };
                        let Some(length) = self.admit(datagram, from, bind) else { continue };
                        let ear = self.line.hear(&datagram[..length], from, at, outbox);
                        self.set_reach(&ear, bind);
                    }
                    if count < HANDFUL {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // ECONNREFUSED: the peer's socket is not there, or not yet: it says so once for each packet that
                // we sent. Whether the call lives is for signalling to say.
                Err(_) => {}
            }
        }
    }

    /// What still lies in the socket was sent under the agreement that is about to end.
    fn hear_out(&mut self, bind: IpAddr, moment: &Moment, post: &mut Post, outbox: &mut Outbox) {
        if self.patience == Patience::Round {
            self.drain(ALL, bind, moment, post, outbox);
        }
    }

    /// Takes the RTP socket from those that are heard at every tick while its line only records,
    /// and back. Where that fails, for want of memory, all stays as it is.
    fn settle(&mut self, index: usize, now: Instant, epoll: &Epoll, hurried: &mut usize) {
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

    fn hear_reports(&mut self, moment: &Moment, post: &mut Post) {
        // A flood of them is no better than one handful.
        let count = post.fetch(&self.pair.rtcp, moment).unwrap_or(0);
        for n in 0..count {
            let Some((datagram, from, at)) = post.letter(n) else { continue };
            let Some(length) = self.admit_report(datagram, from) else { continue };
            self.line.hear_report(&datagram[..length], from, at);
        }
    }

    /// Takes what was agreed about keys and ways.
    fn secure(
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
    fn is_up(&self) -> bool {
        self.guard.as_ref().is_none_or(|guard| guard.is_up())
    }

    fn is_with(&self, ticket: u64) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.is_with(ticket))
    }

    fn begin_handshake(&mut self) {
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
    fn send_report(&mut self, report: &mut [u8], length: usize, bind: IpAddr) {
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
            (Rtcp::Mux, Reach::Source) => self.pair.rtp.send(report),
            (Rtcp::Mux, Reach::Anyone) => self.pair.rtp.send_to(report, target),
            (Rtcp::Beside(_), _) => self.pair.rtcp.send_to(report, target),
        };
    }

    fn send(&mut self, tick: u64, bind: IpAddr) {
        for _ in 0..PACKETS_PER_FRAME {
            self.send_packet(tick, bind);
        }
        self.line.sent_frame();
    }

    fn send_packet(&mut self, tick: u64, bind: IpAddr) {
        let mut packet = [0; FRAME_PACKET + TRAILER];
        let part = packet.first_chunk_mut();
        let length = part.and_then(|part| self.line.frame(tick, part));
        let length = match &mut self.guard {
            None => length,
            Some(guard) => length.and_then(|length| guard.seal(&mut packet, length)),
        };
        if let Some(length) = length {
            let packet = &packet[..length];
            // A packet that cannot leave now is late for ever.
            let _ = match (&self.reach, self.line.target()) {
                (Reach::Source, _) => self.pair.rtp.send(packet),
                (Reach::Anyone, Some(target)) => {
                    self.pair.rtp.send_to(packet, source::reachable(target, bind))
                }
                (Reach::Anyone, None) => Ok(0),
            };
        }
    }

    fn set_reach(&mut self, ear: &Ear, bind: IpAddr) {
        match ear {
            Ear::AsBefore => {}
            // Whom the other side chooses may be somebody else any time.
            Ear::Closed if self.guard.as_ref().is_some_and(|guard| guard.moves()) => {}
            Ear::Closed => {
                // Connected, the kernel finds the route once and drops strangers for us.
                let target = self.line.target().map(|target| source::reachable(target, bind));
                if target.is_some_and(|target| self.pair.rtp.connect(target).is_ok()) {
                    self.reach = Reach::Source;
                }
            }
            Ear::Open => {
                if self.reach == Reach::Source {
                    let _ = rustix::net::connect_unspec(&self.pair.rtp);
                    self.reach = Reach::Anyone;
                }
            }
        }
    }
}

fn readable(index: usize, is_rtcp: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, (index as u64) << 1 | is_rtcp)
}

/// Milliseconds of a tick.
const TICK: u64 = 5;
/// Ticks after which those who are in no hurry are heard: three packets each, as a rule. A key that
/// ends a recording waits so long at most.
const UNHURRIED: u64 = 12;
/// The same where so many lines share a thread: five packets each, a third cheaper.
const UNHURRIED_AMONG_MANY: u64 = 20;
const MANY: usize = 256;
/// Ticks that are made up for after a stall: 80 ms.
const CATCH_UP: u64 = 16;
/// Ticks in which every line has had its look at the clock.
const ROUND: u64 = 20;
/// A slot of the wheel for each tick of a frame.
const SLOTS: usize = 4;
const EVENTS: usize = 512;
/// Packets of one line in one tick: 6,400 a second, more than a hundred times what a call has.
const MOST_PACKETS: usize = 32;
/// No more come to a line in one tick unless something is wrong.
const FEW_PACKETS: usize = 4;
/// What Linux lets anybody have; it counts double.
const BUFFER: usize = 212_992;
/// All that such a socket can hold.
const ALL: usize = 1024;
/// Ports that other programs may hold in a row.
const TRIES: usize = 64;
/// A socket that was flooded is drained at every tick for so long.
const CALM: Duration = Duration::from_secs(1);
const EXPEDITED: u32 = 46 << 2;
