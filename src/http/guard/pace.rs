//! How often one source and one principal may ask.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

pub(super) struct Pace(Option<Limits>);

struct Limits {
    sources: DefaultKeyedRateLimiter<IpAddr>,
    principals: DefaultKeyedRateLimiter<u64>,
    asked: AtomicU32,
}

/// So many requests pass between two looks for keys that nobody needs any more.
const SWEEP: u32 = 4096;

impl Pace {
    /// Requests a second, and as many at once; 0: any number.
    pub(super) fn new(per_second: u32) -> Self {
        Self(NonZeroU32::new(per_second).map(|per_second| Limits {
            sources: RateLimiter::keyed(Quota::per_second(per_second)),
            principals: RateLimiter::keyed(Quota::per_second(per_second)),
            asked: AtomicU32::new(0),
        }))
    }

    pub(super) fn source(&self, origin: IpAddr) -> bool {
        self.0.as_ref().is_none_or(|limits| {
            limits.sweep();
            limits.sources.check_key(&origin).is_ok()
        })
    }

    pub(super) fn principal(&self, id: u64) -> bool {
        self.0.as_ref().is_none_or(|limits| limits.principals.check_key(&id).is_ok())
    }
}

impl Limits {
    fn sweep(&self) {
        if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP) {
            self.sources.retain_recent();
            self.principals.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_asks_too_often_waits_and_another_does_not() {
        let pace = Pace::new(10);
        let (hasty, calm) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let passed = (0..1000).filter(|_| pace.source(hasty)).count();
        assert!((10..900).contains(&passed), "{passed}");
        assert!(pace.source(calm));
        assert!((0..10_000).all(|_| Pace::new(0).source(hasty)));
    }
}
