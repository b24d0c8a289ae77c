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
        } else if callee.takes_messages() && callee.screen {
            words.extend(cx.offer(Place::Screen, &[Act::LeaveMessage]));
        } else if callee.takes_messages() && cx.policy.instructions {
            words.push(Sound("vm-intro"));
        }
        if callee.exits.operator && !callee.takes_messages() {
            words.extend(cx.offer(Place::Greeting, &[Act::Operator]));
        }
        cx.play(words);
        Menu::Greeting(Self { callee: callee.clone() })
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            Event::PlaybackFinished if self.callee.screen && self.callee.takes_messages() => {
                cx.listen(cx.policy.patience);
                Menu::Screen(Screen { callee: self.callee })
            }
            // The key that was told last wants time.
            Event::PlaybackFinished
                if !self.callee.takes_messages() && self.callee.exits.operator =>
            {
                cx.listen(cx.policy.patience);
                Menu::Greeting(self)
            }
            Event::PlaybackFinished | Event::TimedOut => self.done(cx),
            &Event::Key(key) => self.key(key, cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Greeting(self),
        }
    }

    fn key(self, key: char, cx: &mut Cx) -> Menu {
        match cx.act(Place::Greeting, key) {
            Some(Act::Skip) if !self.callee.takes_messages() => return self.nothing_to_leave(cx),
            Some(Act::Skip) if self.callee.screen => return Screen { callee: self.callee }.ask(cx),
            Some(Act::Skip) => return self.done(cx),
            _ => {}
        }
        if let Some(elsewhere) = exit(&self.callee, key, cx) {
            return elsewhere;
        }
        if self.callee.screen && cx.act(Place::Screen, key) == Some(Act::LeaveMessage) {
            return self.done(cx);
        }
        if self.callee.exits.extensions && key.is_ascii_digit() {
            return Dialling::enter(key, self.callee, cx);
        }
        Menu::Greeting(self)
    }

    /// Who skips the greeting must not go without knowing that nothing can be left, and who can be
    /// reached instead.
    fn nothing_to_leave(self, cx: &mut Cx) -> Menu {
        let full = self.callee.full.then_some(Sound("vm-mailboxfull"));
        let mut words: Vec<Prompt> = full.into_iter().collect();
        if !self.callee.exits.operator || cx.gives_up() {
            words.push(Sound("vm-goodbye"));
            return cx.leave(words);
        }
        words.extend(cx.offer(Place::Greeting, &[Act::Operator]));
        cx.ask(words);
        Menu::Greeting(self)
    }

    fn done(self, cx: &mut Cx) -> Menu {
        if self.callee.takes_messages() {
            return Tone::enter(Purpose::deposit(&self.callee, cx), vec![], cx);
        }
        cx.goodbye()
    }
}

/// Where a key leads instead of to a message.
fn exit(callee: &Callee, key: char, cx: &mut Cx) -> Option<Menu> {
    match cx.act(Place::Greeting, key) {
        Some(Act::Operator) if callee.exits.operator => {
            Some(Leaving::or_message(Target::Operator, callee.clone(), cx))
        }
        Some(Act::LogIn) if callee.exits.log_in => {
            Some(Login::enter(Door::Pin(callee.number.clone()), String::new(), cx))
        }
        _ => None,
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
            &Event::Key(key) => exit(&self.callee, key, cx).unwrap_or_else(|| self.again(cx)),
            Event::TimedOut => self.again(cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Screen(self),
        }
    }

    fn again(self, cx: &mut Cx) -> Menu {
        if cx.gives_up() {
            return cx.goodbye();
        }
        self.ask(cx)
    }

    fn ask(self, cx: &mut Cx) -> Menu {
        cx.ask(cx.offer(Place::Screen, &[Act::LeaveMessage]));
        Menu::Screen(self)
    }
}

/// An extension is dialled in the middle of the greeting.
pub(super) struct Dialling {
    entry: Entry,
    callee: Callee,
}

impl Dialling {
    fn enter(key: char, callee: Callee, cx: &mut Cx) -> Menu {
        let entry = Entry::begun(key, LONGEST_EXTENSION, cx);
        Menu::Dialling(Self { entry, callee })
    }

    pub(super) fn on(mut self, event: Event, cx: &mut Cx) -> Menu {
        match (self.entry.on(&event, cx), event) {
            (_, Event::HungUp) => Menu::Over,
            (Entered::Star, _) => Greeting { callee: self.callee }.done(cx),
            (Entered::All(number), _) if number.is_empty() => {
                Greeting { callee: self.callee }.done(cx)
            }
            (Entered::All(number), _) => {
                Leaving::or_message(Target::Extension(number), self.callee, cx)
            }
            (Entered::Partly, _) => Menu::Dialling(self),
        }
    }
}

/// The caller goes elsewhere.
pub(super) struct Leaving {
    /// Who can be left a message if nobody is there.
    callee: Option<Callee>,
}

impl Leaving {
    pub(super) fn enter(target: Target, cx: &mut Cx) -> Menu {
        cx.question(Command::Transfer(target));
        Menu::Leaving(Self { callee: None })
    }

    /// One who has not spoken yet, and may still do so.
    fn or_message(target: Target, callee: Callee, cx: &mut Cx) -> Menu {
        cx.question(Command::Transfer(target));
        let callee = Some(callee).filter(Callee::takes_messages);
        Menu::Leaving(Self { callee })
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match (event, self.callee) {
            (Event::Done { done: true }, _) => cx.hang_up(),
            (Event::Done { done: false }, Some(callee)) => {
                let mut words = vec![Sound("vm-nocall")];
                words.extend(cx.policy.instructions.then_some(Sound("vm-intro")));
                Tone::enter(Purpose::deposit(&callee, cx), words, cx)
            }
            (Event::Done { done: false }, None) => {
                cx.leave(vec![Sound("vm-nocall"), Sound("vm-goodbye")])
            }
            (_, callee) => Menu::Leaving(Self { callee }),
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
