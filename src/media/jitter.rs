//! Puts the packets of one stream in order and turns gaps in RTP time into silence.
//!
//! It is not a playout buffer: a recorder is in no hurry, so what comes in order passes at once,
//! and only what comes too early waits for its predecessor.

use std::time::{Duration, Instant};

use super::codec::{self, Codec};
use super::rtp::Packet;

#[derive(Debug)]
pub(super) struct Jitter {
    codec: Codec,
    next: Option<Next>,
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
    /// In ticks of the RTP clock.
    Silence(u64),
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    InOrder,
    Early,
    Late,
    Duplicate,
}

impl Jitter {
    pub fn new(codec: Codec) -> Self {
        Self { codec, next: None, held: Vec::new(), seen: 0, jumped: None }
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
                sink(Stretch::Audio(packet.payload));
                self.start(packet, now);
            }
            return Arrival::InOrder;
        };
        match packet.sequence.wrapping_sub(next.sequence) {
            0 => {
                let audio = audio.then_some(packet.payload);
                self.pass(packet.sequence, packet.timestamp, audio, now, sink);
                self.drain(sink);
                Arrival::InOrder
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

    /// How far `timestamp` lies behind the end of what has passed, in ticks of the RTP clock.
    pub fn behind(&self, timestamp: u32) -> Option<u64> {
        let behind = self.next?.timestamp.wrapping_sub(timestamp);
        (behind < 1 << 31).then_some(u64::from(behind))
    }

    fn start(&mut self, packet: &Packet<'_>, now: Instant) {
        self.next = Some(Next {
            sequence: packet.sequence.wrapping_add(1),
            timestamp: after(packet.timestamp, self.codec, packet.payload),
            ssrc: packet.ssrc,
            heard: now,
        });
        self.seen = 1;
        self.jumped = None;
    }

    /// Begins to count anew at `packet`; the time until it comes is told by the clock on the wall.
    fn anchor(&mut self, packet: &Packet<'_>, sink: &mut impl FnMut(Stretch<'_>)) {
        self.flush(sink);
        self.seen = 0;
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
    ) {
        let Some(next) = &mut self.next else { return };
        next.sequence = sequence.wrapping_add(1);
        self.seen = self.seen << 1 | 1;
        self.jumped = None;
        let Some(audio) = audio else { return };
        let elapsed = arrived.saturating_duration_since(next.heard);
        let silence = pause(self.codec, timestamp.wrapping_sub(next.timestamp), elapsed, audio);
        if silence > 0 {
            sink(Stretch::Silence(silence));
        }
        sink(Stretch::Audio(audio));
        next.timestamp = after(timestamp, self.codec, audio);
        next.heard = arrived;
    }
}

/// The silence before a packet whose timestamp is `gap` after the expected one. RTP time is
/// believed where the clock on the wall can bear it out; else a sender that jumps could write
/// minutes of silence, or rewind.
fn pause(codec: Codec, gap: u32, elapsed: Duration, audio: &[u8]) -> u64 {
    if gap == 0 {
        return 0;
    }
    let elapsed = codec::samples(elapsed, codec.clock());
    let gap = u64::from(gap);
    if gap < elapsed + codec::samples(CREDIBLE, codec.clock()) {
        return gap;
    }
    let missed = elapsed.saturating_sub(codec.samples(audio.len()));
    if missed < codec::samples(UNEVEN, codec.clock()) { 0 } else { missed }
}

fn after(timestamp: u32, codec: Codec, audio: &[u8]) -> u32 {
    let lasts = u32::try_from(codec.samples(audio.len())).unwrap_or_default();
    timestamp.wrapping_add(lasts)
}

/// How long a packet may keep others waiting.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How many packets wait at most: 32 are 640 ms, more than any patience needs.
const CROWD: usize = 32;
/// RFC 3550 A.1: a larger step in sequence is a restart, not a loss.
const MAX_DROPOUT: u16 = 3000;
/// How far back we know whether a packet has come.
const MEMORY: u16 = 64;
/// RTP time may be so far ahead of the wall.
const CREDIBLE: Duration = Duration::from_secs(2);
/// Packets come so unevenly without that time has passed between them.
const UNEVEN: Duration = Duration::from_millis(60);

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Each packet is `sequence timestamp byte[@ms][/ssrc]`, 20 ms apart unless told; a byte `-`
    /// is a packet without audio. The outcome lists bytes of audio and `~n` for n of silence.
    fn order(packets: &str) -> (String, String) {
        let start = Instant::now();
        let mut jitter = Jitter::new(Codec::Pcmu);
        let (mut out, mut arrivals, mut clock) = (String::new(), String::new(), 0);
        let mut sink = |stretch: Stretch<'_>| match stretch {
            Stretch::Audio(audio) => out.push(char::from(audio[0])),
            Stretch::Silence(samples) => write!(out, "~{samples} ").unwrap(),
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
            ("one lost", "1 0 a, 3 320 c, 4 480 d", "a~160 cd", ".ee"),
            ("lost, then late", "1 0 a, 3 320 c@20, 4 480 d@120, 2 160 b@130", "a~160 cd", ".e.l"),
            ("a pause of the sender", "1 0 a, 2 1760 b@220", "a~1600 b", ".."),
            ("a long pause", "1 0 a@0, 2 480160 b@60020", "a~480000 b", ".."),
            ("timestamps wrap", "65535 4294967136 a, 0 0 b, 1 160 c", "abc", "..."),
            ("a timestamp from nowhere", "1 0 a, 2 90000000 b, 3 90000160 c", "abc", "..."),
            ("a timestamp back in time", "1 80000 a, 2 160 b, 3 320 c", "abc", "..."),
            ("back after a pause", "1 80000 a@0, 2 160 b@520", "a~4000 b", ".."),
            ("another stream", "1 0 a/1, 900 5000 b/2, 901 5160 c/2", "abc", "..."),
            ("another stream later", "1 0 a@0/1, 900 5000 b@520/2", "a~4000 b", ".."),
            ("a restart", "1 0 a, 30000 7 x, 30001 167 b, 30002 327 c", "abc", ".l.."),
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
