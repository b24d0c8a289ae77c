//! Two agents on real sockets: the shell, the streams and the handles.

use std::net::SocketAddr;
use std::time::Duration;

use afterbeep::sip::{
    self, Agent, Config, Event, Invite, Limits, NameAddr, Reject, Transport, Uri,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

#[tokio::test]
async fn a_call_by_udp() {
    let (agent, mut invites) = start().await;
    let (caller, _none) = start().await;
    call(&caller, &mut invites, &uri(&agent, Transport::Udp)).await;
    agent.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_call_by_tcp() {
    let (agent, mut invites) = start().await;
    let (caller, _none) = start().await;
    call(&caller, &mut invites, &uri(&agent, Transport::Tcp)).await;
}

#[tokio::test]
async fn refused_dropped_and_cancelled_calls() {
    let (agent, mut invites) = start().await;
    let (caller, _none) = start().await;
    let (target, from) = (uri(&agent, Transport::Udp), alice());

    let (refused, ()) = tokio::join!(caller.call(&target, &from, SDP.into()), async {
        let invite = invites.recv().await.expect("an invite");
        invite.ring();
        invite.reject(Reject::Overloaded { retry_after: Duration::from_secs(9) });
    });
    let refusal = refused.err().expect("refused");
    assert_eq!((refusal.code, refusal.retry_after), (503, Some(Duration::from_secs(9))));

    let (dropped, ()) = tokio::join!(caller.call(&target, &from, SDP.into()), async {
        drop(invites.recv().await.expect("an invite"));
    });
    assert_eq!(dropped.err().expect("dropped").code, 500);

    let patience = Duration::from_millis(100);
    let (given_up, mut invite) = tokio::join!(
        tokio::time::timeout(patience, caller.call(&target, &from, SDP.into())),
        async { invites.recv().await.expect("an invite") }
    );
    assert!(given_up.is_err());
    invite.gone().await;
    assert!(invite.answer(SDP.into()).await.is_err());
}

#[tokio::test]
async fn a_backlog_that_is_full_is_busy() {
    let limits = Limits { backlog: 1, ..Limits::default() };
    let (agent, mut invites) = start_with(limits).await;
    let (caller, _none) = start().await;
    let (target, from) = (uri(&agent, Transport::Udp), alice());
    let mut first = Box::pin(caller.call(&target, &from, SDP.into()));
    let second = tokio::select! {
        _ = &mut first => panic!("answered by nobody"),
        second = async {
            tokio::task::yield_now().await;
            caller.call(&target, &from, SDP.into()).await
        } => second,
    };
    assert_eq!(second.err().expect("refused").code, 503);
    drop(invites.recv().await);
    assert!(first.await.is_err());
}

#[tokio::test]
async fn two_requests_in_one_segment_and_a_ping() {
    let (agent, _invites) = start().await;
    let address = address(&agent, Transport::Tcp);
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let options = |branch: u8| {
        format!(
            "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{branch}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let bytes = format!("{}{}\r\n\r\n", options(1), options(2));
    let (start, end) = bytes.split_at(100);
    stream.write_all(start.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    stream.write_all(end.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n\r\n") {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.expect("an answer");
        assert!(read > 0, "closed after: {answer}");
        answer.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    assert_eq!(answer.matches("SIP/2.0 200 OK").count(), 2);

    stream.write_all(b"OPTIONS sip:h SIP/2.0\r\nNo: length\r\n\r\n").await.expect("sent");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("closed");
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_shutdown_lets_nobody_in_and_hangs_up() {
    let (agent, mut invites) = start().await;
    let (caller, _none) = start().await;
    let (target, from) = (uri(&agent, Transport::Udp), alice());
    let (taken, mut answered) = tokio::join!(caller.call(&target, &from, SDP.into()), async {
        let invite = invites.recv().await.expect("an invite");
        invite.answer(SDP.into()).await.expect("still there")
    });
    let mut dialog = taken.expect("taken");
    assert_eq!(answered.next().await, Event::Confirmed { answer: None });
    let grace = Duration::from_millis(200);
    let ((), late) = tokio::join!(agent.clone().shutdown(grace), async {
        tokio::task::yield_now().await;
        caller.call(&target, &from, SDP.into()).await
    });
    assert_eq!(late.err().expect("refused").code, 503);
    assert_eq!(dialog.next().await, Event::Bye);
    assert_eq!(answered.next().await, Event::Lost);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (agent, _invites) = start().await;
    let taken = address(&agent, Transport::Udp);
    let config = Config { udp: vec![taken], tcp: vec![], ..config(Limits::default()) };
    let error = sip::bind(config).await.err().expect("the port is taken");
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

pub async fn call(caller: &Agent, invites: &mut mpsc::Receiver<Invite>, target: &Uri) {
    let (from, offer) = (alice(), SDP.to_owned());
    let (taken, mut answered) = tokio::join!(caller.call(target, &from, offer), async {
        let invite = invites.recv().await.expect("an invite");
        assert_eq!(invite.request_uri.user, "401");
        assert_eq!(invite.from.display.as_deref(), Some("Alice"));
        assert_eq!(invite.offer.as_deref(), Some(SDP.as_bytes()));
        assert!(invite.local.is_loopback());
        invite.ring();
        invite.answer("v=0 answer".to_owned()).await.expect("still there")
    });
    let mut dialog = taken.expect("taken");
    assert_eq!(dialog.remote_body(), Some(&b"v=0 answer"[..]));
    assert_eq!(answered.next().await, Event::Confirmed { answer: None });
    assert_eq!(caller.calls(), 1);
    answered.bye();
    assert_eq!(dialog.next().await, Event::Bye);
    assert_eq!(caller.calls(), 0);
}

async fn start() -> (Agent, mpsc::Receiver<Invite>) {
    start_with(Limits::default()).await
}

async fn start_with(limits: Limits) -> (Agent, mpsc::Receiver<Invite>) {
    start_as(config(limits)).await
}

pub async fn start_as(config: Config) -> (Agent, mpsc::Receiver<Invite>) {
    sip::bind(config).await.expect("free ports")
}

fn config(limits: Limits) -> Config {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    Config {
        udp: vec![any],
        tcp: vec![any],
        user_agent: "test".into(),
        limits,
        ..Config::default()
    }
}

pub fn address(agent: &Agent, transport: Transport) -> SocketAddr {
    let all = agent.local_addrs();
    all.into_iter().find(|(kind, _)| *kind == transport).expect("a listener").1
}

fn uri(agent: &Agent, transport: Transport) -> Uri {
    let address = address(agent, transport);
    let tcp = if transport == Transport::Tcp { ";transport=tcp" } else { "" };
    format!("sip:401@{address}{tcp}").parse().expect("a URI")
}

pub fn alice() -> NameAddr {
    "Alice <sip:alice@127.0.0.1>".parse().expect("a name")
}

pub const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
