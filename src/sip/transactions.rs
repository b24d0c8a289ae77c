//! All transactions in progress: their keys, timers and last messages (RFC 3261 §17).

#[cfg(test)]
mod pair;

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use super::dialog::our_via;
use super::endpoint::announcing::AnnouncementKey;
use super::endpoint::{CallKey, Output, Owner};
use super::framing::MAX_MESSAGE;
use super::message::{ACK, INVITE, Identity, Method, Outgoing, Request, Wire};
use super::timer::{Agenda, Armed, T1, T2, Timer};
use super::transaction::{Action, Client, Input, InviteClient, InviteServer, Machine, Server};
use super::transport::Transport;
use super::{Flow, Link, RegistrationKey, SubscriptionKey};

pub(super) type TransactionKey = u64;

/// What leaves the endpoint, and what it must be woken for.
pub(super) struct Post {
    pub agenda: Agenda<Owner>,
    pub outputs: VecDeque<Output>,
}

impl Post {
    pub fn transmit(&mut self, flow: Flow, wire: Wire) {
        // An answer to a request that fills a whole message is longer still: nobody could read it.
        if wire.len() <= MAX_MESSAGE {
            self.outputs.push_back(Output::Transmit(flow, wire));
        }
    }
}

/// Who hears of a client transaction's responses, and whose INVITE a server transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// A response changes nothing (BYE, CANCEL), or a request made no call.
    Nobody,
    Call(CallKey),
    Registration(RegistrationKey),
    /// A NOTIFY to a subscriber.
    Subscription(SubscriptionKey),
    /// A NOTIFY to whom nobody subscribed.
    Announcement(AnnouncementKey),
    /// A request of ours within this call's dialog.
    Within(CallKey, Purpose),
}

/// What a request of ours within a dialog is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The session goes on (RFC 4028 §10).
    Refresh,
    /// The other side shall call somebody else (RFC 3515).
    Refer,
}

/// What the user of a transaction must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upward {
    Nothing,
    Tell(User),
    /// Nobody answered.
    Fail(User),
}

struct Transaction {
    machine: Machine,
    armed: Armed<2>,
    /// The present distance between two sendings.
    interval: Duration,
    flow: Flow,
    last: Option<Wire>,
    user: User,
    key: u64,
    merge: Option<u64>,
    /// Our INVITE: its ACK and CANCEL are made of it.
    outgoing: Option<Box<Outgoing>>,
    /// What was too large for a datagram, and goes as one all the same where there is no
    /// connection.
    datagram: Option<Box<(Outgoing, Flow)>>,
}

pub(super) struct Transactions {
    /// Boxed: a table of much coming and going doubles although no more is in it.
    table: HashMap<TransactionKey, Box<Transaction>>,
    /// By what all copies of a request, or all answers to one, have in common: a hash of it, keyed
    /// so that nobody outside can make two alike. Hundreds of requests a second stay for 64·T1.
    keys: HashMap<u64, TransactionKey>,
    /// RFC 3261 §8.2.2.2: requests that came here on two ways.
    merges: HashMap<u64, TransactionKey>,
    /// Our requests over connections: who must hear that one broke.
    streamed: HashSet<TransactionKey>,
    hasher: RandomState,
    next: TransactionKey,
    limit: usize,
}

impl Transactions {
    pub fn new(limit: usize) -> Self {
        Self {
            table: HashMap::new(),
            keys: HashMap::new(),
            merges: HashMap::new(),
            streamed: HashSet::new(),
            hasher: RandomState::new(),
            next: 0,
            limit,
        }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Of the table, and of each index into it.
    pub fn sizes(&self) -> [usize; 4] {
        [self.table.len(), self.keys.len(), self.merges.len(), self.streamed.len()]
    }

    /// The server transaction that a request belongs to: RFC 3261 §17.2.3.
    pub fn matching(&self, request: &Request) -> Option<TransactionKey> {
        self.keys.get(&self.server_key(request, &request.method)).copied()
    }

    /// The INVITE that a CANCEL means: RFC 3261 §9.2.
    pub fn cancelled_by(&self, request: &Request) -> Option<TransactionKey> {
        self.keys.get(&self.server_key(request, &INVITE)).copied()
    }

    /// RFC 3261 §8.2.2.2: the same request is in progress under another branch.
    pub fn is_merged(&self, request: &Request) -> bool {
        self.merges.contains_key(&self.merge_key(request))
    }

    /// Opens a server transaction, unless the table is full.
    pub fn open_server(&mut self, request: &Request, flow: Flow) -> Option<TransactionKey> {
        if self.table.len() >= self.limit {
            return None;
        }
        let machine = if request.method == INVITE {
            Machine::InviteServer(InviteServer::Proceeding)
        } else {
            Machine::Server(Server::Trying)
        };
        let key = self.server_key(request, &request.method);
        let initial = request.identity.to.tag().is_none();
        let merge = initial.then(|| self.merge_key(request));
        Some(self.insert(machine, key, flow, User::Nobody, merge, None))
    }

    /// An INVITE has become a call.
    pub fn belongs_to(&mut self, id: TransactionKey, call: CallKey) {
        if let Some(transaction) = self.table.get_mut(&id) {
            transaction.user = User::Call(call);
        }
    }

    pub fn call(&self, id: TransactionKey) -> Option<CallKey> {
        match self.table.get(&id)?.user {
            User::Call(call) => Some(call),
            User::Within(..)
            | User::Registration(_)
            | User::Subscription(_)
            | User::Announcement(_)
            | User::Nobody => None,
        }
    }

    /// Opens a client transaction and sends its request.
    pub fn open_client(
        &mut self,
        now: Instant,
        outgoing: Outgoing,
        branch: &str,
        flow: Flow,
        user: User,
        post: &mut Post,
    ) -> TransactionKey {
        let invite = outgoing.method == INVITE;
        let machine = if invite {
            Machine::InviteClient(InviteClient::Calling)
        } else {
            Machine::Client(Client::Trying)
        };
        let small = outgoing.print();
        // RFC 3261 §18.1.1: what may not fit into one packet goes over a connection.
        let large = flow.transport == Transport::Udp && small.len() > LARGEST_DATAGRAM;
        let (outgoing, flow, wire, datagram) = if large {
            let stream = Flow { transport: Transport::Tcp, link: Link::Any, ..flow };
            let over = outgoing.over(&our_via(&stream, branch));
            let wire = over.print();
            (over, stream, wire, Some(Box::new((outgoing, flow))))
        } else {
            (outgoing, flow, small, None)
        };
        let key = self.client_key(branch, &outgoing.method);
        let kept = invite.then(|| Box::new(outgoing));
        let id = self.insert(machine, key, flow, user, None, kept);
        if flow.transport.is_reliable() {
            self.streamed.insert(id);
        }
        if let Some(transaction) = self.table.get_mut(&id) {
            transaction.datagram = datagram;
        }
        self.step(now, id, Input::Request, Some(&wire), post);
        id
    }

    /// Its answer was given, and is given again when its request comes again.
    pub fn forget(&mut self, id: TransactionKey) {
        self.remove(id);
    }

    pub fn client(&self, branch: &str, method: &Method) -> Option<TransactionKey> {
        self.keys.get(&self.client_key(branch, method)).copied()
    }

    /// Our INVITE as it was sent, and where.
    pub fn outgoing(&self, id: TransactionKey) -> Option<(&Outgoing, Flow)> {
        let transaction = self.table.get(&id)?;
        Some((transaction.outgoing.as_deref()?, transaction.flow))
    }

    /// Lets something happen to a transaction; `message` is what a `Send` or `Acknowledge` sends.
    pub fn step(
        &mut self,
        now: Instant,
        id: TransactionKey,
        input: Input,
        message: Option<&Wire>,
        post: &mut Post,
    ) -> Upward {
        if input == Input::TransportFailed && self.goes_as_datagram(now, id, post) {
            return Upward::Nothing;
        }
        let Some(transaction) = self.table.get_mut(&id) else { return Upward::Nothing };
        let Some((machine, actions)) = transaction.machine.step(input) else {
            return Upward::Nothing;
        };
        transaction.machine = machine;
        let mut upward = Upward::Nothing;
        let mut over = machine == Machine::Terminated;
        for action in actions {
            match action {
                Action::Send | Action::Acknowledge => {
                    transaction.last = message.cloned();
                    transaction.send(post);
                }
                Action::Repeat => transaction.send(post),
                Action::Tell => upward = Upward::Tell(transaction.user),
                Action::Fail => upward = Upward::Fail(transaction.user),
                Action::Start(timer) => over |= !transaction.start(now, *timer, input, id, post),
                Action::Stop(timer) => transaction.armed.stop(*timer),
            }
        }
        match transaction.machine {
            // The call repeats the 2xx itself; 64·T1 is long to keep a body for nothing.
            Machine::InviteServer(InviteServer::Accepted) => transaction.last = None,
            // RFC 3261 §8.2.2.2 speaks of requests in progress. After a failure a proxy that tries
            // one target after another (§16.7) may come here again with the same request.
            Machine::InviteServer(InviteServer::Completed) => {
                if let Some(merge) = transaction.merge.take() {
                    self.merges.remove(&merge);
                }
            }
            _ => {}
        }
        if over {
            self.remove(id);
        }
        upward
    }

    /// RFC 3261 §18.1.1: where no connection can be made, a datagram is tried whatever its size.
    fn goes_as_datagram(&mut self, now: Instant, id: TransactionKey, post: &mut Post) -> bool {
        let Some(transaction) = self.table.get_mut(&id) else { return false };
        let repeat = match transaction.machine {
            Machine::InviteClient(InviteClient::Calling) => Timer::A,
            Machine::Client(Client::Trying) => Timer::E,
            _ => return false,
        };
        let Some(datagram) = transaction.datagram.take() else { return false };
        let (outgoing, flow) = *datagram;
        transaction.flow = flow;
        transaction.last = Some(outgoing.print());
        if transaction.outgoing.is_some() {
            transaction.outgoing = Some(Box::new(outgoing));
        }
        transaction.send(post);
        transaction.start(now, repeat, Input::Request, id, post);
        self.streamed.remove(&id);
        true
    }

    pub fn fire(
        &mut self,
        now: Instant,
        id: TransactionKey,
        timer: Timer,
        at: Instant,
        post: &mut Post,
    ) -> Upward {
        let armed = self.table.get_mut(&id).is_some_and(|t| t.armed.take(timer, at));
        if armed { self.step(now, id, Input::Fires(timer), None, post) } else { Upward::Nothing }
    }

    /// Our requests that wait for a response over a broken connection.
    pub fn over(&self, flow: &Flow) -> Vec<TransactionKey> {
        let fits = |t: &Transaction| match t.flow.link {
            // What went by any connection to there went by this one.
            Link::Any => (t.flow.transport, t.flow.remote) == (flow.transport, flow.remote),
            link => link == flow.link,
        };
        let broken = |id: &&TransactionKey| self.table.get(id).is_some_and(|t| fits(t));
        self.streamed.iter().filter(broken).copied().collect()
    }

    fn insert(
        &mut self,
        machine: Machine,
        key: u64,
        flow: Flow,
        user: User,
        merge: Option<u64>,
        outgoing: Option<Box<Outgoing>>,
    ) -> TransactionKey {
        self.next += 1;
        let id = self.next;
        self.keys.insert(key, id);
        // The first of merged requests keeps the place.
        let merge = merge.filter(|merge| !self.merges.contains_key(merge));
        self.merges.extend(merge.map(|merge| (merge, id)));
        let armed = Armed::default();
        let transaction = Transaction {
            machine,
            armed,
            interval: T1,
            flow,
            last: None,
            user,
            key,
            merge,
            outgoing,
            datagram: None,
        };
        self.table.insert(id, Box::new(transaction));
        id
    }

    fn remove(&mut self, id: TransactionKey) {
        let Some(transaction) = self.table.remove(&id) else { return };
        self.keys.remove(&transaction.key);
        self.streamed.remove(&id);
        if let Some(merge) = transaction.merge {
            self.merges.remove(&merge);
        }
    }

    fn merge_key(&self, request: &Request) -> u64 {
        let Identity { from, call_id, sequence, .. } = &request.identity;
        self.hasher.hash_one((from.tag(), call_id, request.method.as_str(), sequence))
    }

    fn client_key(&self, branch: &str, method: &Method) -> u64 {
        self.hasher.hash_one(["client", branch, method.as_str()])
    }

    /// RFC 3261 §17.2.3. An ACK looks for its INVITE.
    fn server_key(&self, request: &Request, method: &Method) -> u64 {
        let method = if *method == ACK { INVITE.as_str() } else { method.as_str() };
        let Identity { via, from, call_id, sequence, .. } = &request.identity;
        let sent_by = via.sent_by();
        match via.branch() {
            Some(branch) if branch.starts_with("z9hG4bK") => {
                self.hasher.hash_one([branch, &sent_by, method])
            }
            // A client of RFC 2543: everything that its copies have in common.
            branch => self.hasher.hash_one((
                (&request.target, from.tag(), call_id, sequence),
                (sent_by, method, branch),
            )),
        }
    }
}

impl Transaction {
    fn send(&self, post: &mut Post) {
        if let Some(wire) = &self.last {
            post.transmit(self.flow, wire.clone());
        }
    }

    /// Answers false when the timer would fire at once: over a reliable transport nothing
    /// lingers (RFC 3261 table 4), and nothing is sent twice.
    fn start(
        &mut self,
        now: Instant,
        timer: Timer,
        input: Input,
        id: TransactionKey,
        post: &mut Post,
    ) -> bool {
        let reliable = self.flow.transport.is_reliable();
        let repeats = matches!(timer, Timer::A | Timer::E | Timer::G);
        if repeats && reliable {
            return true;
        }
        let wait = if self.machine == Machine::Client(Client::Proceeding) && timer == Timer::E {
            // RFC 3261 §17.1.2.2: whoever has heard that it is being worked on asks seldom.
            T2
        } else if input == Input::Fires(timer) {
            timer.again(self.interval)
        } else {
            timer.first(reliable)
        };
        if repeats {
            self.interval = wait;
        }
        if wait.is_zero() {
            return false;
        }
        self.armed.set(timer, now + wait);
        post.agenda.note(now + wait, timer, Owner::Transaction(id));
        true
    }
}

/// RFC 3261 §18.1.1, where nobody knows what the path carries.
const LARGEST_DATAGRAM: usize = 1_300;
