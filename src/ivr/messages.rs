//! Hearing a message: what it is, then itself.

use super::keys::{Act, Place};
use super::main_menu;
use super::{Command, Control, Cx, Event, Menu, Wishes};
use crate::mailbox::Message;
use crate::say::Prompt::{self, Sound};

/// Position, marks, date, caller and length are told.
pub(super) struct Announcing;

impl Announcing {
    pub(super) fn enter(at: usize, cx: &mut Cx) -> Menu {
        Self::after(vec![], at, cx)
    }

    /// Something is said before.
    pub(super) fn after(mut words: Vec<Prompt>, at: usize, cx: &mut Cx) -> Menu {
        let Some(visit) = &mut cx.visit else { return Menu::Over };
        let last = visit.items.len().saturating_sub(1);
        let Some(item) = visit.items.get(at) else { return Menu::Over };
        let Some(message) = &item.message else {
            let asked = visit.unread(at);
            cx.question(Command::Read(asked.clone()));
            return Menu::Reading(Reading { words, at, asked });
        };
        let id = message.id;
        words.extend(envelope(message, (at, last), visit.owner.wishes));
        visit.at = Some(at);
        if cx.caller_gone() {
            return Menu::Over;
        }
        cx.run(Command::Fetch(id));
        cx.play(words);
        Menu::Announcing(Self)
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            Event::PlaybackFinished | Event::TimedOut => Listening::enter(cx),
            // The key that plays has nothing else to wish for here.
            &Event::Key(key) if cx.act(Place::Message, key) == Some(Act::Play) => {
                Listening::enter(cx)
            }
            &Event::Key(key) => main_menu::obey_key(key, cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Announcing(self),
        }
    }
}

/// What there is to tell of a message is looked up.
pub(super) struct Reading {
    words: Vec<Prompt>,
    at: usize,
    asked: Vec<u64>,
}

impl Reading {
    pub(super) fn on(self, event: Event, cx: &mut Cx) -> Menu {
        let Event::Read(messages) = event else { return Menu::Reading(self) };
        let Self { mut words, at, asked } = self;
        let Some(visit) = &mut cx.visit else { return Menu::Over };
        let at = visit.learn(&asked, messages, at);
        if at < visit.items.len() {
            return Announcing::after(words, at, cx);
        }
        // The last ones went while the owner was on the phone.
        words.push(Sound("vm-nomore"));
        main_menu::enter(words, cx)
    }
}

/// The message plays, or waits for a key in the middle.
pub(super) struct Listening {
    paused: bool,
}

impl Listening {
    fn enter(cx: &mut Cx) -> Menu {
        let Some(visit) = &mut cx.visit else { return Menu::Over };
        let Some(item) = visit.current_mut() else { return Menu::Over };
        item.heard = true;
        let Some(id) = visit.current().map(|message| message.id) else { return Menu::Over };
        let from = visit.begin_at(id);
        cx.play(vec![Prompt::Message { id, from }]);
        cx.run(Command::Heard(id));
        Menu::Listening(Self { paused: false })
    }

    pub(super) fn on(mut self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            Event::PlaybackFinished => finished(cx),
            &Event::Key(key) => {
                let place = if self.paused { Place::Paused } else { Place::Playing };
                match cx.act(place, key).and_then(control) {
                    Some(control) => {
                        match control {
                            Control::Pause => self.paused = true,
                            Control::Resume => self.paused = false,
                            _ => {}
                        }
                        cx.control(control);
                        Menu::Listening(self)
                    }
                    None => main_menu::obey_key(key, cx),
                }
            }
            Event::TimedOut => main_menu::enter(vec![], cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Listening(self),
        }
    }
}

fn finished(cx: &mut Cx) -> Menu {
    let Some(visit) = &mut cx.visit else { return Menu::Over };
    if !visit.play_all {
        return main_menu::enter(vec![], cx);
    }
    if let Some(next) = visit.at.and_then(|at| visit.in_one_go(at + 1)) {
        return Announcing::enter(next, cx);
    }
    visit.play_all = false;
    main_menu::enter(vec![Sound("vm-nomore")], cx)
}

fn control(act: Act) -> Option<Control> {
    Some(match act {
        Act::Pause => Control::Pause,
        Act::Resume => Control::Resume,
        Act::SkipForward => Control::Forward,
        Act::SkipBack => Control::Back,
        Act::Restart => Control::Restart,
        Act::Slower => Control::Slower,
        Act::Faster => Control::Faster,
        Act::Quieter => Control::Quieter,
        Act::Louder => Control::Louder,
        _ => return None,
    })
}

fn envelope(message: &Message, (at, last): (usize, usize), wishes: Wishes) -> Vec<Prompt> {
    let mut said = position(at, last, message.urgent);
    said.extend(message.private.then_some(Sound("vm-private")));
    // A sound that a PBX named for the kind of the call.
    let category = Some(&message.category).filter(|name| !name.is_empty());
    said.extend(category.cloned().map(Prompt::Category));
    if wishes.datetime {
        said.push(Prompt::DateTime(message.envelope.received));
    }
    if wishes.caller {
        said.push(Prompt::Caller(message.envelope.caller.clone()));
    }
    if wishes.duration.is_some_and(|least| message.duration >= least) {
        said.push(Prompt::Lasts(message.duration));
    }
    said
}

/// Date and caller, for one who asks for them.
pub(super) fn asked_for(message: &Message) -> Vec<Prompt> {
    let envelope = &message.envelope;
    vec![
        Prompt::DateTime(envelope.received),
        Prompt::Caller(envelope.caller.clone()),
        Prompt::Lasts(message.duration),
    ]
}

/// "First urgent message", "message 3".
fn position(at: usize, last: usize, urgent: bool) -> Vec<Prompt> {
    let whole = |name, order: Option<&'static str>| {
        let urgent = urgent.then_some("vm-Urgent");
        let words = order.into_iter().chain(urgent).chain(["vm-message"]);
        Prompt::Either(name, words.map(Sound).collect())
    };
    let number = Prompt::Number(u32::try_from(at + 1).unwrap_or(u32::MAX));
    match (at, urgent) {
        (0, false) => vec![whole("position/first", Some("vm-first"))],
        (0, true) => vec![whole("position/first-urgent", Some("vm-first"))],
        (_, false) if at == last => vec![whole("position/last", Some("vm-last"))],
        (_, true) if at == last => vec![whole("position/last-urgent", Some("vm-last"))],
        (_, false) => vec![whole("position/message", None), number],
        (_, true) => vec![whole("position/urgent", None), number],
    }
}
