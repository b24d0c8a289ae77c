//! The bodies of the fuzz targets: bytes in, and a panic if a promise is broken.
//!
//! They are compiled with the library, so that they cannot rot. `tests/fuzz` holds the targets for
//! `cargo fuzz`, `tests/fuzz.rs` gives each a short seeded run, `tests/long/fuzz.rs` a long one.

pub mod line;
mod menus;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::call::secure::Rules;
use crate::call::talk::Talk;
use crate::config::Srtp;
use crate::directory::import::conf::{Conf, Source};
use crate::directory::import::{House, Pin, Plan, csv, is_pin};
use crate::directory::settings;
use crate::mailbox::{Folder, MailboxId, MessageId, Stem};
use crate::media::{self, file, trial, wav};
use crate::sip::endpoint::{CallKey, Census, Endpoint, Output};
use crate::sip::framing::{self, Frame, MAX_MESSAGE};
use crate::sip::{
    Announcement, Event, Flow, Limits, Link, NameAddr, Reason, Reject, SubscriptionKey, Ticket,
    Transport, Uri, sdp,
};
use crate::spool::sidecar::{Fallback, Sidecar};

pub use menus::menus;

pub type Target = fn(&[u8]);

/// Each target by its name.
pub const TARGETS: [(&str, Target); 20] = [
    ("message", message),
    ("stream", stream),
    ("description", description),
    ("dialog", dialog),
    ("talk", talk),
    ("sidecar", sidecar),
    ("srtp", srtp),
    ("stun", stun),
    ("secured", secured),
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("dtmf", dtmf),
    ("wav", wav),
    ("g722", g722),
    ("opus", opus),
    ("noise", noise),
    ("voicemail", voicemail),
    ("audio", audio),
    ("gsm", gsm),
    ("menus", menus),
];

/// The longest that one message or file has taken so far, in processor time.
pub fn slowest() -> Duration {
    Duration::from_nanos(SLOWEST.load(Ordering::Relaxed))
}

/// One datagram from anywhere: at most one answer, well-formed, to where it came from; and what
/// is read as a URI or an address is written so that it reads the same.
pub fn message(data: &[u8]) {
    for flow in [udp(), tcp()] {
        let mut endpoint = Endpoint::new("Afterbeep", Limits::default(), [1; 32]);
        timed(|| endpoint.receive(Instant::now(), flow, data));
        let mut answers = 0;
        while let Some(output) = endpoint.poll() {
            match output {
                Output::Transmit(to, wire) => {
                    answers += 1;
                    assert_eq!(to.remote.ip(), flow.remote.ip(), "an answer to a stranger");
                    check_wire(&wire);
                }
                Output::Incoming(..)
                | Output::Subscribing(..)
                | Output::TurnedAway { .. }
                | Output::Dropped { .. } => {}
                other => panic!("{other:?} out of nothing"),
            }
        }
        assert!(answers <= 1, "{answers} answers to one message");
    }
    for line in String::from_utf8_lossy(data).lines().take(50) {
        let value = line.split_once(": ").map_or(line, |(_, value)| value);
        reads_back::<Uri>(value);
        reads_back::<NameAddr>(value);
    }
}

fn reads_back<T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    let again = written.parse::<T>().ok();
    assert_eq!(again.as_ref(), Some(&value), "{text:?} was written as {written:?}");
}

/// A connection: its messages are the same however its bytes arrive, and no more than one
/// message and a half is ever kept.
pub fn stream(data: &[u8]) {
    let Some((&pieces, bytes)) = data.split_first() else { return };
    let whole = frames(bytes, bytes.len().max(1));
    let size = usize::from(pieces) + 1;
    // One byte at a time over a large input costs its square.
    let size = if bytes.len() > 4_096 { size.max(256) } else { size };
    assert_eq!(frames(bytes, size), whole, "in pieces of {size}");
    let mut endpoint = Endpoint::new("", Limits::default(), [1; 32]);
    for message in whole.iter().flatten() {
        timed(|| endpoint.receive(Instant::now(), tcp(), message));
        while let Some(output) = endpoint.poll() {
            if let Output::Transmit(_, wire) = output {
                check_wire(&wire);
            }
        }
    }
}

/// The messages of a stream; `None` at its end says that it broke.
fn frames(bytes: &[u8], size: usize) -> Vec<Option<Vec<u8>>> {
    let mut messages = Vec::new();
    let mut kept: Vec<u8> = Vec::new();
    for piece in bytes.chunks(size) {
        kept.extend(piece);
        loop {
            let used = match timed(|| framing::next(&kept)) {
                Frame::Message(length) => {
                    messages.push(Some(kept[..length].to_vec()));
                    length
                }
                Frame::Ping(length) | Frame::Blank(length) => length,
                Frame::Partial => break,
                Frame::Broken(_) => {
                    messages.push(None);
                    return messages;
                }
            };
            assert!(used > 0, "no progress");
            kept.drain(..used);
        }
        assert!(kept.len() <= MAX_MESSAGE, "{} bytes kept", kept.len());
    }
    messages
}

/// A session description: the answer to it can be read, and has as many streams.
pub fn description(data: &[u8]) {
    let Ok(offer) = timed(|| sdp::read(data)) else { return };
    let local = sdp::Local { address: OURS.ip(), port: 4000, session_id: 1, version: 1 };
    let Some(audio) = offer.audio() else { return };
    let format = audio.formats.first().expect("audio without a format is none");
    let terms = sdp::Terms { ptime: Some(20), maxptime: None, rtcp_mux: audio.rtcp_mux };
    let protection = sdp::Protection::default();
    let answer = timed(|| offer.answer(&local, format, audio.formats.last(), terms, &protection));
    assert!(answer.len() <= data.len() + 2_000, "an answer grows without end");
    let read = sdp::read(answer.as_bytes()).expect("our answer can be read");
    let ours = read.audio().expect("our answer has audio");
    assert_eq!((ours.port, ours.direction), (4000, audio.direction.mirrored()), "{answer}");
    assert_eq!(ours.formats[0].name, format.name, "{answer}");
    let streams = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    assert_eq!(streams(&answer), streams(&String::from_utf8_lossy(data).replace('\r', "\n")));
}

/// An offer to a call, and an answer to one of ours.
pub fn talk(data: &[u8]) {
    let mut talk = Talk::new(OURS.ip(), 4000, 1);
    if let Ok((answer, stream)) = timed(|| talk.answer(data)) {
        let theirs = Talk::new(THEIRS.ip(), 4000, 1).answered(answer.as_bytes()).ok();
        let theirs = theirs.expect("whom we answer understands the answer");
        assert_eq!((theirs.codec, theirs.payload_type), (stream.codec, stream.payload_type));
        assert_eq!(theirs.telephone_event, stream.telephone_event, "{answer}");
        assert_eq!(theirs.remote, Some(SocketAddr::new(OURS.ip(), 4000)));
        assert!(!stream.ptime.is_zero());
    }
    assert!(!talk.offer().is_empty());
    let _no_panic = timed(|| talk.answered(data));
}

/// A packet that may be protected.
pub fn srtp(data: &[u8]) {
    timed(|| media::fuzz::srtp(data));
}

/// A datagram that may be a check of connectivity.
pub fn stun(data: &[u8]) {
    timed(|| media::fuzz::stun(data));
}

/// A line with a key or a fingerprint, and an offer with such lines: what is read is written so
/// that it reads the same, and the answer has what goes with the offer's.
pub fn secured(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines().take(50) {
        let value = line.split_once(':').map_or(line, |(_, value)| value);
        if let Some(crypto) = timed(|| sdp::Crypto::read(value)) {
            assert_eq!(sdp::Crypto::read(&crypto.write()), Some(crypto));
        }
        if let Some(print) = timed(|| sdp::Fingerprint::read(value)) {
            assert_eq!(sdp::Fingerprint::read(&print.write()), Some(print));
        }
    }
    let rules = Rules {
        demand: Srtp::Required,
        sdes: true,
        browser: false,
        secrets: media::Secrets::known(),
        fingerprint: [1; 32],
    };
    let mut talk = Talk::new(OURS.ip(), 4000, 1).guarded(rules);
    let Ok((answer, _)) = timed(|| talk.answer(data)) else { return };
    let description = sdp::read(answer.as_bytes()).expect("our answer can be read");
    let audio = description.audio().expect("our answer has audio");
    let secured = &audio.secured;
    match &talk.security().keying {
        media::Keying::Clear => panic!("required, and not protected: {answer}"),
        media::Keying::Sdes(_) => assert_eq!(secured.crypto.len(), 1, "{answer}"),
        media::Keying::Dtls { .. } => {
            assert_eq!(
                secured.fingerprint.as_ref().map(|f| f.octets.as_slice()),
                Some(&[1; 32][..])
            );
            assert!(matches!(secured.setup, Some(sdp::Setup::Active | sdp::Setup::Passive)));
            assert_eq!(secured.ice.is_some(), talk.security().ice.is_some(), "{answer}");
        }
    }
    let _no_panic = timed(|| talk.answered(data));
}

/// A sidecar of another program, or half of one of ours: what is read can be written, and is then
/// read the same.
pub fn sidecar(data: &[u8]) {
    let read = timed(|| Sidecar::parse(data));
    let text = timed(|| read.text());
    assert_eq!(Sidecar::parse(text.as_bytes()), read, "{text}");
    let mailbox: MailboxId = "1234".parse().expect("a mailbox");
    let stem = Stem::found("msg0000").expect("a stem");
    let fallback = Fallback { duration: Duration::from_secs(3), ..Fallback::default() };
    let place = (&mailbox, &Folder::Inbox, stem);
    let message = timed(|| read.message((MessageId::new(1, 1), 1), place, &fallback));
    assert!(!message.duration.is_zero());
}

/// An operator's `voicemail.conf`: whatever it says, each mailbox that comes of it has a name that
/// stays in its folder and settings that it can have, and no PIN is in the report.
pub fn voicemail(data: &[u8]) {
    let source = Source { name: "v".into(), bytes: data.to_vec() };
    let mut included = 0;
    let conf = Conf::parse(&source, &mut |_| {
        included += 1;
        // What includes itself ten times at each of ten depths is no configuration.
        if included < 3 { Ok(vec![source.clone()]) } else { Err(String::new()) }
    });
    let known = settings();
    let house = House { settings: &known, is_time_zone: &|zone| zone.contains('/') };
    let plan = Plan::of(&conf, &house);
    for mailbox in &plan.mailboxes {
        assert_eq!(mailbox.id.path().components().count(), 2, "{}", mailbox.id);
        assert!(mailbox.settings.keys().all(|key| known.contains(key)));
        if let Pin::Given(pin) = &mailbox.pin {
            assert!(is_pin(pin), "{pin:?}");
        }
    }
    for line in conf.problems.iter().chain(&plan.report) {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    let rows = csv::rows(&String::from_utf8_lossy(data));
    Plan::of_rows(&rows, &conf, &house);
}

/// A WAV file of anybody's on disk: its length is what can be read of it, and what is mended stays so.
pub fn audio(data: &[u8]) {
    let file = Scratch::new(data, "wav");
    if let Ok(info) = file::info(&file.0)
        && data.starts_with(b"RIFF")
    {
        assert!(info.samples <= data.len() as u64 * 8, "{info:?} of {} bytes", data.len());
    }
    let _no_panic = file::read(&file.0);
    let before = std::fs::read(&file.0).expect("the scratch file");
    match wav::repair(&file.0) {
        Ok(mended) => assert_eq!(wav::repair(&file.0).ok(), Some(mended)),
        Err(_) => assert_eq!(std::fs::read(&file.0).ok(), Some(before), "refused, and touched"),
    }
}

/// GSM frames of any bits: 160 samples for each whole one.
pub fn gsm(data: &[u8]) {
    let file = Scratch::new(data, "gsm");
    if let Ok(pcm) = file::read(&file.0) {
        assert_eq!(pcm.samples.len(), data.len() / 33 * 160);
        assert_eq!(
            file::info(&file.0).map(|info| info.samples).ok(),
            Some(pcm.samples.len() as u64)
        );
    }
}

/// A file for a moment.
struct Scratch(PathBuf);

impl Scratch {
    fn new(data: &[u8], extension: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("afterbeep-fuzz-{}-{n}.{extension}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, data).expect("room for the scratch file");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Calls and subscriptions of several peers at once: any message in any state, any wish of their
/// owners, any time between. No table outgrows its limit, no deadline lies in the past, and in the end nothing is
/// left.
pub fn dialog(data: &[u8]) {
    let limits = Limits { calls: 8, transactions: 24, subscriptions: 4, ..Limits::default() };
    let mut play = Play {
        endpoint: Endpoint::new("", limits, [1; 32]),
        now: Instant::now(),
        script: Script { rest: data },
        calls: Vec::new(),
        subscriptions: Vec::new(),
        offers: Vec::new(),
        sent: Vec::new(),
        tags: Vec::new(),
        rseq: String::new(),
        byes: 0,
    };
    for _ in 0..200 {
        if play.script.rest.is_empty() {
            break;
        }
        play.step();
        play.check();
    }
    play.end();
}

struct Play<'a> {
    endpoint: Endpoint,
    now: Instant,
    script: Script<'a>,
    calls: Vec<CallKey>,
    subscriptions: Vec<SubscriptionKey>,
    offers: Vec<(CallKey, Ticket)>,
    /// What we said lately; a peer may answer it or send it back.
    sent: Vec<Vec<u8>>,
    /// Tags of ours that a peer has seen.
    tags: Vec<String>,
    /// `RSeq` of our last reliable response.
    rseq: String,
    /// Requests that we send unasked: they are not refused for want of room.
    byes: usize,
}

impl Play<'_> {
    fn step(&mut self) {
        let verb = self.script.below(31);
        let key = self.calls.get(self.script.below(8)).or(self.calls.last()).copied();
        let now = self.now;
        match (verb, key) {
            (0..=6, _) => {
                let message = self.request();
                self.receive(&message);
            }
            (7 | 8, _) => {
                if let Some(message) = self.response() {
                    self.receive(&message);
                }
            }
            (9, _) => self.place(),
            (10, _) => {
                let time = Duration::from_millis(self.script.wide() / 8);
                self.pass(time);
            }
            // Long enough for a session to need a refresh, or to expire.
            (11, _) => {
                let time = Duration::from_millis(self.script.wide() * 2);
                self.pass(time);
            }
            (12, _) => self.endpoint.transport_failed(now, &tcp()),
            (13, Some(key)) => self.endpoint.ring(now, key),
            (14, Some(key)) => drop(self.endpoint.answer(now, key, "v=0\r\n")),
            (15, _) => {
                if let Some((key, ticket)) = self.offer() {
                    self.endpoint.accept(now, key, ticket, "v=0\r\n");
                }
            }
            (16, _) => {
                if let Some((key, ticket)) = self.offer() {
                    self.endpoint.refuse(now, key, ticket);
                }
            }
            (17, Some(key)) => self.endpoint.reject(now, key, Reject::BusyHere),
            (18, Some(key)) => self.endpoint.bye(now, key),
            (19, Some(key)) => self.endpoint.give_up(now, key),
            (20, Some(key)) => self.endpoint.progress(now, key, "v=0\r\n"),
            (21, _) => {
                if let Some((key, ticket)) = self.offer() {
                    let flow = self.flow();
                    self.endpoint.transfer(now, key, ticket, flow, "v=0\r\n".to_owned());
                }
            }
            (22, _) => {
                if let Some((key, ticket)) = self.offer() {
                    self.endpoint.decline(now, key, ticket);
                }
            }
            (23, _) => {
                if let Some((key, ticket)) = self.offer() {
                    let _it_may_be_gone = self.endpoint.take(now, key, ticket);
                }
            }
            (24, _) => {
                if let Some((key, ticket)) = self.offer() {
                    self.endpoint.leave(now, key, ticket);
                }
            }
            (25..=28, _) => self.tell_subscriber(verb),
            (29, _) => self.announce(),
            (_, _) => {}
        }
    }

    /// The house does something about a subscription.
    fn tell_subscriber(&mut self, verb: usize) {
        let at = self.script.below(4);
        let Some(key) = self.subscriptions.get(at).or(self.subscriptions.last()).copied() else {
            return;
        };
        let now = self.now;
        let body = vec![b'a' + u8::try_from(at).unwrap_or(0)];
        match verb {
            25 => self.endpoint.grant(now, key, body),
            26 => self.endpoint.notify(now, key, body),
            27 => self.endpoint.end_subscription(now, key, Reason::Deactivated),
            _ => {
                self.subscriptions.retain(|known| *known != key);
                self.endpoint.decline_subscription(key, Reject::Forbidden);
            }
        }
    }

    fn announce(&mut self) {
        let flow = self.flow();
        let announcement = Announcement {
            target: "sip:401@10.0.0.1".parse().expect("a URI"),
            from: "<sip:vm@h>".parse().expect("a name"),
            state: "terminated".to_owned(),
            body: "x".to_owned(),
            credentials: None,
        };
        let _there_may_be_no_room = self.endpoint.announce(self.now, flow, announcement);
    }

    /// An offer within a dialog, new or old.
    fn offer(&mut self) -> Option<(CallKey, Ticket)> {
        let at = self.script.below(8);
        self.offers.get(at).or(self.offers.last()).copied()
    }

    fn flow(&mut self) -> Flow {
        if self.script.below(4) == 0 { tcp() } else { udp() }
    }

    fn receive(&mut self, message: &[u8]) {
        let flow = self.flow();
        timed(|| self.endpoint.receive(self.now, flow, message));
    }

    /// A request whose names come from a small world, so that they meet; perhaps damaged.
    fn request(&mut self) -> Vec<u8> {
        const METHODS: [&str; 15] = [
            "INVITE",
            "INVITE",
            "ACK",
            "BYE",
            "CANCEL",
            "INFO",
            "OPTIONS",
            "UPDATE",
            "UPDATE",
            "PRACK",
            "REFER",
            "REFER",
            "SUBSCRIBE",
            "SUBSCRIBE",
            "SUBSCRIBE",
        ];
        let script = &mut self.script;
        let method = METHODS[script.below(METHODS.len())];
        let (branch, call, sequence) = (script.below(12), script.below(4), script.below(6));
        let to = match script.below(self.tags.len() + 1) {
            0 => String::new(),
            n => format!(";tag={}", self.tags[n - 1]),
        };
        let cookie = if script.below(8) == 0 { "" } else { "z9hG4bK" };
        let tag = self.tags.get(script.below(8)).or(self.tags.last()).map_or("", String::as_str);
        let rseq = self.rseq.as_str();
        let more = match script.below(15) {
            // Nothing else is of use to a subscriber.
            n if method == "SUBSCRIBE" => {
                let id = if n == 14 { ";id=2" } else { "" };
                let time = [0, 60, 61, 600, 86_400][n % 5];
                format!("Event: message-summary{id}\r\nExpires: {time}\r\n")
            }
            0 => "Require: 100rel\r\n".to_owned(),
            1 => "Record-Route: <sip:10.0.0.7;lr>, <sip:10.0.0.8>\r\n".to_owned(),
            2 => "Contact: <sip:b@10.0.0.3;transport=tcp>\r\n".to_owned(),
            3 => "Session-Expires: 90;refresher=uas\r\n".to_owned(),
            4 => "Supported: timer\r\nSession-Expires: 90\r\n".to_owned(),
            5 => format!("P-Asserted-Identity: <sip:{sequence}@h>\r\n"),
            6 => format!("Replaces: {call};to-tag={tag};from-tag=a{call}\r\n"),
            12..=14 => {
                format!(
                    "Refer-To: <sip:c@10.0.0.1?Replaces={call}%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n"
                )
            }
            7 | 8 => format!("RAck: {rseq} {sequence} INVITE\r\n"),
            _ => String::new(),
        };
        let body = if script.below(2) == 0 { "" } else { "v=0\r\n" };
        let mut message = format!(
            "{method} sip:401@h SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch={cookie}{branch}\r\n\
             From: <sip:a@h>;tag=a{call}\r\nTo: <sip:401@h>{to}\r\nCall-ID: {call}\r\n\
             CSeq: {sequence} {method}\r\n{more}Contact: <sip:a@10.0.0.1>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        self.script.damage(&mut message);
        message
    }

    /// A response to something that we asked, or what we said ourselves; perhaps damaged.
    fn response(&mut self) -> Option<Vec<u8>> {
        let at = self.script.below(self.sent.len().max(1));
        let mut message = self.sent.get(at)?.clone();
        let code = 100 * (1 + self.script.below(6)) + self.script.below(3) * 40;
        if !message.starts_with(b"SIP/2.0") && self.script.below(8) != 0 {
            let line = message.iter().position(|&byte| byte == b'\n').unwrap_or(0);
            let tag = format!(";tag=b{}\r\nCall-ID", self.script.below(3));
            let text = String::from_utf8_lossy(&message[line + 1..]).replace("\r\nCall-ID", &tag);
            message = format!("SIP/2.0 {code} x\r\n{text}").into_bytes();
        }
        self.script.damage(&mut message);
        Some(message)
    }

    fn place(&mut self) {
        let flow = self.flow();
        let target: Uri = "sip:401@10.0.0.1".parse().expect("a URI");
        let from: NameAddr = "<sip:vm@h>".parse().expect("a name");
        if let Ok(key) = self.endpoint.call(self.now, flow, &target, &from, "v=0\r\n".to_owned()) {
            self.calls.push(key);
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.endpoint.deadline().filter(|at| *at <= until) {
            self.now = at;
            timed(|| self.endpoint.wake(at));
            self.drain();
        }
        self.now = until;
        self.endpoint.wake(until);
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit(_, wire) => {
                    check_wire(&wire);
                    self.note(&wire);
                }
                Output::Incoming(key, _) => self.calls.push(key),
                Output::Gone(key) | Output::Refused(key, _) => {
                    self.calls.retain(|known| *known != key);
                }
                Output::Event(key, Event::Offer { ticket, .. } | Event::Reached { ticket, .. }) => {
                    self.offers.push((key, ticket));
                }
                Output::Event(key, Event::Refer(refer)) => self.offers.push((key, refer.ticket)),
                Output::Subscribing(key, _) => self.subscriptions.push(key),
                Output::Unsubscribed(key) => self.subscriptions.retain(|known| *known != key),
                Output::Event(..)
                | Output::Taken(..)
                | Output::Locate(..)
                | Output::Registration(..)
                | Output::Announced(..)
                | Output::TurnedAway { .. }
                | Output::Dropped { .. } => {}
            }
        }
        if self.calls.len() > 16 {
            self.calls.remove(0);
        }
        if self.offers.len() > 8 {
            self.offers.remove(0);
        }
    }

    fn note(&mut self, wire: &[u8]) {
        let text = String::from_utf8_lossy(wire);
        if ["BYE", "CANCEL", "NOTIFY", "INVITE"].iter().any(|name| text.starts_with(name)) {
            self.byes += 1;
        }
        if let Some(rseq) = text.lines().find_map(|line| line.strip_prefix("RSeq: ")) {
            rseq.clone_into(&mut self.rseq);
        }
        let tags = text.lines().filter_map(|line| line.split_once(";tag=")).map(|(_, tag)| tag);
        for tag in tags {
            if self.tags.len() < 12 && !self.tags.iter().any(|known| known == tag) {
                self.tags.push(tag.to_owned());
            }
        }
        if self.sent.len() == 12 {
            self.sent.remove(0);
        }
        self.sent.push(wire.to_vec());
    }

    fn check(&mut self) {
        self.endpoint.wake(self.now);
        self.drain();
        let (now, census) = (self.now, self.endpoint.census());
        assert!(self.endpoint.deadline().is_none_or(|at| at > now), "a deadline in the past");
        assert!(census.calls + census.placings <= 8, "{census:?}");
        // Who has left a call that is being transferred has no dialog any more.
        assert!(census.dialogs <= census.calls, "{census:?}");
        assert!(census.subscriptions <= 4, "{census:?}");
        assert_eq!(census.subscribers, census.subscriptions, "{census:?}");
        assert_eq!(self.subscriptions.len(), census.subscriptions, "told of all that come and go");
        assert!(census.announcements <= census.transactions, "{census:?}");
        assert!(census.transactions <= 24 + self.byes, "{census:?}");
        assert!(census.keys == census.transactions, "{census:?}");
        assert!(census.merges <= census.transactions, "{census:?}");
        assert!(census.streamed <= census.transactions, "{census:?}");
        assert!(census.notes <= 2_000, "{census:?}");
    }

    /// Everybody hangs up; 64·T1 for whatever they say, and again for what follows from that.
    fn end(&mut self) {
        for _ in 0..5 {
            for key in self.endpoint.call_keys() {
                self.endpoint.bye(self.now, key);
            }
            for key in self.endpoint.subscription_keys() {
                self.endpoint.end_subscription(self.now, key, Reason::NoResource);
            }
            self.pass(Duration::from_secs(70));
            self.drain();
        }
        assert_eq!(self.endpoint.census(), Census::default());
    }
}

/// The bytes of an input as choices.
struct Script<'a> {
    rest: &'a [u8],
}

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().map_or((0, self.rest), |(b, rest)| (*b, rest));
        self.rest = rest;
        first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn wide(&mut self) -> u64 {
        u64::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// Three of four messages stay whole.
    fn damage(&mut self, message: &mut Vec<u8>) {
        let times = self.byte();
        for _ in 0..if times < 192 { 0 } else { times % 4 } {
            let at = usize::try_from(self.wide()).unwrap_or(0) % message.len().max(1);
            match (self.below(4), self.byte()) {
                (0, _) => message.truncate(at),
                (1, _) if at < message.len() => drop(message.remove(at)),
                (2, byte) => message.insert(at, byte),
                (_, byte) if at < message.len() => message[at] = byte,
                (_, _) => {}
            }
        }
    }
}

/// Whatever came in, what goes out is one message with whole lines.
fn check_wire(wire: &[u8]) {
    assert_eq!(framing::next(wire), Frame::Message(wire.len()), "{wire:?}");
    let end = wire.windows(4).position(|four| four == b"\r\n\r\n").expect("an end of the head");
    let head = std::str::from_utf8(&wire[..end]).expect("we write UTF-8");
    for line in head.split("\r\n").skip(1) {
        let name = line.split_once(':').map_or("", |(name, _)| name);
        assert!(!name.is_empty() && !name.contains(' '), "{line:?}");
        assert!(!line.contains(|c: char| c.is_ascii_control()), "{line:?}");
    }
}

/// Datagrams to a recording.
pub fn rtp(data: &[u8]) {
    trial::rtp(data);
}

/// Reports.
pub fn rtcp(data: &[u8]) {
    trial::rtcp(data);
}

/// Keys, as events and as tones.
pub fn dtmf(data: &[u8]) {
    trial::dtmf(data);
}

/// A WAV file of anybody.
pub fn wav(data: &[u8]) {
    trial::wav(data);
}

/// Packets of G.722.
pub fn g722(data: &[u8]) {
    trial::g722(data);
}

/// Packets of Opus, some of them lost.
pub fn opus(data: &[u8]) {
    trial::opus(data);
}

/// Comfort noise.
pub fn noise(data: &[u8]) {
    trial::noise(data);
}

/// No message may hold up the others for longer than `MOST`.
fn timed<T>(what: impl FnOnce() -> T) -> T {
    let before = processor_time();
    let done = what();
    let took = processor_time().saturating_sub(before);
    SLOWEST.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    assert!(took < MOST, "{took:?} for one message");
    done
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

fn udp() -> Flow {
    let link = Link::Socket(0);
    Flow { transport: Transport::Udp, local: OURS, remote: THEIRS, link }
}

fn tcp() -> Flow {
    let link = Link::Connection(1);
    Flow { transport: Transport::Tcp, local: OURS, remote: THEIRS, link }
}

const OURS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 5060);
const THEIRS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 5060);

/// Code without optimization takes some twenty times as long.
const MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 5 });

static SLOWEST: AtomicU64 = AtomicU64::new(0);
