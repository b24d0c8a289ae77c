//! SIP over WebSocket: RFC 7118. One SIP message is one WebSocket message.

use std::io;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use super::Switchboard;
use super::connection::{PONG, WRITE};
use super::streams::Posted;
use crate::sip::Flow;
use crate::sip::framing::MAX_MESSAGE;

/// Answers the opening handshake, whatever path it asks for.
pub(super) async fn accept<S>(stream: S, origins: &[String]) -> io::Result<WebSocketStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    #[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
    let screen = |request: &Request, mut response: Response| {
        let refuse = |status, why: &str| {
            let mut refusal = ErrorResponse::new(Some(why.to_owned()));
            *refusal.status_mut() = status;
            Err(refusal)
        };
        if !is_welcome(request.headers().get(ORIGIN), origins) {
            return refuse(StatusCode::FORBIDDEN, "no calls from this page");
        }
        // RFC 7118 §4.1: without `sip` among the subprotocols, something else is meant.
        let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let mut offered = offered.filter_map(|value| value.to_str().ok());
        if !offered.any(|value| value.split(',').any(|name| name.trim() == SUBPROTOCOL)) {
            return refuse(StatusCode::BAD_REQUEST, "the subprotocol is sip");
        }
        let headers = response.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        Ok(response)
    };
    let limits = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    accept_hdr_async_with_config(stream, screen, Some(limits)).await.map_err(io::Error::other)
}

/// RFC 6455 §10.2: a browser says which page it serves.
fn is_welcome(origin: Option<&HeaderValue>, origins: &[String]) -> bool {
    let origin = origin.and_then(|origin| origin.to_str().ok());
    origins.is_empty()
        || origin.is_some_and(|origin| origins.iter().any(|o| o.eq_ignore_ascii_case(origin)))
}

/// Carries messages both ways until the other side is gone.
pub(super) async fn talk<S>(
    board: &Arc<Switchboard>,
    flow: Flow,
    mut socket: WebSocketStream<S>,
    posted: &mut Posted,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent_pings = 0;
    loop {
        tokio::select! {
            heard = socket.next() => {
                silent_pings = 0;
                match heard {
                    Some(Ok(Message::Text(text))) => take(board, flow, text.as_bytes()),
                    Some(Ok(Message::Binary(bytes))) => take(board, flow, &bytes),
                    // A ping is answered for us.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Close(_))) | None => return Ok(()),
                    Some(Err(error)) => return Err(broken(error)),
                }
            }
            bytes = posted.next() => {
                let Some(bytes) = bytes else { return Ok(()) };
                send(&mut socket, frame(&bytes)).await?;
            }
            _ = pings.tick() => {
                // RFC 7118 §6: a browser that went to sleep does not say so.
                if silent_pings > MAX_SILENT {
                    return Err(io::Error::other("no answer to pings"));
                }
                silent_pings += 1;
                send(&mut socket, Message::Ping(Vec::new().into())).await?;
            }
        }
    }
}

fn take(board: &Arc<Switchboard>, flow: Flow, bytes: &[u8]) {
    // RFC 5626 §4.4.1: SIP.js pings as over TCP.
    match bytes {
        b"\r\n\r\n" => board.streams.send(board, flow, PONG.into()),
        _ if bytes.iter().all(u8::is_ascii_whitespace) => {}
        _ => board.receive(flow, bytes),
    }
}

/// RFC 7118 §4.2: text where it is UTF-8, which JavaScript likes better.
fn frame(bytes: &[u8]) -> Message {
    match std::str::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(_) => Message::binary(bytes.to_vec()),
    }
}

async fn send<S>(socket: &mut WebSocketStream<S>, message: Message) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timeout(WRITE, socket.send(message)).await?.map_err(broken)
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

const SUBPROTOCOL: &str = "sip";
const PING: Duration = Duration::from_secs(30);
/// Pings without any answer before a connection counts as lost.
const MAX_SILENT: u32 = 1;
