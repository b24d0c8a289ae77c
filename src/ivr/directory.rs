//! Finding somebody by the first letters of a name.

use super::digits::{Entered, Entry};
use super::keys::{Act, Place};
use super::main_menu;
use super::recipients::{Post, chosen};
use super::{Command, Cx, Event, Menu};
use crate::mailbox::MailboxId;
use crate::say::Prompt::{self, Sound};

pub(super) struct Directory {
    post: Post,
    step: Step,
}

enum Step {
    Entering(Entry),
    Searching,
    Choosing { found: Vec<MailboxId>, at: usize },
}

impl Directory {
    pub(super) fn enter(post: Post, cx: &mut Cx) -> Menu {
        Self { post, step: Step::Searching }.ask(vec![Sound("dir-intro")], cx)
    }

    fn ask(mut self, words: Vec<Prompt>, cx: &mut Cx) -> Menu {
        self.step = Step::Entering(Entry::ask(words, LETTERS, cx));
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
            (Step::Searching, Event::Found(found)) => {
                let found = found.clone();
                self.show(found, 0, vec![], cx)
            }
            (Step::Choosing { found, at }, Event::Key(key)) => {
                let (found, at) = (std::mem::take(found), *at);
                match cx.act(Place::Directory, *key) {
                    Some(Act::Select) => chosen(self.post, vec![found[at].clone()], cx),
                    Some(Act::NextName) => self.show(found, at + 1, vec![], cx),
                    Some(Act::Cancel) => main_menu::enter(vec![], cx),
                    _ if cx.gives_up() => main_menu::enter(vec![], cx),
                    _ => self.show(found, at, vec![Sound("vm-sorry")], cx),
                }
            }
            (Step::Choosing { .. }, Event::TimedOut) if cx.gives_up() => {
                main_menu::enter(vec![], cx)
            }
            (Step::Choosing { found, at }, Event::TimedOut) => {
                let (found, at) = (std::mem::take(found), *at);
                self.show(found, at, vec![], cx)
            }
            (Step::Searching | Step::Choosing { .. }, _) => Menu::Directory(self),
        }
    }

    fn show(
        mut self,
        found: Vec<MailboxId>,
        at: usize,
        mut words: Vec<Prompt>,
        cx: &mut Cx,
    ) -> Menu {
        if cx.caller_gone() {
            return Menu::Over;
        }
        let Some(name) = found.get(at) else {
            let said = if at == 0 { "dir-nomatch" } else { "dir-nomore" };
            if cx.gives_up() {
                return main_menu::enter(vec![Sound(said)], cx);
            }
            return self.ask(vec![Sound(said), Sound("dir-intro")], cx);
        };
        words.push(Prompt::Name(name.clone()));
        words.extend(cx.offer(Place::Directory, &[Act::Select, Act::NextName, Act::Cancel]));
        cx.ask(words);
        self.step = Step::Choosing { found, at };
        Menu::Directory(self)
    }
}

/// As many keys as Asterisk asks for.
const LETTERS: usize = 3;
