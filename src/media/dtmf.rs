//! Keys by RFC 4733 telephone events: one press, one key, told at its first packet.

use std::time::{Duration, Instant};

use super::rtp::Packet;

/// What has been heard of the last press.
#[derive(Debug, Default)]
pub(super) struct Dtmf {
    press: Option<Press>,
}

#[derive(Debug, Clone, Copy)]
struct Press {
    ssrc: u32,
    event: u8,
    timestamp: u32,
    duration: u16,
    ended: bool,
    heard: Instant,
}

impl Dtmf {
    /// Takes one telephone-event packet and yields the key if a press begins with it. `clock` is
    /// the events' rate.
    pub fn push(&mut self, packet: &Packet<'_>, clock: u32, now: Instant) -> Option<char> {
        let &[event, flags, high, low, ..] = packet.payload else { return None };
        let key = char::from(*KEYS.get(usize::from(event))?);
        let heard = Press {
            ssrc: packet.ssrc,
            event,
            timestamp: packet.timestamp,
            duration: u16::from_be_bytes([high, low]),
            ended: flags & 0x80 != 0,
            heard: now,
        };
        let Some(last) = self.press else {
            self.press = Some(heard);
            return Some(key);
        };
        match last.compare(&heard, clock) {
            Relation::Same => {
                let ended = last.ended || heard.ended;
                let duration = last.duration.max(heard.duration);
                self.press = Some(Press { ended, duration, heard: now, ..last });
                None
            }
            Relation::Continued => {
                self.press = Some(heard);
                None
            }
            Relation::Stale => None,
            Relation::New => {
                self.press = Some(heard);
                Some(key)
            }
        }
    }

    /// Whether a key is held down: audio that comes meanwhile is its tone, not speech.
    pub fn sounding(&self, now: Instant) -> bool {
        self.press.is_some_and(|press| {
            !press.ended && now.saturating_duration_since(press.heard) < LOST_END
        })
    }
}

enum Relation {
    Same,
    Continued,
    Stale,
    New,
}

impl Press {
    fn compare(&self, next: &Self, clock: u32) -> Relation {
        if next.ssrc != self.ssrc {
            // Timestamps of two streams tell nothing of each other; but one press may be told in
            // both, by who sends everything twice.
            let together = next.heard.saturating_duration_since(self.heard) < LOST_END;
            let again = next.event == self.event && together;
            return if again && !self.ended { Relation::Same } else { self.other(next, again) };
        }
        let ahead = next.timestamp.wrapping_sub(self.timestamp);
        let lasted = u32::from(next.duration.saturating_sub(self.duration));
        // RFC 4733 §2.2.1: all packets of one event share its first timestamp, so a new timestamp
        // is a new key press.
        if ahead == 0 && next.event == self.event {
            return Relation::Same;
        }
        if ahead > u32::MAX - clock.saturating_mul(STALE) {
            return Relation::Stale;
        }
        let held = next.event == self.event && !self.ended;
        // RFC 4733 §2.5.1.3: a press longer than the duration field goes on in a new segment,
        // which begins where the last one ended.
        if held && self.duration >= LONG_SEGMENT && ahead.abs_diff(0xffff) < 0x400 {
            return Relation::Continued;
        }
        // Some gateways move the timestamp on in every packet of a press; its duration then grows
        // by as much, while that of a new press starts anew.
        if held && ahead > 0 && ahead <= lasted {
            return Relation::Continued;
        }
        Relation::New
    }

    /// What a packet of another stream is after the end of this press.
    fn other(&self, next: &Self, again: bool) -> Relation {
        // The other stream's ends of it.
        if again && (next.ended || next.duration >= self.duration) {
            Relation::Stale
        } else {
            Relation::New
        }
    }
}

const KEYS: [u8; 16] = *b"0123456789*#ABCD";
/// Without another packet for so long, the end of a press was lost.
const LOST_END: Duration = Duration::from_millis(100);
/// Packets up to so many seconds behind the last press are its predecessor's repeats.
const STALE: u32 = 5;
const LONG_SEGMENT: u16 = 0xf000;

#[cfg(test)]
mod tests {
    use super::*;

    /// `event timestamp duration[/ssrc]`, with `E` after the duration where the end bit is set.
    fn keys(packets: &str, clock: u32) -> String {
        let mut dtmf = Dtmf::default();
        let start = Instant::now();
        let heard = packets.split(',').zip(0..).filter_map(|(line, n)| {
            let (line, ssrc) = line.split_once('/').unwrap_or((line, "1"));
            let ssrc = ssrc.parse().unwrap();
            let [event, timestamp, duration]: [&str; 3] =
                line.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
            let (duration, end) = match duration.strip_suffix('E') {
                Some(duration) => (duration, 0x80),
                None => (duration, 0),
            };
            let [high, low] = duration.parse::<u16>().unwrap().to_be_bytes();
            let payload = [event.parse().unwrap(), end | VOLUME, high, low];
            let timestamp = timestamp.parse().unwrap();
            let packet =
                Packet { payload_type: 101, sequence: n, timestamp, ssrc, payload: &payload };
            dtmf.push(&packet, clock, start + Duration::from_millis(20) * u32::from(n))
        });
        heard.collect()
    }

    #[test]
    fn one_press_is_one_key() {
        let table = [
            ("ordinary press", "5 800 160, 5 800 320, 5 800 480E, 5 800 480E, 5 800 480E", "5"),
            ("lost start and missing marker", "5 800 480, 5 800 640E", "5"),
            ("only one repeated end arrives", "11 800 640E", "#"),
            ("lost end, then the same key again", "1 800 160, 1 800 320, 1 9000 160", "11"),
            ("lost end, then another key", "1 800 160, 2 9000 160", "12"),
            ("same key twice", "1 800 160, 1 800 320E, 1 4000 160, 1 4000 320E", "11"),
            (
                "late end of the press before",
                "1 800 160, 2 4000 160, 1 800 320E, 2 4000 320E",
                "12",
            ),
            ("ends out of order", "1 800 320E, 1 800 160, 1 800 320E", "1"),
            ("timestamps wrap", "1 4294967200 160, 2 700 160, 1 4294967200 320E", "12"),
            ("a press of nine seconds", "1 800 61440, 1 800 65535, 1 66335 160, 1 66335 320E", "1"),
            ("timestamps that creep", "1 800 160, 1 960 320, 1 1120 480, 1 1280 640E", "1"),
            ("creeping, then again", "1 800 160, 1 960 320E, 1 4000 160, 1 4160 320E", "11"),
            ("two keys with one timestamp", "1 800 160E, 2 800 160E", "12"),
            (
                "all keys",
                "0 1 9E, 9 5000 9E, 10 9000 9E, 11 13000 9E, 12 17000 9E, 15 21000 9E",
                "09*#AD",
            ),
            ("flash is no key", "16 800 160E", ""),
            ("another stream, another key", "1 80000 160E/1, 2 70 160/2, 2 70 320E/2", "12"),
            ("another stream after a transfer", "1 80000 160/1, 1 80000 320E/1, 5 7 9/2", "15"),
            ("one press in two streams", "1 800 160/1, 1 70 160/2, 1 800 320E/1, 1 70 320E/2", "1"),
            (
                "two presses in two streams",
                "1 800 160E/1, 1 70 160E/2, 2 9000 160E/1, 2 8270 160E/2",
                "12",
            ),
        ];
        for (name, packets, expected) in table {
            assert_eq!(keys(packets, 8000), expected, "{name}");
        }
    }

    #[test]
    fn events_at_48_khz_are_keys_as_well() {
        let table = [
            ("ordinary press", "5 800 960, 5 800 1920, 5 800 2880E, 5 800 2880E", "5"),
            ("same key twice", "1 800 960, 1 800 1920E, 1 24000 960, 1 24000 1920E", "11"),
            (
                "a press of three seconds",
                "1 800 64320, 1 800 65280, 1 66080 960, 1 66080 1920E",
                "1",
            ),
            ("a late end", "1 800 960, 2 48000 960, 1 800 1920E, 2 48000 1920E", "12"),
        ];
        for (name, packets, expected) in table {
            assert_eq!(keys(packets, 48_000), expected, "{name}");
        }
    }

    #[test]
    fn a_short_payload_is_no_key() {
        let packet =
            Packet { payload_type: 101, sequence: 1, timestamp: 1, ssrc: 1, payload: &[5, 0, 0] };
        assert_eq!(Dtmf::default().push(&packet, 8000, Instant::now()), None);
    }

    #[test]
    fn a_key_sounds_until_its_end_or_until_it_is_not_heard() {
        let mut dtmf = Dtmf::default();
        let now = Instant::now();
        let mut packet = Packet {
            payload_type: 101,
            sequence: 1,
            timestamp: 1,
            ssrc: 1,
            payload: &[5, 0, 0, 9],
        };
        dtmf.push(&packet, 8000, now);
        assert!(dtmf.sounding(now + Duration::from_millis(40)));
        assert!(!dtmf.sounding(now + LOST_END));
        packet.payload = &[5, 0x80, 0, 9];
        dtmf.push(&packet, 8000, now);
        assert!(!dtmf.sounding(now));
    }

    const VOLUME: u8 = 0x0a;
}
