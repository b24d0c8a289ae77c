//! The first visit: a name, greetings, and a PIN of one's own.
//!
//! The PIN comes last: who hangs up before is asked everything again.

use super::change_pin::ChangePin;
use super::greetings::Back;
use super::recording::Purpose;
use super::visit::Visit;
use super::{Command, Cx, Event, Menu, main_menu};
use crate::mailbox::greeting::Greeting;
use crate::say::Prompt::{self, Sound};

/// Something is left to do.
enum Left {
    Record(Greeting),
    Pin,
}

/// The first thing to do, if there is one.
pub(super) fn enter(cx: &mut Cx) -> Option<Menu> {
    left(cx.visit.as_ref()?)?;
    Some(go_on(vec![Sound("vm-newuser")], cx))
}

/// The next thing to do.
pub(super) fn go_on(mut said: Vec<Prompt>, cx: &mut Cx) -> Menu {
    match cx.visit.as_ref().and_then(left) {
        Some(Left::Record(greeting)) => {
            // What is refused is not asked for again.
            skip(greeting, cx);
            said.push(Sound(super::greetings::instructions(greeting)));
            super::recording::Tone::enter(Purpose::Greeting(greeting, Back::SetUp), said, cx)
        }
        Some(Left::Pin) => ChangePin::enter(Back::SetUp, said, cx),
        None => {
            cx.question(Command::SetUp);
            Menu::SettingUp(SettingUp(said))
        }
    }
}

fn left(visit: &Visit) -> Option<Left> {
    let (wanted, there) = (visit.owner.set_up, visit.owner.recorded);
    if wanted.name && !there.name {
        return Some(Left::Record(Greeting::Name));
    }
    if wanted.unavailable && !there.unavailable {
        return Some(Left::Record(Greeting::Unavailable));
    }
    if wanted.busy && !there.busy {
        return Some(Left::Record(Greeting::Busy));
    }
    wanted.pin.then_some(Left::Pin)
}

fn skip(greeting: Greeting, cx: &mut Cx) {
    let Some(visit) = &mut cx.visit else { return };
    match greeting {
        Greeting::Name => visit.owner.set_up.name = false,
        Greeting::Unavailable => visit.owner.set_up.unavailable = false,
        Greeting::Busy => visit.owner.set_up.busy = false,
        Greeting::Temporary => {}
    }
}

/// It is noted that everything is done; what was said last is heard with what comes next.
pub(super) struct SettingUp(Vec<Prompt>);

impl SettingUp {
    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            Event::Done { .. } if cx.caller_gone() => Menu::Over,
            Event::Done { .. } => main_menu::arrive(self.0, cx),
            _ => Menu::SettingUp(self),
        }
    }
}
