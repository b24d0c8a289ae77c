//! Puts the packets of one stream in order and tells what is missing between them.
//!
//! It is not a playout buffer: a recorder is in no hurry, so what comes in order passes at once,
//! and only what comes too early waits for its predecessor. Time is the sender's: a clock of his
//! that drifts against ours costs no sample and adds none. Where his timestamps cannot be true,
//! the clock on the wall tells how long nothing came.

use std::time::{Duration, Instant};

use super::codec::{self, Codec};
use super::rtp::Packet;

#[derive(Debug)]
pub(super) struct Jitter {
    codec: Codec,
    next: Option<Next>,
    pace: Pace,
    /// Packets given up since the last audio.
    missing: u16,
    /// Packets that came before their predecessors, by sequence. Empty but in bad weather.
    held: Vec<Held>,
    /// Bit n: the packet n+1 before the next one has come.
    seen: u64,
    /// Where a source that jumped must go on to be believed (RFC 3550 A.1).
    jumped: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Next {
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    /// When the last audio came.
    heard: Instant,
}

#[derive(Debug)]
struct Held {
    sequence: u16,
    timestamp: u32,
    arrived: Instant,
    /// `None`: a packet without audio, a key for example. It only fills its place.
    audio: Option<Box<[u8]>>,
}

/// A stretch of the stream, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stretch<'a> {
    Audio(&'a [u8]),
    /// It was sent and never came. In ticks of the RTP clock, like all lengths here.
    Lost(u64),
    /// Nothing was sent.
    Pause(u64),
}

/// How the sender's time and ours go together, in ticks of the RTP clock since the first packet.
#[derive(Debug, Default)]
struct Pace {
    epoch: Option<Instant>,
    /// How much has passed, with what was missing.
    position: i64,
    /// How long after its place in the stream a packet came: the least in the last window and in
    /// this one, and about the mean.
    least: [i64; 2],
    mean: i64,
    window: u32,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    InOrder,
    Early,
    Late,
    Duplicate,
    /// It is more audio than time has passed: a flood.
    Excess,
}

impl Jitter {
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            next: None,
            pace: Pace::default(),
            missing: 0,
            held: Vec::new(),
            seen: 0,
            jumped: None,
        }
    }

    /// Takes a packet; `audio` is false for one that only fills its place in the sequence.
    pub fn push(
        &mut self,
        packet: &Packet<'_>,
        audio: bool,
        now: Instant,
        sink: &mut impl FnMut(Stretch<'_>),
    ) -> Arrival {
        if !self.held.is_empty() {
            self.expire(now, sink);
        }
        if self.next.is_some_and(|next| next.ssrc != packet.ssrc) {
            self.anchor(packet, sink);
        }
        let Some(next) = self.next else {
            if audio {
                self.start(packet, now);
                sink(Stretch::Audio(packet.payload));
            }
            return Arrival::InOrder;
        };
        match packet.sequence.wrapping_sub(next.sequence) {
            0 => {
                let audio = audio.then_some(packet.payload);
                let arrival = self.pass(packet.sequence, packet.timestamp, audio, now, sink);
                self.drain(sink);
                arrival
            }
            ahead @ 1..MAX_DROPOUT => self.hold(ahead, packet, audio, now, sink),
            behind if behind > u16::MAX - MEMORY => {
                let bit = 1_u64 << (u16::MAX - behind);
                if self.seen & bit == 0 { Arrival::Late } else { Arrival::Duplicate }
            }
            _ if self.jumped == Some(packet.sequence) => {
                // RFC 3550 A.1: two packets in sequence, so the other side has restarted.
                self.anchor(packet, sink);
                self.push(packet, audio, now, sink)
            }
            _ => {
                self.jumped = Some(packet.sequence.wrapping_add(1));
                Arrival::Late
            }
        }
    }

    /// Gives up on packets that others have waited for long enough.
    pub fn expire(&mut self, now: Instant, sink: &mut impl FnMut(Stretch<'_>)) {
        while let Some(first) = self.held.first() {
            let waited = now.saturating_duration_since(first.arrived);
            if waited < PATIENCE && self.held.len() <= CROWD {
                return;
            }
            self.give_up(sink);
        }
    }

    /// Passes everything that waits: the stream has ended.
    pub fn flush(&mut self, sink: &mut impl FnMut(Stretch<'_>)) {
        while !self.held.is_empty() {
            self.give_up(sink);
        }
    }

    /// When the last audio came in order.
    pub fn heard(&self) -> Option<Instant> {
        self.next.map(|next| next.heard)
    }

    /// The RTP time at which what has passed ends.
    pub fn end(&self) -> Option<u32> {
        self.next.map(|next| next.timestamp)
    }

    /// How far `timestamp` lies behind the end of what has passed, in ticks of the RTP clock.
    pub fn behind(&self, timestamp: u32) -> Option<u64> {
        let behind = self.next?.timestamp.wrapping_sub(timestamp);
        (behind < 1 << 31).then_some(u64::from(behind))
    }

    fn start(&mut self, packet: &Packet<'_>, now: Instant) {
        let lasts = self.codec.ticks(packet.payload);
        self.next = Some(Next {
            sequence: packet.sequence.wrapping_add(1),
            timestamp: after(packet.timestamp, lasts),
            ssrc: packet.ssrc,
            heard: now,
        });
        self.pace = Pace { epoch: Some(now), position: signed(lasts), ..Pace::default() };
        self.seen = 1;
        self.missing = 0;
        self.jumped = None;
    }

    /// Begins to count anew at `packet`; the time until it comes is told by the clock on the wall.
    fn anchor(&mut self, packet: &Packet<'_>, sink: &mut impl FnMut(Stretch<'_>)) {
        self.flush(sink);
        self.seen = 0;
        self.missing = 0;
        self.jumped = None;
        if let Some(next) = &mut self.next {
            next.sequence = packet.sequence;
            next.ssrc = packet.ssrc;
            // Half the circle away: no timestamp near it is plausible, so arrival decides.
            next.timestamp = packet.timestamp.wrapping_add(1 << 31);
        }
    }

    fn hold(
        &mut self,
        ahead: u16,
        packet: &Packet<'_>,
        audio: bool,
        now: Instant,
        sink: &mut impl FnMut(Stretch<'_>),
    ) -> Arrival {
        let first = packet.sequence.wrapping_sub(ahead);
        let place = self.held.partition_point(|held| held.sequence.wrapping_sub(first) < ahead);
        if self.held.get(place).is_some_and(|held| held.sequence == packet.sequence) {
            return Arrival::Duplicate;
        }
        let held = Held {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            arrived: now,
            audio: audio.then(|| packet.payload.into()),
        };
        self.held.insert(place, held);
        self.expire(now, sink);
        Arrival::Early
    }

    /// Stops waiting for what is missing before the first packet held.
    fn give_up(&mut self, sink: &mut impl FnMut(Stretch<'_>)) {
        if let (Some(first), Some(next)) = (self.held.first(), &mut self.next) {
            let missing = first.sequence.wrapping_sub(next.sequence);
            next.sequence = first.sequence;
            self.missing = self.missing.saturating_add(missing);
            self.seen = self.seen.checked_shl(missing.into()).unwrap_or(0);
        }
        self.drain(sink);
    }

    fn drain(&mut self, sink: &mut impl FnMut(Stretch<'_>)) {
        let mut passed = 0;
        while let (Some(held), Some(next)) = (self.held.get(passed), self.next) {
            if held.sequence != next.sequence {
                break;
            }
            let (sequence, timestamp, arrived) = (held.sequence, held.timestamp, held.arrived);
            let audio = self.held[passed].audio.take();
            self.pass(sequence, timestamp, audio.as_deref(), arrived, sink);
            passed += 1;
        }
        self.held.drain(..passed);
    }

    fn pass(
        &mut self,
        sequence: u16,
        timestamp: u32,
        audio: Option<&[u8]>,
        arrived: Instant,
        sink: &mut impl FnMut(Stretch<'_>),
    ) -> Arrival {
        let Some(next) = &mut self.next else { return Arrival::InOrder };
        next.sequence = sequence.wrapping_add(1);
        self.seen = self.seen << 1 | 1;
        self.jumped = None;
        let Some(audio) = audio else { return Arrival::InOrder };
        let clock = self.codec.clock();
        let lasts = self.codec.ticks(audio);
        let gap = timestamp.wrapping_sub(next.timestamp);
        let missing = std::mem::take(&mut self.missing);
        let arrival = self.pace.arrival(arrived, clock);
        if gap > 0 {
            let lost = u64::from(missing) * lasts;
            let (lost, pause) = self.pace.gap(u64::from(gap), lost, arrival, clock);
            if lost > 0 {
                sink(Stretch::Lost(lost));
            }
            if pause > 0 {
                sink(Stretch::Pause(pause));
            }
            self.pace.position += signed(lost + pause);
        }
        next.timestamp = after(timestamp, lasts);
        next.heard = arrived;
        if !self.pace.note(arrival, clock) {
            return Arrival::Excess;
        }
        self.pace.position += signed(lasts);
        sink(Stretch::Audio(audio));
        Arrival::InOrder
    }
}

impl Pace {
    fn arrival(&self, arrived: Instant, clock: u32) -> i64 {
        let since = self.epoch.map(|epoch| arrived.saturating_duration_since(epoch));
        signed(codec::ticks(since.unwrap_or_default(), clock))
    }

    /// How much was lost, and how much was not sent, before a packet whose timestamp is `gap`
    /// after the expected one. RTP time is believed where the clock on the wall bears it out;
    /// else a sender that jumps could write minutes of silence, or rewind.
    fn gap(&self, gap: u64, lost: u64, arrival: i64, clock: u32) -> (u64, u64) {
        let early = self.least[0].min(self.least[1]) - (arrival - self.position - signed(gap));
        // What the numbers of packets bear out as well is believed sooner.
        let credible = if gap <= lost { CREDIBLE } else { UNEVEN };
        if early <= signed(codec::ticks(credible, clock)) {
            let lost = lost.min(gap);
            return (lost, gap - lost);
        }
        let pause = u64::try_from(arrival - self.mean - self.position).unwrap_or(0);
        if pause < codec::ticks(TRIFLE, clock) { (0, 0) } else { (0, pause) }
    }

    /// Notes when the packet at the present position came; false if it cannot have been spoken
    /// since.
    fn note(&mut self, arrival: i64, clock: u32) -> bool {
        let late = arrival - self.position;
        if late < self.least[0] - signed(codec::ticks(EXCESS, clock)) {
            return false;
        }
        self.least[1] = self.least[1].min(late);
        self.mean += (late - self.mean) / 16;
        self.window += 1;
        if self.window == WINDOW {
            self.window = 0;
            self.least = [self.least[1], late];
        }
        true
    }
}

fn after(timestamp: u32, lasts: u64) -> u32 {
    timestamp.wrapping_add(u32::try_from(lasts).unwrap_or_default())
}

fn signed(ticks: u64) -> i64 {
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

/// How long a packet may keep others waiting.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How many packets wait at most: 32 are 640 ms, more than any patience needs.
const CROWD: usize = 32;
/// RFC 3550 A.1: a larger step in sequence is a restart, not a loss.
const MAX_DROPOUT: u16 = 3000;
/// How far back we know whether a packet has come.
const MEMORY: u16 = 64;
/// RTP time may be so far ahead of the wall where packets are missing,
const CREDIBLE: Duration = Duration::from_secs(2);
/// and so far where none is: packets come unevenly.
const UNEVEN: Duration = Duration::from_millis(200);
/// Who sends so much more than time has passed floods us.
const EXCESS: Duration = Duration::from_secs(5);
/// What the clock on the wall tells is not more exact.
const TRIFLE: Duration = Duration::from_millis(10);
/// Packets over which the fastest is remembered, twice: clocks drift.
const WINDOW: u32 = 512;

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Each packet is `sequence timestamp byte[@ms][/ssrc]`, 20 ms apart unless told; a byte `-`
    /// is a packet without audio. The outcome lists bytes of audio, `-n` for n lost and `~n` for a pause.
    fn order(packets: &str) -> (String, String) {
        let start = Instant::now();
        let mut jitter = Jitter::new(Codec::Pcmu);
        let (mut out, mut arrivals, mut clock) = (String::new(), String::new(), 0);
        let mut sink = |stretch: Stretch<'_>| match stretch {
            Stretch::Audio(audio) => out.push(char::from(audio[0])),
            Stretch::Lost(ticks) => write!(out, "-{ticks} ").unwrap(),
            Stretch::Pause(ticks) => write!(out, "~{ticks} ").unwrap(),
        };
        for line in packets.split(',') {
            let (line, ssrc) = line.split_once('/').unwrap_or((line, "1"));
            let (line, ms) = line.split_once('@').unwrap_or((line, ""));
            clock = ms.trim().parse().unwrap_or(clock + 20);
            let words: Vec<_> = line.split_whitespace().collect();
            let packet = Packet {
                payload_type: 0,
                sequence: words[0].parse().unwrap(),
                timestamp: words[1].parse().unwrap(),
                ssrc: ssrc.trim().parse().unwrap(),
                payload: &[words[2].as_bytes()[0]; 160],
            };
            let now = start + Duration::from_millis(clock);
            arrivals.push(match jitter.push(&packet, words[2] != "-", now, &mut sink) {
                Arrival::InOrder => '.',
                Arrival::Early => 'e',
                Arrival::Late => 'l',
                Arrival::Duplicate => 'd',
                Arrival::Excess => 'x',
            });
        }
        jitter.flush(&mut sink);
        (out, arrivals)
    }

    #[test]
    fn streams_come_out_in_order_and_in_time() {
        let table = [
            ("in order", "1 0 a, 2 160 b, 3 320 c", "abc", "..."),
            ("two swapped", "1 0 a, 3 320 c, 2 160 b, 4 480 d", "abcd", ".e.."),
            ("twice", "1 0 a, 2 160 b, 2 160 b, 1 0 a, 3 320 c", "abc", "..dd."),
            ("twice while waiting", "1 0 a, 3 320 c, 3 320 c, 2 160 b", "abc", ".ed."),
            ("one lost", "1 0 a, 3 320 c, 4 480 d", "a-160 cd", ".ee"),
            ("lost, then late", "1 0 a, 3 320 c@20, 4 480 d@120, 2 160 b@130", "a-160 cd", ".e.l"),
            ("a pause of the sender", "1 0 a, 2 1760 b@220", "a~1600 b", ".."),
            ("a long pause", "1 0 a@0, 2 480160 b@60020", "a~480000 b", ".."),
            ("timestamps wrap", "65535 4294967136 a, 0 0 b, 1 160 c", "abc", "..."),
            ("a timestamp from nowhere", "1 0 a, 2 90000000 b, 3 90000160 c", "abc", "..."),
            ("a timestamp back in time", "1 80000 a, 2 160 b, 3 320 c", "abc", "..."),
            ("back after a pause", "1 80000 a@0, 2 160 b@520", "a~4000 b", ".."),
            ("another stream", "1 0 a/1, 900 5000 b/2, 901 5160 c/2", "abc", "..."),
            ("another stream later", "1 0 a@0/1, 900 5000 b@520/2", "a~4000 b", ".."),
            ("a restart", "1 0 a, 30000 7 x, 30001 167 b, 30002 327 c", "a~160 bc", ".l.."),
            ("a jump of a second", "1 0 a, 2 8160 b, 3 8320 c", "abc", "..."),
            ("a jump, then a loss", "1 0 a, 2 9000 b, 4 9320 d, 5 9480 e", "ab-160 de", "..ee"),
            (
                "lost around a pause",
                "1 0 a@0, 3 8000 c@1000, 4 8160 d@1020",
                "a-160 ~7680 cd",
                ".ee",
            ),
            (
                "a stall, then all at once",
                "1 0 a, 2 160 b@900, 4 480 d@900, 5 640 e@900",
                "ab-160 de",
                "..ee",
            ),
            ("a key fills its place", "1 0 a, 2 160 -, 3 160 -, 4 480 b@80", "a~320 b", "...."),
            ("a key at the end adds nothing", "1 0 a, 2 160 -, 3 160 -", "a", "..."),
            ("a key comes early", "1 0 a, 3 320 -, 2 160 b, 4 480 c", "ab~160 c", ".e.."),
        ];
        for (name, packets, audio, arrivals) in table {
            assert_eq!(order(packets), (audio.into(), arrivals.into()), "{name}");
        }
    }

    #[test]
    fn a_crowd_does_not_wait() {
        let mut jitter = Jitter::new(Codec::Pcmu);
        let now = Instant::now();
        let mut passed = 0;
        for sequence in (0..100).map(|n| n * 2) {
            let packet =
                Packet { payload_type: 0, sequence, timestamp: 0, ssrc: 1, payload: &[0; 160] };
            jitter.push(&packet, true, now, &mut |stretch| {
                passed += usize::from(matches!(stretch, Stretch::Audio(_)));
            });
            assert!(jitter.held.len() <= CROWD);
        }
        assert_eq!(passed, 100 - CROWD);
    }
}
