//! The media threads: sockets, the tick, and the wheel.
//!
//! A call belongs to one thread. Every 5 ms the thread drains the sockets that have something and
//! sends the frames that are due; a frame comes due every fourth tick, so calls are spread over
//! four slots. In between it sleeps, and only a command wakes it.
//!
//! A call that only records is in no hurry, for the kernel notes when each packet came: its socket
//! is drained every 60 ms, three packets in one go, which costs little more than one, or every
//! 240 ms where the thread has many, a half of them at a time. There is something in nearly each, so
//! nobody asks which. A thread whose calls all record wakes only for that.

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use super::command::{Bell, COMMANDS, Command, Way};
use super::event::Told;
use super::handshakes::{Handshakes, Peer};
use super::line::Line;
use super::load::{Effort, Load};
use super::pair::Pair;
use super::ports::Ports;
use super::post::{Moment, Post};
use super::rtcp::REPORT;
use super::sender::TICKS_PER_FRAME;
use super::source;
use super::srtp::TRAILER;
use super::wire::{ALL, MOST_PACKETS, Patience, Slot, Wire, readable};
use super::writer::Outbox;

/// A way to one media thread, which ends with it.
#[derive(Debug)]
pub(super) struct Link {
    way: Way,
    lines: Arc<AtomicUsize>,
    busy: Arc<AtomicUsize>,
}

struct Shard {
    ports: Arc<Mutex<Ports>>,
    bind: IpAddr,
    commands: Receiver<(usize, Command)>,
    bell: Arc<Bell>,
    lines: Arc<AtomicUsize>,
    busy: Arc<AtomicUsize>,
    effort: Effort,
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
    /// The last tick whose share of those who are in no hurry was heard.
    heard: u64,
    /// Lines whose sockets are drained at every tick.
    hurried: usize,
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
        let [lines, busy] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let way = Way { commands: sender, bell: Arc::clone(&bell) };
        let shard = Shard {
            ports,
            bind,
            commands,
            bell,
            lines: Arc::clone(&lines),
            busy: Arc::clone(&busy),
            effort: Effort::new(),
            way: way.clone(),
            handshakes,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            wires: Vec::new(),
            wheel: Default::default(),
            outbox,
            epoch: Instant::now(),
            tick: 0,
            heard: 0,
            hurried: 0,
        };
        thread::Builder::new().name(name).spawn(move || shard.run())?;
        Ok(Self { way, lines, busy })
    }

    pub fn load(&self) -> Load {
        let [lines, busy] = [&self.lines, &self.busy].map(|count| count.load(Ordering::Relaxed));
        Load { lines, busy }
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
            if let Some(busy) = self.effort.tell(moment.now) {
                self.busy.store(busy, Ordering::Relaxed);
            }
        }
    }

    /// Sleeps until the next tick where anything is to be done, or until the bell rings.
    fn sleep(&self) {
        let idle = self.lines.load(Ordering::Relaxed) == 0 && self.outbox.is_empty();
        let (step, _) = self.rhythm();
        let next = step - self.tick % step;
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
        self.tick = self.tick.max(due.saturating_sub(CATCH_UP));
        self.receive(moment, post);
        while self.tick < due {
            self.tick += 1;
            self.send_due();
            self.look_round(now);
        }
        // Some each time, so that no frame to be sent waits for all of them, nor a writer for work.
        let (step, round) = self.rhythm();
        let shares = shares(self.heard, due, step, round);
        self.heard = self.heard.max(*shares.end());
        for share in shares {
            self.receive_unhurried(share % round, round, moment, post);
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

    /// Ticks from one waking to the next, and of a round of those who are in no hurry.
    fn rhythm(&self) -> (u64, u64) {
        let few = self.lines.load(Ordering::Relaxed) < MANY;
        let round = if few { UNHURRIED } else { UNHURRIED_AMONG_MANY };
        (if self.hurried > 0 { 1 } else { UNHURRIED.max(round / 2) }, round)
    }

    fn receive_unhurried(&mut self, first: u64, stride: u64, moment: &Moment, post: &mut Post) {
        let [first, stride] = [first, stride].map(|n| usize::try_from(n).unwrap_or(1));
        let wires = self.wires.iter_mut().enumerate();
        for (index, wire) in wires.skip(first).step_by(stride) {
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
        let mut kept = 0;
        for first in (0..due.len()).step_by(ABREAST) {
            let some = first..due.len().min(first + ABREAST);
            // All are looked at before any sends: so the processor fetches them from memory side by
            // side, and not one after another between calls of the system.
            let mut speaks = [false; ABREAST];
            for (speaks, &index) in speaks.iter_mut().zip(&due[some.clone()]) {
                let wire = self.wires.get(index).and_then(Option::as_ref);
                // What cannot be understood yet is said when it can.
                *speaks = wire.is_some_and(|wire| wire.line.is_playing() && wire.is_up());
            }
            for (n, speaks) in some.zip(speaks) {
                let index = due[n];
                let Some(wire) = self.wires.get_mut(index).and_then(Option::as_mut) else {
                    continue;
                };
                if speaks {
                    wire.send(self.tick, self.bind);
                }
                if wire.line.is_playing() {
                    due[kept] = index;
                    kept += 1;
                } else {
                    wire.slot = Slot::None;
                }
            }
        }
        due.truncate(kept);
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
        let wire = Wire::new(pair, line, self.handshakes.clone());
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

/// The ticks whose shares of a round are due. A line's is that of the same tick in each round, however
/// often the thread wakes: so none waits longer than for a round and a waking.
fn shares(heard: u64, due: u64, step: u64, round: u64) -> RangeInclusive<u64> {
    let last = due - due % step;
    heard.max(last.saturating_sub(round)) + 1..=last
}

/// Milliseconds of a tick.
const TICK: u64 = 5;
/// Ticks after which those who are in no hurry are heard: three packets each, as a rule. A key that
/// ends a recording waits so long at most,
const UNHURRIED: u64 = 12;
/// or so long where so many lines share a thread: twelve packets each, for much less.
const UNHURRIED_AMONG_MANY: u64 = 48;
const MANY: usize = 256;
/// Ticks that are made up for after a stall: 80 ms.
const CATCH_UP: u64 = 16;
/// Ticks in which every line has had its look at the clock.
const ROUND: u64 = 20;
/// Lines whose state is fetched at once.
const ABREAST: usize = 16;
/// A slot of the wheel for each tick of a frame.
const SLOTS: usize = 4;
const EVENTS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// However calls come and go and whatever they do, and how late the thread ever wakes.
        #[test]
        fn no_line_waits_longer_than_for_a_round_and_a_waking(
            wakings in proptest::collection::vec((1..LATE, proptest::bool::ANY, proptest::bool::ANY), 1..300),
        ) {
            let (mut heard, mut due, mut lines) = (0, 0, [0; 48]);
            for (late, hurries, few) in wakings {
                let round = if few { UNHURRIED } else { UNHURRIED_AMONG_MANY };
                let step = if hurries { 1 } else { UNHURRIED.max(round / 2) };
                due += late;
                let shares = shares(heard, due, step, round);
                heard = heard.max(*shares.end());
                for share in shares {
                    let its = |line: &u64| line % round == share % round;
                    for (_, at) in (0..).zip(&mut lines).filter(|(line, _)| its(line)) {
                        *at = due;
                    }
                }
                let most = UNHURRIED_AMONG_MANY + UNHURRIED_AMONG_MANY / 2 + LATE;
                proptest::prop_assert!(lines.iter().all(|at| due - at <= most), "{lines:?} at {due}");
            }
        }
    }

    const LATE: u64 = 20;
}
