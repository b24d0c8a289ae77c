//! Somebody at the keys: a caller or an owner, a server of any rules, and a disk of any moods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::line::{Line, Seen};
use crate::ivr::keys::{KeyMap, Style};
use crate::ivr::{
    Callee, Command, Door, Ended, Event, Exits, Found, Item, May, Owner, Policy, Session, SetUp,
    Wishes,
};
use crate::mailbox::greeting::{Greeting, Recorded};
use crate::mailbox::{CallerId, Counts, Envelope, MailboxId, Message, MessageId, Stem};

/// Bytes as decisions; when they are used up, everything is 0.
struct Dice<'d>(std::slice::Iter<'d, u8>);

impl Dice<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn coin(&mut self) -> bool {
        self.byte() % 2 == 1
    }
}

/// No recording that matters is lost, nothing is said to a dead line, one thing happens at a time,
/// and a conversation that is not over waits for something that comes.
pub fn menus(data: &[u8]) {
    let mut dice = Dice(data.iter());
    let mut now = Instant::now();
    let (mut session, shortest) = begin(&mut dice, now);
    let mut line = Line::new(shortest, Seen::default());
    for _ in 0..=data.len() {
        while let Some(command) = session.poll() {
            line.perform(command);
        }
        if session.is_over() {
            return line.end();
        }
        let deadline = session.deadline();
        assert!(line.waits() || deadline.is_some(), "it waits for nothing");
        let Some(event) = next(&line, &mut dice, deadline.is_some()) else { continue };
        if event == Event::TimedOut {
            now = deadline.unwrap_or(now);
        }
        line.observe(&event);
        session.handle(event, now);
        assert!(session.deadline().is_none_or(|at| at > now), "it spins");
    }
}

/// And how short a message may be.
fn begin(dice: &mut Dice, now: Instant) -> (Session, Duration) {
    let policy = policy(dice);
    let shortest = policy.shortest;
    let kind = dice.byte();
    let greetings = [Greeting::Temporary, Greeting::Unavailable, Greeting::Busy, Greeting::Name];
    if kind.is_multiple_of(4) {
        let callee = Callee {
            number: "1000".into(),
            greeting: greetings.get(usize::from(dice.byte() % 5)).copied(),
            busy: dice.coin(),
            beep: dice.coin(),
            full: dice.byte() % 8 == 1,
            greeting_only: dice.byte() % 8 == 1,
            screen: dice.byte() % 4 == 1,
            review: dice.coin(),
            may_mark_urgent: dice.coin(),
            may_mark_private: dice.coin(),
            exits: Exits { operator: dice.coin(), log_in: dice.coin(), extensions: dice.coin() },
        };
        return (Session::deposit(&callee, policy, now), shortest);
    }
    let door = match kind % 4 {
        1 => Door::Ask,
        2 => Door::Pin("1000".into()),
        _ => Door::Open(Box::new(owner(dice))),
    };
    let caller = if dice.coin() { "1000".into() } else { String::new() };
    (Session::visit(door, caller, policy, now), shortest)
}

fn policy(dice: &mut Dice) -> Policy {
    let style = if dice.coin() { Style::Short } else { Style::Full };
    let keys = KeyMap::new(style, &BTreeMap::new()).expect("the usual keys");
    Policy {
        shortest: Duration::from_secs(u64::from(dice.byte() % 4)),
        longest: Duration::from_secs(60),
        longest_greeting: Duration::from_secs(30),
        silence: dice.coin().then_some(Duration::from_secs(10)),
        patience: Duration::from_secs(6),
        rounds: 1 + dice.byte() % 4,
        logins: 1 + dice.byte() % 4,
        retries: dice.byte() % 3,
        instructions: dice.coin(),
        keys: Arc::new(keys),
    }
}

fn owner(dice: &mut Dice) -> Owner {
    Owner {
        id: id(0),
        counts: Counts {
            new: u32::from(dice.byte()),
            urgent_new: u32::from(dice.byte() % 2),
            old: u32::from(dice.byte()),
            urgent_old: 0,
        },
        recorded: Recorded {
            temporary: dice.coin(),
            unavailable: dice.coin(),
            busy: dice.coin(),
            name: dice.coin(),
        },
        set_up: SetUp {
            name: dice.byte() % 4 == 1,
            unavailable: dice.byte() % 4 == 1,
            busy: dice.byte() % 4 == 1,
            pin: dice.byte() % 4 == 1,
        },
        wishes: Wishes {
            caller: dice.coin(),
            datetime: dice.coin(),
            duration: dice.coin().then_some(Duration::from_secs(2)),
            newest_first: dice.coin(),
            next_after: dice.coin(),
            wrap: dice.coin(),
        },
        may: May {
            send: dice.coin(),
            call_back: dice.coin(),
            dial_out: dice.coin(),
            directory: dice.coin(),
        },
        left_off: dice.coin().then_some((MessageId::new(1, 0), Duration::from_secs(7))),
    }
}

fn id(number: u8) -> MailboxId {
    format!("{}", 1000 + u32::from(number)).parse().expect("a mailbox")
}

/// Some are read only when they are told.
fn item(number: u8, dice: &mut Dice) -> Item {
    let item = Item::new(Arc::new(message(u64::from(number), dice)));
    let message = item.message.clone().filter(|_| dice.coin());
    Item { message, ..item }
}

fn message(number: u64, dice: &mut Dice) -> Message {
    let caller = if dice.coin() { "1001" } else { "" };
    let stem = Stem::found("msg0001").expect("a stem");
    Message {
        urgent: dice.coin(),
        private: dice.byte() % 4 == 1,
        envelope: Envelope {
            caller: CallerId { number: caller.into(), ..CallerId::default() },
            received: i64::from(dice.byte()),
            ..Envelope::default()
        },
        ..Message::new(MessageId::new(number, 0), number, id(0), stem)
    }
}

/// What the next byte makes happen, if it can.
fn next(line: &Line, dice: &mut Dice, deadline: bool) -> Option<Event> {
    let byte = dice.byte();
    match byte % 16 {
        key @ 1..=12 if !line.gone => {
            Some(Event::Key(char::from(b"123456789*0#"[usize::from(key - 1)])))
        }
        13 if !line.gone => Some(Event::HungUp),
        14 if deadline => Some(Event::TimedOut),
        _ if line.asked.is_some() => answer(line, byte, dice),
        _ if line.recording.is_some() => {
            let ended = match byte / 16 % 4 {
                1 => Ended::Failed,
                _ if line.stopping => Ended::Stopped,
                2 => Ended::Limit,
                _ => Ended::Silence,
            };
            let duration = Duration::from_secs(u64::from(dice.byte() % 8));
            Some(Event::RecordingFinished { duration, ended })
        }
        _ if line.playing && !line.paused => Some(Event::PlaybackFinished),
        _ => deadline.then_some(Event::TimedOut),
    }
}

fn answer(line: &Line, byte: u8, dice: &mut Dice) -> Option<Event> {
    let good = byte / 16 % 4 != 1;
    let many = byte / 64;
    Some(match line.asked.as_ref()? {
        Command::Deliver(_) | Command::Send { .. } | Command::Forward { .. } => {
            Event::Delivered { saved: good }
        }
        Command::Identify { .. } => Event::Identified(good.then(|| Box::new(owner(dice)))),
        Command::Load(_) => Event::Loaded((1..=many).map(|n| item(n, dice)).collect()),
        Command::Read(numbers) => {
            let there = numbers.iter().filter(|_| dice.byte() % 4 != 1);
            let there: Vec<u64> = there.copied().collect();
            Event::Read(there.into_iter().map(|n| Arc::new(message(n, dice))).collect())
        }
        Command::Find(_) | Command::Search(_) => {
            let (full, open) = (0..many).map(id).partition(|_| dice.byte() % 4 == 1);
            Event::Found(Found { open, full })
        }
        _ => Event::Done { done: good },
    })
}
