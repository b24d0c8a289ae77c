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
    /// RFC 5626 §4.4: a translator is reminded of us.
    KeepAlive,
}

impl Timer {
    /// How long after its start it fires first.
    pub fn first(self, reliable: bool) -> Duration {
        match self {
            Self::A | Self::E | Self::G | Self::Repeat2xx => T1,
            Self::B
            | Self::F
            | Self::H
            | Self::L
            | Self::M
            | Self::Forgotten
            | Self::Unacknowledged => LIFETIME,
            // RFC 3261 table 4: zero over a reliable transport, where nothing comes twice.
            Self::D | Self::J if !reliable => LIFETIME,
            Self::I | Self::K if !reliable => T4,
            // The last two wait as long as their registration says.
            Self::D | Self::I | Self::J | Self::K | Self::Refresh | Self::KeepAlive => {
                Duration::ZERO
            }
        }
    }

    /// How long after firing it fires again; A doubles for ever, the others up to T2
    /// (RFC 3261 §17.1.1.2, §17.1.2.2, §17.2.1, §13.3.1.4).
    pub fn again(self, last: Duration) -> Duration {
        if self == Self::A { last * 2 } else { (last * 2).min(T2) }
    }
}

/// The timers of one machine: at most two run at a time.
#[derive(Debug, Default)]
pub(super) struct Armed([Option<(Timer, Instant)>; 2]);

impl Armed {
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.stop(timer);
        let free = self.0.iter_mut().find(|slot| slot.is_none());
        debug_assert!(free.is_some(), "a machine with three timers");
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

    pub fn clear(&mut self) {
        self.0 = [None; 2];
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
