//! Browsers, who speak as the usual libraries for them do.

use std::net::SocketAddr;

use afterbeep::sip::{Agent, Config, Event, Invite, Transport};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, StatusCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::authority::Authority;
use crate::connections::{ack, invite, options, tls};
use crate::wire::{SDP, address, start_as};

#[tokio::test]
async fn a_call_by_ws() {
    let (agent, mut invites, _authority) = start(vec![]).await;
    let at = address(&agent, Transport::Ws);
    let stream = TcpStream::connect(at).await.expect("a connection");
    let (browser, _) = client_async(upgrade(at), stream).await.expect("an upgrade");
    call(browser, &mut invites, Transport::Ws).await;
}

#[tokio::test]
async fn a_call_by_wss() {
    let (agent, mut invites, authority) = start(vec![]).await;
    let at = address(&agent, Transport::Wss);
    let stream = tls(&authority, at).await;
    let (browser, _) = client_async(upgrade(at), stream).await.expect("an upgrade");
    call(browser, &mut invites, Transport::Wss).await;
}

#[tokio::test]
async fn pings_of_both_kinds_and_binary_messages_are_answered() {
    let (agent, _invites, _authority) = start(vec![]).await;
    let mut browser = connect(&agent).await;
    browser.send(Message::text("\r\n\r\n")).await.expect("sent");
    assert_eq!(hear(&mut browser).await, Message::text("\r\n"));
    browser.send(Message::Ping("here?".into())).await.expect("sent");
    assert_eq!(hear(&mut browser).await, Message::Pong("here?".into()));
    let options = options("x.invalid", 7).replace("SIP/2.0/TCP", "SIP/2.0/WS");
    browser.send(Message::binary(options.into_bytes())).await.expect("sent");
    let answer = hear(&mut browser).await.into_text().expect("text");
    assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("received=127.0.0.1"), "{answer}");
    browser.close(None).await.expect("closed");
}

#[tokio::test]
async fn what_is_not_sip_gets_no_websocket() {
    let (agent, _invites, _authority) = start(vec![]).await;
    let at = address(&agent, Transport::Ws);
    let mut chat = upgrade(at);
    chat.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("chat"));
    assert_eq!(refused(at, chat).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_page_that_is_not_named_may_not_call() {
    let (agent, _invites, _authority) = start(vec!["https://phone.example.com".into()]).await;
    let at = address(&agent, Transport::Ws);
    let from = |origin: &'static str| {
        let mut request = upgrade(at);
        request.headers_mut().insert("Origin", HeaderValue::from_static(origin));
        request
    };
    assert_eq!(refused(at, from("https://evil.example.com")).await, StatusCode::FORBIDDEN);
    assert_eq!(refused(at, upgrade(at)).await, StatusCode::FORBIDDEN);
    let stream = TcpStream::connect(at).await.expect("a connection");
    let welcome = client_async(from("https://phone.example.com"), stream).await;
    assert!(welcome.is_ok());
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_its_connection() {
    let (agent, _invites, _authority) = start(vec![]).await;
    let mut browser = connect(&agent).await;
    let long = format!("{}{}", options("x.invalid", 1), "x".repeat(70_000));
    let _it_may_be_closed_already = browser.send(Message::text(long)).await;
    loop {
        match browser.next().await {
            None | Some(Err(_) | Ok(Message::Close(_))) => break,
            Some(Ok(message)) => assert!(message.is_ping(), "{message}"),
        }
    }
}

async fn call<S>(
    mut browser: WebSocketStream<S>,
    invites: &mut mpsc::Receiver<Invite>,
    transport: Transport,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let via = "df7jal23ls0d.invalid";
    let request = invite(via, transport.name());
    browser.send(Message::text(request.clone())).await.expect("sent");
    let trying = hear(&mut browser).await.into_text().expect("text");
    assert!(trying.starts_with("SIP/2.0 100 "), "{trying}");
    let invite = invites.recv().await.expect("an invite");
    assert_eq!((invite.transport, invite.certificate.as_deref()), (transport, None));
    let mut dialog = invite.answer(SDP.into()).await.expect("still there");
    let ok = hear(&mut browser).await.into_text().expect("text");
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    browser.send(Message::text(ack(&request, &ok))).await.expect("sent");
    assert_eq!(dialog.next().await, Event::Confirmed { answer: None });
    dialog.bye();
    let bye = hear(&mut browser).await.into_text().expect("text");
    assert!(bye.starts_with(&format!("BYE sip:alice@{via}")), "{bye}");
    assert!(bye.contains(&format!("Via: SIP/2.0/{} ", transport.name())), "{bye}");
}

/// The next message that is not a ping of the server's.
async fn hear<S>(browser: &mut WebSocketStream<S>) -> Message
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = browser.next().await.expect("a message").expect("a message");
        if !message.is_ping() {
            return message;
        }
    }
}

async fn refused(at: SocketAddr, request: Request<()>) -> StatusCode {
    let stream = TcpStream::connect(at).await.expect("a connection");
    match client_async(request, stream).await {
        Err(Error::Http(response)) => response.status(),
        other => panic!("not refused: {:?}", other.map(|_| ())),
    }
}

async fn connect(agent: &Agent) -> WebSocketStream<TcpStream> {
    let at = address(agent, Transport::Ws);
    let stream = TcpStream::connect(at).await.expect("a connection");
    client_async(upgrade(at), stream).await.expect("an upgrade").0
}

fn upgrade(at: SocketAddr) -> Request<()> {
    let mut request = format!("ws://{at}/ws").into_client_request().expect("a request");
    let subprotocol = HeaderValue::from_static("sip");
    request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
    request
}

async fn start(origins: Vec<String>) -> (Agent, mpsc::Receiver<Invite>, Authority) {
    let any = vec!["127.0.0.1:0".parse().expect("an address")];
    let authority = Authority::new();
    let certificates = authority.here();
    let (ws, wss) = (any.clone(), any);
    let config = Config { ws, wss, certificates, origins, ..Config::default() };
    let (agent, invites) = start_as(config).await;
    (agent, invites, authority)
}
