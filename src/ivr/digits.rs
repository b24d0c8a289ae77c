//! Keys that make one number: until `#`, a count, or silence.

use std::time::Duration;

use super::{Cx, Event};
use crate::say::Prompt;

/// What is being entered.
#[derive(Debug)]
pub(super) struct Entry {
    /// What is asked for.
    question: Vec<Prompt>,
    text: String,
    most: usize,
    /// How long to wait for another key.
    next: Duration,
    /// So many keys are enough: of more, or `#`, hardly anything is waited for.
    enough: usize,
    /// Whether `*` stands between two numbers.
    lists: bool,
    /// How often it may still be begun anew: only machines go on for ever.
    anew: u8,
}

/// How far an entry has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// More keys may come.
    Partly,
    /// It is whole; empty, where nothing was pressed before `#` or in time.
    All(String),
    /// `*` before anything else: the caller wants away.
    Star,
}

impl Entry {
    /// Says what is to be said before, and what is asked for; and waits.
    pub fn ask(before: Vec<Prompt>, question: Vec<Prompt>, most: usize, cx: &mut Cx) -> Self {
        cx.play(before.into_iter().chain(question.iter().cloned()).collect());
        Self { question, ..Self::of(String::new(), most) }
    }

    /// One that began with a key.
    pub fn begun(key: char, most: usize, cx: &mut Cx) -> Self {
        cx.listen(NEXT);
        Self::of(key.into(), most)
    }

    fn of(text: String, most: usize) -> Self {
        let (next, question) = (NEXT, vec![]);
        Self { question, text, most, next, enough: most, lists: false, anew: ANEW }
    }

    /// A number that somebody reads from a paper.
    pub fn unhurried(self) -> Self {
        Self { next: NEXT_OF_A_NUMBER, ..self }
    }

    /// Several numbers, with `*` between them.
    pub fn list(self) -> Self {
        Self { lists: true, ..self }
    }

    /// One of which so many keys are asked for. Who ends it with `#` all the same, as any other, does
    /// not say no to what comes next.
    pub fn enough(self, enough: usize) -> Self {
        Self { enough, ..self }
    }

    pub fn on(&mut self, event: &Event, cx: &mut Cx) -> Entered {
        match event {
            Event::Key('*') if self.text.is_empty() => Entered::Star,
            Event::Key('*') if !self.lists => self.begin_anew(cx),
            Event::Key('#') | Event::TimedOut => self.whole(cx),
            Event::Key(key) => {
                self.text.push(*key);
                cx.listen(if self.text.len() < self.enough { self.next } else { SOON });
                if self.text.len() >= self.most { self.whole(cx) } else { Entered::Partly }
            }
            Event::PlaybackFinished => {
                cx.listen(FIRST);
                Entered::Partly
            }
            _ => Entered::Partly,
        }
    }

    /// What was entered was a mistake.
    fn begin_anew(&mut self, cx: &mut Cx) -> Entered {
        if self.anew == 0 {
            return Entered::Star;
        }
        self.anew -= 1;
        self.text.clear();
        if self.question.is_empty() {
            cx.listen(FIRST);
        } else {
            cx.play(self.question.clone());
        }
        Entered::Partly
    }

    fn whole(&mut self, cx: &mut Cx) -> Entered {
        cx.stop_playback();
        Entered::All(std::mem::take(&mut self.text))
    }
}

/// Longer than any number.
pub(super) const MOST: usize = 32;
const ANEW: u8 = 5;
/// For the first key, and for each after it, as in Asterisk.
const FIRST: Duration = Duration::from_secs(10);
const NEXT: Duration = Duration::from_secs(3);
const NEXT_OF_A_NUMBER: Duration = Duration::from_secs(6);
/// For a key that need not come.
const SOON: Duration = Duration::from_millis(800);
