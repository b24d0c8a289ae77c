//! To whom: by number, several of them with `*` between, by list, or by name.

use super::advanced::Advanced;
use super::digits::{Entered, Entry};
use super::directory::Directory;
use super::forward::How;
use super::keys::{Act, Place};
use super::main_menu;
use super::recording::{Purpose, Tone};
use super::{Command, Cx, Event, Found, Menu};
use crate::mailbox::{MailboxId, MessageId};
use crate::say::Prompt::{self, Sound};

/// What is going to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Post {
    /// A copy of this message.
    Copy(MessageId),
    /// What will be recorded.
    New,
}

pub(super) fn forward(cx: &mut Cx) -> Menu {
    let visit = cx.visit.as_ref();
    let Some(message) = visit.and_then(|visit| visit.current()) else { return Menu::Over };
    if !visit.is_some_and(|visit| visit.owner.may.send) {
        return main_menu::enter(vec![Sound("vm-sorry")], cx);
    }
    if message.private {
        return main_menu::enter(vec![Sound("vm-noforward")], cx);
    }
    let id = message.id;
    Recipients::enter(Post::Copy(id), cx)
}

pub(super) fn compose(cx: &mut Cx) -> Menu {
    Recipients::enter(Post::New, cx)
}

pub(super) struct Recipients {
    post: Post,
    to: Vec<MailboxId>,
    /// Told when all are known: these get nothing.
    full: Vec<MailboxId>,
    step: Step,
}

enum Step {
    How,
    Entering(Entry),
    /// Numbers that wait to be looked up.
    Finding(Vec<String>),
}

impl Recipients {
    fn enter(post: Post, cx: &mut Cx) -> Menu {
        cx.understood();
        let by_name = cx.visit.as_ref().is_some_and(|visit| visit.owner.may.directory);
        let recipients = Self { post, to: vec![], full: vec![], step: Step::How };
        if by_name { recipients.ask_how(vec![], cx) } else { recipients.ask_number(vec![], cx) }
    }

    pub(super) fn on(mut self, event: &Event, cx: &mut Cx) -> Menu {
        if *event == Event::HungUp {
            return Menu::Over;
        }
        match (&mut self.step, event) {
            (Step::How, Event::Key(key)) => match cx.act(Place::Recipients, *key) {
                Some(Act::ByNumber) => self.ask_number(vec![], cx),
                Some(Act::ByName) => Directory::enter(self.post, cx),
                Some(Act::Cancel) => main_menu::enter(vec![], cx),
                _ if cx.gives_up() => main_menu::enter(vec![], cx),
                _ => self.ask_how(vec![Sound("vm-sorry")], cx),
            },
            (Step::How, Event::TimedOut) if cx.gives_up() => main_menu::enter(vec![], cx),
            (Step::How, Event::TimedOut) => self.ask_how(vec![], cx),
            (Step::Entering(entry), _) => match entry.on(event, cx) {
                Entered::Partly => Menu::Recipients(self),
                Entered::Star => main_menu::enter(vec![], cx),
                Entered::All(text) => self.entered(&text, cx),
            },
            (Step::Finding(_), Event::Found(found)) => {
                let found = found.clone();
                self.found(found, cx)
            }
            (Step::How | Step::Finding(_), _) => Menu::Recipients(self),
        }
    }

    fn ask_how(mut self, mut said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        let acts = [Act::ByNumber, Act::ByName, Act::Cancel];
        said.extend(cx.offer_unless_short(Place::Recipients, &acts));
        cx.ask(said);
        self.step = Step::How;
        Menu::Recipients(self)
    }

    fn ask_number(mut self, said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        let entry = Entry::ask(said, vec![Sound("vm-recipient")], LONGEST, cx);
        self.step = Step::Entering(entry.unhurried().list());
        Menu::Recipients(self)
    }

    fn entered(mut self, text: &str, cx: &mut Cx) -> Menu {
        let numbers = text.split('*').filter(|number| !number.is_empty()).map(str::to_owned);
        let mut numbers: Vec<String> = numbers.collect();
        numbers.reverse();
        let Some(first) = numbers.pop() else { return main_menu::enter(vec![], cx) };
        cx.question(Command::Find(first));
        self.step = Step::Finding(numbers);
        Menu::Recipients(self)
    }

    fn found(mut self, found: Found, cx: &mut Cx) -> Menu {
        let Step::Finding(numbers) = &mut self.step else { return Menu::Recipients(self) };
        if cx.caller_gone() {
            return Menu::Over;
        }
        let own = cx.visit.as_ref().map(|visit| visit.owner.id.clone());
        let others = |ids: Vec<MailboxId>| {
            ids.into_iter().filter(|id| Some(id) != own.as_ref()).collect::<Vec<_>>()
        };
        let (open, full) = (others(found.open), others(found.full));
        if open.is_empty() && full.is_empty() {
            return self.nobody(vec![Sound("pbx-invalid")], cx);
        }
        for id in open {
            if !self.to.contains(&id) && self.to.len() < MANY {
                self.to.push(id);
            }
        }
        for id in full {
            if !self.full.contains(&id) && self.full.len() < MANY {
                self.full.push(id);
            }
        }
        match numbers.pop() {
            Some(next) => {
                cx.question(Command::Find(next));
                Menu::Recipients(self)
            }
            None if self.to.is_empty() => {
                let said = are_full(&std::mem::take(&mut self.full));
                self.nobody(said, cx)
            }
            None => chosen(self.post, self.to, are_full(&self.full), cx),
        }
    }

    /// Asks again, unless it was asked often enough.
    fn nobody(self, why: Vec<Prompt>, cx: &mut Cx) -> Menu {
        if cx.gives_up() { main_menu::enter(why, cx) } else { self.ask_number(why, cx) }
    }
}

/// "Extension 5555: this mailbox is full."
pub(super) fn are_full(full: &[MailboxId]) -> Vec<Prompt> {
    if full.is_empty() {
        return vec![];
    }
    let mut told = named(full);
    told.push(Sound("vm-mailboxfull"));
    told
}

fn named(ids: &[MailboxId]) -> Vec<Prompt> {
    if ids.len() <= NAMED {
        return ids.iter().cloned().map(Prompt::Name).collect();
    }
    let number = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    vec![Prompt::Number(number), Sound("vm-recipients")]
}

/// The recipients are known, and told after `said`.
pub(super) fn chosen(post: Post, to: Vec<MailboxId>, said: Vec<Prompt>, cx: &mut Cx) -> Menu {
    cx.understood();
    let mut told = said;
    told.extend(named(&to));
    match post {
        Post::Copy(message) => How::enter(message, to, told, cx),
        Post::New => record(to, told, cx),
    }
}

fn record(to: Vec<MailboxId>, mut words: Vec<Prompt>, cx: &mut Cx) -> Menu {
    words.push(Sound("vm-intro"));
    let retries = cx.policy.retries;
    Tone::enter(Purpose::Send { to, retries }, words, cx)
}

/// An answer to whoever sent the message.
pub(super) struct Replying;

impl Replying {
    pub(super) fn enter(cx: &mut Cx) -> Menu {
        let message = cx.visit.as_ref().and_then(|visit| visit.current());
        let Some(message) = message else { return main_menu::enter(vec![], cx) };
        let number = message.envelope.caller.number.clone();
        if number.is_empty() {
            return Advanced::enter(vec![Sound("vm-nonumber")], cx);
        }
        cx.question(Command::Find(number));
        Menu::Replying(Self)
    }

    pub(super) fn on(self, event: Event, cx: &mut Cx) -> Menu {
        match event {
            Event::Found(Found { open: to, .. }) if to.len() == 1 => {
                let told = named(&to);
                record(to, told, cx)
            }
            Event::Found(Found { full, .. }) if full.len() == 1 => {
                Advanced::enter(are_full(&full), cx)
            }
            Event::Found(_) => Advanced::enter(vec![Sound("vm-nobox")], cx),
            _ => Menu::Replying(self),
        }
    }
}

/// Keys of one entry: several numbers.
const LONGEST: usize = 128;
/// Mailboxes that one message goes to at most.
const MANY: usize = 500;
/// So many names are told.
const NAMED: usize = 4;
