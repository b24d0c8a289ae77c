//! A client's transactions and a server's over a line that loses, doubles and delays, or breaks:
//! every arrow of the four machines is walked, and in the end nothing is left.

#[cfg(test)]
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use rsip::headers::{self, UntypedHeader};
use rsip::{Header, Headers};

use super::{Post, TransactionKey, Transactions, User, our_via};
use crate::sip::endpoint::{Output, Owner};
use crate::sip::lexer::{self, Message};
use crate::sip::message::{self, ACK, INVITE, Method, Outgoing, Request, Response, Wire, first};
use crate::sip::timer::Agenda;
use crate::sip::transaction::tests::arrows;
use crate::sip::transaction::{Input, InviteServer, Machine};
use crate::sip::transport::Transport;
use crate::sip::{Flow, Link};

#[test]
fn every_arrow_is_walked_over_a_bad_line() {
    let mut walked = BTreeSet::new();
    for seed in 1..=400 {
        let mut pair = Pair::new(seed);
        pair.play();
        walked.append(&mut pair.walked);
    }
    assert_eq!(walked, arrows());
}

/// Who asks, and who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client,
    Server,
}

struct Party {
    transactions: Transactions,
    post: Post,
}

struct Pair {
    seed: u64,
    dice: Dice,
    now: Instant,
    client: Party,
    server: Party,
    transport: Transport,
    /// In percent.
    loss: u64,
    line: BinaryHeap<Reverse<(Instant, u64, Side, Wire)>>,
    carried: u64,
    /// What the server's user will answer.
    wishes: BinaryHeap<Reverse<(Instant, TransactionKey, u16)>>,
    asked: HashMap<TransactionKey, Headers>,
    walked: BTreeSet<String>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let party = || Party {
            transactions: Transactions::new(100),
            post: Post { agenda: Agenda::new(), outputs: VecDeque::new() },
        };
        let (transport, loss) = match seed % 4 {
            0 => (Transport::Tcp, 0),
            1 => (Transport::Udp, 100),
            _ => (Transport::Udp, 30),
        };
        Self {
            seed,
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now: Instant::now(),
            client: party(),
            server: party(),
            transport,
            loss,
            line: BinaryHeap::new(),
            carried: 0,
            wishes: BinaryHeap::new(),
            asked: HashMap::new(),
            walked: BTreeSet::new(),
        }
    }

    fn play(&mut self) {
        for number in 0..6 {
            self.ask(number);
            let pause = self.dice.below(4_000);
            self.run_for(Duration::from_millis(pause));
            if self.transport.is_reliable() && self.dice.below(4) == 0 {
                self.break_line();
            }
        }
        self.run_for(Duration::from_secs(300));
        // A call that has rung and was never answered is its user's to give up.
        let waiting: Vec<_> = self.client.transactions.table.keys().copied().collect();
        for id in waiting {
            self.step(Side::Client, id, Input::Cancel, None);
        }
        self.run_for(Duration::from_secs(100));
        let left = [self.client.transactions.sizes(), self.server.transactions.sizes()];
        assert_eq!(left, [[0; 4]; 2], "seed {}", self.seed);
        let notes = [self.client.post.agenda.len(), self.server.post.agenda.len()];
        assert_eq!(notes, [0; 2], "seed {}", self.seed);
    }

    fn ask(&mut self, number: u32) {
        let options = Method::Known(rsip::Method::Options);
        let method = if self.dice.below(2) == 0 { INVITE } else { options };
        let branch = format!("z9hG4bK{number}");
        let flow = self.flow(Side::Client);
        let headers: Vec<Header> = vec![
            headers::Via::new(our_via(&flow, &branch)).into(),
            headers::MaxForwards::new("70").into(),
            headers::From::new("<sip:a@h>;tag=a").into(),
            headers::To::new("<sip:b@h>").into(),
            headers::CallId::new(format!("c{number}")).into(),
            headers::CSeq::new(format!("1 {}", method.as_str())).into(),
        ];
        let asked = Outgoing { method, target: "sip:b@h".to_owned(), headers, body: Vec::new() };
        let Party { transactions, post } = &mut self.client;
        let id = transactions.open_client(self.now, asked, &branch, flow, User::Nobody, post);
        let machine = transactions.table[&id].machine;
        self.walked.insert(format!("{machine:?} {:?}", Input::Request));
        self.carry(Side::Client);
    }

    /// Nothing comes through any more, and the client is told.
    fn break_line(&mut self) {
        self.loss = 100;
        for id in self.client.transactions.over(&self.flow(Side::Client)) {
            self.step(Side::Client, id, Input::TransportFailed, None);
        }
    }

    fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let arrival = self.line.peek().map(|Reverse((at, ..))| *at);
            let wish = self.wishes.peek().map(|Reverse((at, ..))| *at);
            let fires = [&self.client, &self.server].map(|party| party.post.agenda.next());
            let events = [arrival, wish].into_iter().chain(fires).flatten();
            let Some(next) = events.min().filter(|at| *at <= until) else { break };
            self.now = self.now.max(next);
            self.fire(Side::Client);
            self.fire(Side::Server);
            while self.wishes.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, id, code))) = self.wishes.pop() else { break };
                self.answer(id, code);
            }
            while self.line.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, _, to, wire))) = self.line.pop() else { break };
                self.arrive(to, &wire);
            }
        }
        self.now = until;
    }

    fn fire(&mut self, side: Side) {
        let now = self.now;
        while let Some((at, timer, owner)) = self.party(side).post.agenda.take_due(now) {
            let Owner::Transaction(id) = owner else { panic!("{owner:?}") };
            let armed = self.party(side).transactions.table.get(&id).map(|t| &t.armed);
            if armed.and_then(|armed| armed.until(timer)) == Some(at) {
                self.note(side, id, Input::Fires(timer));
            }
            let Party { transactions, post } = self.party(side);
            transactions.fire(now, id, timer, at, post);
            self.carry(side);
        }
    }

    fn arrive(&mut self, to: Side, wire: &[u8]) {
        match (to, lexer::read(wire)) {
            (Side::Server, Ok(Message::Request(request))) => self.asked(&request),
            (Side::Client, Ok(Message::Response(response))) => self.answered(&response),
            (_, other) => panic!("{:?} for {to:?}", other.is_ok()),
        }
    }

    fn asked(&mut self, request: &Request) {
        let ack = request.method == ACK;
        if let Some(id) = self.server.transactions.matching(request) {
            let input = if ack { Input::Ack } else { Input::Request };
            return self.step(Side::Server, id, input, None);
        }
        if ack {
            return;
        }
        let flow = self.flow(Side::Server);
        let id = self.server.transactions.open_server(request, flow).expect("room");
        self.asked.insert(id, request.headers.clone());
        let mut at = self.now;
        for _ in 0..self.dice.below(3) {
            at += Duration::from_millis(self.dice.below(3_000));
            self.wishes.push(Reverse((at, id, 180)));
        }
        // At once, soon, late, or when nobody waits any more.
        let most = [1, 3_000, 30_000, 200_000][usize::try_from(self.dice.below(4)).unwrap_or(0)];
        at += Duration::from_millis(self.dice.below(most));
        let code = if self.dice.below(2) == 0 { 200 } else { 486 };
        self.wishes.push(Reverse((at, id, code)));
        // RFC 3261 §13.3.1.4: who accepts a call says so until it is heard.
        let again = if code == 200 && request.method == INVITE { 4 } else { 0 };
        for _ in 0..again {
            at += Duration::from_secs(1);
            self.wishes.push(Reverse((at, id, code)));
        }
    }

    fn answer(&mut self, id: TransactionKey, code: u16) {
        let wire = message::print_response(&self.asked[&id], code, "x", "b", &[], &[]);
        let before = self.server.transactions.table.get(&id).map(|t| t.machine);
        if before == Some(Machine::InviteServer(InviteServer::Accepted)) {
            let flow = self.flow(Side::Server);
            self.server.post.transmit(flow, wire);
            return self.carry(Side::Server);
        }
        self.step(Side::Server, id, input(code), Some(&wire));
    }

    fn answered(&mut self, response: &Response) {
        let identity = &response.identity;
        let branch = identity.via.branch().unwrap_or("");
        let Some(id) = self.client.transactions.client(branch, &identity.method) else { return };
        let to = first!(response.headers, To).unwrap_or_default();
        let ack = self.client.transactions.outgoing(id).map(|(invite, _)| invite.ack(to).print());
        self.step(Side::Client, id, input(response.code), ack.as_ref());
        // Its user hangs up; that CANCEL is lost.
        if identity.method == INVITE && response.code < 200 && self.dice.below(6) == 0 {
            self.step(Side::Client, id, Input::Cancel, None);
        }
    }

    fn step(&mut self, side: Side, id: TransactionKey, input: Input, wire: Option<&Wire>) {
        self.note(side, id, input);
        let now = self.now;
        let Party { transactions, post } = self.party(side);
        transactions.step(now, id, input, wire, post);
        self.carry(side);
    }

    fn note(&mut self, side: Side, id: TransactionKey, input: Input) {
        let machine = self.party(side).transactions.table.get(&id).map(|t| t.machine);
        if let Some(machine) = machine.filter(|machine| machine.step(input).is_some()) {
            self.walked.insert(format!("{machine:?} {input:?}"));
        }
    }

    fn carry(&mut self, from: Side) {
        let to = if from == Side::Client { Side::Server } else { Side::Client };
        while let Some(output) = self.party(from).post.outputs.pop_front() {
            let Output::Transmit(_, wire) = output else { continue };
            let doubled = !self.transport.is_reliable() && self.dice.below(10) == 0;
            let copies = u64::from(self.dice.below(100) >= self.loss) * (1 + u64::from(doubled));
            for _ in 0..copies {
                self.carried += 1;
                let at = self.now + Duration::from_millis(10 + self.dice.below(400));
                self.line.push(Reverse((at, self.carried, to, wire.clone())));
            }
        }
    }

    fn party(&mut self, side: Side) -> &mut Party {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn flow(&self, side: Side) -> Flow {
        let address = |host: &str| host.parse().expect("an address");
        let (local, remote) = match side {
            Side::Client => ("10.0.0.1:5060", "10.0.0.2:5060"),
            Side::Server => ("10.0.0.2:5060", "10.0.0.1:5060"),
        };
        let (local, remote) = (address(local), address(remote));
        Flow { transport: self.transport, local, remote, link: Link::Connection(1) }
    }
}

fn input(code: u16) -> Input {
    match code {
        ..200 => Input::Provisional,
        200..300 => Input::Success,
        300.. => Input::Failure,
    }
}

/// xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}
