//! The owner's greetings: heard, recorded anew, erased, and given an end.

use super::digits::{Entered, Entry, MOST};
use super::keys::{Act, Place};
use super::options::Options;
use super::recording::Purpose;
use super::{Command, Cx, Event, Menu, main_menu, set_up};
use crate::mailbox::greeting::Greeting;
use crate::say::Prompt::{self, Sound};

/// Where one returns to from a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Back {
    Options,
    OneGreeting(Greeting),
    SetUp,
}

impl Back {
    pub(super) fn go(self, said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        if cx.caller_gone() {
            return Menu::Over;
        }
        match self {
            Self::Options => Options::enter(said, cx),
            Self::OneGreeting(greeting) => OneGreeting::enter(greeting, said, cx),
            Self::SetUp => set_up::go_on(said, cx),
        }
    }
}

/// What is said before a greeting is recorded.
pub(super) fn instructions(greeting: Greeting) -> &'static str {
    match greeting {
        Greeting::Temporary => "vm-rec-temp",
        Greeting::Unavailable => "vm-rec-unv",
        Greeting::Busy => "vm-rec-busy",
        Greeting::Name => "vm-rec-name",
    }
}

/// Which greeting?
pub(super) struct Greetings;

impl Greetings {
    pub(super) fn enter(said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        Self.ask(said, cx)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) => match cx.act(Place::Greetings, key) {
                Some(Act::Unavailable) => OneGreeting::enter(Greeting::Unavailable, vec![], cx),
                Some(Act::Busy) => OneGreeting::enter(Greeting::Busy, vec![], cx),
                Some(Act::Name) => OneGreeting::enter(Greeting::Name, vec![], cx),
                Some(Act::Temporary) => OneGreeting::enter(Greeting::Temporary, vec![], cx),
                Some(_) => Options::enter(vec![], cx),
                None if cx.gives_up() => Options::enter(vec![], cx),
                None => self.ask(vec![Sound("vm-sorry")], cx),
            },
            Event::TimedOut if cx.gives_up() => main_menu::enter(vec![], cx),
            Event::TimedOut => self.ask(vec![], cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Greetings(self),
        }
    }

    fn ask(self, mut said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        said.push(Sound("vm-whichgreeting"));
        let acts = [Act::Unavailable, Act::Busy, Act::Name, Act::Temporary, Act::Return];
        let keys = cx.keys();
        for (act, name) in acts.into_iter().zip(NAMES).filter(|_| !cx.is_short()) {
            let key = keys.key(Place::Greetings, act);
            said.extend(key.into_iter().flat_map(|key| [Sound(name), Prompt::Key(key)]));
        }
        cx.ask(said);
        Menu::Greetings(self)
    }
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct OneGreeting(Greeting);

impl OneGreeting {
    pub(super) fn enter(greeting: Greeting, said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        cx.understood();
        Self(greeting).ask(said, cx)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) => {
                let act = cx.act(Place::OneGreeting, key);
                match act.filter(|act| self.possible(cx).contains(act)) {
                    Some(act) => {
                        cx.understood();
                        self.obey(act, cx)
                    }
                    None if cx.gives_up() => Options::enter(vec![], cx),
                    None => self.ask(vec![Sound("vm-sorry")], cx),
                }
            }
            Event::TimedOut if cx.gives_up() => main_menu::enter(vec![], cx),
            Event::TimedOut => self.ask(vec![], cx),
            Event::HungUp => Menu::Over,
            _ => Menu::OneGreeting(self),
        }
    }

    fn obey(self, act: Act, cx: &mut Cx) -> Menu {
        match act {
            Act::Record => Purpose::Greeting(self.0, Back::OneGreeting(self.0)).once_more(cx),
            Act::Listen => self.ask(vec![Prompt::Greeting(self.0)], cx),
            Act::Erase => {
                cx.question(Command::EraseGreeting(self.0));
                Menu::Erasing(Erasing(self.0))
            }
            Act::Expiry => Expiring::enter(cx),
            _ => Options::enter(vec![], cx),
        }
    }

    fn ask(self, mut said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        if !there(self.0, cx) {
            said.push(Sound("vm-nogreeting"));
        }
        said.extend(cx.offer_unless_short(Place::OneGreeting, &self.possible(cx)));
        cx.ask(said);
        Menu::OneGreeting(self)
    }

    fn possible(self, cx: &Cx) -> Vec<Act> {
        let mut acts = vec![Act::Record];
        if there(self.0, cx) {
            acts.extend([Act::Erase, Act::Listen]);
            acts.extend((self.0 == Greeting::Temporary).then_some(Act::Expiry));
        }
        acts.push(Act::Return);
        acts
    }
}

fn there(greeting: Greeting, cx: &Cx) -> bool {
    cx.visit.as_ref().is_some_and(|visit| visit.owner.recorded.has(greeting))
}

/// An accepted recording becomes the greeting.
pub(super) struct Kept {
    greeting: Greeting,
    back: Back,
}

impl Kept {
    pub(super) fn enter(greeting: Greeting, back: Back, cx: &mut Cx) -> Menu {
        cx.question(Command::KeepGreeting(greeting));
        Menu::Kept(Self { greeting, back })
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        let Event::Done { done } = event else { return Menu::Kept(self) };
        if !done {
            return self.back.go(vec![Sound("vm-notsaved")], cx);
        }
        main_menu::recorded(self.greeting, true, cx);
        self.back.go(vec![Sound("vm-greetingsaved")], cx)
    }
}

/// A greeting is erased.
pub(super) struct Erasing(Greeting);

impl Erasing {
    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        let Event::Done { done } = event else { return Menu::Erasing(self) };
        if !done {
            return Back::Options.go(vec![Sound("vm-notdone")], cx);
        }
        main_menu::recorded(self.0, false, cx);
        let said = match self.0 {
            Greeting::Temporary => "vm-tempremoved",
            Greeting::Unavailable | Greeting::Busy | Greeting::Name => "vm-greetingremoved",
        };
        Back::Options.go(vec![Sound(said)], cx)
    }
}

/// For how many days the temporary greeting plays.
pub(super) enum Expiring {
    Entering(Entry),
    Asking,
}

impl Expiring {
    fn enter(cx: &mut Cx) -> Menu {
        Menu::Expiring(Self::Entering(Entry::ask(vec![], vec![Sound("vm-tempdays")], MOST, cx)))
    }

    pub(super) fn on(self, event: Event, cx: &mut Cx) -> Menu {
        let back = Back::OneGreeting(Greeting::Temporary);
        match (self, event) {
            (Self::Asking, Event::Done { done }) => {
                back.go(vec![Sound(if done { "vm-tempdaysset" } else { "vm-notdone" })], cx)
            }
            (Self::Entering(_), Event::HungUp) => Menu::Over,
            (Self::Entering(mut entry), event) => match entry.on(&event, cx) {
                Entered::Partly => Menu::Expiring(Self::Entering(entry)),
                Entered::Star => back.go(vec![], cx),
                Entered::All(days) if days.is_empty() => back.go(vec![], cx),
                Entered::All(days) => match days.parse() {
                    Ok(days @ 0..=MOST_DAYS) => {
                        cx.question(Command::ExpireGreeting { days });
                        Menu::Expiring(Self::Asking)
                    }
                    _ => back.go(vec![Sound("vm-sorry")], cx),
                },
            },
            (asking, _) => Menu::Expiring(asking),
        }
    }
}

/// As long as nobody plans ahead.
const MOST_DAYS: u32 = 9_999;

/// "For the unavailable greeting, press": in the order of the menu.
const NAMES: [&str; 5] =
    ["menu/of-unavailable", "menu/of-busy", "menu/of-name", "menu/of-temporary", "menu/return"];
