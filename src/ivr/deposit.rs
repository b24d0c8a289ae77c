//! A caller who did not reach whom they wanted: the greeting, and the ways out of it.

use super::digits::{Entered, Entry};
use super::keys::{Act, Place};
use super::login::Login;
use super::recording::{Purpose, Tone};
use super::{Callee, Command, Cx, Door, Event, Menu, Target};
use crate::mailbox::greeting::Greeting as Recorded;
use crate::say::Prompt::{self, Sound};

/// The greeting, then how to leave a message.
pub(super) struct Greeting {
    callee: Callee,
}

impl Greeting {
    pub(super) fn enter(callee: &Callee, cx: &mut Cx) -> Menu {
        let mut words = greeting(callee);
        if callee.full {
            // Before any beep: nobody should speak to a mailbox that cannot keep a word.
            words.push(Sound("vm-mailboxfull"));
        } else if callee.screen {
            words.extend(cx.offer(Place::Screen, &[Act::LeaveMessage]));
        } else if cx.policy.instructions && !callee.greeting_only {
            words.push(Sound("vm-intro"));
        }
        if callee.exits.operator && (callee.full || callee.greeting_only) {
            words.extend(cx.offer(Place::Greeting, &[Act::Operator]));
        }
        cx.play(words);
        Menu::Greeting(Self { callee: callee.clone() })
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            Event::PlaybackFinished if self.callee.screen => {
                cx.listen(cx.policy.patience);
                Menu::Screen(Screen { callee: self.callee })
            }
            Event::PlaybackFinished | Event::TimedOut => self.done(cx),
            &Event::Key(key) => self.key(key, cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Greeting(self),
        }
    }

    fn key(self, key: char, cx: &mut Cx) -> Menu {
        let exits = self.callee.exits;
        match cx.act(Place::Greeting, key) {
            // Who skips the greeting must not go without knowing that nothing can be left.
            Some(Act::Skip) if self.callee.full => {
                cx.leave(vec![Sound("vm-mailboxfull"), Sound("vm-goodbye")])
            }
            Some(Act::Skip) if !self.callee.screen => self.done(cx),
            Some(Act::Operator) if exits.operator => Leaving::enter(Target::Operator, cx),
            Some(Act::LogIn) if exits.log_in => {
                Login::enter(Door::Pin(self.callee.number), String::new(), cx)
            }
            _ if self.callee.screen && cx.act(Place::Screen, key) == Some(Act::LeaveMessage) => {
                self.done(cx)
            }
            _ if exits.extensions && key.is_ascii_digit() => Dialling::enter(key, cx),
            _ => Menu::Greeting(self),
        }
    }

    fn done(self, cx: &mut Cx) -> Menu {
        if self.callee.full || self.callee.greeting_only {
            return cx.goodbye();
        }
        Tone::enter(Purpose::deposit(&self.callee, cx), vec![], cx)
    }
}

/// Only people press a key.
pub(super) struct Screen {
    callee: Callee,
}

impl Screen {
    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) if cx.act(Place::Screen, key) == Some(Act::LeaveMessage) => {
                Tone::enter(Purpose::deposit(&self.callee, cx), vec![], cx)
            }
            Event::TimedOut | Event::Key(_) if cx.gives_up() => cx.goodbye(),
            Event::TimedOut | Event::Key(_) => {
                cx.ask(cx.offer(Place::Screen, &[Act::LeaveMessage]));
                Menu::Screen(self)
            }
            Event::HungUp => Menu::Over,
            _ => Menu::Screen(self),
        }
    }
}

/// An extension is dialled in the middle of the greeting.
pub(super) struct Dialling(Entry);

impl Dialling {
    fn enter(key: char, cx: &mut Cx) -> Menu {
        Menu::Dialling(Self(Entry::begun(key, LONGEST_EXTENSION, cx)))
    }

    pub(super) fn on(mut self, event: Event, cx: &mut Cx) -> Menu {
        match (self.0.on(&event, cx), event) {
            (_, Event::HungUp) => Menu::Over,
            (Entered::All(number), _) => Leaving::enter(Target::Extension(number), cx),
            (Entered::Partly | Entered::Star, _) => Menu::Dialling(self),
        }
    }
}

/// The caller goes elsewhere.
pub(super) struct Leaving;

impl Leaving {
    pub(super) fn enter(target: Target, cx: &mut Cx) -> Menu {
        cx.question(Command::Transfer(target));
        Menu::Leaving(Self)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            Event::Done { done: true } => cx.hang_up(),
            Event::Done { done: false } => cx.leave(vec![Sound("vm-nocall"), Sound("vm-goodbye")]),
            _ => Menu::Leaving(self),
        }
    }
}

/// The last words are being said; nothing that a caller presses changes them.
pub(super) fn goodbye(event: &Event, cx: &mut Cx) -> Menu {
    match event {
        Event::PlaybackFinished | Event::TimedOut => cx.hang_up(),
        Event::HungUp => Menu::Over,
        _ => Menu::Goodbye,
    }
}

fn greeting(callee: &Callee) -> Vec<Prompt> {
    let gone = if callee.busy { "vm-isonphone" } else { "vm-isunavail" };
    match callee.greeting {
        Some(Recorded::Name) => vec![Prompt::Greeting(Recorded::Name), Sound(gone)],
        Some(recorded) => vec![Prompt::Greeting(recorded)],
        None => vec![Sound("vm-theperson"), Prompt::Digits(callee.number.clone()), Sound(gone)],
    }
}

const LONGEST_EXTENSION: usize = 16;
