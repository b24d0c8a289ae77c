//! TCP, TLS and their limits, on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use afterbeep::sip::{Agent, Certificates, Config, Event, Invite, Limits, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::authority::{Authority, replace};
use crate::wire::{SDP, address, alice, call, start_as};

#[tokio::test]
async fn a_call_by_tls_is_secure_all_the_way() {
    let authority = Authority::new();
    let (agent, mut invites) = secure(authority.here()).await;
    let (caller, _none) = secure(authority.here()).await;
    let at = address(&agent, Transport::Tls);
    for target in [
        format!("sip:401@{at};transport=tls"),
        format!("sips:401@{at}"),
        format!("sips:401@localhost:{}", at.port()),
    ] {
        call(&caller, &mut invites, &target.parse().expect("a URI")).await;
    }
}

#[tokio::test]
async fn a_shutdown_hangs_up_by_tls_before_it_closes() {
    let authority = Authority::new();
    let (agent, mut invites) = secure(authority.here()).await;
    let (caller, _none) = secure(authority.trust()).await;
    let target = format!("sips:401@{}", address(&agent, Transport::Tls));
    let (target, from) = (target.parse().expect("a URI"), alice());
    let (taken, mut answered) = tokio::join!(caller.call(&target, &from, SDP.into()), async {
        let invite = invites.recv().await.expect("an invite");
        invite.answer(SDP.into()).await.expect("still there")
    });
    let mut dialog = taken.expect("taken");
    assert_eq!(answered.next().await, Event::Confirmed { answer: None });
    agent.shutdown(Duration::ZERO).await;
    assert_eq!(dialog.next().await, Event::Bye);
}

#[tokio::test]
async fn whom_nobody_vouches_for_is_not_called() {
    let (right, wrong) = (Authority::new(), Authority::new());
    let elsewhere = Certificates { own: Some(right.sign("e", &["e.example"])), ..right.here() };
    for (shown, trusted, why) in [
        (right.here(), wrong.trust(), "UnknownIssuer"),
        (elsewhere, right.trust(), "not valid for name"),
    ] {
        let (agent, _invites) = secure(shown).await;
        let (caller, _none) = secure(trusted).await;
        let target = format!("sips:401@{}", address(&agent, Transport::Tls));
        let refused = caller.call(&target.parse().expect("a URI"), &alice(), SDP.into()).await;
        let refusal = refused.err().expect("refused");
        assert_eq!(refusal.code, 503);
        assert!(refusal.reason.contains(why), "{refusal}");
    }
}

#[tokio::test]
async fn a_callers_certificate_says_who_it_is() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let asking = Certificates { client_ca: Some(known.ca()), ..known.here() };
    let (agent, mut invites) = secure(asking).await;
    let target = format!("sips:401@{}", address(&agent, Transport::Tls));
    let target = target.parse().expect("a URI");
    let names = ["PBX.example.com", "sbc.example.com", "192.0.2.5"];
    for (own, certificate) in [
        (Some(known.sign("pbx", &names)), Some("pbx.example.com sbc.example.com 192.0.2.5")),
        (None, None),
    ] {
        let (caller, _none) = secure(Certificates { own, ..known.trust() }).await;
        let (from, offer) = (alice(), SDP.to_owned());
        let (refused, ()) = tokio::join!(caller.call(&target, &from, offer), async {
            let invite = invites.recv().await.expect("an invite");
            assert_eq!(invite.certificate.as_deref(), certificate);
        });
        assert_eq!(refused.err().expect("refused").code, 500);
    }
    let own = Some(unknown.sign("pbx", &names));
    let (caller, _none) = secure(Certificates { own, ..known.trust() }).await;
    assert!(caller.call(&target, &alice(), SDP.into()).await.is_err());
    assert!(invites.try_recv().is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let certificates = authority.here();
    let own = certificates.own.clone().expect("a certificate");
    let (agent, mut invites) = secure(certificates).await;
    let (caller, _none) = secure(authority.trust()).await;
    let target = format!("sips:401@{}", address(&agent, Transport::Tls));
    let target = target.parse().expect("a URI");
    let (from, offer) = (alice(), SDP.to_owned());
    let (taken, mut answered) = tokio::join!(caller.call(&target, &from, offer), async {
        let invite = invites.recv().await.expect("an invite");
        invite.answer(SDP.into()).await.expect("still there")
    });
    let mut dialog = taken.expect("taken");
    assert_eq!(answered.next().await, Event::Confirmed { answer: None });

    let shown = || shown(&authority, address(&agent, Transport::Tls));
    let first = shown().await;
    authority.sign("here", &["localhost", "127.0.0.1"]);
    assert_eq!(shown().await, first);
    agent.reload().await;
    let second = shown().await;
    assert_ne!(second, first);
    replace(&own.key, "-----BEGIN NOTHING-----");
    agent.reload().await;
    assert_eq!(shown().await, second);
    // A key that is not this certificate's.
    let other = authority.sign("other", &["localhost"]);
    replace(&own.key, &std::fs::read_to_string(other.key).expect("a key"));
    agent.reload().await;
    assert_eq!(shown().await, second);

    // The call that began with the first goes on.
    answered.bye();
    assert_eq!(dialog.next().await, Event::Bye);
}

#[tokio::test]
async fn a_certificate_that_is_missing_is_named_at_the_start() {
    let authority = Authority::new();
    let mut certificates = authority.here();
    if let Some(own) = &mut certificates.own {
        own.certificate = "/nowhere/cert.pem".into();
    }
    let config = Config { certificates, ..config("127.0.0.1:0") };
    let error = afterbeep::sip::bind(config).await.err().expect("refused");
    assert!(error.to_string().contains("/nowhere/cert.pem"), "{error}");
}

#[tokio::test]
async fn plain_text_on_the_tls_port_is_dropped() {
    let (agent, mut invites) = secure(Authority::new().here()).await;
    let mut stream =
        TcpStream::connect(address(&agent, Transport::Tls)).await.expect("a connection");
    stream.write_all(options("127.0.0.1", 1).as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // Closed, or reset because bytes were left unread.
    let _closed = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("SIP/2.0"));
    assert!(invites.try_recv().is_err());
}

#[tokio::test]
async fn ipv6_by_udp_tcp_and_tls() {
    let authority = Authority::new();
    let six = || Config { certificates: authority.here(), ..config("[::1]:0") };
    let (agent, mut invites) = start_as(six()).await;
    let (caller, _none) = start_as(six()).await;
    for (transport, wish) in [
        (Transport::Udp, ""),
        (Transport::Tcp, ";transport=tcp"),
        (Transport::Tls, ";transport=tls"),
    ] {
        let target = format!("sip:401@{}{wish}", address(&agent, transport));
        call(&caller, &mut invites, &target.parse().expect("a URI")).await;
    }
}

#[tokio::test]
async fn half_open_connections_harm_no_call_and_keep_nobody_out() {
    let (agent, mut invites) = secure(Authority::new().here()).await;
    let (caller, _none) = start_as(config_tcp()).await;
    let at = address(&agent, Transport::Tcp);
    let target = format!("sip:401@{at};transport=tcp").parse().expect("a URI");
    let (from, offer) = (alice(), SDP.to_owned());
    let (taken, mut answered) = tokio::join!(caller.call(&target, &from, offer), async {
        let invite = invites.recv().await.expect("an invite");
        invite.answer(SDP.into()).await.expect("still there")
    });
    let mut dialog = taken.expect("taken");
    assert_eq!(answered.next().await, Event::Confirmed { answer: None });

    let mut silent = Vec::new();
    for _ in 0..2_000 {
        let mut stream = TcpStream::connect(at).await.expect("a connection");
        let _it_may_be_closed_already = stream.write_all(b"I").await;
        // Within what a test may have open.
        if silent.len() == 400 {
            silent.remove(0);
        }
        silent.push(stream);
    }
    // Another caller, from the same address, gets in.
    let (second, _none) = start_as(config_tcp()).await;
    call(&second, &mut invites, &target).await;
    answered.bye();
    assert_eq!(dialog.next().await, Event::Bye);
}

#[tokio::test]
async fn who_sends_and_never_reads_is_alone_in_it() {
    let (agent, mut invites) = secure(Authority::new().here()).await;
    let at = address(&agent, Transport::Tcp);
    let mut deaf = TcpStream::connect(at).await.expect("a connection");
    let flood: String = (0..2_000).map(|branch| options("127.0.0.1", branch)).collect();
    for _ in 0..5 {
        // Some 5 MB of answers, of which it takes none.
        deaf.write_all(flood.as_bytes()).await.expect("sent");
    }
    let (caller, _none) = start_as(config_tcp()).await;
    let target = format!("sip:401@{at};transport=tcp").parse().expect("a URI");
    call(&caller, &mut invites, &target).await;
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_its_connection() {
    let (agent, _invites) = secure(Authority::new().here()).await;
    let mut stream =
        TcpStream::connect(address(&agent, Transport::Tcp)).await.expect("a connection");
    let head = options("127.0.0.1", 1).replace("Content-Length: 0", "Content-Length: 70000");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await.expect("closed"), 0);
}

#[tokio::test]
async fn a_message_that_drops_in_byte_by_byte_is_not_waited_for() {
    let limits = Limits { patience: Duration::from_millis(200), ..Limits::default() };
    let (agent, _invites) = start_as(Config { limits, ..config_tcp() }).await;
    let at = address(&agent, Transport::Tcp);
    for before in ["", "OPTIONS first"] {
        let mut stream = TcpStream::connect(at).await.expect("a connection");
        if !before.is_empty() {
            stream.write_all(options("127.0.0.1", 1).as_bytes()).await.expect("sent");
            read_until(&mut stream, "\r\n\r\n").await;
        }
        let (mut reads, mut writes) = stream.split();
        let mut rest = Vec::new();
        let drops = async {
            loop {
                let _until_it_is_closed = writes.write_all(b"I").await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            _closed = reads.read_to_end(&mut rest) => {}
            () = drops => {}
        }
        assert!(rest.is_empty());
    }
}

/// RFC 3261 §18.2.2.
#[tokio::test]
async fn an_answer_finds_a_caller_whose_connection_broke() {
    let (agent, mut invites) = secure(Authority::new().here()).await;
    let home = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let via = home.local_addr().expect("an address");
    let mut stream =
        TcpStream::connect(address(&agent, Transport::Tcp)).await.expect("a connection");
    let request = invite(&via.to_string(), "TCP");
    stream.write_all(request.as_bytes()).await.expect("sent");
    read_until(&mut stream, "100 Trying").await;
    drop(stream);
    let invite = invites.recv().await.expect("an invite");
    // The connection is gone when it says so.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut dialog = invite.answer(SDP.into()).await.expect("still there");
    let (mut back, _from) = home.accept().await.expect("a connection");
    let answer = read_until(&mut back, "m=audio").await;
    assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
    let ack = ack(&request, &answer);
    back.write_all(ack.as_bytes()).await.expect("sent");
    assert_eq!(dialog.next().await, Event::Confirmed { answer: None });
    dialog.bye();
    read_until(&mut back, "BYE sip:alice@").await;
}

impl Authority {
    /// What a daemon on this host needs.
    pub fn here(&self) -> Certificates {
        let own = Some(self.sign("here", &["localhost", "127.0.0.1", "::1"]));
        Certificates { own, client_ca: None, ca: Some(self.ca()) }
    }

    /// What trusts this authority, and shows nothing.
    pub fn trust(&self) -> Certificates {
        Certificates { ca: Some(self.ca()), ..Certificates::default() }
    }
}

/// The certificate that a server shows.
async fn shown(authority: &Authority, at: SocketAddr) -> CertificateDer<'static> {
    let stream = tls(authority, at).await;
    let (_, session) = stream.get_ref();
    session.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

pub async fn tls(
    authority: &Authority,
    at: SocketAddr,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.ca()).expect("a certificate");
    roots.add(ca).expect("an authority");
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    let stream = TcpStream::connect(at).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS")
}

async fn secure(certificates: Certificates) -> (Agent, mpsc::Receiver<Invite>) {
    let listening = certificates.own.is_some();
    let config = Config { certificates, ..config("127.0.0.1:0") };
    let tls = if listening { config.tls.clone() } else { vec![] };
    start_as(Config { tls, ..config }).await
}

fn config(address: &str) -> Config {
    let any = vec![address.parse().expect("an address")];
    Config { udp: any.clone(), tcp: any.clone(), tls: any, ..Config::default() }
}

/// A caller that takes no calls.
fn config_tcp() -> Config {
    Config { tls: vec![], ..config("127.0.0.1:0") }
}

pub fn options(via: &str, branch: u32) -> String {
    format!(
        "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP {via};branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

pub fn invite(via: &str, transport: &str) -> String {
    format!(
        "INVITE sip:401@h SIP/2.0\r\nVia: SIP/2.0/{transport} {via};branch=z9hG4bKi\r\nMax-Forwards: 70\r\nFrom: <sip:alice@h>;tag=1\r\nTo: <sip:401@h>\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@{via};transport={transport}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

/// The ACK for a 200 to that INVITE.
pub fn ack(invite: &str, ok: &str) -> String {
    let to = ok.lines().find(|line| line.starts_with("To:")).expect("a To");
    let head = invite.split("Content-Type").next().expect("a head");
    let ack = head.replace("INVITE", "ACK").replace("z9hG4bKi", "z9hG4bKa");
    format!("{}Content-Length: 0\r\n\r\n", ack.replace("To: <sip:401@h>", to))
}

async fn read_until(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), end: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(end) {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.expect("bytes");
        assert!(read > 0, "closed after: {heard}");
        heard.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    heard
}
