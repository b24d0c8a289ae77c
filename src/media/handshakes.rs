//! The thread that does handshakes: what they cost must not stall the audio of other calls.
//!
//! It owns no socket: datagrams come from the media threads and go back there.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::command::{Command, Way};
use super::dtls::{Came, Handshake, Identity};
use super::keying::{Fingerprint, Role};

/// The other side of a handshake, for as long as its call wants it.
#[derive(Debug)]
pub(super) struct Peer {
    pub ticket: u64,
    theirs: Fingerprint,
    role: Role,
    /// ICE has made sure that it is where it says.
    checked: bool,
    index: usize,
    way: Way,
}

/// A way to the thread. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Handshakes {
    work: SyncSender<Work>,
}

#[derive(Debug)]
struct Work {
    peer: Arc<Peer>,
    with: SocketAddr,
    /// `None`: we begin.
    datagram: Option<Box<[u8]>>,
}

struct Bench {
    identity: Identity,
    open: HashMap<u64, Entry>,
    /// No deadline is before this.
    next: Option<Instant>,
}

struct Entry {
    peer: Weak<Peer>,
    handshake: Handshake,
    with: SocketAddr,
}

impl Peer {
    pub fn new(index: usize, way: Way, theirs: Fingerprint, role: Role, checked: bool) -> Self {
        Self { ticket: ticket(), theirs, role, checked, index, way }
    }

    /// The same side, from the beginning.
    pub fn again(&self) -> Self {
        let Self { theirs, role, checked, index, way, .. } = self;
        Self::new(*index, way.clone(), theirs.clone(), *role, *checked)
    }

    pub fn is_for(&self, theirs: &Fingerprint, role: Role) -> bool {
        self.theirs == *theirs && self.role == role
    }

    pub fn begins(&self) -> bool {
        self.role == Role::Client
    }
}

impl Handshakes {
    pub fn start(identity: Identity) -> io::Result<Self> {
        let (work, arrives) = sync_channel(WAITING);
        let bench = Bench { identity, open: HashMap::new(), next: None };
        thread::Builder::new().name("handshakes".into()).spawn(move || bench.run(&arrives))?;
        Ok(Self { work })
    }

    /// Passes a datagram on; `None` begins. What finds no room is lost like on the network.
    pub fn take(&self, peer: Arc<Peer>, with: SocketAddr, datagram: Option<&[u8]>) {
        let work = Work { peer, with, datagram: datagram.map(Box::from) };
        let _ = self.work.try_send(work);
    }
}

impl Bench {
    fn run(mut self, work: &Receiver<Work>) {
        loop {
            let now = Instant::now();
            let wait = self.next.map_or(IDLE, |next| next.saturating_duration_since(now));
            match work.recv_timeout(wait) {
                Ok(work) => self.take(work),
                Err(RecvTimeoutError::Timeout) => self.wake(Instant::now()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, Work { peer, with, datagram }: Work) {
        let now = Instant::now();
        let Self { identity, open, .. } = self;
        let entry = open.entry(peer.ticket).or_insert_with(|| Entry {
            peer: Arc::downgrade(&peer),
            handshake: Handshake::new(identity, peer.role, peer.theirs.clone(), peer.checked, now),
            with,
        });
        entry.with = with;
        entry.step(&peer, datagram.as_deref(), now);
        let deadline = entry.handshake.deadline().map_or(now + SWEEP, |at| at.min(now + SWEEP));
        self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
        // Traffic must not keep clocks from being looked at.
        if self.next.is_some_and(|next| next <= now) {
            self.wake(now);
        }
    }

    /// Does what is due, and forgets whose call is over.
    fn wake(&mut self, now: Instant) {
        self.open.retain(|_, entry| {
            let Some(peer) = entry.peer.upgrade() else { return false };
            if entry.handshake.deadline().is_some_and(|at| at <= now) {
                entry.step(&peer, None, now);
            }
            true
        });
        let soonest = self.open.values().filter_map(|entry| entry.handshake.deadline()).min();
        let sweep = now + SWEEP;
        self.next = (!self.open.is_empty()).then(|| soonest.map_or(sweep, |at| at.min(sweep)));
    }
}

impl Entry {
    fn step(&mut self, peer: &Peer, datagram: Option<&[u8]>, now: Instant) {
        let (ticket, to) = (peer.ticket, self.with);
        let send = |datagram: &[u8]| {
            let datagram = Box::from(datagram);
            peer.way.send(peer.index, Command::Transmit { ticket, to, datagram });
        };
        let came = match datagram {
            Some(datagram) => self.handshake.hear(datagram, now, send),
            None => self.handshake.wake(now, send),
        };
        match came {
            Some(Came::Keys(keys)) => peer.way.send(peer.index, Command::Key { ticket, keys }),
            Some(Came::Failed(why)) => {
                let why = why.to_string();
                peer.way.send(peer.index, Command::Unkeyed { ticket, why });
            }
            None => {}
        }
    }
}

/// Another number for each.
fn ticket() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Datagrams that wait.
const WAITING: usize = 1024;
const SWEEP: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_hours(1);
