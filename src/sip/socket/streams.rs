//! TCP: connections that came, connections that we opened, and their limits.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::{Switchboard, lock};
use crate::sip::framing::{self, Frame, MAX_MESSAGE};
use crate::sip::{Flow, Limits, Link, Transport};

pub(super) struct Streams {
    listening: Vec<SocketAddr>,
    limit: usize,
    limit_per_peer: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: u64,
    connections: HashMap<u64, Connection>,
    /// The newest connection to each remote address.
    by_remote: HashMap<SocketAddr, u64>,
}

struct Connection {
    remote: SocketAddr,
    queue: mpsc::Sender<Arc<[u8]>>,
}

impl Streams {
    pub fn new(limits: &Limits, listening: Vec<SocketAddr>) -> Self {
        let (limit, limit_per_peer) = (limits.connections, limits.connections_per_peer);
        Self { listening, limit, limit_per_peer, open: Mutex::default() }
    }

    pub fn listening(&self) -> impl Iterator<Item = SocketAddr> {
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
        let number = named.or_else(|| open.by_remote.get(&flow.remote).copied());
        if let Some(connection) = number.and_then(|number| open.connections.get(&number)) {
            // A peer that reads so slowly has a queue of answers already.
            let _dropped_when_full = connection.queue.try_send(bytes);
            return;
        }
        let Some((number, queue)) = self.admit(&mut open, flow.remote) else { return };
        if let Some(connection) = open.connections.get(&number) {
            let _a_new_queue_has_room = connection.queue.try_send(bytes);
        }
        drop(open);
        board.spawn(connect(board.clone(), flow, number, queue));
    }

    /// A place for one more connection, if there is one.
    fn admit(
        &self,
        open: &mut Open,
        remote: SocketAddr,
    ) -> Option<(u64, mpsc::Receiver<Arc<[u8]>>)> {
        let same_peer = |c: &&Connection| c.remote.ip() == remote.ip();
        if open.connections.len() >= self.limit
            || open.connections.values().filter(same_peer).count() >= self.limit_per_peer
        {
            return None;
        }
        open.last += 1;
        let (queue, waiting) = mpsc::channel(QUEUE);
        open.connections.insert(open.last, Connection { remote, queue });
        open.by_remote.insert(remote, open.last);
        Some((open.last, waiting))
    }

    fn remove(&self, number: u64) {
        let mut open = lock(&self.open);
        let Some(connection) = open.connections.remove(&number) else { return };
        if open.by_remote.get(&connection.remote) == Some(&number) {
            open.by_remote.remove(&connection.remote);
        }
    }
}

pub(super) async fn accept(board: Arc<Switchboard>, listener: TcpListener) {
    let Ok(bound) = listener.local_addr() else { return };
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
        let admitted = board.streams.admit(&mut lock(&board.streams.open), remote);
        let Some((number, queue)) = admitted else {
            debug!(%remote, "too many connections, refused {remote}");
            continue;
        };
        let local = board.local_towards(bound, remote);
        let link = Link::Connection(number);
        let flow = Flow { transport: Transport::Tcp, local, remote, link };
        board.spawn(serve(board.clone(), flow, number, stream, queue));
    }
}

async fn connect(
    board: Arc<Switchboard>,
    flow: Flow,
    number: u64,
    queue: mpsc::Receiver<Arc<[u8]>>,
) {
    if let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(flow.remote)).await {
        let flow = Flow { link: Link::Connection(number), ..flow };
        serve(board, flow, number, stream, queue).await;
    } else {
        board.streams.remove(number);
        board.with(|endpoint, now| endpoint.transport_failed(now, &flow));
    }
}

async fn serve(
    board: Arc<Switchboard>,
    flow: Flow,
    number: u64,
    stream: TcpStream,
    queue: mpsc::Receiver<Arc<[u8]>>,
) {
    // Signalling is small messages that someone waits for.
    let _works_without = stream.set_nodelay(true);
    let keep_alive = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE);
    let _works_without = socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
    let (reader, writer) = stream.into_split();
    let end = tokio::select! {
        end = read(&board, flow, reader) => end,
        end = write(writer, queue) => end,
    };
    debug!(remote = %flow.remote, ?end, "connection with {} ended", flow.remote);
    board.streams.remove(number);
    board.with(|endpoint, now| endpoint.transport_failed(now, &flow));
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Arc<[u8]>>) -> io::Result<()> {
    while let Some(bytes) = queue.recv().await {
        timeout(WRITE, writer.write_all(&bytes)).await??;
    }
    Ok(())
}

async fn read(board: &Arc<Switchboard>, flow: Flow, mut reader: OwnedReadHalf) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(4096);
    let mut deadline = Instant::now() + HALF_OPEN;
    loop {
        let read = timeout_at(deadline, reader.read_buf(&mut buffer)).await??;
        if read == 0 {
            return Ok(());
        }
        let mut done = 0;
        let begun = buffer.len() > read;
        loop {
            match framing::next(&buffer[done..]) {
                Frame::Message(length) => {
                    board.receive(flow, &buffer[done..done + length]);
                    done += length;
                }
                Frame::Ping(length) => {
                    board.streams.send(board, flow, PONG.into());
                    done += length;
                }
                Frame::Blank(length) => done += length,
                Frame::Partial => break,
                Frame::Broken(why) => return Err(io::Error::other(why)),
            }
        }
        buffer.drain(..done);
        // Between messages a connection may rest; a message that has begun must come to its end.
        if buffer.is_empty() {
            deadline = Instant::now() + IDLE;
        } else if done > 0 || !begun {
            deadline = Instant::now() + HALF_OPEN;
        }
        if buffer.len() > MAX_MESSAGE {
            return Err(io::Error::other("message too long"));
        }
        // A burst must not leave its buffer behind for the life of the connection.
        if buffer.is_empty() && buffer.capacity() > 4 * 4096 {
            buffer = Vec::with_capacity(4096);
        }
    }
}

/// RFC 5626 §4.4.1.
const PONG: &[u8] = b"\r\n";
/// How long a new connection may be silent, and a message incomplete.
const HALF_OPEN: Duration = Duration::from_secs(10);
/// How long a connection may rest between messages.
const IDLE: Duration = Duration::from_mins(30);
const KEEP_ALIVE: Duration = Duration::from_mins(1);
const CONNECT: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Messages that wait for a slow reader.
const QUEUE: usize = 128;
