//! Leaving a message: greet, beep, record, save.
//!
//! A recording long enough to keep is delivered whatever ends it: `#`, silence, the limit, a
//! hang-up. One that a full or hung disk broke off is kept, however much of it is known to be
//! written. Only one that is too short is thrown away, and its caller is told.

use super::{Callee, Cx, Ended, Event, Menu};
use crate::mailbox::greeting::Greeting as Recorded;
use crate::say::Prompt::{self, Sound};

/// The greeting, then how to leave a message.
pub(super) struct Greeting {
    beep: bool,
}

impl Greeting {
    pub(super) fn enter(callee: &Callee, cx: &mut Cx) -> Menu {
        let mut words = greeting(callee);
        if callee.full {
            // Before any beep: nobody should speak to a mailbox that cannot keep a word.
            words.extend([Sound("vm-mailboxfull"), Sound("vm-goodbye")]);
            return cx.leave(words);
        }
        if cx.policy.instructions {
            words.push(Sound("vm-intro"));
        }
        cx.play(words);
        Menu::Greeting(Self { beep: callee.beep })
    }

    pub(super) fn on(self, event: Event, cx: &mut Cx) -> Menu {
        match event {
            Event::PlaybackFinished | Event::TimedOut | Event::Key('#') => {
                Beep { beep: self.beep, retries: cx.policy.retries }.enter(vec![], cx)
            }
            Event::HungUp => Menu::Over,
            _ => Menu::Greeting(self),
        }
    }
}

/// The tone, after which every word counts.
pub(super) struct Beep {
    beep: bool,
    retries: u8,
}

impl Beep {
    fn enter(self, mut words: Vec<Prompt>, cx: &mut Cx) -> Menu {
        words.extend(self.beep.then_some(Sound("beep")));
        if words.is_empty() {
            return Recording::enter(self, cx);
        }
        cx.play(words);
        Menu::Beep(self)
    }

    pub(super) fn on(self, event: Event, cx: &mut Cx) -> Menu {
        match event {
            Event::PlaybackFinished | Event::TimedOut => Recording::enter(self, cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Beep(self),
        }
    }
}

pub(super) struct Recording {
    again: Beep,
}

impl Recording {
    fn enter(again: Beep, cx: &mut Cx) -> Menu {
        cx.record();
        Menu::Recording(Self { again })
    }

    pub(super) fn on(self, event: Event, cx: &mut Cx) -> Menu {
        match event {
            Event::Key('#') | Event::HungUp => {
                cx.stop_recording();
                Menu::Recording(self)
            }
            Event::RecordingFinished { ended: Ended::Failed, .. } => {
                cx.keep();
                cx.leave(vec![Sound("vm-notsaved"), Sound("vm-goodbye")])
            }
            Event::RecordingFinished { duration, .. } if duration < cx.policy.shortest => {
                cx.discard();
                self.too_short(cx)
            }
            Event::RecordingFinished { .. } => {
                cx.deliver();
                Menu::Saving(Saving)
            }
            _ => Menu::Recording(self),
        }
    }

    fn too_short(self, cx: &mut Cx) -> Menu {
        let Beep { beep, retries } = self.again;
        if cx.caller_gone() {
            return Menu::Over;
        }
        match retries.checked_sub(1) {
            None => cx.leave(vec![Sound("vm-tooshort"), Sound("vm-goodbye")]),
            Some(retries) => Beep { beep, retries }
                .enter(vec![Sound("vm-tooshort"), Sound("vm-torerecord-tone")], cx),
        }
    }
}

/// The message is on its way to disk.
pub(super) struct Saving;

impl Saving {
    pub(super) fn on(self, event: Event, cx: &mut Cx) -> Menu {
        match event {
            Event::Delivered { saved } => {
                let said = if saved { "vm-msgsaved" } else { "vm-notsaved" };
                cx.leave(vec![Sound(said), Sound("vm-goodbye")])
            }
            _ => Menu::Saving(self),
        }
    }
}

/// The last words are being said; nothing that a caller presses changes them.
pub(super) fn goodbye(event: Event, cx: &mut Cx) -> Menu {
    match event {
        Event::PlaybackFinished | Event::TimedOut => cx.hang_up(),
        Event::HungUp => Menu::Over,
        _ => Menu::Goodbye,
    }
}

fn greeting(callee: &Callee) -> Vec<Prompt> {
    match callee.greeting {
        Some(Recorded::Name) => vec![Prompt::Greeting(Recorded::Name), Sound("vm-isunavail")],
        Some(recorded) => vec![Prompt::Greeting(recorded)],
        None => vec![
            Sound("vm-theperson"),
            Prompt::Digits(callee.number.clone()),
            Sound("vm-isunavail"),
        ],
    }
}
