//! RTCP: what we tell about the stream that we hear, and what we are told (RFC 3550 §6).
//!
//! Two parties and a few bytes every five seconds: the bandwidth rules of §6.2 come to the least
//! interval. Times are read off the media thread's tick, so they are true to 5 ms.

use std::time::{Duration, Instant};

use super::codec;
use super::ports::mix;
use super::rtp::{Incoming, Outgoing, Packet};

/// A moment by both clocks, from which any other can be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wall {
    pub at: Instant,
    /// Since 1970.
    pub unix: Duration,
}

impl Wall {
    /// The time in NTP's format: seconds since 1900, modulo 2^32, and 2^32nds of one.
    fn ntp(self, now: Instant) -> u64 {
        let time = self.unix + now.saturating_duration_since(self.at);
        let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        (time.as_secs().wrapping_add(SECONDS_TO_1970) << 32) | fraction
    }

    /// The middle of it, which reports echo.
    fn short(self, now: Instant) -> u32 {
        low(self.ntp(now) >> 16)
    }
}

/// One call's reports, both ways.
#[derive(Debug)]
pub(super) struct Reports {
    wall: Wall,
    chance: u64,
    name: [u8; NAME],
    due: Option<Instant>,
    jitter: Jitter,
    /// The last sender report: its time as its sender told it, and when it came.
    sender_report: Option<(u32, Instant)>,
    round_trip: Option<Duration>,
    /// Packets that we had sent at the last report, and at the one before.
    sent: [u32; 2],
    /// Whether anybody has heard of us.
    reported: bool,
}

/// RFC 3550 A.8, scaled by 16.
#[derive(Debug, Default)]
struct Jitter {
    transit: Option<(u32, u32)>,
    scaled: u32,
}

/// What a datagram of RTCP says, as far as it concerns us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    SenderReport { from: u32, ntp: u64 },
    Block { about: u32, sender_report: u32, delay: u32 },
}

/// What is so at the moment of a report.
pub(super) struct Moment {
    pub now: Instant,
    /// The RTP time of what is sent now.
    pub timestamp: u32,
}

impl Reports {
    pub fn new(wall: Wall, chance: u64) -> Self {
        let mut name = [0; NAME];
        // RFC 7022 §4.2: a name that tells nothing, the same for the whole call.
        let hex = mix(chance);
        for (at, letter) in name.iter_mut().enumerate() {
            *letter = b"0123456789abcdef"[usize::from((hex >> (at * 4)).to_le_bytes()[0] & 0x0f)];
        }
        Self {
            wall,
            chance: mix(hex),
            name,
            due: None,
            jitter: Jitter::default(),
            sender_report: None,
            round_trip: None,
            sent: [0; 2],
            reported: false,
        }
    }

    /// The stream is agreed: the first report follows in half the usual time (RFC 3550 §6.2).
    pub fn begin(&mut self, now: Instant) {
        if self.due.is_none() {
            self.due = Some(now + self.random(INTERVAL / 2));
        }
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Notes when an audio packet came; `clock` is the RTP clock's rate.
    pub fn note(&mut self, packet: &Packet<'_>, clock: u32, now: Instant) {
        let arrival = codec::ticks(now.saturating_duration_since(self.wall.at), clock);
        self.jitter.note(packet, low(arrival), clock);
    }

    pub fn jitter(&self, clock: u32) -> Duration {
        codec::duration((self.jitter.scaled >> 4).into(), clock)
    }

    /// From us to the other side and back, once it has answered a report of ours.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Takes a datagram; `ours` and `theirs` are the sources of the two streams. False: malformed.
    pub fn hear(&mut self, datagram: &[u8], ours: u32, theirs: u32, now: Instant) -> bool {
        if !is_whole(datagram) {
            return false;
        }
        let clock = self.wall.short(now);
        each(datagram, |told| match told {
            Told::SenderReport { from, ntp } if from == theirs => {
                self.sender_report = Some((low(ntp >> 16), now));
            }
            Told::Block { about, sender_report, delay } if about == ours && sender_report != 0 => {
                // RFC 3550 §6.4.1, figure 2.
                let round_trip = clock.wrapping_sub(sender_report).wrapping_sub(delay);
                // The two clocks may differ by a tick.
                let round_trip = if round_trip > 1 << 31 { 0 } else { round_trip };
                let nanos = (u64::from(round_trip) * 1_000_000_000) >> 16;
                self.round_trip =
                    Some(Duration::from_nanos(nanos)).filter(|time| *time < PLAUSIBLE);
            }
            Told::SenderReport { .. } | Told::Block { .. } => {}
        });
        true
    }

    /// Writes the report that is due, and says how long it is.
    pub fn write(
        &mut self,
        moment: &Moment,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
        datagram: &mut [u8; REPORT],
    ) -> usize {
        self.due = Some(moment.now + self.random(INTERVAL));
        self.compound(moment, incoming, outgoing, false, datagram)
    }

    /// Writes the last report, if there was any before or anything was sent (RFC 3550 §6.3.7).
    pub fn farewell(
        &mut self,
        moment: &Moment,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
        datagram: &mut [u8; REPORT],
    ) -> Option<usize> {
        (self.reported || outgoing.packets() > 0)
            .then(|| self.compound(moment, incoming, outgoing, true, datagram))
    }

    fn compound(
        &mut self,
        moment: &Moment,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
        bye: bool,
        datagram: &mut [u8; REPORT],
    ) -> usize {
        let mut out = Writer { datagram, at: 0 };
        let block = incoming.reception();
        let blocks = u8::from(block.is_some());
        // RFC 3550 §6.4: whoever has sent in this interval or the last tells what.
        if outgoing.packets() == self.sent[1] {
            out.head(blocks, RECEIVER_REPORT, 1 + 6 * u16::from(blocks));
            out.word(outgoing.ssrc());
        } else {
            out.head(blocks, SENDER_REPORT, 6 + 6 * u16::from(blocks));
            out.word(outgoing.ssrc());
            let ntp = self.wall.ntp(moment.now);
            out.word(low(ntp >> 32));
            out.word(low(ntp));
            out.word(outgoing.timestamp(moment.timestamp));
            out.word(outgoing.packets());
            out.word(outgoing.octets());
        }
        if let Some(block) = block {
            let lost = block.lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
            let (sender_report, delay) = self.sender_report.map_or((0, 0), |(told, came)| {
                let since = moment.now.saturating_duration_since(came);
                (told, low(codec::ticks(since, 1 << 16)))
            });
            out.word(block.ssrc);
            out.word(u32::from(block.fraction) << 24 | lost);
            out.word(block.highest);
            out.word(self.jitter.scaled >> 4);
            out.word(sender_report);
            out.word(delay);
        }
        // RFC 3550 §6.5: source, CNAME, and zeros up to the next word.
        out.head(1, DESCRIPTION, 6);
        out.word(outgoing.ssrc());
        out.bytes(&[CNAME, NAME_LENGTH]);
        out.bytes(&self.name);
        out.bytes(&[0, 0]);
        if bye {
            out.head(1, BYE, 1);
            out.word(outgoing.ssrc());
        }
        self.sent = [outgoing.packets(), self.sent[0]];
        self.reported = true;
        out.at
    }

    /// Half to one and a half of the time, so that reports of many calls do not come in step.
    fn random(&mut self, time: Duration) -> Duration {
        self.chance = mix(self.chance);
        let thousandths = u32::try_from(self.chance % 1000).unwrap_or(500);
        time / 2 + time / 1000 * thousandths
    }
}

impl Jitter {
    fn note(&mut self, packet: &Packet<'_>, arrival: u32, clock: u32) {
        let transit = arrival.wrapping_sub(packet.timestamp);
        let known = self.transit.replace((packet.ssrc, transit));
        let Some((_, last)) = known.filter(|(ssrc, _)| *ssrc == packet.ssrc) else { return };
        let change = transit.wrapping_sub(last).cast_signed().unsigned_abs();
        // A clock that was set, not a packet that was late.
        if change < clock {
            self.scaled = self.scaled + change - ((self.scaled + 8) >> 4);
        }
    }
}

/// Whether a datagram that came where RTP comes too is RTCP (RFC 5761 §4).
pub(super) fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.get(1).is_some_and(|kind| (192..=223).contains(kind))
}

/// Whether the lengths of all packets are right, and together the datagram's (RFC 3550 A.2).
fn is_whole(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    loop {
        let Some((&[flags, kind, high, low], _)) = rest.split_first_chunk() else { return false };
        let bytes = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        let Some(after) = rest.get(bytes..) else { return false };
        let blocks = usize::from(flags & 0x1f);
        let least = match kind {
            SENDER_REPORT => 28 + 24 * blocks,
            RECEIVER_REPORT => 8 + 24 * blocks,
            BYE => 4 + 4 * blocks,
            _ => 4,
        };
        if flags >> 6 != 2 || !(192..=223).contains(&kind) || bytes < least {
            return false;
        }
        if after.is_empty() {
            return true;
        }
        rest = after;
    }
}

/// Tells what is in a datagram that is whole.
fn each(datagram: &[u8], mut tell: impl FnMut(Told)) {
    let mut rest = datagram;
    while let Some((&[flags, kind, high, low], _)) = rest.split_first_chunk() {
        let bytes = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        let (packet, after) = rest.split_at(bytes.min(rest.len()));
        rest = after;
        let word = |at: usize| {
            let word = packet.get(at..).and_then(<[u8]>::first_chunk);
            word.map_or(0, |word| u32::from_be_bytes(*word))
        };
        let mut at = match kind {
            SENDER_REPORT => {
                let ntp = u64::from(word(8)) << 32 | u64::from(word(12));
                tell(Told::SenderReport { from: word(4), ntp });
                28
            }
            RECEIVER_REPORT => 8,
            _ => continue,
        };
        for _ in 0..flags & 0x1f {
            let (sender_report, delay) = (word(at + 16), word(at + 20));
            tell(Told::Block { about: word(at), sender_report, delay });
            at += 24;
        }
    }
}

struct Writer<'d> {
    datagram: &'d mut [u8; REPORT],
    at: usize,
}

impl Writer<'_> {
    fn head(&mut self, count: u8, kind: u8, words: u16) {
        let [high, low] = words.to_be_bytes();
        self.bytes(&[2 << 6 | count, kind, high, low]);
    }

    fn word(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.datagram[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default()
}

/// Octets of our longest report: a sender's, with a block, a name and a BYE.
pub(super) const REPORT: usize = 28 + 24 + 28 + 8;
/// RFC 3550 §6.2: the least interval between reports.
const INTERVAL: Duration = Duration::from_secs(5);
/// A longer round trip is a clock that was set.
const PLAUSIBLE: Duration = Duration::from_mins(1);
const SECONDS_TO_1970: u64 = 2_208_988_800;
const NAME: usize = 16;
const NAME_LENGTH: u8 = 16;
const CNAME: u8 = 1;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const BYE: u8 = 203;

#[cfg(test)]
mod tests {
    use super::*;

    struct Side {
        reports: Reports,
        incoming: Incoming,
        outgoing: Outgoing,
    }

    impl Side {
        fn new(wall: Wall, chance: u64) -> Self {
            let (incoming, outgoing) = (Incoming::default(), Outgoing::new(mix(chance)));
            Self { reports: Reports::new(wall, chance), incoming, outgoing }
        }

        fn says(&mut self, other: &mut Self, now: Instant) {
            let mut datagram = self.outgoing.header(0, 0, false).to_vec();
            self.outgoing.sent(160);
            datagram.extend([0xff; 160]);
            let packet = Packet::parse(&datagram).unwrap();
            other.incoming.note(&packet);
            other.reports.note(&packet, 8000, now);
        }

        fn report(&mut self, now: Instant) -> Vec<u8> {
            let (mut datagram, moment) = ([0; REPORT], Moment { now, timestamp: 800 });
            let length =
                self.reports.write(&moment, &mut self.incoming, &self.outgoing, &mut datagram);
            datagram[..length].to_vec()
        }

        fn hears(&mut self, report: &[u8], from: &Self, now: Instant) -> bool {
            self.reports.hear(report, self.outgoing.ssrc(), from.outgoing.ssrc(), now)
        }
    }

    fn pair() -> (Side, Side, Instant) {
        let now = Instant::now();
        let here = Wall { at: now, unix: Duration::from_millis(1_700_000_000_123) };
        // The other side's clock is wrong by years, which changes nothing.
        let there = Wall { at: now, unix: Duration::from_millis(900_000_000_777) };
        (Side::new(here, 1), Side::new(there, 2), now)
    }

    #[test]
    fn two_sides_measure_the_round_trip_between_them() {
        let (mut here, mut there, mut now) = pair();
        let way = Duration::from_millis(35);
        here.says(&mut there, now);
        there.says(&mut here, now);
        let report = here.report(now);
        assert_eq!((report[1], report.len()), (SENDER_REPORT, 28 + 24 + 28));
        now += way;
        assert!(there.hears(&report, &here, now));
        now += Duration::from_secs(3);
        let report = there.report(now);
        now += way;
        assert!(here.hears(&report, &there, now));
        let round_trip = here.reports.round_trip().unwrap();
        assert!(round_trip.abs_diff(way * 2) < Duration::from_millis(1), "{round_trip:?}");
        assert_eq!(there.reports.round_trip(), None, "its own report was not yet answered");
    }

    #[test]
    fn losses_are_told_as_a_share_and_in_all() {
        let (mut here, mut there, now) = pair();
        for n in 0..100 {
            if n % 4 == 1 {
                here.outgoing.header(0, 0, false);
            } else {
                here.says(&mut there, now);
            }
        }
        let report = there.report(now);
        assert_eq!(report[1], RECEIVER_REPORT);
        // 25 of the first 100, of which the last one that came was number 99.
        assert_eq!(report[12..16], [64, 0, 0, 25]);
        here.says(&mut there, now);
        assert_eq!(there.report(now)[12..16], [0, 0, 0, 25], "none since");
    }

    #[test]
    fn jitter_settles_at_what_packets_differ_by() {
        let mut jitter = Jitter::default();
        for n in 0..2000_u32 {
            let packet =
                Packet { payload_type: 0, sequence: 0, timestamp: n * 160, ssrc: 1, payload: &[] };
            // Every second packet is 10 ms late.
            jitter.note(&packet, n * 160 + n % 2 * 80, 8000);
        }
        assert!((78..=80).contains(&(jitter.scaled >> 4)), "{}", jitter.scaled >> 4);
        let jump = Packet { payload_type: 0, sequence: 0, timestamp: 9, ssrc: 1, payload: &[] };
        jitter.note(&jump, 0, 8000);
        assert!((jitter.scaled >> 4) <= 80);
    }

    #[test]
    fn reports_come_at_random_around_five_seconds() {
        let (mut here, _, start) = pair();
        here.reports.begin(start);
        assert!(!here.reports.is_due(start + INTERVAL / 5));
        assert!(here.reports.is_due(start + INTERVAL * 3 / 4));
        let mut gaps = vec![];
        for n in 1..200 {
            let now = start + INTERVAL * 2 * n;
            here.report(now);
            gaps.push(here.reports.due.unwrap() - now);
        }
        assert!(gaps.iter().all(|gap| (INTERVAL / 2..INTERVAL * 3 / 2).contains(gap)));
        let mean = gaps.iter().sum::<Duration>() / 199;
        assert!(mean.abs_diff(INTERVAL) < INTERVAL / 10, "{mean:?}");
    }

    #[test]
    fn the_last_report_says_goodbye_if_anybody_knew_us() {
        let (mut here, mut there, now) = pair();
        let (mut datagram, moment) = ([0; REPORT], Moment { now, timestamp: 0 });
        let Side { reports, incoming, outgoing } = &mut here;
        assert_eq!(reports.farewell(&moment, incoming, outgoing, &mut datagram), None);
        here.says(&mut there, now);
        there.says(&mut here, now);
        let Side { reports, incoming, outgoing } = &mut here;
        let length = reports.farewell(&moment, incoming, outgoing, &mut datagram).unwrap();
        assert_eq!(length, REPORT);
        assert_eq!(datagram[length - 8..length - 4], [0x81, BYE, 0, 1]);
        assert!(is_whole(&datagram));
    }

    #[test]
    fn what_lies_is_malformed() {
        let (mut here, mut there, now) = pair();
        here.says(&mut there, now);
        there.says(&mut here, now);
        let good = here.report(now);
        assert!(there.hears(&good, &here, now));
        for length in 0..good.len() {
            // Whole packets in front are a whole datagram.
            assert_eq!(there.hears(&good[..length], &here, now), length == 52, "{length}");
        }
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            is_whole(&bad)
        };
        assert!(!with(0, 0x41), "version 1");
        assert!(!with(0, 0x82), "more blocks than octets");
        assert!(!with(1, 0), "no RTCP");
        assert!(!with(3, 0xff), "longer than the datagram");
        assert!(!is_whole(b"") && !is_whole(&[0x80, 200, 0, 0]));
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_survived(datagram in proptest::collection::vec(
            proptest::prop_oneof![proptest::num::u8::ANY, 0x80_u8..0x84, 199_u8..204, 0_u8..8], 0..120,
        )) {
            let (mut here, there, now) = pair();
            here.hears(&datagram, &there, now);
            each(&datagram, |_| {});
        }
    }
}
