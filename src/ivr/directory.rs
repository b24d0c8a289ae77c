//! Finding somebody by the first letters of a name.

use super::digits::{Entered, Entry, MOST};
use super::keys::{Act, Place};
use super::main_menu;
use super::recipients::{Post, are_full, chosen};
use super::{Command, Cx, Event, Found, Menu};
use crate::mailbox::MailboxId;
use crate::say::Prompt::{self, Sound};

pub(super) struct Directory {
    post: Post,
    step: Step,
}

enum Step {
    Entering(Entry),
    Searching,
    Choosing(Choice),
}

/// Who was found, in order, and those of them whose mailboxes are full.
#[derive(Default)]
struct Choice {
    names: Vec<MailboxId>,
    full: Vec<MailboxId>,
    at: usize,
}

impl Directory {
    pub(super) fn enter(post: Post, cx: &mut Cx) -> Menu {
        Self { post, step: Step::Searching }.ask(vec![], cx)
    }

    fn ask(mut self, said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        let question = vec![Sound("dir-intro")];
        self.step = Step::Entering(Entry::ask(said, question, MOST, cx).enough(LETTERS));
        Menu::Directory(self)
    }

    pub(super) fn on(mut self, event: &Event, cx: &mut Cx) -> Menu {
        if *event == Event::HungUp {
            return Menu::Over;
        }
        match (&mut self.step, event) {
            (Step::Entering(entry), _) => match entry.on(event, cx) {
                Entered::Partly => Menu::Directory(self),
                Entered::Star => main_menu::enter(vec![], cx),
                Entered::All(keys) if keys.is_empty() => main_menu::enter(vec![], cx),
                Entered::All(keys) => {
                    cx.question(Command::Search(keys));
                    self.step = Step::Searching;
                    Menu::Directory(self)
                }
            },
            (Step::Searching, Event::Found(Found { open, full })) => {
                // Who is looked for is found, room or not.
                let names = [&**open, &**full].concat();
                let choice = Choice { names, full: full.clone(), at: 0 };
                self.show(choice, vec![], cx)
            }
            (Step::Choosing(choice), Event::Key(key)) => {
                let choice = std::mem::take(choice);
                self.chosen(choice, *key, cx)
            }
            (Step::Choosing(_), Event::TimedOut) if cx.gives_up() => main_menu::enter(vec![], cx),
            (Step::Choosing(choice), Event::TimedOut) => {
                let choice = std::mem::take(choice);
                self.show(choice, vec![], cx)
            }
            (Step::Searching | Step::Choosing(_), _) => Menu::Directory(self),
        }
    }

    fn chosen(self, mut choice: Choice, key: char, cx: &mut Cx) -> Menu {
        match cx.act(Place::Directory, key) {
            Some(Act::Select) => {
                let id = choice.names.swap_remove(choice.at);
                if choice.full.contains(&id) {
                    return main_menu::enter(are_full(&[id]), cx);
                }
                chosen(self.post, vec![id], vec![], cx)
            }
            Some(Act::NextName) => {
                choice.at += 1;
                self.show(choice, vec![], cx)
            }
            Some(Act::Cancel) => main_menu::enter(vec![], cx),
            _ if cx.gives_up() => main_menu::enter(vec![], cx),
            _ => self.show(choice, vec![Sound("vm-sorry")], cx),
        }
    }

    fn show(mut self, choice: Choice, mut words: Vec<Prompt>, cx: &mut Cx) -> Menu {
        if cx.caller_gone() {
            return Menu::Over;
        }
        let Some(name) = choice.names.get(choice.at) else {
            let said = if choice.at == 0 { "dir-nomatch" } else { "dir-nomore" };
            if cx.gives_up() {
                return main_menu::enter(vec![Sound(said)], cx);
            }
            return self.ask(vec![Sound(said)], cx);
        };
        words.push(Prompt::Name(name.clone()));
        let acts = [Act::Select, Act::NextName, Act::Cancel];
        words.extend(cx.offer_unless_short(Place::Directory, &acts));
        cx.ask(words);
        self.step = Step::Choosing(choice);
        Menu::Directory(self)
    }
}

/// As many keys as Asterisk asks for.
const LETTERS: usize = 3;
