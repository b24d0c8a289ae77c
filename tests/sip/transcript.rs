//! Plays `tests/sip/*.txt`. Each file is one behaviour, its name the sentence that it proves.
//!
//! ```text
//! -> INVITE branch=a cseq=1 sdp      the peer sends a request; `tag` adds our To tag, `earlier`
//!                                    the one that we had before
//!     Require: 100rel                ... with this header as well (`-Contact` leaves one out);
//!                                    `$tag` is our last tag, `$rseq` our last RSeq,
//!                                    `$branch` that of our last request
//! -> 180 INVITE to=x                 the peer answers our last INVITE
//! <- 200 INVITE                      we send a response; each indented line must be in it
//! <- BYE sip:a@10.0.0.1              we send a request
//! == confirmed                       the owner of the call is told
//! @ answer                           the owner of the call acts; `accept` and `refuse` mean the
//!                                    last offer told, `accept first` the one before it;
//!                                    `transfer`, `decline`, `take` and `leave` the last REFER
//! == subscribing                     somebody subscribes: `grant BODY` or `forbid` answers it,
//!                                    `notify BODY` and `end` follow; `announce URI BODY` tells
//!                                    somebody who has not
//! .. 500ms                           time passes
//! ```
//!
//! `account alice:secret` at the top asks every caller who he is, by the `algorithms` named;
//! `as=alice:secret` on a request answers the last challenge. `credentials alice:secret` is what we
//! answer with, `realm` where; every answer of ours is summed again. Keep-alives are only counted.
//!
//! Nothing may be sent or told that the transcript does not mention.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use afterbeep::pii::Secret;
use afterbeep::sip::endpoint::{CallKey, Endpoint, Output};
use afterbeep::sip::{
    Account, Algorithm, Announcement, Authentication, Credentials, Demand, Event, Flow, Limits,
    Link, NameAddr, Reason, Registration, RegistrationKey, Reject, Standing, SubscriptionKey,
    Ticket, Transport, Uri,
};

mod peer;

#[test]
fn transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sip");
    let (mut played, mut failed) = (0, 0);
    for entry in std::fs::read_dir(folder).expect("the transcripts") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = std::fs::read_to_string(&path).expect("a transcript");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            // All that fail are told, not only the first.
            let kept = std::panic::catch_unwind(|| Stage::new(&name, &text).play(&text)).is_ok();
            failed += u32::from(!kept);
            played += 1;
        }
    }
    assert!(played > 60, "only {played} transcripts");
    assert_eq!(failed, 0, "of {played} transcripts");
}

struct Stage {
    name: String,
    endpoint: Endpoint,
    now: Instant,
    flow: Flow,
    sent: VecDeque<String>,
    told: VecDeque<String>,
    call: Option<CallKey>,
    tickets: Vec<Ticket>,
    our_tag: String,
    earlier_tag: String,
    our_rseq: String,
    last_invite: String,
    last_request: String,
    last_challenge: String,
    credentials: Option<Credentials>,
    registration: Option<RegistrationKey>,
    subscription: Option<SubscriptionKey>,
    pings: usize,
}

impl Stage {
    /// `peer` and `local` lines at the top say who talks; `limit`, `rate` and `subscriptions` how
    /// many calls and subscriptions there may be.
    fn new(name: &str, text: &str) -> Self {
        let setting = |key: &str, default: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key));
            found.map_or(default.to_owned(), |value| value.trim().to_owned())
        };
        let limits = Limits {
            calls: setting("limit ", "10").parse().expect("a limit"),
            calls_per_second_per_peer: setting("rate ", "100").parse().expect("a limit"),
            subscriptions: setting("subscriptions ", "10").parse().expect("a limit"),
            transactions: setting("transactions ", "100").parse().expect("a limit"),
            session: Duration::from_secs(setting("session ", "0").parse().expect("seconds")),
            ..Limits::default()
        };
        let transport = match setting("transport ", "udp").as_str() {
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            "wss" => Transport::Wss,
            _ => Transport::Udp,
        };
        let reliable = transport.is_reliable();
        let link = if reliable { Link::Connection(1) } else { Link::Socket(0) };
        let flow = Flow {
            transport,
            local: setting("local ", "192.0.2.9:5060").parse().expect("an address"),
            remote: setting("peer ", "10.0.0.1:5060").parse().expect("an address"),
            link,
        };
        let mut endpoint = Endpoint::new("Afterbeep", limits, [7; 32]);
        let pair = |text: String| {
            let (username, secret) = text.split_once(':')?;
            Some((username.to_owned(), Secret::new(secret)))
        };
        if let Some((username, secret)) = pair(setting("account ", "")) {
            let algorithms = setting("algorithms ", "SHA-512-256 SHA-256 MD5");
            let algorithms = algorithms.split(' ').map(|name| Algorithm::read(name).expect(name));
            endpoint.authenticate(Authentication {
                realm: "afterbeep".to_owned(),
                algorithms: algorithms.collect(),
                accounts: vec![Account { username, secret }],
                demand: Demand::new(|_, _| true),
            });
        }
        let realm = Some(setting("realm ", "")).filter(|realm| !realm.is_empty());
        let credentials = pair(setting("credentials ", "")).map(|(username, secret)| Credentials {
            username,
            secret,
            realm,
        });
        Self {
            name: name.to_owned(),
            endpoint,
            now: Instant::now(),
            flow,
            sent: VecDeque::new(),
            told: VecDeque::new(),
            call: None,
            tickets: Vec::new(),
            our_tag: String::new(),
            earlier_tag: String::new(),
            our_rseq: String::new(),
            last_invite: String::new(),
            last_request: String::new(),
            last_challenge: String::new(),
            credentials,
            registration: None,
            subscription: None,
            pings: 0,
        }
    }

    fn play(&mut self, text: &str) {
        let mut lines = text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let mut indented = Vec::new();
            while let Some((_, more)) = lines.next_if(|(_, line)| line.starts_with("    ")) {
                indented.push(more.trim());
            }
            let at = format!("{}.txt:{}: {line}", self.name, number + 1);
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            match mark {
                "<-" => self.expect_sent(&at, rest, &indented),
                "==" => self.expect_told(&at, rest, &indented),
                "->" | "@" | ".." => {
                    self.expect_quiet(&at);
                    match mark {
                        "->" => self.peer_sends(rest, &indented),
                        "@" => self.owner_acts(&at, rest),
                        _ => self.time_passes(rest),
                    }
                }
                _ => assert!(line.is_empty() || SETTINGS.contains(&mark), "{at}: not understood"),
            }
        }
        self.expect_quiet(&format!("{}.txt: at the end", self.name));
    }

    fn expect_quiet(&self, at: &str) {
        assert!(self.sent.is_empty(), "{at}\nbut this was sent before:\n{:#?}", self.sent);
        assert!(self.told.is_empty(), "{at}\nbut this was told before: {:?}", self.told);
    }

    fn expect_sent(&mut self, at: &str, wanted: &str, lines: &[&str]) {
        let message = self.sent.pop_front().unwrap_or_else(|| panic!("{at}\nnothing was sent"));
        let start = message.lines().next().unwrap_or_default();
        let fits = match wanted.split_once(' ') {
            Some((code, method)) if code.parse::<u16>().is_ok() => {
                let cseq = message.lines().find(|line| line.starts_with("CSeq: "));
                start.starts_with(&format!("SIP/2.0 {code} "))
                    && cseq.is_some_and(|cseq| cseq.ends_with(&format!(" {method}")))
            }
            Some(_) | None => start.starts_with(&format!("{wanted} ")),
        };
        assert!(fits, "{at}\nbut sent was:\n{message}");
        for line in lines {
            let (wanted, line) = line.strip_prefix("not ").map_or((true, *line), |l| (false, l));
            assert_eq!(message.contains(line), wanted, "{at}\n{line}\nin:\n{message}");
        }
    }

    fn expect_told(&mut self, at: &str, wanted: &str, lines: &[&str]) {
        let told = self.told.pop_front().unwrap_or_else(|| panic!("{at}\nnothing was told"));
        assert_eq!(told.lines().next().unwrap_or_default(), wanted, "{at}");
        for line in lines {
            assert!(told.contains(line), "{at}\n{line}\nin:\n{told}");
        }
    }

    fn time_passes(&mut self, rest: &str) {
        let milliseconds = match rest.strip_suffix("ms") {
            Some(number) => number.parse().expect("milliseconds"),
            None => rest.strip_suffix('s').expect("a unit").parse::<u64>().expect("seconds") * 1000,
        };
        let until = self.now + Duration::from_millis(milliseconds);
        while let Some(at) = self.endpoint.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.endpoint.wake(self.now);
            self.collect();
        }
        self.now = until;
    }

    fn owner_acts(&mut self, at: &str, rest: &str) {
        let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        let (now, key) = (self.now, self.call);
        let call = || key.unwrap_or_else(|| panic!("{at}: no call"));
        match verb {
            "ring" => self.endpoint.ring(now, call()),
            "answer" => {
                let answered = self.endpoint.answer(now, call(), SDP);
                assert_eq!(answered.is_err(), argument == "too late", "{at}");
            }
            "reject" => self.endpoint.reject(now, call(), reject(argument)),
            "progress" => self.endpoint.progress(now, call(), SDP),
            "accept" => self.endpoint.accept(now, call(), self.ticket(argument), SDP),
            "refuse" => self.endpoint.refuse(now, call(), self.ticket(argument)),
            "transfer" => {
                let (ticket, offer) = (self.ticket(argument), SDP.to_owned());
                self.endpoint.transfer(now, call(), ticket, self.flow, offer);
            }
            "refer" => self.refer(at, argument),
            "decline" => self.endpoint.decline(now, call(), self.ticket(argument)),
            "take" => {
                let taken = self.endpoint.take(now, call(), self.ticket(""));
                assert_eq!(taken, argument != "too late", "{at}");
            }
            "leave" => self.endpoint.leave(now, call(), self.ticket(argument)),
            "bye" => self.endpoint.bye(now, call()),
            "call" => {
                let target: Uri = argument.parse().expect("a URI");
                let from: NameAddr = "Afterbeep <sip:vm@192.0.2.9>".parse().expect("a name");
                let (offer, credentials) = (SDP.to_owned(), self.credentials.clone());
                let placed =
                    self.endpoint.call_as(now, self.flow, &target, &from, offer, credentials);
                self.call = Some(placed.expect("a call"));
            }
            "register" => {
                let registration = Registration {
                    aor: "sip:300@pbx.example.com".parse().expect("a URI"),
                    registrar: "sip:pbx.example.com".parse().expect("a URI"),
                    contact: "voicemail".to_owned(),
                    credentials: self.credentials.clone(),
                    expires: Duration::from_secs(3600),
                    proxy: (!argument.is_empty()).then(|| argument.parse().expect("a URI")),
                };
                self.registration = Some(self.endpoint.register(now, registration));
            }
            "located" => {
                let to = |host: &str| {
                    let remote = format!("{host}:5060").parse().expect("an address");
                    Flow { remote, ..self.flow }
                };
                let targets = argument.split_whitespace().map(to).collect();
                let key = self.registration.expect("a registration");
                self.endpoint.located(now, key, targets);
            }
            "unregister" => self.endpoint.unregister(now),
            "pinged" => {
                let pings = std::mem::take(&mut self.pings);
                assert_eq!(pings, argument.parse::<usize>().expect("a number"), "{at}");
            }
            "grant" => self.endpoint.grant(now, self.subscriber(), argument.into()),
            "forbid" => {
                self.endpoint.decline_subscription(self.subscriber(), Reject::Forbidden);
            }
            "notify" => self.endpoint.notify(now, self.subscriber(), argument.into()),
            "end" => {
                let reason =
                    if argument == "noresource" { Reason::NoResource } else { Reason::Deactivated };
                self.endpoint.end_subscription(now, self.subscriber(), reason);
            }
            "announce" => {
                let (target, body) = argument.split_once(' ').expect("a target and a body");
                let announcement = Announcement {
                    target: target.parse().expect("a URI"),
                    from: "<sip:vm@192.0.2.9>".parse().expect("a name"),
                    state: "terminated".into(),
                    body: body.into(),
                    credentials: self.credentials.clone(),
                };
                self.endpoint.announce(now, self.flow, announcement).expect("room");
            }
            "close" => self.endpoint.close_door(),
            "idle" => {
                assert_eq!(self.endpoint.calls(), 0, "{at}");
                assert_eq!(self.endpoint.transactions(), 0, "{at}");
                assert_eq!(self.endpoint.registrations(), 0, "{at}");
            }
            "disconnect" => {
                let mut flow = self.flow;
                if argument == "tcp" {
                    (flow.transport, flow.link) = (Transport::Tcp, Link::Any);
                }
                self.endpoint.transport_failed(now, &flow);
            }
            _ => panic!("{at}: not understood"),
        }
        self.collect();
    }

    /// Before the answer it cannot be asked.
    fn refer(&mut self, at: &str, argument: &str) {
        let early = argument.strip_prefix("early ");
        let target = early.unwrap_or(argument).parse().expect("a URI");
        let call = self.call.expect("a call");
        assert_eq!(self.endpoint.refer(self.now, call, &target), early.is_none(), "{at}");
    }

    fn subscriber(&self) -> SubscriptionKey {
        self.subscription.expect("a subscription")
    }

    fn ticket(&self, which: &str) -> Ticket {
        let back = if which == "first" { 2 } else { 1 };
        *self.tickets.iter().nth_back(back - 1).expect("an offer")
    }

    fn collect(&mut self) {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit(_, bytes) if *bytes == *b"\r\n\r\n" => self.pings += 1,
                Output::Transmit(flow, bytes) => {
                    let message = String::from_utf8_lossy(&bytes).into_owned();
                    self.note(&message);
                    self.sent.push_back(format!(
                        "{message}\nto {} {}",
                        flow.transport.name(),
                        flow.remote
                    ));
                }
                Output::Incoming(key, incoming) => {
                    self.call = Some(key);
                    self.told.push_back(format!("incoming\n{incoming:?}"));
                }
                Output::Gone(_) => self.told.push_back("gone".to_owned()),
                Output::Event(_, event) => {
                    match &event {
                        Event::Offer { ticket, .. } => self.tickets.push(*ticket),
                        Event::Refer(refer) => self.tickets.push(refer.ticket),
                        _ => {}
                    }
                    self.told.push_back(told(&event));
                }
                Output::Taken(_, body) => {
                    self.told.push_back(format!("taken {}", kind(Some(&body))));
                }
                Output::Refused(_, refusal) => {
                    self.told.push_back(format!("refused {}\n{refusal:?}", refusal.code));
                }
                Output::Locate(_, uri) => self.told.push_back(format!("locate {uri}")),
                Output::Registration(_, standing) => self.told.push_back(match standing {
                    Standing::Registered { expires, .. } => {
                        format!("registered for {}s", expires.as_secs())
                    }
                    Standing::Failed { why, .. } => format!("not registered: {why}"),
                    Standing::Left { .. } => "left".to_owned(),
                }),
                Output::Subscribing(key, subscribing) => {
                    self.subscription = Some(key);
                    self.told.push_back(format!("subscribing\n{subscribing:?}"));
                }
                Output::Unsubscribed(_) => self.told.push_back("unsubscribed".to_owned()),
                Output::Announced(_, outcome) => self.told.push_back(match outcome {
                    Ok(()) => "announced".to_owned(),
                    Err(refusal) => format!("not announced: {}", refusal.code),
                }),
                Output::TurnedAway { .. } | Output::Dropped { .. } => {}
            }
        }
    }

    fn note(&mut self, message: &str) {
        if let Some(to) = message.split("\r\n").find(|line| line.starts_with("To:"))
            && message.starts_with("SIP/2.0")
            && let Some((_, tag)) = to.split_once(";tag=")
        {
            tag.clone_into(&mut self.our_tag);
        }
        if message.starts_with("SIP/2.0 401") {
            message.clone_into(&mut self.last_challenge);
        }
        self.check_answer(message);
        if let Some(rseq) = message.split("\r\n").find_map(|line| line.strip_prefix("RSeq: ")) {
            rseq.clone_into(&mut self.our_rseq);
        }
        if message.starts_with("INVITE") {
            message.clone_into(&mut self.last_invite);
            let from = message.split("\r\n").find(|line| line.starts_with("From:"));
            if let Some((_, tag)) = from.and_then(|from| from.split_once(";tag=")) {
                if tag != self.our_tag {
                    self.earlier_tag = std::mem::take(&mut self.our_tag);
                }
                tag.clone_into(&mut self.our_tag);
            }
        }
        if !message.starts_with("SIP/2.0") {
            message.clone_into(&mut self.last_request);
        }
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Confirmed { answer } => format!("confirmed {}", kind(answer.as_deref())),
        Event::Offer { sdp, .. } => format!("offer {}", kind(sdp.as_deref())),
        Event::Identity(party) => format!("identity {}\n{party:?}", party.name.uri.user),
        Event::Info { content_type, body } => {
            format!("info {content_type} {}", String::from_utf8_lossy(body))
        }
        Event::Refer(refer) => format!("refer {}", refer.target),
        Event::Referred { accepted: true } => "refer accepted".to_owned(),
        Event::Referred { accepted: false } => "refer declined".to_owned(),
        Event::Reached { answer, .. } => format!("reached {}", kind(Some(answer))),
        Event::Bye => "bye".to_owned(),
        Event::Lost => "lost".to_owned(),
    }
}

fn kind(body: Option<&[u8]>) -> &'static str {
    if body.is_some_and(|body| body == SDP.as_bytes()) { "with sdp" } else { "without" }
}

fn reject(name: &str) -> Reject {
    match name {
        "not found" => Reject::NotFound,
        "busy" => Reject::BusyHere,
        "unavailable" => Reject::TemporarilyUnavailable,
        "not acceptable" => Reject::NotAcceptableHere,
        "overloaded" => Reject::Overloaded { retry_after: Duration::from_secs(7) },
        _ => panic!("reject {name}: not understood"),
    }
}

const SETTINGS: [&str; 13] = [
    "session",
    "subscriptions",
    "#",
    "peer",
    "local",
    "limit",
    "rate",
    "transport",
    "transactions",
    "account",
    "algorithms",
    "credentials",
    "realm",
];

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
