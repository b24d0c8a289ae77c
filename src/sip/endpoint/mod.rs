//! The endpoint: bytes and the time in; bytes, events and one deadline out.
//!
//! After every call of a method that takes `now`, drain [`Endpoint::poll`] until it is empty, then
//! wait for bytes or for [`Endpoint::deadline`], whichever is first.
//!
//! - `identifying` asks callers who they are (§22);
//! - `outside` screens requests that belong to no dialog (RFC 3261 §8.2) and opens calls;
//! - `within` takes requests that do belong to one (§12.2.2);
//! - `ringing` is what is said before the answer (§13.3.1.1, RFC 3262);
//! - `answering` does what the owner of a call wants of it;
//! - `refreshing` keeps sessions alive (RFC 4028);
//! - `placing` is the calling side (§13.2);
//! - `referring` lets a call go on with another party (RFC 3515);
//! - `subscribing` tells subscribers what they asked for (RFC 6665);
//! - `announcing` tells it to whom nobody subscribed;
//! - `registering` keeps us registered elsewhere (§10.2);
//! - `abilities` is what we say that we can do.

mod abilities;
pub(super) mod announcing;
mod answering;
mod identifying;
mod outside;
mod placing;
mod referring;
mod refreshing;
mod registering;
mod ringing;
mod subscribing;
mod within;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsip::headers::{self, UntypedHeader};
use rsip::{Header, Headers};

use super::chance::Chance;
use super::digest::Guard;
use super::gate::Gate;
use super::identity::Authentication;
use super::invite::{Call, Pending, Placing};
use super::lexer::{self, Fault, Message, Refused};
use super::message::{self, ACK, INVITE, Request, Response, Wire, reason};
use super::registration::{Enrolment, RegistrationKey, Standing};
use super::subscription::{Subscription, SubscriptionKey};
use super::text::list;
use super::timer::Agenda;
use super::transaction::Input;
use super::transactions::{Post, TransactionKey, Transactions, Upward, User};
use super::uri::Uri;
use super::via::Via;
use super::{Event, Flow, Incoming, Limits, Link, Refusal, Scheme, Subscribing};
use announcing::{AnnouncementKey, Announcing};

/// A call, for as long as the endpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(u64);

/// Whose timer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Transaction(TransactionKey),
    Call(CallKey),
    Registration(RegistrationKey),
    Subscription(SubscriptionKey),
}

#[derive(Debug)]
pub enum Output {
    Transmit(Flow, Arc<[u8]>),
    /// A new call; 100 is on its way.
    Incoming(CallKey, Box<Incoming>),
    /// The caller hung up before the answer.
    Gone(CallKey),
    Event(CallKey, Event),
    /// A call of ours was taken; the body of the 2xx.
    Taken(CallKey, Vec<u8>),
    /// A call of ours was not taken.
    Refused(CallKey, Refusal),
    /// Where is this? [`Endpoint::located`] takes the answer.
    Locate(RegistrationKey, Uri),
    /// What has become of a registration.
    Registration(RegistrationKey, Standing),
    /// A new subscription waits for [`Endpoint::grant`] or [`Endpoint::decline_subscription`].
    Subscribing(SubscriptionKey, Box<Subscribing>),
    /// A subscription has ended.
    Unsubscribed(SubscriptionKey),
    /// A NOTIFY to whom nobody subscribed was answered, or was not.
    Announced(AnnouncementKey, Result<(), Refusal>),
    /// For the log: an INVITE for a new call that was refused before anybody heard of it.
    TurnedAway {
        source: SocketAddr,
        call_id: String,
        code: u16,
    },
    /// For the log: bytes that led to nothing.
    Dropped {
        source: SocketAddr,
        why: &'static str,
    },
}

/// The size of each table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub calls: usize,
    pub placings: usize,
    pub dialogs: usize,
    pub subscriptions: usize,
    pub subscribers: usize,
    pub announcements: usize,
    pub transactions: usize,
    pub keys: usize,
    pub merges: usize,
    pub streamed: usize,
    pub notes: usize,
}

/// Whether new calls are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
}

pub struct Endpoint {
    user_agent: String,
    limits: Limits,
    chance: Chance,
    guard: Guard,
    gate: Gate,
    subscribe_gate: Gate,
    transactions: Transactions,
    /// Boxed, for a table has more room than it uses.
    calls: HashMap<CallKey, Box<Call>>,
    placings: HashMap<CallKey, Placing>,
    registrations: BTreeMap<RegistrationKey, Enrolment>,
    subscriptions: HashMap<SubscriptionKey, Subscription>,
    /// Subscriptions by our tag.
    subscribers: HashMap<String, SubscriptionKey>,
    announcements: HashMap<AnnouncementKey, Announcing>,
    /// Calls by our tag, which is unique.
    dialogs: HashMap<String, CallKey>,
    /// The names in a peer's certificate, while its connection lasts.
    certificates: HashMap<Link, String>,
    post: Post,
    last_call: u64,
    last_subscription: u64,
    last_announcement: u64,
    last_ticket: u64,
    door: Door,
}

/// A request, how it came and where its responses go.
struct Arrival {
    request: Request,
    flow: Flow,
    reply: Flow,
}

impl Endpoint {
    pub fn new(user_agent: &str, limits: Limits, seed: [u8; 32]) -> Self {
        Self {
            user_agent: user_agent.to_owned(),
            guard: Guard::new(Authentication::default(), limits.failures_per_minute, &seed),
            chance: Chance::new(seed),
            subscribe_gate: Gate::new(limits.calls_per_second, limits.calls_per_second_per_peer),
            gate: Gate::new(limits.calls_per_second, limits.calls_per_second_per_peer),
            transactions: Transactions::new(limits.transactions),
            limits,
            calls: HashMap::new(),
            placings: HashMap::new(),
            registrations: BTreeMap::new(),
            subscriptions: HashMap::new(),
            subscribers: HashMap::new(),
            announcements: HashMap::new(),
            dialogs: HashMap::new(),
            certificates: HashMap::new(),
            post: Post { agenda: Agenda::new(), outputs: VecDeque::new() },
            last_call: 0,
            last_subscription: 0,
            last_announcement: 0,
            last_ticket: 0,
            door: Door::Open,
        }
    }

    /// Whom to ask who they are, and how. Before the first message.
    pub fn authenticate(&mut self, authentication: Authentication) {
        let key = self.chance.key();
        self.guard = Guard::new(authentication, self.limits.failures_per_minute, &key);
    }

    /// Takes one message: a datagram, or one frame of a stream.
    pub fn receive(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        match lexer::read(bytes) {
            Ok(Message::Request(request)) => self.receive_request(now, flow, request),
            Ok(Message::Response(response)) => self.receive_response(now, flow, &response),
            Err(Fault::Drop(why)) => self.drop_silently(flow, why),
            Err(Fault::Refuse(refused)) => self.refuse_malformed(flow, *refused),
        }
    }

    /// Fires what is due.
    pub fn wake(&mut self, now: Instant) {
        while let Some((at, timer, owner)) = self.post.agenda.take_due(now) {
            match owner {
                Owner::Transaction(id) => {
                    let upward = self.transactions.fire(now, id, timer, at, &mut self.post);
                    self.hear(now, upward);
                }
                Owner::Call(key) => self.fire_call(now, key, timer, at),
                Owner::Registration(key) => self.fire_registration(now, key, timer, at),
                Owner::Subscription(key) => self.fire_subscription(now, key, timer, at),
            }
        }
    }

    /// When to call [`Endpoint::wake`].
    pub fn deadline(&self) -> Option<Instant> {
        self.post.agenda.next()
    }

    pub fn poll(&mut self) -> Option<Output> {
        self.post.outputs.pop_front()
    }

    /// What comes by this link comes from the owner of a certificate with these names.
    pub fn vouch(&mut self, link: Link, names: String) {
        self.certificates.insert(link, names);
    }

    /// A connection is gone, or could not be opened.
    pub fn transport_failed(&mut self, now: Instant, flow: &Flow) {
        self.certificates.remove(&flow.link);
        for id in self.transactions.over(flow) {
            let upward =
                self.transactions.step(now, id, Input::TransportFailed, None, &mut self.post);
            self.hear(now, upward);
        }
        self.flow_lost(now, flow);
    }

    /// From now on new calls get 503, and OPTIONS says so too.
    pub fn close_door(&mut self) {
        self.door = Door::Closed;
    }

    pub fn calls(&self) -> usize {
        self.calls.len() + self.placings.len()
    }

    /// Every call, for shutting down.
    pub fn call_keys(&self) -> Vec<CallKey> {
        self.calls.keys().chain(self.placings.keys()).copied().collect()
    }

    pub fn transactions(&self) -> usize {
        self.transactions.len()
    }

    /// How much of everything is kept.
    pub(crate) fn census(&self) -> Census {
        let [transactions, keys, merges, streamed] = self.transactions.sizes();
        Census {
            calls: self.calls.len(),
            placings: self.placings.len(),
            dialogs: self.dialogs.len(),
            subscriptions: self.subscriptions.len(),
            subscribers: self.subscribers.len(),
            announcements: self.announcements.len(),
            transactions,
            keys,
            merges,
            streamed,
            notes: self.post.agenda.len(),
        }
    }

    fn receive_request(&mut self, now: Instant, flow: Flow, mut request: Request) {
        let via = &mut request.identity.via;
        let reply = stamp(via, &mut request.headers, flow);
        let arrival = Arrival { request, flow, reply };
        if let Some(id) = self.transactions.matching(&arrival.request) {
            let ack = arrival.request.method == ACK;
            let input = if ack { Input::Ack } else { Input::Request };
            self.transactions.step(now, id, input, None, &mut self.post);
            // A client of RFC 2543 acknowledges a 2xx with the branch of its INVITE, so that the
            // ACK finds the transaction as well as the dialog.
            if !ack {
                return;
            }
        }
        if arrival.request.identity.to.tag().is_some() {
            self.receive_within(now, &arrival);
        } else {
            self.receive_outside(now, arrival);
        }
    }

    fn receive_response(&mut self, now: Instant, flow: Flow, response: &Response) {
        let identity = &response.identity;
        // RFC 3261 §8.1.3.3: it is on its way to somebody else.
        if message::every!(response.headers, Via).flat_map(list).nth(1).is_some() {
            return self.drop_silently(flow, "a response with several Vias");
        }
        let branch = identity.via.branch().unwrap_or("");
        let Some(id) = self.transactions.client(branch, &identity.method) else {
            return self.drop_silently(flow, "a response to nothing");
        };
        let input = match response.code {
            ..200 => Input::Provisional,
            200..300 => Input::Success,
            300.. => Input::Failure,
        };
        let ack = if identity.method == INVITE && input == Input::Failure {
            let to = message::first!(response.headers, To).unwrap_or_default();
            self.transactions.outgoing(id).map(|(invite, _)| invite.ack(to).print())
        } else {
            None
        };
        // The INVITE is needed to open the dialog, even if telling ends its transaction.
        let invite = self.transactions.outgoing(id).map(|(invite, flow)| (invite.clone(), flow));
        match self.transactions.step(now, id, input, ack.as_ref(), &mut self.post) {
            Upward::Tell(User::Call(key)) => {
                if let Some((invite, flow)) = invite {
                    self.hear_response(now, key, &invite, flow, response);
                }
            }
            Upward::Tell(User::Registration(key)) => self.hear_registrar(now, key, response),
            Upward::Tell(User::Subscription(key)) => self.hear_subscriber(now, key, response),
            Upward::Tell(User::Announcement(key)) => self.hear_announced(now, key, response),
            Upward::Tell(User::Within(key, purpose)) => {
                let invite = invite.as_ref().map(|(invite, flow)| (invite, *flow));
                self.hear_within(now, key, purpose, invite, response);
            }
            Upward::Tell(User::Nobody) | Upward::Nothing => {}
            upward @ Upward::Fail(_) => self.hear(now, upward),
        }
    }

    fn hear(&mut self, now: Instant, upward: Upward) {
        match upward {
            Upward::Fail(User::Within(key, _)) => self.unheard_within(now, key),
            Upward::Fail(User::Call(key)) => self.placing_failed(now, key),
            Upward::Fail(User::Registration(key)) => self.registrar_silent(now, key),
            Upward::Fail(User::Subscription(key)) => self.subscriber_silent(key),
            Upward::Fail(User::Announcement(key)) => self.announcement_lost(key),
            Upward::Fail(User::Nobody) | Upward::Tell(_) | Upward::Nothing => {}
        }
    }

    fn drop_silently(&mut self, flow: Flow, why: &'static str) {
        self.post.outputs.push_back(Output::Dropped { source: flow.remote, why });
    }

    /// RFC 3261 §8.2.7: a malformed request costs no state.
    fn refuse_malformed(&mut self, flow: Flow, refused: Refused) {
        let Refused { method, mut via, mut headers, code, reason } = refused;
        // RFC 3261 §17.1.1.3: an ACK is never answered.
        if method != ACK {
            let reply = stamp(&mut via, &mut headers, flow);
            let tag = self.chance.token_for(&via.to_string());
            let wire = message::print_response(&headers, code, reason, &tag, &self.server(), &[]);
            self.post.transmit(reply, wire);
        }
        if method == INVITE {
            let call_id = message::first!(headers, CallId).unwrap_or_default().to_owned();
            let source = flow.remote;
            self.post.outputs.push_back(Output::TurnedAway { source, call_id, code });
        }
        self.drop_silently(flow, reason);
    }

    /// Answers without keeping anything (RFC 3261 §8.2.7): whatever changes nothing here is
    /// answered again when it comes again, so that a flood of it fills no table.
    fn respond(&mut self, arrival: &Arrival, code: u16, more: Vec<Header>) {
        let tag = self.chance.token_for(&arrival.request.identity.call_id);
        self.respond_as(arrival, code, &tag, more);
    }

    fn respond_as(&mut self, arrival: &Arrival, code: u16, tag: &str, more: Vec<Header>) {
        let wire = self.print(&arrival.request.headers, code, None, tag, more, &[]);
        self.post.transmit(arrival.reply, wire);
        let Request { method, identity, .. } = &arrival.request;
        // A question who it is refuses nobody.
        let refused = code >= 300 && code != 401;
        if refused && *method == INVITE && identity.to.tag().is_none() {
            let (source, call_id) = (arrival.flow.remote, identity.call_id.clone());
            self.post.outputs.push_back(Output::TurnedAway { source, call_id, code });
        }
    }

    /// 200 for a request that must not happen twice: a transaction answers its copies, if there
    /// is room for one.
    fn confirm(&mut self, now: Instant, arrival: &Arrival) {
        self.confirm_with(now, arrival, Vec::new());
    }

    fn confirm_with(&mut self, now: Instant, arrival: &Arrival, more: Vec<Header>) {
        let wire = self.print(&arrival.request.headers, 200, None, "", more, &[]);
        match self.transactions.open_server(&arrival.request, arrival.reply) {
            Some(id) => {
                self.transactions.step(now, id, Input::Success, Some(&wire), &mut self.post);
            }
            None => self.post.transmit(arrival.reply, wire),
        }
    }

    /// Gives a waiting INVITE its final failure.
    fn conclude(&mut self, now: Instant, pending: &Pending, tag: &str, failure: Failure) {
        let Failure { code, reason, more } = failure;
        let wire = self.print(&pending.headers, code, reason, tag, more, &[]);
        let post = &mut self.post;
        self.transactions.step(now, pending.transaction, Input::Failure, Some(&wire), post);
    }

    fn print(
        &self,
        request: &Headers,
        code: u16,
        phrase: Option<&str>,
        tag: &str,
        mut more: Vec<Header>,
        body: &[u8],
    ) -> Wire {
        more.extend(self.server());
        let phrase = phrase.unwrap_or_else(|| reason(code));
        message::print_response(request, code, phrase, tag, &more, body)
    }

    fn server(&self) -> Vec<Header> {
        let named = !self.user_agent.is_empty();
        named.then(|| headers::Server::new(&*self.user_agent).into()).into_iter().collect()
    }

    fn tell(&mut self, key: CallKey, event: Event) {
        self.post.outputs.push_back(Output::Event(key, event));
    }

    fn new_key(&mut self) -> CallKey {
        self.last_call += 1;
        CallKey(self.last_call)
    }

    fn remove_call(&mut self, key: CallKey) -> Option<Box<Call>> {
        let call = self.calls.remove(&key)?;
        self.dialogs.remove(&call.dialog.local_tag);
        Some(call)
    }
}

/// A final response that is no 2xx.
struct Failure {
    code: u16,
    reason: Option<&'static str>,
    more: Vec<Header>,
}

impl Failure {
    fn plain(code: u16) -> Self {
        Self { code, reason: None, more: Vec::new() }
    }
}

/// Writes into the topmost Via where the request came from, and says where to answer.
fn stamp(via: &mut Via, headers: &mut Headers, flow: Flow) -> Flow {
    via.stamp(flow.remote);
    let top = headers.iter_mut().find_map(|header| match header {
        Header::Via(value) => Some(value),
        _ => None,
    });
    if let Some(top) = top {
        let stamped = std::iter::once(via.to_string());
        let rest = list(top.value()).skip(1).map(str::to_owned);
        let value = stamped.chain(rest).collect::<Vec<_>>().join(", ");
        top.replace(value);
    }
    if flow.transport.is_web() {
        return flow;
    }
    // RFC 3261 §18.2.2: over the connection that the request came by, while it is there; a flow
    // goes by its link before it goes by its address.
    Flow { remote: via.reply_to(flow.remote, flow.transport), ..flow }
}

/// Where the peer of a flow may send its requests: RFC 3261 §8.1.1.8.
fn contact(flow: &Flow, scheme: &Scheme) -> Header {
    // A proxy may end TLS before us: then we cannot promise it.
    let honest = if flow.transport.is_secure() { scheme } else { &Scheme::Sip };
    let name = if *honest == Scheme::Sips { "sips" } else { "sip" };
    let transport = flow.transport.param(honest);
    headers::Contact::new(format!("<{name}:{}{transport}>", flow.local)).into()
}

fn retry_after(wait: Duration) -> Header {
    headers::RetryAfter::new(wait.as_secs().max(1).to_string()).into()
}

fn sdp_type() -> Header {
    headers::ContentType::new("application/sdp").into()
}
