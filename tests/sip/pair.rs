//! Two endpoints that call each other over a line that loses, doubles and delays. Whatever it
//! does, both sides agree in the end and nothing is left behind.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use afterbeep::sip::endpoint::{CallKey, Endpoint, Output};
use afterbeep::sip::{Event, Flow, Limits, Link, NameAddr, Transport, Uri};

#[test]
fn a_call_over_a_bad_line_ends_on_both_sides() {
    let mut confirmed = 0;
    for seed in 0..400 {
        let mut pair = Pair::new(seed, 30);
        pair.call_and_hang_up();
        confirmed += u32::from(pair.told.contains(&(Side::Callee, "confirmed")));
        pair.settle(seed);
    }
    // A third of all packets lost: retransmission must still carry nearly every call.
    assert!(confirmed > 360, "only {confirmed} of 400 calls were confirmed");
}

#[test]
fn a_call_over_a_good_line_takes_no_retransmission() {
    let mut pair = Pair::new(1, 0);
    pair.call_and_hang_up();
    pair.settle(1);
    let told: Vec<_> = pair.told.iter().map(|(_, what)| *what).collect();
    assert_eq!(told, ["incoming", "taken", "confirmed", "bye"]);
    // INVITE 100 200 ACK BYE 200
    assert_eq!(pair.carried, 6);
}

#[test]
fn a_session_is_kept_alive_over_a_bad_line() {
    let mut kept = 0;
    for seed in 0..100 {
        let mut pair = Pair::new(seed, 30);
        pair.place();
        // Some six refreshes.
        pair.run_for(Duration::from_mins(5));
        kept += u32::from(pair.caller.calls() == 1 && pair.callee.calls() == 1);
        if let Some(key) = pair.callee_key {
            pair.callee.bye(pair.now, key);
            pair.collect();
        }
        pair.settle(seed);
    }
    assert!(kept > 90, "only {kept} of 100 calls lasted");
}

#[test]
fn whoever_vanishes_is_not_waited_for() {
    let mut pair = Pair::new(1, 0);
    pair.place();
    pair.run_for(Duration::from_secs(10));
    pair.loss = 100;
    pair.run_for(Duration::from_mins(3));
    assert_eq!((pair.caller.calls(), pair.callee.calls()), (0, 0));
    assert!(pair.told.contains(&(Side::Callee, "lost")), "{:?}", pair.told);
    pair.settle(1);
}

#[test]
fn a_cancel_and_an_answer_may_cross_anywhere() {
    for seed in 0..400 {
        let mut pair = Pair::new(seed, 20);
        pair.place();
        let wait = u64::from(pair.dice.below(1_200));
        pair.run_for(Duration::from_millis(wait));
        let (now, key) = (pair.now, pair.caller_key);
        pair.caller.bye(now, key.expect("a call"));
        pair.collect();
        pair.run_for(Duration::from_secs(20));
        pair.settle(seed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Caller,
    Callee,
}

/// When it arrives, its number, where to, and what it is.
type Packet = (Instant, u64, Side, Vec<u8>);

struct Pair {
    caller: Endpoint,
    callee: Endpoint,
    now: Instant,
    dice: Dice,
    /// In percent.
    loss: u32,
    line: BinaryHeap<Reverse<Packet>>,
    carried: u64,
    caller_key: Option<CallKey>,
    callee_key: Option<CallKey>,
    told: Vec<(Side, &'static str)>,
}

impl Pair {
    fn new(seed: u64, loss: u32) -> Self {
        let limits = Limits { session: Duration::from_secs(90), ..Limits::default() };
        let endpoint = |byte| Endpoint::new("", limits.clone(), [byte; 32]);
        Self {
            caller: endpoint(1),
            callee: endpoint(2),
            now: Instant::now(),
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            loss,
            line: BinaryHeap::new(),
            carried: 0,
            caller_key: None,
            callee_key: None,
            told: Vec::new(),
        }
    }

    fn call_and_hang_up(&mut self) {
        self.place();
        self.run_for(Duration::from_secs(40));
        if let Some(key) = self.callee_key {
            self.callee.bye(self.now, key);
            self.collect();
        }
    }

    fn place(&mut self) {
        let target: Uri = "sip:401@10.0.0.2".parse().expect("a URI");
        let from: NameAddr = "<sip:alice@10.0.0.1>".parse().expect("a name");
        let flow = flow(Side::Caller);
        let key = self.caller.call(self.now, flow, &target, &from, "v=0\r\n".to_owned());
        self.caller_key = Some(key.expect("a call"));
        self.collect();
    }

    /// Long enough for every timer; then nothing may be left.
    fn settle(&mut self, seed: u64) {
        self.run_for(Duration::from_mins(5));
        for (side, endpoint) in [("caller", &self.caller), ("callee", &self.callee)] {
            assert_eq!(endpoint.calls(), 0, "calls of the {side}, seed {seed}");
            assert_eq!(endpoint.transactions(), 0, "transactions of the {side}, seed {seed}");
        }
    }

    fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let arrival = self.line.peek().map(|Reverse((at, ..))| *at);
            let wakes = [self.caller.deadline(), self.callee.deadline(), arrival];
            let Some(next) = wakes.into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            self.caller.wake(self.now);
            self.callee.wake(self.now);
            while self.line.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, _, to, bytes))) = self.line.pop() else { break };
                let now = self.now;
                self.endpoint(to).receive(now, flow(to), &bytes);
            }
            self.collect();
        }
        self.now = until;
    }

    fn endpoint(&mut self, side: Side) -> &mut Endpoint {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }

    fn collect(&mut self) {
        for side in [Side::Caller, Side::Callee] {
            while let Some(output) = self.endpoint(side).poll() {
                self.act(side, output);
            }
        }
    }

    fn act(&mut self, side: Side, output: Output) {
        match output {
            Output::Locate(..) | Output::Registration(..) => panic!("nobody registers"),
            Output::Transmit(_, bytes) => self.carry(side, &bytes),
            Output::Incoming(key, _) => {
                self.told.push((side, "incoming"));
                self.callee_key = Some(key);
                let answered = self.callee.answer(self.now, key, "v=0\r\n");
                assert!(answered.is_ok());
            }
            Output::Taken(key, _) => {
                assert_eq!(self.caller_key, Some(key));
                self.told.push((side, "taken"));
            }
            Output::Event(key, event) => {
                let known = if side == Side::Caller { self.caller_key } else { self.callee_key };
                assert_eq!(known, Some(key));
                self.told.push((side, name(&event)));
            }
            Output::Gone(_) => self.told.push((side, "gone")),
            Output::Refused(..) => self.told.push((side, "refused")),
            Output::Subscribing(..)
            | Output::Unsubscribed(..)
            | Output::Announced(..)
            | Output::TurnedAway { .. }
            | Output::Dropped { .. } => {}
        }
    }

    fn carry(&mut self, from: Side, bytes: &[u8]) {
        let to = if from == Side::Caller { Side::Callee } else { Side::Caller };
        let copies = u32::from(self.dice.below(100) >= self.loss)
            + u32::from(self.loss > 0 && self.dice.below(100) < 5);
        for _ in 0..copies {
            self.carried += 1;
            let jitter = if self.loss > 0 { self.dice.below(150) } else { 0 };
            let at = self.now + Duration::from_millis(u64::from(10 + jitter));
            self.line.push(Reverse((at, self.carried, to, bytes.to_vec())));
        }
    }
}

fn flow(side: Side) -> Flow {
    let address = |host: &str| host.parse().expect("an address");
    let (local, remote) = match side {
        Side::Caller => ("10.0.0.1:5060", "10.0.0.2:5060"),
        Side::Callee => ("10.0.0.2:5060", "10.0.0.1:5060"),
    };
    let (local, remote) = (address(local), address(remote));
    Flow { transport: Transport::Udp, local, remote, link: Link::Socket(0) }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Confirmed { .. } => "confirmed",
        Event::Offer { .. } => "offer",
        Event::Identity(_) => "identity",
        Event::Refer(_) => "refer",
        Event::Reached { .. } => "reached",
        Event::Referred { .. } => "referred",
        Event::Info { .. } => "info",
        Event::Bye => "bye",
        Event::Lost => "lost",
    }
}

/// xorshift: enough for losing packets.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 16) % u64::from(bound)).unwrap_or(0)
    }
}
