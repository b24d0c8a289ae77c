//! Random callers and owners, and what must be true of each of their calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use afterbeep::ivr::{Command, Control, Door, Ended, Event, Found, Item, Session, What};
use afterbeep::say::Prompt;

use crate::script::{callee, id, message, owner, policy_for, shown};

/// What the storm came to: it must have been everywhere.
#[derive(Debug, Default)]
pub struct Seen {
    pub delivered: u64,
    pub sent: u64,
    pub forwarded: u64,
    pub edits: u64,
    pub greetings: u64,
    pub logins: u64,
}

/// What the other side of a session knows of it.
#[derive(Default)]
struct Line {
    playing: bool,
    paused: bool,
    recording: Option<What>,
    stopping: bool,
    /// The question that waits for its answer.
    asked: Option<Command>,
    held: Option<(What, Duration)>,
    failed: bool,
    gone: bool,
    hung_up: bool,
    /// The last edit is done, and may be told.
    edited: bool,
    /// The last event was a key.
    pressed: bool,
}

pub fn storm(seed: u64, seen: &mut Seen) {
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
    let mut line = Line::default();
    for step in 0.. {
        while let Some(command) = session.poll() {
            line.perform(command, shortest, seed, seen);
        }
        assert!(line.held.is_none() || !session.is_over(), "seed {seed}: a recording is left");
        if session.is_over() {
            assert!(line.recording.is_none(), "seed {seed}: over in mid-recording");
            break;
        }
        let Line { playing, paused, gone, .. } = line;
        let waits = playing && !paused || line.recording.is_some() || line.asked.is_some();
        let deadline = session.deadline();
        assert!(waits || deadline.is_some(), "seed {seed}: waits for nothing");
        // Nobody presses keys for ever.
        let event =
            if step > 400 && !gone { Event::HungUp } else { line.next(&mut dice, deadline) };
        assert!(step < 500, "seed {seed}: never ends");
        if event == Event::TimedOut {
            now = deadline.unwrap();
        }
        line.observe(&event, seen);
        session.handle(event, now);
        assert!(session.deadline().is_none_or(|at| at > now), "seed {seed}: spins");
    }
}

impl Line {
    #[allow(clippy::too_many_lines)] // one flat list of invariants
    fn perform(&mut self, command: Command, shortest: Duration, seed: u64, seen: &mut Seen) {
        assert!(!self.hung_up, "seed {seed}: {command:?} after hanging up");
        let takes_turns = |line: &Self| {
            assert!(line.asked.is_none(), "seed {seed}: {command:?} while a question waits");
        };
        match &command {
            Command::Play(prompts) => {
                takes_turns(self);
                assert!(!self.gone, "seed {seed}: said to a dead line");
                assert!(self.recording.is_none(), "seed {seed}: said into the recording");
                assert!(!prompts.is_empty(), "seed {seed}: says nothing");
                let told = |name| prompts.contains(&Prompt::Sound(name));
                if ["vm-deleted", "vm-undeleted", "vm-savedto", "vm-alldeleted"]
                    .into_iter()
                    .any(told)
                {
                    assert!(self.edited, "seed {seed}: tells an edit that is not done");
                }
                (self.playing, self.paused) = (true, false);
            }
            Command::StopPlayback => {
                assert!(self.playing, "seed {seed}: stops what does not play");
                (self.playing, self.paused) = (false, false);
            }
            Command::Control(control) => {
                assert!(self.playing, "seed {seed}: controls what does not play");
                match control {
                    Control::Pause => self.paused = true,
                    Control::Resume => self.paused = false,
                    _ => {}
                }
            }
            Command::Record { what, limit, .. } => {
                takes_turns(self);
                assert!(self.recording.is_none() && self.held.is_none(), "seed {seed}: records");
                assert!(*limit > Duration::ZERO);
                self.recording = Some(what.clone());
            }
            Command::StopRecording => {
                assert!(self.recording.is_some() && !self.stopping, "seed {seed}: stops twice");
                self.stopping = true;
            }
            Command::Deliver(_) => {
                let (what, kept) = self.held.take().expect("delivers a recording that it has");
                assert_eq!(what, What::Deposit, "seed {seed}");
                assert!(kept >= shortest && !self.failed, "seed {seed}: delivers {kept:?}");
                self.asked = Some(command);
                seen.delivered += 1;
            }
            Command::Send { to, .. } => {
                let (what, kept) = self.held.take().expect("sends a recording that it has");
                assert!(matches!(what, What::Message(_)), "seed {seed}");
                assert!(kept >= shortest && !self.failed && !to.is_empty(), "seed {seed}");
                self.asked = Some(command);
                seen.sent += 1;
            }
            Command::Forward { to, intro, .. } => {
                takes_turns(self);
                assert_eq!(self.held.take().map(|(what, _)| what), intro.then_some(What::Intro));
                assert!(!to.is_empty(), "seed {seed}");
                self.asked = Some(command);
                seen.forwarded += 1;
            }
            Command::KeepGreeting(greeting) => {
                let held = self.held.take().map(|(what, _)| what);
                assert_eq!(held, Some(What::Greeting(*greeting)), "seed {seed}");
                assert!(!self.gone, "seed {seed}: nobody has accepted it");
                self.asked = Some(command);
                seen.greetings += 1;
            }
            Command::Keep => {
                self.held.take().expect("keeps a recording that it has");
                assert!(self.failed, "seed {seed}: keeps what is whole");
            }
            Command::Discard => {
                let (what, lost) = self.held.take().expect("discards a recording that it has");
                let matters = matches!(what, What::Deposit | What::Message(_)) && lost >= shortest;
                assert!(!matters || self.pressed, "seed {seed}: lost {lost:?}");
            }
            Command::HangUp => self.hung_up = true,
            Command::Heard(_) => {}
            Command::EraseGreeting(_)
            | Command::ExpireGreeting { .. }
            | Command::Identify { .. }
            | Command::ChangePin(_)
            | Command::SetUp
            | Command::Load(_)
            | Command::Edit(..)
            | Command::Find(_)
            | Command::Search(_)
            | Command::Transfer(_) => {
                takes_turns(self);
                assert!(!self.playing, "seed {seed}: {} while something plays", shown(&command));
                self.asked = Some(command);
            }
        }
    }

    /// What may happen now.
    fn next(&mut self, dice: &mut Dice, deadline: Option<Instant>) -> Event {
        loop {
            match dice.roll(8) {
                0 | 1 if self.playing && !self.paused => return Event::PlaybackFinished,
                0..=2 if self.recording.is_some() => {
                    let ended = match dice.roll(6) {
                        // A hung disk can spoil the end as well.
                        1 => Ended::Failed,
                        _ if self.stopping => Ended::Stopped,
                        0 => Ended::Limit,
                        _ => Ended::Silence,
                    };
                    let duration = Duration::from_secs(dice.roll(9));
                    return Event::RecordingFinished { duration, ended };
                }
                _ if self.asked.is_some() && (self.gone || dice.roll(3) > 0) => {
                    return answer(self.asked.as_ref().unwrap(), dice);
                }
                3 if deadline.is_some() => return Event::TimedOut,
                4 if !self.gone && dice.roll(20) == 0 => return Event::HungUp,
                _ if !self.gone => {
                    // The keys that lead somewhere are pressed more often.
                    let keys = b"0123456789*#1111222344788##";
                    return Event::Key(char::from(keys[dice.pick(keys.len())]));
                }
                _ => {}
            }
        }
    }

    fn observe(&mut self, event: &Event, seen: &mut Seen) {
        self.pressed = matches!(event, Event::Key(_));
        match event {
            Event::PlaybackFinished => self.playing = false,
            Event::RecordingFinished { duration, ended } => {
                self.held = self.recording.take().map(|what| (what, *duration));
                (self.stopping, self.failed) = (false, *ended == Ended::Failed);
            }
            Event::HungUp => self.gone = true,
            Event::Key(_) | Event::TimedOut => {}
            Event::Identified(owner) => {
                seen.logins += u64::from(owner.is_some());
                self.asked = None;
            }
            Event::Done { done } => {
                if let Some(Command::Edit(..)) = self.asked {
                    self.edited = *done;
                    seen.edits += u64::from(*done);
                }
                self.asked = None;
            }
            Event::Delivered { .. } | Event::Loaded(_) | Event::Found(_) => self.asked = None,
        }
        if !matches!(event, Event::Done { .. }) {
            self.edited = false;
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
                Item::new(Arc::new(message))
            });
            Event::Loaded(items.collect())
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
