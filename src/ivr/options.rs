//! Mailbox options: the greetings, the name, the PIN.

use super::change_pin::ChangePin;
use super::greetings::{Back, Greetings, OneGreeting};
use super::keys::{Act, Place};
use super::main_menu;
use super::recording::Purpose;
use super::{Cx, Event, Menu};
use crate::mailbox::greeting::Greeting;
use crate::say::Prompt::{self, Sound};

pub(super) struct Options;

impl Options {
    pub(super) fn enter(said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        cx.understood();
        Self.ask(said, cx)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) => match cx.act(Place::Options, key) {
                Some(act) => obey(act, cx),
                None if cx.gives_up() => main_menu::enter(vec![], cx),
                None => self.ask(vec![Sound("vm-sorry")], cx),
            },
            Event::TimedOut if cx.gives_up() => main_menu::enter(vec![], cx),
            Event::TimedOut => self.ask(vec![], cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Options(self),
        }
    }

    fn ask(self, mut said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        if cx.caller_gone() {
            return Menu::Over;
        }
        if cx.visit.as_ref().is_some_and(|visit| visit.owner.recorded.temporary) {
            said.push(Sound("vm-tmpexists"));
        }
        // Ours comes first, so that Asterisk's sentence stays whole.
        let mut acts = vec![Act::Greetings];
        acts.extend([Act::Unavailable, Act::Busy, Act::Name, Act::Temporary, Act::Pin]);
        acts.push(Act::Return);
        said.extend(cx.offer_unless_short(Place::Options, &acts));
        cx.ask(said);
        Menu::Options(self)
    }
}

fn obey(act: Act, cx: &mut Cx) -> Menu {
    cx.understood();
    let temporary = cx.visit.as_ref().is_some_and(|visit| visit.owner.recorded.temporary);
    match act {
        Act::Unavailable => record(Greeting::Unavailable, cx),
        Act::Busy => record(Greeting::Busy, cx),
        Act::Name => record(Greeting::Name, cx),
        Act::Temporary if temporary => OneGreeting::enter(Greeting::Temporary, vec![], cx),
        Act::Temporary => record(Greeting::Temporary, cx),
        Act::Pin => ChangePin::enter(Back::Options, vec![], cx),
        Act::Greetings => Greetings::enter(vec![], cx),
        _ => main_menu::enter(vec![], cx),
    }
}

fn record(greeting: Greeting, cx: &mut Cx) -> Menu {
    Purpose::Greeting(greeting, Back::Options).once_more(cx)
}
