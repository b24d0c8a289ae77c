//! One key for one press, whichever ways it comes: telephones tell keys as events or tones in
//! their audio, by INFO, or by both at once; pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// By which way a key came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Audio,
    Info,
}

/// The last keys that came by one way only, so far.
#[derive(Debug, Default)]
pub(super) struct Keys {
    alone: VecDeque<(Way, char, Instant)>,
}

impl Keys {
    /// Whether this key is another press, and not one that came by the other way before.
    pub(super) fn is_new(&mut self, way: Way, key: char, now: Instant) -> bool {
        while self
            .alone
            .front()
            .is_some_and(|(_, _, at)| now.saturating_duration_since(*at) >= WAIT)
            || self.alone.len() >= MOST
        {
            self.alone.pop_front();
        }
        let twin = self.alone.iter().position(|(other, same, _)| *other != way && *same == key);
        if let Some(twin) = twin {
            // Each twin has one: what is before it came by one way only.
            self.alone.drain(..=twin);
            return false;
        }
        self.alone.push_back((way, key, now));
        true
    }
}

/// An INFO comes when the key is released, and may be sent again by UDP.
const WAIT: Duration = Duration::from_secs(2);
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each key is `a` or `i` for its way, the key, and `@` milliseconds.
    fn pressed(keys: &str) -> String {
        let (mut kept, start) = (Keys::default(), Instant::now());
        let new = keys.split_whitespace().filter_map(|word| {
            let (what, millis) = word.split_once('@').unwrap();
            let mut letters = what.chars();
            let way = if letters.next() == Some('a') { Way::Audio } else { Way::Info };
            let key = letters.next().unwrap();
            let now = start + Duration::from_millis(millis.parse().unwrap());
            kept.is_new(way, key, now).then_some(key)
        });
        new.collect()
    }

    #[test]
    fn a_press_is_one_key() {
        let table = [
            ("by events alone", "a1@0 a1@200 a2@400", "112"),
            ("by INFO alone", "i1@0 i1@200 i2@400", "112"),
            ("by both", "a1@0 i1@150", "1"),
            ("by both, INFO first", "i5@0 a5@30", "5"),
            ("twice by both", "a1@0 i1@90 a1@300 i1@390", "11"),
            ("twice by both, INFO behind", "a1@0 a1@200 i1@210 i1@400", "11"),
            ("several by both", "a1@0 a2@200 i1@210 i2@400", "12"),
            ("by the other way much later", "a1@0 i1@2500", "11"),
            ("another key by the other way", "a1@0 i2@100", "12"),
        ];
        for (name, keys, expected) in table {
            assert_eq!(pressed(keys), expected, "{name}");
        }
    }

    #[test]
    fn a_flood_of_keys_is_not_kept() {
        let mut keys = Keys::default();
        let now = Instant::now();
        for _ in 0..1000 {
            assert!(keys.is_new(Way::Audio, '1', now));
        }
        assert!(keys.alone.len() <= MOST);
    }
}
