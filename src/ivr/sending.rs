//! A message on its way to others.

use super::main_menu;
use super::{Command, Cx, Event, Menu};
use crate::say::Prompt::Sound;

pub(super) struct Sending {
    /// What is said when it is done.
    said: &'static str,
}

impl Sending {
    pub(super) fn enter(command: Command, said: &'static str, cx: &mut Cx) -> Menu {
        cx.question(command);
        Menu::Sending(Self { said })
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            Event::Delivered { saved } => {
                let said = if *saved { self.said } else { "vm-notsaved" };
                main_menu::enter(vec![Sound(said)], cx)
            }
            _ => Menu::Sending(self),
        }
    }
}
