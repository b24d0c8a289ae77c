//! How a message is forwarded: as it is, or after some words of one's own.

use super::keys::{Act, Place};
use super::main_menu;
use super::recording::{Purpose, Tone};
use super::sending::Sending;
use super::{Command, Cx, Event, Menu};
use crate::mailbox::{MailboxId, MessageId};
use crate::say::Prompt::{self, Sound};

pub(super) struct How {
    message: MessageId,
    to: Vec<MailboxId>,
}

impl How {
    pub(super) fn enter(
        message: MessageId,
        to: Vec<MailboxId>,
        said: Vec<Prompt>,
        cx: &mut Cx,
    ) -> Menu {
        Self { message, to }.ask(said, cx)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        let Self { message, to } = self;
        match event {
            &Event::Key(key) => match cx.act(Place::Forward, key) {
                Some(Act::WithIntro) => {
                    let words = vec![Sound("vm-record-prepend")];
                    Tone::enter(Purpose::Intro { message, to }, words, cx)
                }
                Some(Act::AsIs) => {
                    let forward = Command::Forward { message, to, intro: false };
                    Sending::enter(forward, "vm-msgforwarded", cx)
                }
                Some(Act::Cancel) => main_menu::enter(vec![], cx),
                _ if cx.gives_up() => main_menu::enter(vec![], cx),
                _ => Self { message, to }.ask(vec![Sound("vm-sorry")], cx),
            },
            Event::TimedOut if cx.gives_up() => main_menu::enter(vec![], cx),
            Event::TimedOut => Self { message, to }.ask(vec![], cx),
            Event::HungUp => Menu::Over,
            _ => Menu::How(Self { message, to }),
        }
    }

    fn ask(self, mut said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        let acts = [Act::WithIntro, Act::AsIs, Act::Cancel];
        said.extend(cx.offer_unless_short(Place::Forward, &acts));
        cx.ask(said);
        Menu::How(self)
    }
}
