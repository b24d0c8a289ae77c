//! Which folder: to open it, or to put a message there.

use super::acting::Acting;
use super::keys::{Act, Place};
use super::main_menu::{self, Opened, Opening};
use super::{Cx, Event, Menu};
use crate::mailbox::Folder;
use crate::say::Prompt::{self, Sound};
use crate::say::Shelf;

pub(super) struct Folders(Use);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Change,
    Save,
}

impl Folders {
    pub(super) fn enter(wanted: Use, cx: &mut Cx) -> Menu {
        cx.understood();
        Self(wanted).ask(vec![], cx)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) => match cx.act(Place::Folders, key) {
                Some(Act::Cancel) => main_menu::enter(vec![], cx),
                Some(act) => match shelf(act) {
                    Some(Shelf::Filed(Folder::Deleted)) if self.0 == Use::Save => self.sorry(cx),
                    Some(shelf) => {
                        cx.understood();
                        match self.0 {
                            Use::Change => Opening::enter(shelf, Opened::Changed, cx),
                            Use::Save => Acting::file(shelf, cx),
                        }
                    }
                    None => self.sorry(cx),
                },
                None => self.sorry(cx),
            },
            Event::TimedOut if cx.gives_up() => main_menu::enter(vec![], cx),
            Event::TimedOut => self.ask(vec![], cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Folders(self),
        }
    }

    fn sorry(self, cx: &mut Cx) -> Menu {
        if cx.gives_up() {
            return main_menu::enter(vec![], cx);
        }
        self.ask(vec![Sound("vm-sorry")], cx)
    }

    fn ask(self, mut words: Vec<Prompt>, cx: &mut Cx) -> Menu {
        let mut acts = vec![Act::New, Act::Old, Act::Work, Act::Family, Act::Friends];
        match self.0 {
            Use::Change => {
                words.push(Sound("vm-changeto"));
                acts.push(Act::Trash);
            }
            Use::Save => words.push(Sound("vm-savefolder")),
        }
        acts.push(Act::Cancel);
        words.extend(cx.offer_unless_short(Place::Folders, &acts));
        cx.ask(words);
        Menu::Folders(self)
    }
}

fn shelf(act: Act) -> Option<Shelf> {
    let other = |name: &str| Some(Shelf::Filed(Folder::Other(name.into())));
    match act {
        Act::New => Some(Shelf::New),
        Act::Old => Some(Shelf::Old),
        Act::Work => Some(Shelf::Filed(Folder::Work)),
        Act::Family => Some(Shelf::Filed(Folder::Family)),
        Act::Friends => Some(Shelf::Filed(Folder::Friends)),
        Act::Cust1 => other("Cust1"),
        Act::Cust2 => other("Cust2"),
        Act::Cust3 => other("Cust3"),
        Act::Cust4 => other("Cust4"),
        Act::Cust5 => other("Cust5"),
        Act::Trash => Some(Shelf::Filed(Folder::Deleted)),
        _ => None,
    }
}
