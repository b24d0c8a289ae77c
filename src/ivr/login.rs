//! Logging in: whose mailbox, and the PIN.
//!
//! A wrong PIN, a mailbox that there is not and one that is locked sound the same and are asked
//! the same: nobody learns here which numbers have mailboxes.

use super::digits::{Entered, Entry, MOST};
use super::visit::Visit;
use super::{Command, Cx, Door, Event, Menu, Owner, main_menu, set_up};
use crate::say::Prompt::{self, Sound};

pub(super) struct Login {
    /// The mailbox that was dialled; it cannot be changed.
    dialled: Option<String>,
    /// Whose mailbox one enters who enters none.
    caller: String,
    tries: u8,
    step: Step,
}

enum Step {
    Number(Entry),
    Pin { number: String, entry: Entry },
    Asking,
}

impl Login {
    pub(super) fn enter(door: Door, caller: String, cx: &mut Cx) -> Menu {
        let login = |dialled| Self { dialled, caller, tries: 0, step: Step::Asking };
        match door {
            Door::Ask => login(None).ask(None, cx),
            Door::Pin(number) => login(Some(number)).ask(None, cx),
            Door::Open(owner) => welcome(*owner, cx),
        }
    }

    pub(super) fn on(mut self, event: Event, cx: &mut Cx) -> Menu {
        if event == Event::HungUp {
            return Menu::Over;
        }
        match &mut self.step {
            Step::Number(entry) => match entry.on(&event, cx) {
                Entered::All(number) if number.is_empty() && self.caller.is_empty() => {
                    self.failed(cx)
                }
                Entered::All(number) if number.is_empty() => {
                    let number = self.caller.clone();
                    self.ask_pin(number, cx)
                }
                Entered::All(number) => self.ask_pin(number, cx),
                Entered::Star => self.again(cx),
                Entered::Partly => Menu::Login(self),
            },
            Step::Pin { number, entry } => match entry.on(&event, cx) {
                // A telephone that nobody holds must not shut anybody's mailbox.
                Entered::All(pin) if pin.is_empty() => self.failed(cx),
                Entered::All(pin) => {
                    let number = std::mem::take(number);
                    cx.question(Command::Identify { number, pin });
                    self.step = Step::Asking;
                    Menu::Login(self)
                }
                Entered::Star => self.again(cx),
                Entered::Partly => Menu::Login(self),
            },
            Step::Asking => match event {
                Event::Identified(Some(owner)) => welcome(*owner, cx),
                Event::Identified(None) => self.failed(cx),
                _ => Menu::Login(self),
            },
        }
    }

    fn failed(self, cx: &mut Cx) -> Menu {
        let said = if self.dialled.is_some() { "vm-incorrect" } else { "vm-incorrect-mailbox" };
        self.retry(Some(Sound(said)), cx)
    }

    /// The caller wants away, but there is nowhere to go.
    fn again(self, cx: &mut Cx) -> Menu {
        self.retry(None, cx)
    }

    fn retry(mut self, said: Option<Prompt>, cx: &mut Cx) -> Menu {
        self.tries += 1;
        if self.tries < cx.policy.logins {
            return self.ask(said, cx);
        }
        let mut words: Vec<Prompt> = said.map(|_| Sound("vm-incorrect")).into_iter().collect();
        words.push(Sound("vm-goodbye"));
        cx.leave(words)
    }

    fn ask(mut self, said: Option<Prompt>, cx: &mut Cx) -> Menu {
        if cx.caller_gone() {
            return Menu::Over;
        }
        if let Some(number) = self.dialled.clone() {
            let before = said.into_iter().collect();
            let entry = Entry::ask(before, vec![Sound("vm-password")], MOST, cx);
            self.step = Step::Pin { number, entry };
        } else {
            let question = vec![said.unwrap_or(Sound("vm-login"))];
            self.step = Step::Number(Entry::ask(vec![], question, MOST, cx));
        }
        Menu::Login(self)
    }

    fn ask_pin(mut self, number: String, cx: &mut Cx) -> Menu {
        let entry = Entry::ask(vec![], vec![Sound("vm-password")], MOST, cx);
        self.step = Step::Pin { number, entry };
        Menu::Login(self)
    }
}

fn welcome(owner: Owner, cx: &mut Cx) -> Menu {
    if cx.caller_gone() {
        return Menu::Over;
    }
    cx.understood();
    cx.visit = Some(Visit::new(owner));
    set_up::enter(cx).unwrap_or_else(|| main_menu::arrive(vec![], cx))
}
