//! A new PIN: entered twice, and only if it is not easily guessed.

use super::digits::{Entered, Entry, MOST};
use super::greetings::Back;
use super::{Command, Cx, Event, Menu};
use crate::say::Prompt::{self, Sound};

pub(super) struct ChangePin {
    back: Back,
    tries: u8,
    step: Step,
}

enum Step {
    First(Entry),
    Again { pin: String, entry: Entry },
    Asking,
}

impl ChangePin {
    pub(super) fn enter(back: Back, said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        Self { back, tries: 0, step: Step::Asking }.ask(said, cx)
    }

    pub(super) fn on(mut self, event: &Event, cx: &mut Cx) -> Menu {
        if *event == Event::HungUp {
            return Menu::Over;
        }
        match &mut self.step {
            Step::First(entry) => match entry.on(event, cx) {
                Entered::Partly => Menu::ChangePin(self),
                Entered::Star => self.leave(cx),
                Entered::All(pin) if pin.is_empty() => self.leave(cx),
                Entered::All(pin) => {
                    let question = vec![Sound("vm-reenterpassword")];
                    let entry = Entry::ask(vec![], question, MOST, cx);
                    self.step = Step::Again { pin, entry };
                    Menu::ChangePin(self)
                }
            },
            Step::Again { pin, entry } => match entry.on(event, cx) {
                Entered::Partly => Menu::ChangePin(self),
                Entered::Star => self.leave(cx),
                Entered::All(again) if again == *pin => {
                    cx.question(Command::ChangePin(again));
                    self.step = Step::Asking;
                    Menu::ChangePin(self)
                }
                Entered::All(_) => self.once_more("vm-mismatch", cx),
            },
            Step::Asking => match event {
                Event::Done { done: true } => {
                    if let Some(visit) = &mut cx.visit {
                        visit.owner.set_up.pin = false;
                    }
                    self.back.go(vec![Sound("vm-passchanged")], cx)
                }
                Event::Done { done: false } => self.once_more("vm-invalid-password", cx),
                _ => Menu::ChangePin(self),
            },
        }
    }

    fn once_more(mut self, why: &'static str, cx: &mut Cx) -> Menu {
        self.tries += 1;
        if self.tries >= TRIES {
            return self.leave(cx);
        }
        if cx.caller_gone() {
            return Menu::Over;
        }
        self.ask(vec![Sound(why)], cx)
    }

    fn ask(mut self, said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        self.step = Step::First(Entry::ask(said, vec![Sound("vm-newpassword")], MOST, cx));
        Menu::ChangePin(self)
    }

    /// Without a new one: but nobody goes on whose PIN others know.
    fn leave(self, cx: &mut Cx) -> Menu {
        match self.back {
            Back::SetUp => cx.leave(vec![Sound("vm-notset"), Sound("vm-goodbye")]),
            back => back.go(vec![Sound("vm-notset")], cx),
        }
    }
}

const TRIES: u8 = 5;
