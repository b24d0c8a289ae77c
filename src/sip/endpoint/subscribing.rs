//! Subscribers: SUBSCRIBE and the NOTIFYs that follow (RFC 6665, RFC 3842).

use std::time::{Duration, Instant};

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::abilities::unsupported;
use super::answering::record_route;
use super::outside::kept;
use super::{Arrival, Endpoint, Output, Owner, contact, retry_after};
use crate::sip::dialog::Dialog;
use crate::sip::invite::{Offer, Pending};
use crate::sip::message::{NOTIFY, Request, Response, every, first};
use crate::sip::subscription::{
    BODY, Next, PACKAGE, Phase, Reason, SHORTEST, Subscription, SubscriptionKey, duration, ends,
};
use crate::sip::text::{Params, list};
use crate::sip::timer::Timer;
use crate::sip::transaction::Input;
use crate::sip::transactions::User;
use crate::sip::{Reject, Subscribing};

impl Endpoint {
    /// A SUBSCRIBE that opens a dialog: RFC 6665 §4.2.1.
    pub(super) fn receive_subscribe(&mut self, now: Instant, arrival: Arrival) {
        let peer = arrival.flow.remote.ip();
        if self.subscriptions.len() >= self.limits.subscriptions
            || !self.subscribe_gate.lets_in(now, peer)
        {
            return self.respond(&arrival, 503, vec![retry_after(self.limits.retry_after)]);
        }
        let Ok(who) = self.identify(now, &arrival) else { return };
        if let Some((code, more)) = self.objection(&arrival.request) {
            return self.respond(&arrival, code, more);
        }
        let wanted = match wanted(&arrival.request) {
            Ok(wanted) => wanted,
            Err((code, more)) => return self.respond(&arrival, code, more),
        };
        let Arrival { request, flow, reply } = arrival;
        let tag = self.chance.token();
        let dialog = Dialog::as_server(&request, tag.clone(), flow);
        let Some(dialog) = dialog else {
            let arrival = Arrival { request, flow, reply };
            return self.respond(&arrival, 400, Vec::new());
        };
        let Some(transaction) = self.transactions.open_server(&request, reply) else {
            let arrival = Arrival { request, flow, reply };
            return self.respond(&arrival, 503, vec![retry_after(self.limits.retry_after)]);
        };
        let pending = Pending {
            transaction,
            sequence: request.identity.sequence,
            headers: kept(&request),
            reply,
            offer: Offer::Early,
            session: None,
        };
        self.last_subscription += 1;
        let key = SubscriptionKey(self.last_subscription);
        let phase = Phase::Asked(Box::new(pending), wanted.expires);
        let mut subscription = Subscription::new(dialog, wanted.id, phase, now);
        subscription.expires = now + PATIENCE;
        self.subscriptions.insert(key, subscription);
        self.subscribers.insert(tag, key);
        self.watch(now, key);
        let subscribing = Subscribing {
            request_uri: request.uri,
            to: request.identity.to,
            from: request.identity.from,
            source: flow.remote,
            local: flow.local,
            authenticated: who.authenticated,
            certificate: self.certificates.get(&flow.link).cloned(),
        };
        self.post.outputs.push_back(Output::Subscribing(key, Box::new(subscribing)));
    }

    /// The house lets it: 200, and what it asked for.
    pub fn grant(&mut self, now: Instant, key: SubscriptionKey, body: Vec<u8>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let expires = match &subscription.phase {
            Phase::Asked(_, expires) => *expires,
            Phase::Active | Phase::Ending(_) => return,
        };
        let Phase::Asked(pending, _) = std::mem::replace(&mut subscription.phase, Phase::Active)
        else {
            return;
        };
        let tag = subscription.dialog.local_tag.clone();
        let mut more = record_route(&pending);
        more.extend(accepted(&subscription.dialog, expires));
        let ok = self.print(&pending.headers, 200, None, &tag, more, &[]);
        self.transactions.step(now, pending.transaction, Input::Success, Some(&ok), &mut self.post);
        self.prolong(now, key, expires, Some(body));
    }

    /// The house does not. Nothing of it is kept: its copies are asked about again, so that a flood
    /// of strangers fills no table.
    pub fn decline_subscription(&mut self, key: SubscriptionKey, why: Reject) {
        let Some(subscription) = self.remove_subscription(key) else { return };
        if let Phase::Asked(pending, _) = &subscription.phase {
            let more = match why {
                Reject::Overloaded { retry_after: wait } => vec![retry_after(wait)],
                _ => Vec::new(),
            };
            let tag = self.chance.token_for(&subscription.dialog.call_id);
            let wire = self.print(&pending.headers, why.code(), None, &tag, more, &[]);
            self.transactions.forget(pending.transaction);
            self.post.transmit(pending.reply, wire);
        }
    }

    /// What a subscriber asked for is now so.
    pub fn notify(&mut self, now: Instant, key: SubscriptionKey, body: Vec<u8>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        subscription.owe(body);
        self.tell_subscriber(now, key);
    }

    pub fn end_subscription(&mut self, now: Instant, key: SubscriptionKey, reason: Reason) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        if let Phase::Active = subscription.phase {
            subscription.end(reason);
            self.tell_subscriber(now, key);
        }
    }

    /// Every one, for shutting down.
    pub fn subscription_keys(&self) -> Vec<SubscriptionKey> {
        self.subscriptions.keys().copied().collect()
    }

    /// A SUBSCRIBE within its dialog: RFC 6665 §4.2.1.
    pub(super) fn receive_resubscribe(&mut self, now: Instant, arrival: &Arrival) {
        let request = &arrival.request;
        let tag = request.identity.to.tag().unwrap_or("");
        let key = self.subscribers.get(tag).copied();
        let known = key.and_then(|key| self.subscriptions.get_mut(&key));
        let (Some(key), Some(subscription)) =
            (key, known.filter(|known| known.dialog.is_of(request)))
        else {
            return self.respond(arrival, 481, Vec::new());
        };
        match subscription.phase {
            Phase::Active => {}
            Phase::Asked(..) => return self.respond(arrival, 491, Vec::new()),
            Phase::Ending(_) => return self.respond(arrival, 481, Vec::new()),
        }
        // Each takes a place among the transactions for a while.
        if !self.subscribe_gate.lets_in(now, arrival.flow.remote.ip()) {
            return self.respond(arrival, 503, vec![retry_after(self.limits.retry_after)]);
        }
        if !subscription.dialog.admit(request.identity.sequence) {
            return self.respond(arrival, 500, Vec::new());
        }
        let wanted = match (unsupported(request), wanted(request)) {
            (Some(header), _) => return self.respond(arrival, 420, vec![header]),
            (None, Err((code, more))) => return self.respond(arrival, code, more),
            (None, Ok(wanted)) if wanted.id != subscription.id => {
                return self.respond(arrival, 481, Vec::new());
            }
            (None, Ok(wanted)) => wanted,
        };
        subscription.dialog.refresh(request, arrival.flow);
        let more = accepted(&subscription.dialog, wanted.expires);
        self.confirm_with(now, arrival, more);
        self.prolong(now, key, wanted.expires, None);
    }

    /// Lasts for `expires` from now, or ends where that is zero; the subscriber hears of it.
    fn prolong(
        &mut self,
        now: Instant,
        key: SubscriptionKey,
        expires: Duration,
        body: Option<Vec<u8>>,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        subscription.owe_at_once(body);
        if expires.is_zero() {
            subscription.end(Reason::Timeout);
        } else {
            subscription.expires = now + expires;
            self.watch(now, key);
        }
        self.tell_subscriber(now, key);
    }

    /// Looks again when it expires, or in a while. A note in the agenda outlives what it is for:
    /// one that is under way is enough, and none is made for the day that a subscription may last.
    fn watch(&mut self, now: Instant, key: SubscriptionKey) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let at = subscription.expires.min(now + Timer::Expiry.first(false));
        if subscription.armed.until(Timer::Expiry).is_none_or(|noted| at < noted) {
            subscription.armed.set(Timer::Expiry, at);
            self.post.agenda.note(at, Timer::Expiry, Owner::Subscription(key));
        }
    }

    /// Sends what is owed, if it may be sent now.
    fn tell_subscriber(&mut self, now: Instant, key: SubscriptionKey) {
        let user_agent = self.user_agent();
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        match subscription.next(now) {
            Next::Nothing => {}
            Next::Over => {
                self.remove_subscription(key);
                self.post.outputs.push_back(Output::Unsubscribed(key));
            }
            Next::At(at) => {
                subscription.armed.set(Timer::Notify, at);
                self.post.agenda.note(at, Timer::Notify, Owner::Subscription(key));
            }
            Next::Send { body, state } => {
                let branch = self.chance.branch();
                let (mut notify, flow) = subscription.dialog.request(NOTIFY, &branch);
                let scheme = &subscription.dialog.scheme;
                notify.headers.push(contact(&flow, scheme));
                notify.headers.extend(said(subscription.id.as_deref(), &state));
                notify.headers.extend(user_agent);
                notify.body = body;
                let (user, post) = (User::Subscription(key), &mut self.post);
                self.transactions.open_client(now, notify, &branch, flow, user, post);
            }
        }
    }

    pub(super) fn hear_subscriber(
        &mut self,
        now: Instant,
        key: SubscriptionKey,
        response: &Response,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        match response.code {
            ..200 => return,
            200..300 => subscription.answered(),
            code if ends(code) => return self.drop_subscription(key),
            _ => {
                let wait = first!(response.headers, RetryAfter)
                    .and_then(|value| value.split([' ', ';', '(']).next()?.parse().ok());
                subscription.again(now, wait.map_or(LATER, Duration::from_secs).min(LONGEST_WAIT));
            }
        }
        self.tell_subscriber(now, key);
    }

    /// RFC 6665 §4.2.2: who does not answer is not told any more.
    pub(super) fn subscriber_silent(&mut self, key: SubscriptionKey) {
        self.drop_subscription(key);
    }

    pub(super) fn fire_subscription(
        &mut self,
        now: Instant,
        key: SubscriptionKey,
        timer: Timer,
        at: Instant,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        if !subscription.armed.take(timer, at) {
            return;
        }
        if timer == Timer::Expiry && now < subscription.expires {
            return self.watch(now, key);
        }
        match (timer, &subscription.phase) {
            (Timer::Expiry, Phase::Asked(..)) => {
                self.decline_subscription(key, Reject::ServerError);
                return self.post.outputs.push_back(Output::Unsubscribed(key));
            }
            (Timer::Expiry, Phase::Active) => subscription.end(Reason::Timeout),
            (_, _) => {}
        }
        self.tell_subscriber(now, key);
    }

    fn drop_subscription(&mut self, key: SubscriptionKey) {
        if self.remove_subscription(key).is_some() {
            self.post.outputs.push_back(Output::Unsubscribed(key));
        }
    }

    fn remove_subscription(&mut self, key: SubscriptionKey) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&key)?;
        self.subscribers.remove(&subscription.dialog.local_tag);
        Some(subscription)
    }
}

/// How long the house may take to answer: RFC 4320 §4.2, later nobody listens.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after a refusal that says nothing else a NOTIFY is sent again.
const LATER: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

struct Wanted {
    id: Option<String>,
    expires: Duration,
}

/// What a SUBSCRIBE asks for, or what is wrong with it.
fn wanted(request: &Request) -> Result<Wanted, (u16, Vec<Header>)> {
    let event = first!(request.headers, Event);
    let (package, params) =
        event.map_or(("", ""), |event| event.split_once(';').unwrap_or((event, "")));
    if !package.trim().eq_ignore_ascii_case(PACKAGE) {
        return Err((489, vec![allow_events()]));
    }
    let takes = |range: &str| {
        let kind = range.split(';').next().unwrap_or("").replace([' ', '\t'], "");
        ["application/simple-message-summary", "application/*", "*/*"]
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known))
    };
    let mut ranges = every!(request.headers, Accept).flat_map(list).peekable();
    if ranges.peek().is_some() && !ranges.any(takes) {
        return Err((406, vec![headers::Accept::new(BODY).into()]));
    }
    let expires = duration(first!(request.headers, Expires)).map_err(|_| {
        (423, vec![headers::MinExpires::new(SHORTEST.as_secs().to_string()).into()])
    })?;
    let id = Params::read(params).value("id").map(str::to_owned);
    Ok(Wanted { id, expires })
}

fn accepted(dialog: &Dialog, expires: Duration) -> Vec<Header> {
    vec![
        contact(&dialog.flow, &dialog.scheme),
        headers::Expires::new(expires.as_secs().to_string()).into(),
        allow_events(),
    ]
}

/// The headers of a NOTIFY that say what it is about.
pub(super) fn said(id: Option<&str>, state: &str) -> Vec<Header> {
    let event = match id {
        Some(id) => format!("{PACKAGE};id={id}"),
        None => PACKAGE.to_owned(),
    };
    vec![
        headers::Event::new(event).into(),
        headers::SubscriptionState::new(state).into(),
        allow_events(),
        headers::ContentType::new(BODY).into(),
    ]
}

pub(super) fn allow_events() -> Header {
    Header::Other("Allow-Events".to_owned(), PACKAGE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::endpoint::Census;
    use crate::sip::{Flow, Limits, Link, Transport};

    #[test]
    fn a_subscriber_that_never_rests_leaves_nothing_behind() {
        let mut endpoint = Endpoint::new("", Limits::default(), [1; 32]);
        let mut now = Instant::now();
        let mut tag = String::new();
        for sequence in 1..=2_000 {
            // Each for a day.
            endpoint.receive(now, flow(), &subscribe(sequence, &tag, 86_400));
            tag = settle(&mut endpoint, now).unwrap_or(tag);
            now += Duration::from_secs(2);
            endpoint.wake(now);
            settle(&mut endpoint, now);
        }
        let census = endpoint.census();
        assert_eq!((census.subscriptions, census.subscribers), (1, 1));
        assert!(census.notes < 100, "{census:?}");
        endpoint.receive(now, flow(), &subscribe(2_001, &tag, 0));
        settle(&mut endpoint, now);
        for _ in 0..3 {
            now += Duration::from_secs(40);
            endpoint.wake(now);
            settle(&mut endpoint, now);
        }
        assert_eq!(endpoint.census(), Census::default());
    }

    #[test]
    fn a_house_that_says_nothing_and_one_that_says_no_keep_nothing() {
        let mut endpoint = Endpoint::new("", Limits::default(), [1; 32]);
        let mut now = Instant::now();
        endpoint.receive(now, flow(), &subscribe(1, "", 600));
        assert!(matches!(endpoint.poll(), Some(Output::Subscribing(..))));
        now += PATIENCE;
        endpoint.wake(now);
        let Some(Output::Transmit(_, wire)) = endpoint.poll() else { panic!("no answer") };
        assert!(wire.starts_with(b"SIP/2.0 500 "));
        assert!(matches!(endpoint.poll(), Some(Output::Unsubscribed(_))));
        assert_eq!(endpoint.census(), Census::default());

        endpoint.receive(now, flow(), &subscribe(2, "", 600));
        let Some(Output::Subscribing(key, _)) = endpoint.poll() else { panic!("nobody asked") };
        endpoint.decline_subscription(key, Reject::Forbidden);
        let census = endpoint.census();
        assert_eq!((census.subscriptions, census.transactions), (0, 0), "{census:?}");
    }

    /// Grants what is asked and answers every NOTIFY; our tag in a new subscription.
    fn settle(endpoint: &mut Endpoint, now: Instant) -> Option<String> {
        let mut tag = None;
        while let Some(output) = endpoint.poll() {
            match output {
                Output::Subscribing(key, _) => endpoint.grant(now, key, vec![b'x']),
                Output::Transmit(_, wire) => {
                    let text = String::from_utf8_lossy(&wire).into_owned();
                    if let Some((_, head)) =
                        text.split_once("\r\n").filter(|_| text.starts_with("NOTIFY"))
                    {
                        let answer = format!("SIP/2.0 200 OK\r\n{head}");
                        endpoint.receive(now, flow(), answer.as_bytes());
                    } else {
                        let to = text.lines().find(|line| line.starts_with("To:"))?;
                        tag = to.split_once(";tag=").map(|(_, tag)| tag.to_owned());
                    }
                }
                _ => {}
            }
        }
        tag
    }

    fn subscribe(sequence: u32, tag: &str, expires: u32) -> Vec<u8> {
        let to = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        format!(
            "SUBSCRIBE sip:1000@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{sequence}\r\n\
             From: <sip:a@h>;tag=a\r\nTo: <sip:1000@h>{to}\r\nCall-ID: c\r\nCSeq: {sequence} SUBSCRIBE\r\n\
             Event: message-summary\r\nExpires: {expires}\r\nContact: <sip:a@10.0.0.1>\r\n\
             Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    fn flow() -> Flow {
        let address = |text: &str| text.parse().expect("an address");
        let (local, remote) = (address("192.0.2.9:5060"), address("10.0.0.1:5060"));
        Flow { transport: Transport::Udp, local, remote, link: Link::Socket(0) }
    }
}
