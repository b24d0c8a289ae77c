//! Who watches the wire. Where nobody does, a message costs one look at a number.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::{Switchboard, lock};
use crate::sip::Flow;
use crate::sip::trace::{Filter, Line, Sighting, Watch, Way};

#[derive(Default)]
pub(super) struct Taps {
    watchers: AtomicUsize,
    open: Mutex<Vec<Tap>>,
    last: AtomicU64,
}

struct Tap {
    number: u64,
    seen: mpsc::Sender<Seen>,
    missed: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Seen {
    Message(Arc<Sighting>),
    /// Who calls, and whom a call is for.
    Call {
        call_id: Arc<str>,
        caller: Arc<str>,
        called: Arc<str>,
    },
}

impl Taps {
    pub fn saw(&self, way: Way, flow: Flow, bytes: impl FnOnce() -> Arc<[u8]>) {
        if self.watchers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let at = SystemTime::now();
        self.tell(&Seen::Message(Arc::new(Sighting { at, flow, way, bytes: bytes() })));
    }

    pub fn learn(&self, call_id: &str, caller: &str, called: &str) {
        if self.watchers.load(Ordering::Relaxed) > 0 {
            let (call_id, caller, called) = (call_id.into(), caller.into(), called.into());
            self.tell(&Seen::Call { call_id, caller, called });
        }
    }

    /// Whoever does not keep up misses something, and is told how much.
    fn tell(&self, seen: &Seen) {
        for tap in lock(&self.open).iter() {
            if tap.seen.try_send(seen.clone()).is_err() {
                tap.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn add(&self) -> Option<(u64, mpsc::Receiver<Seen>, Arc<AtomicU64>)> {
        let mut taps = lock(&self.open);
        if taps.len() >= MOST_WATCHERS {
            return None;
        }
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let (seen, queue) = mpsc::channel(QUEUE);
        let missed = Arc::<AtomicU64>::default();
        taps.push(Tap { number, seen, missed: missed.clone() });
        self.watchers.store(taps.len(), Ordering::Relaxed);
        Some((number, queue, missed))
    }

    fn remove(&self, number: u64) {
        let mut taps = lock(&self.open);
        taps.retain(|tap| tap.number != number);
        self.watchers.store(taps.len(), Ordering::Relaxed);
    }
}

/// Messages as they pass, until it is dropped.
pub struct Trace {
    board: Arc<Switchboard>,
    number: u64,
    queue: mpsc::Receiver<Seen>,
    missed: Arc<AtomicU64>,
    watch: Watch,
    ready: VecDeque<Line>,
}

/// What a watcher is told.
#[derive(Debug)]
pub enum Traced {
    Line(Line),
    /// So many messages were too many.
    Missed(u64),
}

impl Trace {
    /// `None` where as many watch as may.
    pub(super) fn new(board: Arc<Switchboard>, filter: Filter) -> Option<Self> {
        let (number, queue, missed) = board.taps.add()?;
        let (watch, ready) = (Watch::new(filter), VecDeque::new());
        Some(Self { board, number, queue, missed, watch, ready })
    }

    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Traced> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Traced::Line(line));
            }
            match self.missed.swap(0, Ordering::Relaxed) {
                0 => {}
                missed => return Some(Traced::Missed(missed)),
            }
            self.ready.extend(match self.queue.recv().await? {
                Seen::Message(sighting) => self.watch.see(&sighting),
                Seen::Call { call_id, caller, called } => {
                    self.watch.learn(&call_id, &caller, &called)
                }
            });
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.board.taps.remove(self.number);
    }
}

const MOST_WATCHERS: usize = 8;
/// Messages that may wait for one watcher.
const QUEUE: usize = 1_024;
