//! One connection, from its first byte to its last: one task.
//!
//! However a peer behaves, what is kept for it has an end: one message that is not complete, what
//! waits in its outbox, and a deadline for whatever has begun.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;
use tracing::debug;

use super::streams::{Place, Posted};
use super::{Switchboard, tls, websocket};
use crate::sip::framing::{self, Frame, MAX_MESSAGE};
use crate::sip::{Flow, Link, Transport};

/// Serves a connection that came.
pub(super) async fn serve(
    board: Arc<Switchboard>,
    flow: Flow,
    stream: TcpStream,
    mut place: Place,
) {
    let end = tokio::select! {
        end = welcome(&board, flow, stream, place.number, &mut place.posted) => end,
        _ = &mut place.evicted => Err(io::Error::other("made room for another")),
    };
    over(&board, flow, place.number, &end);
}

async fn welcome(
    board: &Arc<Switchboard>,
    flow: Flow,
    stream: TcpStream,
    number: u64,
    posted: &mut Posted,
) -> io::Result<()> {
    tune(&stream);
    let half_open = Talk { board, flow, number, proven: false };
    let patience = board.streams.patience();
    let deadline = Instant::now() + patience;
    match flow.transport {
        Transport::Udp | Transport::Tcp => half_open.run(stream, posted, deadline).await,
        Transport::Tls => {
            let acceptor = board.tls.acceptor()?;
            let stream = timeout_at(deadline, acceptor.accept(stream)).await??;
            if let Some(names) = tls::names(stream.get_ref().1.peer_certificates()) {
                board.with(|endpoint, _| endpoint.vouch(flow.link, names));
            }
            half_open.run(stream, posted, Instant::now() + patience).await
        }
        Transport::Ws => {
            let socket = timeout_at(deadline, websocket::accept(stream, &board.origins)).await??;
            board.streams.prove(number);
            websocket::talk(board, flow, socket, posted).await
        }
        Transport::Wss => {
            let upgrade = async {
                let stream = board.tls.web_acceptor()?.accept(stream).await?;
                websocket::accept(stream, &board.origins).await
            };
            let socket = timeout_at(deadline, upgrade).await??;
            board.streams.prove(number);
            websocket::talk(board, flow, socket, posted).await
        }
    }
}

/// Opens the way that a flow names, and serves it. `name` is whose certificate is expected there.
pub(super) async fn open(
    board: Arc<Switchboard>,
    flow: Flow,
    name: Option<String>,
    mut place: Place,
) {
    let opened = Flow { link: Link::Connection(place.number), ..flow };
    let talking = async {
        let talk = Talk { board: &board, flow: opened, number: place.number, proven: true };
        let (posted, rest) = (&mut place.posted, Instant::now() + IDLE);
        if flow.transport == Transport::Tls {
            let name = name.unwrap_or_else(|| flow.remote.ip().to_string());
            talk.run(call_tls(&board, flow.remote, &name).await?, posted, rest).await
        } else {
            talk.run(call(flow.remote).await?, posted, rest).await
        }
    };
    let end = tokio::select! {
        end = talking => end,
        _ = &mut place.evicted => Err(io::Error::other("made room for another")),
    };
    over(&board, opened, place.number, &end);
    board.with(|endpoint, now| endpoint.transport_failed(now, &flow));
}

/// Serves a connection that `call_tls` opened.
pub(super) async fn serve_called(
    board: Arc<Switchboard>,
    flow: Flow,
    stream: TlsStream<TcpStream>,
    mut place: Place,
) {
    let talk = Talk { board: &board, flow, number: place.number, proven: true };
    let end = talk.run(stream, &mut place.posted, Instant::now() + IDLE).await;
    over(&board, flow, place.number, &end);
}

async fn call(remote: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT, TcpStream::connect(remote)).await??;
    tune(&stream);
    Ok(stream)
}

/// RFC 5922 §7.2: who answers must show a certificate with the name that we called.
pub(super) async fn call_tls(
    board: &Switchboard,
    remote: SocketAddr,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let (connector, name) = (board.tls.connector().await?, tls::server_name(name)?);
    let stream = call(remote).await?;
    timeout(board.streams.patience(), connector.connect(name, stream)).await?
}

fn tune(stream: &TcpStream) {
    // Signalling is small messages that someone waits for.
    let _works_without = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(stream);
    let keep_alive = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE);
    let _works_without = socket.set_tcp_keepalive(&keep_alive);
    // What a peer does not read shall wait in our outbox, which has an end, not in the system's.
    let _works_without = socket.set_send_buffer_size(SEND_BUFFER);
}

fn over(board: &Switchboard, flow: Flow, number: u64, end: &io::Result<()>) {
    debug!(remote = %flow.remote, ?end, "{} with {} ended", flow.transport.name(), flow.remote);
    board.streams.remove(number);
    board.with(|endpoint, now| endpoint.transport_failed(now, &flow));
}

/// A byte stream that is ready for messages.
struct Talk<'a> {
    board: &'a Arc<Switchboard>,
    flow: Flow,
    number: u64,
    /// A message has come, or it is we who opened it.
    proven: bool,
}

impl Talk<'_> {
    async fn run(
        mut self,
        stream: impl AsyncRead + AsyncWrite,
        posted: &mut Posted,
        deadline: Instant,
    ) -> io::Result<()> {
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            end = self.read(reader, deadline) => end,
            end = write(writer, posted) => end,
        }
    }

    /// Until `deadline` the first message must be complete.
    async fn read(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        mut deadline: Instant,
    ) -> io::Result<()> {
        let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER);
        loop {
            let rested = is_blank(&buffer);
            if timeout_at(deadline, reader.read_buf(&mut buffer)).await?? == 0 {
                return Ok(());
            }
            let done = self.take(&buffer)?;
            buffer.drain(..done);
            // Between messages a connection may rest; a message that has begun must come to its
            // end, however slowly its bytes drop in.
            if self.proven && is_blank(&buffer) {
                deadline = Instant::now() + IDLE;
            } else if self.proven && (done > 0 || rested) {
                deadline = Instant::now() + self.board.streams.patience();
            }
            if buffer.len() > MAX_MESSAGE {
                return Err(io::Error::other("message too long"));
            }
            // A burst must not leave its buffer behind for the life of the connection.
            if buffer.is_empty() && buffer.capacity() > 4 * BUFFER {
                buffer = Vec::with_capacity(BUFFER);
            }
        }
    }

    /// Takes all that is complete, and says how many bytes that was.
    fn take(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        loop {
            match framing::next(&buffer[done..]) {
                Frame::Message(length) => {
                    if !self.proven {
                        self.proven = true;
                        self.board.streams.prove(self.number);
                    }
                    self.board.receive(self.flow, &buffer[done..done + length]);
                    done += length;
                }
                Frame::Ping(length) => {
                    self.board.streams.send(self.board, self.flow, PONG.into());
                    done += length;
                }
                Frame::Blank(length) => done += length,
                Frame::Partial => return Ok(done),
                Frame::Broken(why) => return Err(io::Error::other(why)),
            }
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, posted: &mut Posted) -> io::Result<()> {
    while let Some(bytes) = posted.next().await {
        timeout(WRITE, async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        })
        .await??;
    }
    Ok(())
}

/// Nothing, or the beginning of a ping.
fn is_blank(buffer: &[u8]) -> bool {
    buffer.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

/// RFC 5626 §4.4.1.
pub(super) const PONG: &[u8] = b"\r\n";
/// How long a connection may rest between messages.
const IDLE: Duration = Duration::from_mins(30);
const KEEP_ALIVE: Duration = Duration::from_mins(1);
const CONNECT: Duration = Duration::from_secs(5);
/// How long a peer may leave a message unread.
pub(super) const WRITE: Duration = Duration::from_secs(10);
const SEND_BUFFER: usize = 128 << 10;
const BUFFER: usize = 4096;
