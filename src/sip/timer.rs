//! The timers of RFC 3261 §17 and RFC 6026, and one agenda for all of them.
//!
//! A timer is armed where its machine lives and noted in the agenda. Stopping or moving one costs
//! nothing: its note stays, and is found void when it falls due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// RFC 3261 table 4.
pub const T1: Duration = Duration::from_millis(500);
pub const T2: Duration = Duration::from_secs(4);
pub const T4: Duration = Duration::from_secs(5);
/// 64·T1: how long a transaction may take, and how long its stragglers may be about.
pub const LIFETIME: Duration = Duration::from_secs(32);
/// How often a session or a subscription is looked at. A note in the agenda outlives its call, so
/// none is made for the half hour, or the day, that they may last.
const LOOK: Duration = Duration::from_mins(1);
/// How long the other party of a transfer may take to answer: it is in a call already.
const TRANSFER: Duration = Duration::from_secs(20);

/// Named by what happens when it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Our INVITE is sent again.
    A,
    /// Our INVITE has found no one.
    B,
    /// No more copies of a failure can come: our INVITE is over.
    D,
    /// Our other request is sent again.
    E,
    /// Our other request has found no one.
    F,
    /// Our failure for an INVITE is sent again.
    G,
    /// Nobody acknowledged our failure.
    H,
    /// No more copies of the ACK can come.
    I,
    /// No more copies of a request can come.
    J,
    /// No more copies of a response can come.
    K,
    /// RFC 6026: no more copies of an INVITE that we accepted can come.
    L,
    /// RFC 6026: no more 2xx for our INVITE can come.
    M,
    /// RFC 3261 §9.1: nobody has finished our INVITE after its CANCEL.
    Forgotten,
    /// RFC 3261 §13.3.1.4: our 2xx is sent again.
    Repeat2xx,
    /// RFC 3261 §13.3.1.4: nobody acknowledged our 2xx.
    Unacknowledged,
    /// RFC 3261 §10.2.4: a registration is refreshed, or tried again.
    Refresh,
    /// RFC 6665 §4.2.2: a subscription was not refreshed.
    Expiry,
    /// What a subscriber has missed may be told now.
    Notify,
    /// RFC 5626 §4.4: a translator is reminded of us.
    KeepAlive,
    /// RFC 3262 §3: our reliable 18x is sent again.
    Repeat18x,
    /// RFC 3262 §3: no PRACK came for our reliable 18x.
    Unpracked,
    /// RFC 4028 §10: whether the session must be refreshed, or has expired, is looked at.
    Session,
    /// A transfer has been under way for long enough.
    Transfer,
}

impl Timer {
    /// How long after its start it fires first.
    pub fn first(self, reliable: bool) -> Duration {
        match self {
            Self::A | Self::E | Self::G | Self::Repeat2xx | Self::Repeat18x => T1,
            Self::B
            | Self::F
            | Self::H
            | Self::L
            | Self::M
            | Self::Forgotten
            | Self::Unacknowledged
            | Self::Unpracked => LIFETIME,
            Self::Session | Self::Expiry => LOOK,
            Self::Transfer => TRANSFER,
            // RFC 3261 table 4: zero over a reliable transport, where nothing comes twice.
            Self::D | Self::J if !reliable => LIFETIME,
            Self::I | Self::K if !reliable => T4,
            // The last three wait as long as their registration or subscription says.
            Self::D
            | Self::I
            | Self::J
            | Self::K
            | Self::Refresh
            | Self::KeepAlive
            | Self::Notify => Duration::ZERO,
        }
    }

    /// How long after firing it fires again; A and the 18x double for ever, the others up to T2
    /// (RFC 3261 §17.1.1.2, §17.1.2.2, §17.2.1, §13.3.1.4, RFC 3262 §3).
    pub fn again(self, last: Duration) -> Duration {
        match self {
            Self::A | Self::Repeat18x => last * 2,
            _ => (last * 2).min(T2),
        }
    }
}

/// The timers of one machine, of which at most `N` run at a time.
#[derive(Debug)]
pub(super) struct Armed<const N: usize>([Option<(Timer, Instant)>; N]);

impl<const N: usize> Default for Armed<N> {
    fn default() -> Self {
        Self([None; N])
    }
}

impl<const N: usize> Armed<N> {
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.stop(timer);
        let free = self.0.iter_mut().find(|slot| slot.is_none());
        debug_assert!(free.is_some(), "a machine with more than {N} timers");
        if let Some(slot) = free {
            *slot = Some((timer, at));
        }
    }

    pub fn stop(&mut self, timer: Timer) {
        for slot in &mut self.0 {
            if slot.is_some_and(|(known, _)| known == timer) {
                *slot = None;
            }
        }
    }

    /// When a timer fires.
    pub fn until(&self, timer: Timer) -> Option<Instant> {
        let mut set = self.0.iter().flatten();
        set.find(|(known, _)| *known == timer).map(|(_, at)| *at)
    }

    /// Whether a note of the agenda still holds; if so, the timer is taken.
    pub fn take(&mut self, timer: Timer, at: Instant) -> bool {
        let holds = self.0.contains(&Some((timer, at)));
        if holds {
            self.stop(timer);
        }
        holds
    }
}

/// All notes, earliest first.
#[derive(Debug)]
pub(super) struct Agenda<K> {
    notes: BinaryHeap<Reverse<(Instant, Timer, K)>>,
}

impl<K: Ord + Copy> Agenda<K> {
    pub fn new() -> Self {
        Self { notes: BinaryHeap::new() }
    }

    pub fn note(&mut self, at: Instant, timer: Timer, owner: K) {
        self.notes.push(Reverse((at, timer, owner)));
    }

    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// May be the time of a void note: waking for it does no harm.
    pub fn next(&self) -> Option<Instant> {
        self.notes.peek().map(|Reverse((at, _, _))| *at)
    }

    pub fn take_due(&mut self, now: Instant) -> Option<(Instant, Timer, K)> {
        if self.next()? > now {
            return None;
        }
        self.notes.pop().map(|Reverse(note)| note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_4_of_rfc_3261() {
        // Timer, first over UDP, first over TCP, then again after each firing; in milliseconds.
        let rows: [(Timer, u64, u64, &[u64]); 12] = [
            (Timer::A, 500, 500, &[1_000, 2_000, 4_000, 8_000, 16_000]),
            (Timer::B, 32_000, 32_000, &[]),
            (Timer::D, 32_000, 0, &[]),
            (Timer::E, 500, 500, &[1_000, 2_000, 4_000, 4_000]),
            (Timer::F, 32_000, 32_000, &[]),
            (Timer::G, 500, 500, &[1_000, 2_000, 4_000, 4_000]),
            (Timer::H, 32_000, 32_000, &[]),
            (Timer::I, 5_000, 0, &[]),
            (Timer::J, 32_000, 0, &[]),
            (Timer::K, 5_000, 0, &[]),
            (Timer::L, 32_000, 32_000, &[]),
            (Timer::M, 32_000, 32_000, &[]),
        ];
        for (timer, datagrams, stream, again) in rows {
            let first = timer.first(false);
            assert_eq!(first, Duration::from_millis(datagrams), "{timer:?}");
            assert_eq!(timer.first(true), Duration::from_millis(stream), "{timer:?}");
            let mut last = first;
            for wait in again {
                last = timer.again(last);
                assert_eq!(last, Duration::from_millis(*wait), "{timer:?}");
            }
        }
    }
}
