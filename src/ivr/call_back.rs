//! Calling the sender of a message, or any number: where this server allows it.

use super::digits::{Entered, Entry, MOST};
use super::keys::{Act, Place};
use super::main_menu;
use super::{Command, Cx, Event, Menu, Target};
use crate::say::Prompt::{self, Sound};

/// The sender's number is told before it is called.
pub(super) struct CallBack {
    number: String,
}

impl CallBack {
    pub(super) fn enter(cx: &mut Cx) -> Menu {
        let message = cx.visit.as_ref().and_then(|visit| visit.current());
        let Some(message) = message else { return main_menu::enter(vec![], cx) };
        let caller = message.envelope.caller.clone();
        if caller.number.is_empty() {
            return main_menu::enter(vec![Sound("vm-nonumber")], cx);
        }
        let number = caller.number.clone();
        let said = vec![Sound("vm-num-i-have"), Prompt::Digits(number.clone())];
        Self { number }.ask(said, cx)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) => match cx.act(Place::CallBack, key) {
                Some(Act::Call) => Calling::enter(Target::CallBack(self.number), cx),
                Some(Act::OtherNumber) if may_dial(cx) => Dial::enter(cx),
                Some(Act::Cancel) => main_menu::enter(vec![], cx),
                _ if cx.gives_up() => main_menu::enter(vec![], cx),
                _ => self.ask(vec![Sound("vm-sorry")], cx),
            },
            Event::TimedOut if cx.gives_up() => main_menu::enter(vec![], cx),
            Event::TimedOut => self.ask(vec![], cx),
            Event::HungUp => Menu::Over,
            _ => Menu::CallBack(self),
        }
    }

    fn ask(self, mut said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        let mut acts = vec![Act::Call];
        acts.extend(may_dial(cx).then_some(Act::OtherNumber));
        acts.push(Act::Cancel);
        said.extend(cx.offer_unless_short(Place::CallBack, &acts));
        cx.ask(said);
        Menu::CallBack(self)
    }
}

fn may_dial(cx: &Cx) -> bool {
    cx.visit.as_ref().is_some_and(|visit| visit.owner.may.dial_out)
}

/// A number to call is entered.
pub(super) struct Dial(Entry);

impl Dial {
    pub(super) fn enter(cx: &mut Cx) -> Menu {
        let words = ["vm-enter-num-to-call", "vm-then-pound", "menu/cancel"].map(Sound);
        let words = words.into_iter().chain([Prompt::Key('*')]).collect();
        Menu::Dial(Self(Entry::ask(vec![], words, MOST, cx).unhurried()))
    }

    pub(super) fn on(mut self, event: Event, cx: &mut Cx) -> Menu {
        match (self.0.on(&event, cx), event) {
            (_, Event::HungUp) => Menu::Over,
            (Entered::All(number), _) if number.is_empty() => main_menu::enter(vec![], cx),
            (Entered::Star, _) => main_menu::enter(vec![], cx),
            (Entered::All(number), _) => Calling::enter(Target::Number(number), cx),
            (Entered::Partly, _) => Menu::Dial(self),
        }
    }
}

/// Allowed, told, then transferred.
pub(super) enum Calling {
    Allowing(Target),
    Telling(Target),
    Asking,
}

impl Calling {
    fn enter(target: Target, cx: &mut Cx) -> Menu {
        cx.question(Command::MayCall(target.clone()));
        Menu::Calling(Self::Allowing(target))
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match (self, event) {
            (_, Event::HungUp) => Menu::Over,
            (Self::Allowing(target), Event::Done { done: true }) => {
                cx.play(vec![Sound("vm-dialout")]);
                Menu::Calling(Self::Telling(target))
            }
            (Self::Telling(target), Event::PlaybackFinished | Event::TimedOut) => {
                cx.question(Command::Transfer(target));
                Menu::Calling(Self::Asking)
            }
            (Self::Asking, Event::Done { done: true }) => cx.hang_up(),
            (Self::Allowing(_) | Self::Asking, Event::Done { done: false }) => {
                main_menu::enter(vec![Sound("vm-nocall")], cx)
            }
            (calling, _) => Menu::Calling(calling),
        }
    }
}
