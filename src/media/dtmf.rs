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
    event: u8,
    timestamp: u32,
    duration: u16,
    ended: bool,
    heard: Instant,
}

impl Dtmf {
    /// Takes one telephone-event packet and yields the key if a press begins with it.
    pub fn push(&mut self, packet: &Packet<'_>, now: Instant) -> Option<char> {
        let &[event, flags, high, low, ..] = packet.payload else { return None };
        let key = char::from(*KEYS.get(usize::from(event))?);
        let heard = Press {
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
        match last.compare(&heard) {
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
    fn compare(&self, next: &Self) -> Relation {
        let ahead = next.timestamp.wrapping_sub(self.timestamp);
        let lasted = u32::from(next.duration.saturating_sub(self.duration));
        // RFC 4733 §2.2.1: all packets of one event share its first timestamp, so a new timestamp
        // is a new key press.
        if ahead == 0 && next.event == self.event {
            return Relation::Same;
        }
        if ahead > u32::MAX - STALE {
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
}

const KEYS: [u8; 16] = *b"0123456789*#ABCD";
/// Without another packet for so long, the end of a press was lost.
const LOST_END: Duration = Duration::from_millis(100);
/// Packets up to so far behind the last press are its predecessor's repeats: 5 s at 8 kHz.
const STALE: u32 = 40_000;
const LONG_SEGMENT: u16 = 0xf000;

#[cfg(test)]
mod tests {
    use super::*;

    /// `event timestamp duration`, with `E` after the duration where the end bit is set.
    fn keys(packets: &str) -> String {
        let mut dtmf = Dtmf::default();
        let start = Instant::now();
        let heard = packets.split(',').zip(0..).filter_map(|(line, n)| {
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
                Packet { payload_type: 101, sequence: n, timestamp, ssrc: 1, payload: &payload };
            dtmf.push(&packet, start + Duration::from_millis(20) * u32::from(n))
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
        ];
        for (name, packets, expected) in table {
            assert_eq!(keys(packets), expected, "{name}");
        }
    }

    #[test]
    fn a_short_payload_is_no_key() {
        let packet =
            Packet { payload_type: 101, sequence: 1, timestamp: 1, ssrc: 1, payload: &[5, 0, 0] };
        assert_eq!(Dtmf::default().push(&packet, Instant::now()), None);
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
        dtmf.push(&packet, now);
        assert!(dtmf.sounding(now + Duration::from_millis(40)));
        assert!(!dtmf.sounding(now + LOST_END));
        packet.payload = &[5, 0x80, 0, 9];
        dtmf.push(&packet, now);
        assert!(!dtmf.sounding(now));
    }

    const VOLUME: u8 = 0x0a;
}
