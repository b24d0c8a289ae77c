//! What passed through a port, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What passed through a port. All counts are packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    pub sent: u64,
    pub received: u64,
    /// Never came.
    pub lost: u64,
    /// Came too late to be recorded in their place.
    pub late: u64,
    /// Claimed more audio than time had passed for, and were dropped.
    pub excess: u64,
    pub duplicates: u64,
    /// From an address that is not the caller's, or while nothing was to be received. Once the source is locked the kernel drops these
    /// before they can be counted.
    pub strangers: u64,
    /// No RTP, or RTP that lies about its lengths.
    pub malformed: u64,
    /// Of a payload type that was not agreed; comfort noise (RFC 3389) is among them.
    pub unknown: u64,
    /// How unevenly packets come (RFC 3550 A.8), seen on a tick of 5 ms.
    pub jitter: Duration,
    /// To the peer and back, if it has answered a report of ours.
    pub round_trip: Option<Duration>,
}

/// Counted by one media thread and read from anywhere: plain loads and stores are enough.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub sent: Counter,
    pub received: Counter,
    pub lost: Counter,
    pub late: Counter,
    pub excess: Counter,
    pub duplicates: Counter,
    pub strangers: Counter,
    pub malformed: Counter,
    pub unknown: Counter,
    /// In microseconds.
    pub jitter: Counter,
    /// In microseconds and one more; 0 while it is not known.
    pub round_trip: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.set(self.count().wrapping_add(more));
    }

    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    pub fn take_back_one(&self) {
        self.set(self.count().saturating_sub(1));
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub fn statistics(&self) -> Statistics {
        Statistics {
            sent: self.sent.count(),
            received: self.received.count(),
            lost: self.lost.count(),
            late: self.late.count(),
            excess: self.excess.count(),
            duplicates: self.duplicates.count(),
            strangers: self.strangers.count(),
            malformed: self.malformed.count(),
            unknown: self.unknown.count(),
            jitter: Duration::from_micros(self.jitter.count()),
            round_trip: self.round_trip.count().checked_sub(1).map(Duration::from_micros),
        }
    }
}
