//! The port range: which pairs are free, and which must rest.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Pairs of an even RTP port and the odd RTCP port above it (RFC 3550 §11).
#[derive(Debug)]
pub(super) struct Ports {
    free: VecDeque<u16>,
    /// Used until a moment ago: late packets of the old call must not reach a new one.
    resting: VecDeque<(Instant, u16)>,
}

impl Ports {
    /// All pairs in `range`, shuffled by `chance`: a port that can be guessed invites RTP bleed.
    pub fn new(range: &RangeInclusive<u16>, chance: u64) -> Self {
        let even = range.clone().filter(|port| port % 2 == 0 && port < range.end());
        let mut free: Vec<u16> = even.filter(|&port| port > 0).collect();
        let mut chance = chance;
        for last in (1..free.len()).rev() {
            chance = mix(chance);
            let other = usize::try_from(chance % (last as u64 + 1)).unwrap_or(last);
            free.swap(last, other);
        }
        Self { free: free.into(), resting: VecDeque::new() }
    }

    pub fn len(&self) -> usize {
        self.free.len() + self.resting.len()
    }

    /// The pair that has been free for longest.
    pub fn take(&mut self, now: Instant) -> Option<u16> {
        while let Some(&(until, port)) = self.resting.front()
            && until <= now
        {
            self.resting.pop_front();
            self.free.push_back(port);
        }
        self.free.pop_front()
    }

    pub fn give_back(&mut self, port: u16, now: Instant) {
        self.resting.push_back((now + REST, port));
    }
}

/// The next of a sequence of numbers without visible order (splitmix64).
pub(super) fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const REST: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_even_and_whole() {
        let mut ports = Ports::new(&(10_001..=10_006), 1);
        let now = Instant::now();
        let mut all: Vec<_> = std::iter::from_fn(|| ports.take(now)).collect();
        all.sort_unstable();
        assert_eq!(all, [10_002, 10_004]);
        assert_eq!(Ports::new(&(0..=u16::MAX), 1).len(), 32_767);
        assert_eq!(Ports::new(&(7..=7), 1).len(), 0);
    }

    #[test]
    fn a_pair_rests_after_use() {
        let mut ports = Ports::new(&(10_000..=10_001), 1);
        let now = Instant::now();
        let port = ports.take(now).unwrap();
        assert_eq!(ports.take(now), None);
        ports.give_back(port, now);
        assert_eq!(ports.take(now + REST / 2), None);
        assert_eq!(ports.take(now + REST), Some(port));
    }

    #[test]
    fn the_order_is_not_the_numbers() {
        let mut ports = Ports::new(&(10_000..=10_999), 7);
        let now = Instant::now();
        let all: Vec<_> = std::iter::from_fn(|| ports.take(now)).collect();
        assert_eq!(all.len(), 500);
        assert!(!all.is_sorted());
    }
}
