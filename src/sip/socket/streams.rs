//! Connections: those that came, those that we opened, and how many there may be.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::connection;
use super::{Switchboard, lock};
use crate::sip::gate::Gate;
use crate::sip::{Flow, Limits, Link, Transport};

pub(super) struct Streams {
    listening: Vec<(Transport, SocketAddr)>,
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: u64,
    connections: HashMap<u64, Connection>,
    /// The newest connection that we opened to each address. One that came is used only by its
    /// number: RFC 5923 §9.3, whoever connects from a port need not own it.
    by_remote: HashMap<(Transport, SocketAddr), u64>,
    /// Whose certificate is expected at an address that we called by name.
    names: HashMap<SocketAddr, String>,
}

struct Connection {
    transport: Transport,
    remote: SocketAddr,
    outbox: Outbox,
    stage: Stage,
    /// Dropped with the rest, it ends the connection's task.
    _task: oneshot::Sender<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Opened {
    ByUs,
    ByThem,
}

#[derive(PartialEq)]
enum Stage {
    /// No message has come from there yet.
    HalfOpen,
    Proven,
}

/// A connection's place in the table: its number, and what its task lives by.
pub(super) struct Place {
    pub number: u64,
    pub posted: Posted,
    pub evicted: oneshot::Receiver<()>,
}

/// What waits for a peer to read it, up to [`WAITING`] bytes.
struct Outbox {
    queue: mpsc::Sender<Arc<[u8]>>,
    bytes: Arc<AtomicUsize>,
}

/// The other end of an [`Outbox`].
pub(super) struct Posted {
    queue: mpsc::Receiver<Arc<[u8]>>,
    bytes: Arc<AtomicUsize>,
    /// Bytes of what was taken last.
    taken: usize,
}

impl Streams {
    pub fn new(limits: &Limits, listening: Vec<(Transport, SocketAddr)>) -> Self {
        Self { listening, limits: limits.clone(), open: Mutex::default() }
    }

    pub fn patience(&self) -> Duration {
        self.limits.patience
    }

    pub fn listening(&self) -> impl Iterator<Item = (Transport, SocketAddr)> {
        self.listening.iter().copied()
    }

    /// Sends over the connection that a flow names, else over one that leads there, else over a
    /// new one.
    pub fn send(&self, board: &Arc<Switchboard>, flow: Flow, bytes: Arc<[u8]>) {
        let mut open = lock(&self.open);
        let named = match flow.link {
            Link::Connection(number) => Some(number),
            Link::Socket(_) | Link::Any => None,
        };
        let named = named.filter(|number| open.connections.contains_key(number));
        let leading = || open.by_remote.get(&(flow.transport, flow.remote)).copied();
        if let Some(connection) = named.or_else(leading).and_then(|n| open.connections.get(&n)) {
            // A peer that reads so slowly has a queue of answers already.
            let _dropped_when_full = connection.outbox.post(bytes);
            return;
        }
        // A browser that is gone must come back by itself.
        let place = (!flow.transport.is_web())
            .then(|| self.admit(&mut open, Opened::ByUs, flow.transport, flow.remote))
            .flatten();
        let Some(place) = place else {
            let lost = board.clone();
            board.spawn(
                async move { lost.with(|endpoint, now| endpoint.transport_failed(now, &flow)) },
            );
            return;
        };
        if let Some(connection) = open.connections.get(&place.number) {
            let _a_new_queue_has_room = connection.outbox.post(bytes);
        }
        let name = open.names.get(&flow.remote).cloned();
        drop(open);
        board.spawn(connection::open(board.clone(), flow, name, place));
    }

    /// The connection whose other end has shown a certificate of this name.
    pub fn called(&self, remote: SocketAddr, name: &str) -> Option<u64> {
        let open = lock(&self.open);
        let number = open.by_remote.get(&(Transport::Tls, remote)).copied()?;
        (open.names.get(&remote).is_some_and(|known| known == name)).then_some(number)
    }

    /// Notes whom we called by name at an address, and takes the connection to it in.
    pub fn take_in(&self, remote: SocketAddr, name: &str) -> Option<Place> {
        let mut open = lock(&self.open);
        if open.names.len() >= MAX_NAMES {
            open.names.clear();
        }
        open.names.insert(remote, name.to_owned());
        self.admit(&mut open, Opened::ByUs, Transport::Tls, remote)
    }

    /// A message has come by this connection.
    pub fn prove(&self, number: u64) {
        if let Some(connection) = lock(&self.open).connections.get_mut(&number) {
            connection.stage = Stage::Proven;
        }
    }

    /// Whether all that was to be sent has left.
    pub fn are_idle(&self) -> bool {
        let idle = |c: &Connection| c.outbox.bytes.load(Ordering::Relaxed) == 0;
        lock(&self.open).connections.values().all(idle)
    }

    pub fn remove(&self, number: u64) {
        lock(&self.open).remove(number);
    }

    /// A place for one more connection. Where there is none, the oldest of those that never
    /// brought a message makes room.
    fn admit(
        &self,
        open: &mut Open,
        opened: Opened,
        transport: Transport,
        remote: SocketAddr,
    ) -> Option<Place> {
        let Limits { connections, connections_per_peer, connections_half_open, .. } = self.limits;
        let peer = remote.ip();
        if open.count(|c| c.remote.ip() == peer) >= connections_per_peer {
            open.evict(Some(peer))?;
        }
        if open.connections.len() >= connections
            || open.count(|c| c.stage == Stage::HalfOpen) >= connections_half_open
        {
            open.evict(None)?;
        }
        Some(open.insert(opened, transport, remote))
    }
}

impl Open {
    fn count(&self, fits: impl Fn(&Connection) -> bool) -> usize {
        self.connections.values().filter(|connection| fits(connection)).count()
    }

    fn evict(&mut self, peer: Option<IpAddr>) -> Option<()> {
        let fits = |c: &Connection| {
            c.stage == Stage::HalfOpen && peer.is_none_or(|peer| c.remote.ip() == peer)
        };
        let half_open = self.connections.iter().filter(|(_, connection)| fits(connection));
        let oldest = half_open.map(|(number, _)| *number).min()?;
        self.remove(oldest);
        Some(())
    }

    fn insert(&mut self, opened: Opened, transport: Transport, remote: SocketAddr) -> Place {
        self.last += 1;
        let number = self.last;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let bytes = Arc::new(AtomicUsize::new(0));
        let (task, evicted) = oneshot::channel();
        let outbox = Outbox { queue, bytes: bytes.clone() };
        let stage = match opened {
            Opened::ByThem => Stage::HalfOpen,
            Opened::ByUs => Stage::Proven,
        };
        if opened == Opened::ByUs {
            self.by_remote.insert((transport, remote), number);
        }
        let connection = Connection { transport, remote, outbox, stage, _task: task };
        self.connections.insert(number, connection);
        Place { number, posted: Posted { queue: waiting, bytes, taken: 0 }, evicted }
    }

    fn remove(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else { return };
        let way = (connection.transport, connection.remote);
        if self.by_remote.get(&way) == Some(&number) {
            self.by_remote.remove(&way);
        }
    }
}

impl Outbox {
    /// False when the peer is too far behind.
    fn post(&self, bytes: Arc<[u8]>) -> bool {
        let length = bytes.len();
        let waiting = self.bytes.fetch_add(length, Ordering::Relaxed);
        let posted = waiting + length <= WAITING && self.queue.try_send(bytes).is_ok();
        if !posted {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
        }
        posted
    }
}

impl Posted {
    /// What must be sent next. What came before counts as sent.
    pub async fn next(&mut self) -> Option<Arc<[u8]>> {
        self.bytes.fetch_sub(std::mem::take(&mut self.taken), Ordering::Relaxed);
        let bytes = self.queue.recv().await?;
        self.taken = bytes.len();
        Some(bytes)
    }
}

pub(super) async fn accept(board: Arc<Switchboard>, transport: Transport, listener: TcpListener) {
    let Ok(bound) = listener.local_addr() else { return };
    let Limits { handshakes_per_second, handshakes_per_second_per_peer, .. } = board.streams.limits;
    let mut gate = Gate::new(handshakes_per_second, handshakes_per_second_per_peer);
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: the next try would fail at once too.
                debug!(%error, "cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if transport.is_secure() && !gate.lets_in(Instant::now(), remote.ip()) {
            debug!(%remote, "too many handshakes a second, refused {remote}");
            continue;
        }
        welcome(&board, transport, bound, stream, remote);
    }
}

fn welcome(
    board: &Arc<Switchboard>,
    transport: Transport,
    bound: SocketAddr,
    stream: TcpStream,
    remote: SocketAddr,
) {
    let streams = &board.streams;
    let admitted = streams.admit(&mut lock(&streams.open), Opened::ByThem, transport, remote);
    let Some(place) = admitted else {
        debug!(%remote, "too many connections, refused {remote}");
        return;
    };
    let local = board.local_towards(bound, remote);
    let flow = Flow { transport, local, remote, link: Link::Connection(place.number) };
    board.spawn(connection::serve(board.clone(), flow, stream, place));
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Messages, and their bytes, that wait for a slow reader.
const QUEUE: usize = 128;
const WAITING: usize = 128 << 10;
const MAX_NAMES: usize = 1_024;
