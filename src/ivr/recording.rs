//! Recording anything: a message, a greeting, an introduction.
//!
//! A message long enough to keep is delivered whatever ends it: `#`, silence, the limit, a
//! hang-up. One that a full or hung disk broke off is kept, however much of it is known to be
//! written. Only one that is too short is thrown away, and its caller is told. A greeting is
//! another matter: it counts only when its owner has accepted it.

use std::time::Duration;

use super::deposit::Leaving;
use super::greetings::{Back, Kept};
use super::keys::{Act, Place};
use super::review::Review;
use super::sending::Sending;
use super::{Callee, Command, Cx, Ended, Event, Marks, Menu, Target, What};
use crate::mailbox::greeting::Greeting;
use crate::mailbox::{MailboxId, MessageId};
use crate::say::Prompt::{self, Sound};

/// What a recording is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Deposit(Deposit),
    /// A greeting, and where its owner came from.
    Greeting(Greeting, Back),
    /// A message from the owner to others, of whom there is one at least.
    Send {
        to: Vec<MailboxId>,
        retries: u8,
    },
    /// The introduction to a message that is forwarded.
    Intro {
        message: MessageId,
        to: Vec<MailboxId>,
    },
}

/// How a message may be left.
#[derive(Clone, Debug)]
pub(super) struct Deposit {
    beep: bool,
    retries: u8,
    review: bool,
    pub urgent: bool,
    pub private: bool,
    pub operator: bool,
}

impl Purpose {
    pub fn deposit(callee: &Callee, cx: &Cx) -> Self {
        Self::Deposit(Deposit {
            beep: callee.beep,
            retries: cx.policy.retries,
            review: callee.review,
            urgent: callee.may_mark_urgent,
            private: callee.may_mark_private,
            operator: callee.exits.operator,
        })
    }

    fn what(&self) -> What {
        match self {
            Self::Deposit(_) => What::Deposit,
            Self::Greeting(greeting, _) => What::Greeting(*greeting),
            Self::Send { to, .. } => What::Message(to[0].clone()),
            Self::Intro { .. } => What::Intro,
        }
    }

    fn beeps(&self) -> bool {
        match self {
            Self::Deposit(deposit) => deposit.beep,
            Self::Greeting(..) | Self::Send { .. } | Self::Intro { .. } => true,
        }
    }

    fn shortest(&self, cx: &Cx) -> Duration {
        match self {
            Self::Deposit(_) | Self::Send { .. } => cx.policy.shortest,
            Self::Greeting(..) | Self::Intro { .. } => SHORTEST_GREETING,
        }
    }

    /// One try less, if there is one.
    fn again(self) -> Option<Self> {
        match self {
            Self::Deposit(deposit) => {
                let retries = deposit.retries.checked_sub(1)?;
                Some(Self::Deposit(Deposit { retries, ..deposit }))
            }
            Self::Send { to, retries } => Some(Self::Send { to, retries: retries.checked_sub(1)? }),
            Self::Greeting(..) | Self::Intro { .. } => None,
        }
    }

    /// Where one goes who recorded nothing.
    fn given_up(self, said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        match self {
            Self::Deposit(_) => {
                let mut words = said;
                words.push(Sound("vm-goodbye"));
                cx.leave(words)
            }
            Self::Greeting(_, back) => back.go(said, cx),
            Self::Send { .. } | Self::Intro { .. } => super::main_menu::enter(said, cx),
        }
    }

    /// The instructions before a new try.
    pub fn once_more(self, cx: &mut Cx) -> Menu {
        let words = match &self {
            Self::Deposit(_) | Self::Send { .. } => vec![Sound("vm-intro")],
            Self::Greeting(greeting, _) => vec![Sound(super::greetings::instructions(*greeting))],
            Self::Intro { .. } => vec![Sound("vm-record-prepend")],
        };
        Tone::enter(self, words, cx)
    }
}

/// The tone, after which every word counts.
pub(super) struct Tone {
    purpose: Purpose,
    /// Words come before it, which the key that ends a recording skips.
    skips: bool,
}

impl Tone {
    pub(super) fn enter(purpose: Purpose, mut words: Vec<Prompt>, cx: &mut Cx) -> Menu {
        if cx.caller_gone() {
            return Menu::Over;
        }
        let skips = !words.is_empty();
        words.extend(purpose.beeps().then_some(Sound("beep")));
        if words.is_empty() {
            return Recording::enter(purpose, cx);
        }
        cx.play(words);
        Menu::Tone(Self { purpose, skips })
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            Event::PlaybackFinished | Event::TimedOut => Recording::enter(self.purpose, cx),
            &Event::Key(key)
                if self.skips && cx.act(Place::Recording, key) == Some(Act::Accept) =>
            {
                Self::enter(self.purpose, vec![], cx)
            }
            Event::HungUp => Menu::Over,
            _ => Menu::Tone(self),
        }
    }
}

pub(super) struct Recording {
    purpose: Purpose,
    /// Where the caller wants to go when it is over.
    then: Option<Target>,
}

impl Recording {
    fn enter(purpose: Purpose, cx: &mut Cx) -> Menu {
        cx.record(purpose.what());
        Menu::Recording(Self { purpose, then: None })
    }

    pub(super) fn on(mut self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) => {
                self.key(key, cx);
                Menu::Recording(self)
            }
            Event::HungUp => {
                cx.stop_recording();
                Menu::Recording(self)
            }
            Event::RecordingFinished { ended: Ended::Failed, .. } => self.failed(cx),
            &Event::RecordingFinished { duration, .. } if duration < self.purpose.shortest(cx) => {
                cx.run(Command::Discard);
                self.too_short(cx)
            }
            Event::RecordingFinished { .. } => self.finished(cx),
            _ => Menu::Recording(self),
        }
    }

    fn key(&mut self, key: char, cx: &mut Cx) {
        match (&self.purpose, cx.act(Place::Recording, key)) {
            (Purpose::Deposit(deposit), Some(Act::Operator)) if deposit.operator => {
                self.then = Some(Target::Operator);
                cx.stop_recording();
            }
            (Purpose::Intro { .. }, _) | (_, Some(Act::Accept)) => cx.stop_recording(),
            _ => {}
        }
    }

    fn failed(self, cx: &mut Cx) -> Menu {
        cx.run(match self.purpose {
            Purpose::Deposit(_) | Purpose::Send { .. } => Command::Keep,
            Purpose::Greeting(..) | Purpose::Intro { .. } => Command::Discard,
        });
        self.purpose.given_up(vec![Sound("vm-notsaved")], cx)
    }

    fn too_short(self, cx: &mut Cx) -> Menu {
        if cx.caller_gone() {
            return Menu::Over;
        }
        if let Some(target) = self.then {
            return Leaving::enter(target, cx);
        }
        let short = Sound("vm-tooshort");
        match self.purpose.clone().again() {
            Some(purpose) => Tone::enter(purpose, vec![short, Sound("vm-torerecord-tone")], cx),
            None => self.purpose.given_up(vec![short], cx),
        }
    }

    fn finished(self, cx: &mut Cx) -> Menu {
        let reviews = match &self.purpose {
            Purpose::Deposit(deposit) => deposit.review && self.then.is_none(),
            Purpose::Greeting(..) | Purpose::Send { .. } => true,
            Purpose::Intro { .. } => false,
        };
        if reviews && !cx.caller_gone() {
            return Review::enter(self.purpose, cx);
        }
        accept(self.purpose, Marks::default(), self.then, cx)
    }
}

/// What was recorded is good. One who is gone has accepted a message, but no greeting.
pub(super) fn accept(purpose: Purpose, marks: Marks, then: Option<Target>, cx: &mut Cx) -> Menu {
    match purpose {
        Purpose::Deposit(_) => {
            cx.question(Command::Deliver(marks));
            Menu::Saving(Saving { then })
        }
        Purpose::Send { to, .. } => Sending::enter(Command::Send { to, marks }, "vm-sent", cx),
        Purpose::Greeting(..) | Purpose::Intro { .. } if cx.caller_gone() => {
            cx.run(Command::Discard);
            Menu::Over
        }
        Purpose::Greeting(greeting, back) => Kept::enter(greeting, back, cx),
        Purpose::Intro { message, to } => {
            let forward = Command::Forward { message, to, intro: true };
            Sending::enter(forward, "vm-msgforwarded", cx)
        }
    }
}

/// The message is on its way to disk.
pub(super) struct Saving {
    then: Option<Target>,
}

impl Saving {
    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match (event, self.then) {
            (Event::Delivered { saved: true }, Some(target)) if !cx.caller_gone() => {
                Leaving::enter(target, cx)
            }
            (Event::Delivered { saved }, _) => {
                let said = if *saved { "vm-msgsaved" } else { "vm-notsaved" };
                cx.leave(vec![Sound(said), Sound("vm-goodbye")])
            }
            (_, then) => Menu::Saving(Self { then }),
        }
    }
}

/// A press of `#` at once records nothing.
const SHORTEST_GREETING: Duration = Duration::from_millis(300);
