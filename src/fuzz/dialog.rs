//! Peers that keep calls and subscriptions with an endpoint, and break every rule.

use std::time::{Duration, Instant};

use super::{check_wire, tcp, timed, udp};
use crate::sip::endpoint::{CallKey, Census, Endpoint, Output};
use crate::sip::{
    Announcement, Event, Flow, Limits, NameAddr, Reason, Reject, SubscriptionKey, Ticket, Uri,
};

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
