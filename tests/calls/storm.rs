//! Random callers and owners.

use std::sync::Arc;
use std::time::{Duration, Instant};

use afterbeep::fuzz::line::{Line, Seen};
use afterbeep::ivr::{Command, Door, Ended, Event, Found, Item, Session};

use crate::script::{callee, id, message, owner, policy_for};

pub fn storm(seed: u64, seen: Seen) -> Seen {
    let _told = Told(seed);
    let mut dice = Dice(seed);
    let mut now = Instant::now();
    let wishes = wishes(&mut dice);
    let policy = policy_for(&wishes);
    let shortest = policy.shortest;
    let mut session = if dice.roll(3) == 0 {
        Session::deposit(&callee(&wishes), policy, now)
    } else {
        let door = match dice.roll(4) {
            0 => Door::Ask,
            1 => Door::Pin("1000".into()),
            _ => Door::Open(Box::new(owner(&wishes))),
        };
        Session::visit(door, "1000".into(), policy, now)
    };
    let mut line = Line::new(shortest, seen);
    for step in 0.. {
        while let Some(command) = session.poll() {
            line.perform(command);
        }
        if session.is_over() {
            line.end();
            break;
        }
        let deadline = session.deadline();
        assert!(line.waits() || deadline.is_some(), "waits for nothing");
        // Nobody presses keys for ever.
        let event =
            if step > 400 && !line.gone { Event::HungUp } else { next(&line, &mut dice, deadline) };
        assert!(step < 500, "never ends");
        if event == Event::TimedOut {
            now = deadline.unwrap();
        }
        line.observe(&event);
        session.handle(event, now);
        assert!(session.deadline().is_none_or(|at| at > now), "spins");
    }
    line.seen
}

/// Tells which storm it was, if it breaks something.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}", self.0);
        }
    }
}

/// What may happen now.
fn next(line: &Line, dice: &mut Dice, deadline: Option<Instant>) -> Event {
    loop {
        match dice.roll(8) {
            0 | 1 if line.playing && !line.paused => return Event::PlaybackFinished,
            0..=2 if line.recording.is_some() => {
                let ended = match dice.roll(6) {
                    // A hung disk can spoil the end as well.
                    1 => Ended::Failed,
                    _ if line.stopping => Ended::Stopped,
                    0 => Ended::Limit,
                    _ => Ended::Silence,
                };
                let duration = Duration::from_secs(dice.roll(9));
                return Event::RecordingFinished { duration, ended };
            }
            _ if line.asked.is_some() && (line.gone || dice.roll(3) > 0) => {
                return answer(line.asked.as_ref().unwrap(), dice);
            }
            3 if deadline.is_some() => return Event::TimedOut,
            4 if !line.gone && dice.roll(20) == 0 => return Event::HungUp,
            _ if !line.gone => {
                // The keys that lead somewhere are pressed more often.
                let keys = b"0123456789*#1111222344788##";
                return Event::Key(char::from(keys[dice.pick(keys.len())]));
            }
            _ => {}
        }
    }
}

fn answer(asked: &Command, dice: &mut Dice) -> Event {
    match asked {
        Command::Deliver(_) | Command::Send { .. } | Command::Forward { .. } => {
            Event::Delivered { saved: dice.roll(5) > 0 }
        }
        Command::Identify { .. } => {
            let who = (dice.roll(3) > 0).then(|| Box::new(owner(&wishes(dice))));
            Event::Identified(who)
        }
        Command::Load(_) => {
            let many = dice.roll(4);
            let items = (1..=many).map(|number| {
                let mut message = message(number);
                message.urgent = dice.roll(3) == 0;
                message.private = dice.roll(6) == 0;
                let item = Item::new(Arc::new(message));
                let message = item.message.clone().filter(|_| dice.roll(3) > 0);
                Item { message, ..item }
            });
            Event::Loaded(items.collect())
        }
        Command::Read(numbers) => {
            let there = numbers.iter().filter(|_| dice.roll(5) > 0);
            Event::Read(there.map(|number| Arc::new(message(*number))).collect())
        }
        Command::Find(_) | Command::Search(_) => {
            let found = ["1001", "1002", "1000"].into_iter().take(dice.pick(4));
            let (full, open) = found.map(id).partition(|_| dice.roll(5) == 0);
            Event::Found(Found { open, full })
        }
        _ => Event::Done { done: dice.roll(5) > 0 },
    }
}

fn wishes(dice: &mut Dice) -> String {
    let all = [
        "own greeting",
        "recorded name",
        "no beep",
        "full",
        "greeting only",
        "screened",
        "review",
        "operator",
        "star",
        "extensions",
        "short",
        "own keys",
        "no retry",
        "no instructions",
        "2 new",
        "1 urgent",
        "3 old",
        "with temp",
        "with unavail",
        "first",
        "weak",
        "say caller",
        "say duration",
        "newest",
        "next after",
        "wrap",
        "may call",
        "directory",
        "left off",
    ];
    all.into_iter()
        .filter(|wish| {
            let rare = ["full", "greeting only", "first", "weak", "screened"];
            dice.roll(if rare.contains(wish) { 10 } else { 3 }) == 0
        })
        .collect::<Vec<_>>()
        .join(", ")
}

pub struct Dice(u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    pub fn pick(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll(sides as u64)).unwrap()
    }
}
