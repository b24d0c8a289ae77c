//! RTP packets in and out (RFC 3550 §5.1).

use super::filter;

/// One packet of a stream, borrowed from the datagram it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram; `None` if it is not RTP or its lengths lie.
    ///
    /// The marker is not kept: senders forget it too often to build on it.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = datagram.split_first_chunk::<HEADER>()?;
        let [flags, kind, ..] = *head;
        if flags >> 6 != VERSION {
            return None;
        }
        rest = rest.get(usize::from(flags & 0x0f) * 4..)?;
        if flags & 0x10 != 0 {
            let (extension, after) = rest.split_first_chunk::<4>()?;
            let words = u16::from_be_bytes([extension[2], extension[3]]);
            rest = after.get(usize::from(words) * 4..)?;
        }
        if flags & 0x20 != 0 {
            // RFC 3550 §5.1: the last octet counts the padding, itself included.
            let padding = usize::from(*rest.last()?);
            rest = rest.get(..rest.len().checked_sub(padding)?).filter(|_| padding > 0)?;
        }
        Some(Self {
            payload_type: kind & 0x7f,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            payload: rest,
        })
    }
}

/// The stream that we hear, for its statistics.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    ssrc: u32,
    highest: Option<u16>,
    /// Bit n: the packet n before the highest has come.
    seen: u64,
    /// The first sequence number, and how often they have wrapped since, times 2^16.
    first: u16,
    cycles: u32,
    received: u32,
    /// Packets expected and received when we last told (RFC 3550 A.3).
    told: (u32, u32),
    thinning: Thinning,
}

/// Whether packets that do not come were kept from us by ourselves.
#[derive(Debug, Default, PartialEq, Eq)]
enum Thinning {
    #[default]
    No,
    Yes,
    /// Some were before the next one that comes.
    Ended,
}

/// What a report says of the stream (RFC 3550 §6.4.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reception {
    pub ssrc: u32,
    /// Lost of those expected since the last report, in 256ths.
    pub fraction: u8,
    /// Lost in all; duplicates count against it.
    pub lost: i32,
    /// The highest sequence number, with its cycles.
    pub highest: u32,
}

/// What a packet tells of those before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many before it have not come, yet.
    On {
        missing: u16,
        /// So many came, but we did not want to hear them.
        unheard: u16,
    },
    /// It was thought lost.
    Found,
    Again,
}

impl Incoming {
    /// From now on the filter drops some, or none any more.
    pub fn thin(&mut self, thins: bool) {
        self.thinning = match (thins, &self.thinning) {
            (true, _) => Thinning::Yes,
            (false, Thinning::No) => Thinning::No,
            (false, _) => Thinning::Ended,
        };
    }

    pub fn note(&mut self, packet: &Packet<'_>) -> Step {
        let sequence = packet.sequence;
        let known = self.highest.filter(|_| self.ssrc == packet.ssrc);
        let step = known.map_or(0, |highest| sequence.wrapping_sub(highest));
        let back = 0_u16.wrapping_sub(step);
        if known.is_some() && back < MEMORY {
            let bit = 1 << back;
            let again = self.seen & bit != 0;
            self.seen |= bit;
            self.received = self.received.wrapping_add(1);
            return if again { Step::Again } else { Step::Found };
        }
        let goes_on = known.filter(|_| (1..MAX_DROPOUT).contains(&step));
        if let Some(highest) = goes_on {
            self.cycles = self.cycles.wrapping_add(u32::from(sequence < highest) << 16);
        } else {
            (self.first, self.cycles, self.received, self.told) = (sequence, 0, 0, (0, 0));
        }
        self.ssrc = packet.ssrc;
        self.highest = Some(sequence);
        self.seen = self.seen.checked_shl(step.into()).unwrap_or(0) | 1;
        let between = goes_on.map_or(0, |_| step - 1);
        let unheard = match (&self.thinning, goes_on) {
            (Thinning::No, _) | (_, None) => 0,
            (Thinning::Yes | Thinning::Ended, Some(highest)) => {
                let kept_from_us = |n: &u16| !filter::passes(highest.wrapping_add(*n));
                u16::try_from((1..step).filter(kept_from_us).count()).unwrap_or(between)
            }
        };
        if self.thinning == Thinning::Ended {
            self.thinning = Thinning::No;
        }
        self.received = self.received.wrapping_add(1 + u32::from(unheard));
        Step::On { missing: between - unheard, unheard }
    }

    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// What there is to report, if anything has come; told of, it is the measure of the next.
    pub fn reception(&mut self) -> Option<Reception> {
        let highest = self.cycles | u32::from(self.highest?);
        let expected = highest.wrapping_sub(self.first.into()).wrapping_add(1);
        let (last_expected, last_received) = self.told;
        self.told = (expected, self.received);
        let since = expected.wrapping_sub(last_expected);
        let lost = since.saturating_sub(self.received.wrapping_sub(last_received));
        let fraction = (u64::from(lost) << 8).checked_div(since.into()).unwrap_or(0);
        Some(Reception {
            ssrc: self.ssrc,
            fraction: u8::try_from(fraction).unwrap_or(u8::MAX),
            lost: expected.wrapping_sub(self.received).cast_signed(),
            highest,
        })
    }
}

/// The stream that we send: it numbers its packets.
#[derive(Debug)]
pub(super) struct Outgoing {
    ssrc: u32,
    sequence: u16,
    epoch: u32,
    packets: u32,
    octets: u32,
}

impl Outgoing {
    /// RFC 3550 §5.1: identifier, first sequence number and first timestamp are random.
    pub fn new(chance: u64) -> Self {
        let part = |shift: u32| u32::try_from(chance >> shift & 0xffff).unwrap_or_default();
        Self {
            ssrc: part(0) << 16 | part(16),
            // In the lower half, so that SRTP would not lose count early (RFC 3711 §3.3.1).
            sequence: u16::try_from(part(32) >> 1).unwrap_or_default(),
            epoch: part(48) << 16 | part(8),
            packets: 0,
            octets: 0,
        }
    }

    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The RTP time of what is sent `elapsed` ticks after the first.
    pub fn timestamp(&self, elapsed: u32) -> u32 {
        self.epoch.wrapping_add(elapsed)
    }

    /// Counts a packet with so much payload as sent.
    pub fn sent(&mut self, octets: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u32::try_from(octets).unwrap_or_default());
    }

    pub fn packets(&self) -> u32 {
        self.packets
    }

    pub fn octets(&self) -> u32 {
        self.octets
    }

    /// Writes the header of the next packet. `elapsed` is in ticks of the RTP clock; `spurt` says
    /// that the packet begins a talk spurt (RFC 3551 §4.1).
    pub fn header(&mut self, payload_type: u8, elapsed: u32, spurt: bool) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[0] = VERSION << 6;
        head[1] = payload_type | if spurt { 0x80 } else { 0 };
        head[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        head[4..8].copy_from_slice(&self.timestamp(elapsed).to_be_bytes());
        head[8..].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        head
    }
}

/// Octets of the fixed header.
pub(super) const HEADER: usize = 12;
const VERSION: u8 = 2;
/// How far back we know whether a packet has come.
const MEMORY: u16 = 64;
/// RFC 3550 A.1: a larger step in sequence is a restart, not a loss.
const MAX_DROPOUT: u16 = 3000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read() {
        let datagram = [0x80, 0x80, 0, 7, 0, 0, 0, 160, 0, 0, 0, 9, 1, 2, 3];
        let packet = Packet::parse(&datagram).unwrap();
        let expected =
            Packet { payload_type: 0, sequence: 7, timestamp: 160, ssrc: 9, payload: &[1, 2, 3] };
        assert_eq!(packet, expected);
    }

    #[test]
    fn sources_extension_and_padding_are_stepped_over() {
        let mut datagram = vec![0x80 | 0x20 | 0x10 | 1, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        datagram.extend([9; 4]); // CSRC
        datagram.extend([0xbe, 0xde, 0, 1, 5, 5, 5, 5]); // one word of extension
        datagram.extend([1, 2, 0, 0, 3]); // three octets of padding
        assert_eq!(Packet::parse(&datagram).unwrap().payload, [1, 2]);
    }

    #[test]
    fn what_lies_is_refused() {
        let good = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        assert!(Packet::parse(&good).is_some());
        let with = |flags: u8, tail: &[u8]| {
            let mut datagram = good.to_vec();
            datagram[0] = flags;
            datagram.extend(tail);
            Packet::parse(&datagram).map(|packet| packet.payload.to_vec())
        };
        assert_eq!(with(0x40, &[]), None, "version 1");
        assert_eq!(with(0x8f, &[]), None, "more sources than octets");
        assert_eq!(with(0x90, &[0, 0, 0xff]), None, "a huge extension");
        assert_eq!(with(0xa0, &[200]), None, "more padding than packet");
        assert_eq!(with(0xa0, &[0]), None, "padding of none");
        assert_eq!(with(0xa0, &[2]), Some(vec![]), "padding of all");
        for length in 0..HEADER {
            assert_eq!(Packet::parse(&good[..length]), None);
        }
    }

    #[test]
    fn losses_are_counted_until_they_are_found() {
        let mut incoming = Incoming::default();
        let mut note = |sequence, ssrc| {
            let packet = Packet { payload_type: 0, sequence, timestamp: 0, ssrc, payload: &[] };
            incoming.note(&packet)
        };
        let on = |missing| Step::On { missing, unheard: 0 };
        assert_eq!(note(65_534, 1), on(0));
        assert_eq!(note(1, 1), on(2));
        assert_eq!(note(65_535, 1), Step::Found);
        assert_eq!(note(65_535, 1), Step::Again);
        assert_eq!(note(1, 1), Step::Again);
        assert_eq!(note(30_000, 1), on(0), "a restart");
        assert_eq!(note(5, 2), on(0), "another stream");
        assert_eq!(note(7, 2), on(1));
    }

    #[test]
    fn what_was_kept_from_us_is_not_lost() {
        let mut incoming = Incoming::default();
        let note = |incoming: &mut Incoming, sequence| {
            let packet = Packet { payload_type: 0, sequence, timestamp: 0, ssrc: 7, payload: &[] };
            incoming.note(&packet)
        };
        let on = |missing, unheard| Step::On { missing, unheard };
        assert_eq!(note(&mut incoming, 14), on(0, 0));
        incoming.thin(true);
        assert_eq!(note(&mut incoming, 16), on(0, 1));
        assert_eq!(note(&mut incoming, 17), on(0, 0));
        assert_eq!(note(&mut incoming, 32), on(0, 14));
        assert_eq!(note(&mut incoming, 49), on(2, 14), "33 and 48 were lost");
        assert_eq!(note(&mut incoming, 80), on(2, 28), "64 and 65 were lost");
        incoming.thin(false);
        assert_eq!(note(&mut incoming, 86), on(1, 4), "81; the filter was there until just now");
        assert_eq!(note(&mut incoming, 88), on(1, 0));
        incoming.thin(false);
        assert_eq!(note(&mut incoming, 90), on(1, 0));
        let expected = Reception { ssrc: 7, fraction: 23, lost: 7, highest: 90 };
        assert_eq!(incoming.reception(), Some(expected));
    }

    #[test]
    fn what_is_reported_is_counted_as_the_standard_says() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.reception(), None);
        let note = |incoming: &mut Incoming, sequence| {
            let packet = Packet { payload_type: 0, sequence, timestamp: 0, ssrc: 7, payload: &[] };
            incoming.note(&packet);
        };
        for sequence in [65_533, 65_534, 1, 2] {
            note(&mut incoming, sequence);
        }
        // Six expected, four came.
        let expected = Reception { ssrc: 7, fraction: 85, lost: 2, highest: 0x1_0002 };
        assert_eq!(incoming.reception(), Some(expected));
        // Nothing new is lost, and one is found.
        note(&mut incoming, 65_535);
        note(&mut incoming, 3);
        let expected = Reception { ssrc: 7, fraction: 0, lost: 1, highest: 0x1_0003 };
        assert_eq!(incoming.reception(), Some(expected));
        note(&mut incoming, 30_000);
        let expected = Reception { ssrc: 7, fraction: 0, lost: 0, highest: 30_000 };
        assert_eq!(incoming.reception(), Some(expected), "a restart");
    }

    #[test]
    fn what_we_send_we_can_read() {
        let mut outgoing = Outgoing::new(0x1234_5678_9abc_def0);
        let first = outgoing.header(0, 0, true);
        let second = outgoing.header(0, 160, false);
        assert_eq!((first[1], second[1]), (0x80, 0));
        let (first, second) = (Packet::parse(&first).unwrap(), Packet::parse(&second).unwrap());
        assert_eq!(second.sequence, first.sequence + 1);
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 160);
        assert_eq!(second.ssrc, first.ssrc);
    }
}
