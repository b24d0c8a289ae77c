//! Advanced options: answer, call back, send, and what concerns many messages at once.

use super::acting::Acting;
use super::call_back::{CallBack, Dial};
use super::keys::{Act, Place};
use super::main_menu;
use super::messages::{Announcing, asked_for};
use super::recipients::{self, Replying};
use super::{Cx, Event, Menu};
use crate::say::Prompt::{self, Sound};
use crate::say::Shelf;

pub(super) struct Advanced;

impl Advanced {
    pub(super) fn enter(said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        Self.ask(said, cx)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) => {
                let act = cx.act(Place::Advanced, key);
                match act.filter(|act| possible(cx).contains(act)) {
                    Some(act) => {
                        cx.understood();
                        self.obey(act, cx)
                    }
                    None if cx.gives_up() => main_menu::enter(vec![], cx),
                    None => self.ask(vec![Sound("vm-sorry")], cx),
                }
            }
            Event::TimedOut if cx.gives_up() => main_menu::enter(vec![], cx),
            Event::TimedOut => self.ask(vec![], cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Advanced(self),
        }
    }

    fn obey(self, act: Act, cx: &mut Cx) -> Menu {
        let Some(visit) = &mut cx.visit else { return Menu::Over };
        match act {
            Act::Reply => Replying::enter(cx),
            Act::CallBack => CallBack::enter(cx),
            Act::Envelope => {
                let said = visit.current().map_or(vec![], asked_for);
                self.ask(said, cx)
            }
            Act::DialOut => Dial::enter(cx),
            Act::Compose => recipients::compose(cx),
            Act::PlayAll => match visit.in_one_go(0) {
                Some(first) => {
                    visit.play_all = true;
                    Announcing::enter(first, cx)
                }
                None => main_menu::enter(vec![Sound("vm-nomore")], cx),
            },
            Act::DeleteHeard => Acting::sweep(cx),
            Act::MarkNew => Acting::file(Shelf::New, cx),
            Act::Order => {
                visit.owner.wishes.newest_first = !visit.owner.wishes.newest_first;
                let said = if visit.owner.wishes.newest_first {
                    "vm-newestfirst"
                } else {
                    "vm-oldestfirst"
                };
                visit.sort();
                main_menu::enter(vec![Sound(said)], cx)
            }
            Act::Return => main_menu::enter(vec![], cx),
            _ => Menu::Advanced(self),
        }
    }

    fn ask(self, mut said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        if cx.caller_gone() {
            return Menu::Over;
        }
        said.extend(cx.offer_unless_short(Place::Advanced, &told(cx)));
        cx.ask(said);
        Menu::Advanced(self)
    }
}

/// Only what can be done now is told: nobody can be answered whose number is not known.
fn told(cx: &Cx) -> Vec<Act> {
    let message = cx.visit.as_ref().and_then(|visit| visit.current());
    let unknown = message.is_some_and(|message| message.envelope.caller.number.is_empty());
    let mut acts = possible(cx);
    acts.retain(|act| !(unknown && matches!(act, Act::Reply | Act::CallBack)));
    acts
}

/// What a key does, or says why it does not.
fn possible(cx: &Cx) -> Vec<Act> {
    let Some(visit) = &cx.visit else { return vec![] };
    let may = visit.owner.may;
    let mut acts = vec![];
    if visit.current().is_some() {
        acts.extend(may.send.then_some(Act::Reply));
        acts.extend(may.call_back.then_some(Act::CallBack));
        acts.push(Act::Envelope);
    }
    acts.extend(may.dial_out.then_some(Act::DialOut));
    acts.extend(may.send.then_some(Act::Compose));
    if !visit.items.is_empty() {
        acts.push(Act::PlayAll);
        acts.push(Act::DeleteHeard);
        acts.extend(visit.current().map(|_| Act::MarkNew));
        acts.push(Act::Order);
    }
    acts.push(Act::Return);
    acts
}
