//! What was recorded may be heard, made anew, and marked before it counts.

use super::deposit::Leaving;
use super::keys::{Act, Place};
use super::recording::{Purpose, accept};
use super::{Command, Cx, Event, Marks, Menu, Target};
use crate::say::Prompt::{self, Sound};

pub(super) struct Review {
    purpose: Purpose,
    marks: Marks,
}

impl Review {
    pub(super) fn enter(purpose: Purpose, cx: &mut Cx) -> Menu {
        cx.understood();
        Self { purpose, marks: Marks::default() }.ask(vec![], cx)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) => {
                let act = cx.act(Place::Review, key).filter(|act| self.acts().contains(act));
                match act {
                    Some(act) => {
                        cx.understood();
                        self.obey(act, cx)
                    }
                    None if cx.gives_up() => self.give_up(cx),
                    None => self.ask(vec![Sound("vm-sorry")], cx),
                }
            }
            Event::TimedOut if cx.gives_up() => self.give_up(cx),
            Event::TimedOut => self.ask(vec![], cx),
            Event::HungUp => accept(self.purpose, self.marks, None, cx),
            _ => Menu::Review(self),
        }
    }

    fn obey(mut self, act: Act, cx: &mut Cx) -> Menu {
        match act {
            Act::Accept => accept(self.purpose, self.marks, None, cx),
            Act::Listen => self.ask(vec![Prompt::Take], cx),
            Act::RecordAgain => {
                cx.stop_playback();
                cx.run(Command::Discard);
                self.purpose.once_more(cx)
            }
            Act::Urgent => {
                self.marks.urgent = !self.marks.urgent;
                let said =
                    if self.marks.urgent { "vm-marked-urgent" } else { "vm-marked-nonurgent" };
                self.ask(vec![Sound(said)], cx)
            }
            Act::Private => {
                self.marks.private = !self.marks.private;
                let said =
                    if self.marks.private { "vm-marked-private" } else { "vm-marked-nonprivate" };
                self.ask(vec![Sound(said)], cx)
            }
            Act::Operator => accept(self.purpose, self.marks, Some(Target::Operator), cx),
            Act::Cancel => self.cancel(cx),
            _ => Menu::Review(self),
        }
    }

    fn cancel(self, cx: &mut Cx) -> Menu {
        cx.stop_playback();
        cx.run(Command::Discard);
        match self.purpose {
            Purpose::Greeting(_, back) => back.go(vec![Sound("vm-notkept")], cx),
            Purpose::Send { .. } | Purpose::Intro { .. } => {
                super::main_menu::enter(vec![Sound("vm-notsent")], cx)
            }
            Purpose::Deposit(_) => Leaving::enter(Target::Operator, cx),
        }
    }

    /// One who says nothing has said all: a message is delivered, a greeting is not accepted.
    fn give_up(self, cx: &mut Cx) -> Menu {
        match self.purpose {
            Purpose::Deposit(_) | Purpose::Send { .. } | Purpose::Intro { .. } => {
                accept(self.purpose, self.marks, None, cx)
            }
            Purpose::Greeting(..) => self.cancel(cx),
        }
    }

    fn ask(self, mut words: Vec<Prompt>, cx: &mut Cx) -> Menu {
        let told: Vec<Act> = self
            .acts()
            .into_iter()
            .map(|act| match act {
                Act::Urgent if self.marks.urgent => Act::NotUrgent,
                Act::Private if self.marks.private => Act::NotPrivate,
                act => act,
            })
            .collect();
        words.extend(cx.offer(Place::Review, &told));
        cx.ask(words);
        Menu::Review(self)
    }

    /// What can be done here and now.
    fn acts(&self) -> Vec<Act> {
        let mut acts = vec![Act::Accept, Act::Listen, Act::RecordAgain];
        match &self.purpose {
            Purpose::Deposit(deposit) => {
                acts.extend(deposit.urgent.then_some(Act::Urgent));
                acts.extend(deposit.private.then_some(Act::Private));
                acts.extend(deposit.operator.then_some(Act::Operator));
            }
            Purpose::Send { .. } => acts.extend([Act::Urgent, Act::Private, Act::Cancel]),
            Purpose::Greeting(..) | Purpose::Intro { .. } => acts.push(Act::Cancel),
        }
        acts
    }
}
