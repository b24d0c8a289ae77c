//! Names, registrars and passwords on real sockets: a name server, a registrar and the servers
//! that they lead to, all of the tests' own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afterbeep::pii::Secret;
use afterbeep::sip::{
    self, Account, Agent, Algorithm, Authentication, Config, Credentials, Demand, Invite, Limits,
    NameAddr, Registration, Standing, Transport, Uri,
};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::proof::{Fields, Proof};

#[tokio::test]
async fn a_name_leads_to_the_first_server_that_has_room() {
    let full = Limits { calls: 0, ..Limits::default() };
    let (first, _none) = start(Config { limits: full, ..config() }).await;
    let (second, mut invites) = start(config()).await;
    let mut zone = Zone::default();
    zone.naptr("example.test", "SIP+D2T", 20, "_sip._tcp.example.test");
    zone.naptr("example.test", "SIP+D2U", 10, "_sip._udp.example.test");
    zone.srv("_sip._udp.example.test", 10, port(&first), "a.example.test");
    zone.srv("_sip._udp.example.test", 20, port(&second), "b.example.test");
    zone.a("a.example.test");
    zone.a("b.example.test");
    let (server, asked) = zone.serve().await;
    let (caller, _none) = start(Config { nameservers: vec![server], ..config() }).await;

    for _ in 0..2 {
        let target: Uri = "sip:401@example.test".parse().expect("a URI");
        let (from, offer) = (alice(), SDP.to_owned());
        let (taken, answered) = tokio::join!(caller.call(&target, &from, offer), async {
            let invite = invites.recv().await.expect("an invite");
            invite.answer(SDP.to_owned()).await.expect("still there")
        });
        let _dialogs = (taken.expect("taken"), answered);
    }
    // The second call needed no question more, neither for what there is nor for what is missing.
    let again = asked.lock().expect("the questions").iter().any(|(_, _, before)| *before > 0);
    assert!(!again, "{asked:?}");

    // A name that leads nowhere is told at once.
    let target: Uri = "sip:401@nowhere.test".parse().expect("a URI");
    let refusal = caller.call(&target, &alice(), SDP.to_owned()).await.err().expect("refused");
    assert_eq!((refusal.code, refusal.reason.as_str()), (503, "Unknown Host"));
}

#[tokio::test]
async fn a_call_proves_who_it_is() {
    let authentication = Authentication {
        realm: "afterbeep".to_owned(),
        algorithms: Algorithm::STRONGEST_FIRST.to_vec(),
        accounts: vec![Account { username: "alice".to_owned(), secret: Secret::new("s e") }],
        demand: Demand::new(|_, _| true),
    };
    let (agent, mut invites) = start(Config { authentication, ..config() }).await;
    let (caller, _none) = start(config()).await;
    let target: Uri = format!("sip:401@127.0.0.1:{}", port(&agent)).parse().expect("a URI");
    let with = |secret: &str| Credentials {
        username: "alice".to_owned(),
        secret: Secret::new(secret),
        realm: Some("afterbeep".to_owned()),
    };
    let (from, right) = (alice(), with("s e"));
    let (taken, answered) =
        tokio::join!(caller.call_as(&target, &from, SDP.to_owned(), Some(&right)), async {
            let invite = invites.recv().await.expect("an invite");
            assert_eq!(invite.authenticated.as_deref(), Some("alice"));
            invite.answer(SDP.to_owned()).await.expect("still there")
        });
    let _dialogs = (taken.expect("taken"), answered);
    let wrong = with("se");
    let refused = caller.call_as(&target, &from, SDP.to_owned(), Some(&wrong)).await;
    let refusal = refused.err().expect("refused");
    assert_eq!((refusal.code, refusal.reason.as_str()), (401, "the credentials are wrong"));
    assert!(!format!("{wrong:?}").contains("se\""), "{wrong:?}");
}

#[tokio::test]
async fn a_registrar_lets_us_in_calls_us_and_sees_us_leave() {
    let (registrar, mut heard) = registrar().await;
    let registration = Registration {
        aor: "sip:300@pbx.test".parse().expect("a URI"),
        registrar: format!("sip:{registrar}").parse().expect("a URI"),
        contact: "voicemail".to_owned(),
        credentials: Some(Credentials {
            username: "300".to_owned(),
            secret: Secret::new("secret"),
            realm: Some("asterisk".to_owned()),
        }),
        expires: Duration::from_secs(600),
        proxy: None,
    };
    let (agent, mut invites) =
        start(Config { registrations: vec![registration], ..config() }).await;
    let bound = heard.recv().await.expect("a registration");
    assert_eq!(bound, (format!("sip:voicemail@127.0.0.1:{}", port(&agent)), 600));
    // The registrar knows it before we do: let its answer arrive.
    while !matches!(agent.registrations()[..], [Standing::Registered { .. }]) {
        tokio::task::yield_now().await;
    }

    let (pbx, _none) = start(config()).await;
    let (target, from) = (bound.0.parse().expect("a URI"), alice());
    let (refused, ()) = tokio::join!(pbx.call(&target, &from, SDP.to_owned()), async {
        let invite = invites.recv().await.expect("an invite");
        let aor = invite.registration.as_ref().map(ToString::to_string);
        assert_eq!(aor.as_deref(), Some("sip:300@pbx.test"));
        invite.reject(sip::Reject::BusyHere);
    });
    assert_eq!(refused.err().expect("refused").code, 486);

    agent.shutdown(Duration::from_secs(1)).await;
    assert_eq!(heard.recv().await.expect("a registration").1, 0);
}

/// Tells each binding that it has accepted: the contact and its seconds.
async fn registrar() -> (SocketAddr, mpsc::Receiver<(String, u32)>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    let (heard, listener) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if !message.starts_with("REGISTER") {
                continue;
            }
            let line = |name: &str| {
                message.split("\r\n").find_map(|line| line.strip_prefix(name)).unwrap_or("")
            };
            let proven = Fields::find(&message, "Authorization:", "").is_some_and(|said| {
                let proof = Proof {
                    username: "300",
                    secret: "secret",
                    algorithm: "SHA-256",
                    realm: "asterisk",
                    nonce: "n",
                    qop: "auth",
                    count: said.value("nc"),
                    cnonce: said.value("cnonce"),
                    method: "REGISTER",
                    uri: message.split(' ').nth(1).unwrap_or(""),
                    body: "",
                };
                proof.response() == said.value("response")
            });
            let status = if proven {
                let contact = line("Contact: ").trim_matches(['<', '>']).to_owned();
                let expires = line("Expires: ").parse().expect("seconds");
                heard.send((contact, expires)).await.expect("a listener");
                format!("200 OK\r\nExpires: {expires}")
            } else {
                "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"asterisk\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"".to_owned()
            };
            let copied = message
                .split("\r\n")
                .filter(|line| {
                    ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
                        .iter()
                        .any(|name| line.starts_with(name))
                })
                .collect::<Vec<_>>()
                .join("\r\n");
            let answer = format!("SIP/2.0 {status}\r\n{copied}\r\nContent-Length: 0\r\n\r\n");
            socket.send_to(answer.as_bytes(), from).await.expect("sent");
        }
    });
    (address, listener)
}

/// What a name server knows: answers by name and type, as they stand on the wire.
#[derive(Default)]
struct Zone(HashMap<(String, u16), Vec<Vec<u8>>>);

impl Zone {
    fn a(&mut self, name: &str) {
        self.add(name, 1, vec![127, 0, 0, 1]);
    }

    fn srv(&mut self, name: &str, priority: u16, port: u16, target: &str) {
        let mut data = [priority, 1, port].map(u16::to_be_bytes).concat();
        data.extend(wire_name(target));
        self.add(name, 33, data);
    }

    fn naptr(&mut self, name: &str, service: &str, preference: u16, replacement: &str) {
        let mut data = [100, preference].map(u16::to_be_bytes).concat();
        for text in ["s", service, ""] {
            data.push(u8::try_from(text.len()).expect("short"));
            data.extend(text.as_bytes());
        }
        data.extend(wire_name(replacement));
        self.add(name, 35, data);
    }

    fn add(&mut self, name: &str, kind: u16, data: Vec<u8>) {
        self.0.entry((name.to_owned(), kind)).or_default().push(data);
    }

    /// Answers by UDP, and notes each question as often as it came.
    async fn serve(self) -> (SocketAddr, Arc<Mutex<Vec<(String, u16, usize)>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<(String, u16, usize)>>> = Arc::default();
        let notes = asked.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let (name, kind, question) = question(&buffer[..length]);
                if let Ok(mut notes) = notes.lock() {
                    let before = notes.iter().filter(|(n, k, _)| *n == name && *k == kind).count();
                    notes.push((name.clone(), kind, before));
                }
                let records = self.0.get(&(name.clone(), kind)).cloned().unwrap_or_default();
                let known = self.0.keys().any(|(owner, _)| *owner == name);
                let flags: u16 = if known { 0x8580 } else { 0x8583 };
                let mut answer = buffer[..2].to_vec();
                let count = u16::try_from(records.len()).expect("few");
                let missing = u16::from(count == 0);
                answer.extend([flags, 1, count, missing, 0].map(u16::to_be_bytes).concat());
                answer.extend(question);
                for data in records {
                    answer.extend(wire_name(&name));
                    answer.extend([kind, 1, 0, 60].map(u16::to_be_bytes).concat());
                    answer.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
                    answer.extend(data);
                }
                if missing == 1 {
                    answer.extend(soa());
                }
                socket.send_to(&answer, from).await.expect("sent");
            }
        });
        (address, asked)
    }
}

/// The name and type that a query asks for, and that part of it as it stands.
fn question(query: &[u8]) -> (String, u16, &[u8]) {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    (labels.join("."), kind, &query[12..at + 5])
}

/// RFC 2308 §3: what is missing is remembered only as long as the zone's SOA says.
fn soa() -> Vec<u8> {
    let mut data = [wire_name("ns.test"), wire_name("root.test")].concat();
    data.extend([1_u32, 60, 60, 60, 60].map(u32::to_be_bytes).concat());
    let mut record = wire_name("test");
    record.extend([6_u16, 1, 0, 60].map(u16::to_be_bytes).concat());
    record.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
    record.extend(data);
    record
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).expect("short"));
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

async fn start(config: Config) -> (Agent, mpsc::Receiver<Invite>) {
    sip::bind(config).await.expect("free ports")
}

fn config() -> Config {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    Config { udp: vec![any], user_agent: "test".into(), ..Config::default() }
}

fn port(agent: &Agent) -> u16 {
    let all = agent.local_addrs();
    all.into_iter().find(|(kind, _)| *kind == Transport::Udp).expect("a listener").1.port()
}

fn alice() -> NameAddr {
    "Alice <sip:alice@127.0.0.1>".parse().expect("a name")
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
