//! The owner's main menu: what there is, and what can be done about it.

use super::acting::Acting;
use super::advanced::Advanced;
use super::folders::{Folders, Use};
use super::keys::{Act, Place};
use super::messages::Announcing;
use super::options::Options;
use super::recipients;
use super::visit::Visit;
use super::{Command, Cx, Event, Menu};
use crate::mailbox::greeting::Greeting;
use crate::say::Prompt::{self, Sound};
use crate::say::{Kind, Shelf};

/// The first thing after logging in.
pub(super) fn arrive(said: Vec<Prompt>, cx: &mut Cx) -> Menu {
    let Some(visit) = &cx.visit else { return Menu::Over };
    let shelf = visit.first_shelf();
    Opening::enter(shelf, Opened::Arrived(said), cx)
}

/// Says what has happened, then what can be done.
pub(super) fn enter(said: Vec<Prompt>, cx: &mut Cx) -> Menu {
    if cx.caller_gone() {
        return Menu::Over;
    }
    // Who is asked is no longer listening to one message after the other.
    if let Some(visit) = &mut cx.visit {
        visit.play_all = false;
    }
    Main.ask(said, cx)
}

/// A folder is being opened.
pub(super) struct Opening {
    shelf: Shelf,
    then: Opened,
}

pub(super) enum Opened {
    /// After logging in, and after these words.
    Arrived(Vec<Prompt>),
    Changed,
}

impl Opening {
    pub(super) fn enter(shelf: Shelf, then: Opened, cx: &mut Cx) -> Menu {
        cx.question(Command::Load(shelf.clone()));
        Menu::Opening(Self { shelf, then })
    }

    pub(super) fn on(self, event: Event, cx: &mut Cx) -> Menu {
        let Event::Loaded(items) = event else { return Menu::Opening(self) };
        let Some(visit) = &mut cx.visit else { return Menu::Over };
        visit.open(self.shelf, items);
        let said = match self.then {
            Opened::Arrived(mut said) => {
                said.extend(arrived(visit));
                said
            }
            Opened::Changed if visit.items.is_empty() => nothing(&visit.shelf),
            Opened::Changed => vec![Prompt::Shelf(visit.shelf.clone())],
        };
        enter(said, cx)
    }
}

/// "You have two new messages and one old message."
fn arrived(visit: &Visit) -> Vec<Prompt> {
    let counts = visit.owner.counts;
    let calm = counts.new.saturating_sub(counts.urgent_new);
    let all = [(counts.urgent_new, Kind::Urgent), (calm, Kind::New), (counts.old, Kind::Old)];
    let mut told: Vec<_> = all.into_iter().filter(|(n, _)| *n > 0).collect();
    if told.is_empty() {
        told.push((0, Kind::Any));
    }
    let mut said = vec![];
    if visit.owner.recorded.temporary {
        said.push(Sound("vm-tempgreetactive"));
    }
    said.push(Sound("vm-youhave"));
    for (at, (n, kind)) in told.into_iter().enumerate() {
        said.extend((at > 0).then_some(Sound("vm-and")));
        said.push(Prompt::Count(n, kind));
    }
    said
}

/// Waits for what the owner wants.
pub(super) struct Main;

impl Main {
    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            &Event::Key(key) => obey_key(key, cx),
            Event::TimedOut if cx.gives_up() => cx.goodbye(),
            Event::TimedOut => self.ask(vec![], cx),
            Event::HungUp => Menu::Over,
            _ => Menu::Main(self),
        }
    }

    fn ask(self, mut said: Vec<Prompt>, cx: &mut Cx) -> Menu {
        let Some(visit) = &cx.visit else { return Menu::Over };
        if visit.at.is_some() {
            let acts = after_a_message(visit);
            said.extend(cx.offer_unless_short(Place::Message, &acts));
        } else {
            said.extend(at_the_start(visit, cx));
        }
        cx.ask(said);
        Menu::Main(self)
    }
}

/// What a key means in the main menu, and while a message is told.
pub(super) fn obey_key(key: char, cx: &mut Cx) -> Menu {
    let heard = cx.visit.as_ref().is_some_and(|visit| visit.at.is_some());
    match cx.act(if heard { Place::Message } else { Place::Main }, key) {
        Some(act) => {
            cx.understood();
            obey(act, cx)
        }
        None if cx.gives_up() => cx.goodbye(),
        None => enter(vec![Sound("vm-sorry")], cx),
    }
}

fn obey(act: Act, cx: &mut Cx) -> Menu {
    let Some(visit) = &cx.visit else { return Menu::Over };
    if visit.items.is_empty() && matches!(act, Act::Play | Act::Repeat | Act::Next | Act::Previous)
    {
        let said = nothing(&visit.shelf);
        return enter(said, cx);
    }
    match act {
        Act::Play => Announcing::enter(0, cx),
        Act::Repeat => {
            let at = visit.at.unwrap_or(0);
            Announcing::enter(at, cx)
        }
        Act::Next => step(visit.next(), cx),
        Act::Previous => step(visit.previous(), cx),
        Act::Folders => Folders::enter(Use::Change, cx),
        Act::Advanced => Advanced::enter(vec![], cx),
        Act::Options => Options::enter(vec![], cx),
        Act::Help => help(cx),
        Act::Exit => cx.goodbye(),
        _ if visit.current().is_none() => {
            let said = if visit.items.is_empty() {
                nothing(&visit.shelf)
            } else {
                vec![Sound("vm-nomessage")]
            };
            enter(said, cx)
        }
        Act::Delete => Acting::delete_or_restore(cx),
        Act::Save => Folders::enter(Use::Save, cx),
        Act::Forward => recipients::forward(cx),
        _ => enter(vec![Sound("vm-sorry")], cx),
    }
}

fn step(to: Option<usize>, cx: &mut Cx) -> Menu {
    match to {
        Some(at) => Announcing::enter(at, cx),
        None => enter(vec![Sound("vm-nomore")], cx),
    }
}

/// "You have no work messages."
fn nothing(shelf: &Shelf) -> Vec<Prompt> {
    match shelf {
        Shelf::New => vec![Sound("vm-youhave"), Prompt::Count(0, Kind::New)],
        Shelf::Old => vec![Sound("vm-youhave"), Prompt::Count(0, Kind::Old)],
        Shelf::Filed(_) => vec![Sound("vm-emptyfolder"), Prompt::Shelf(shelf.clone())],
    }
}

/// Everything, once.
fn help(cx: &mut Cx) -> Menu {
    let Some(visit) = &cx.visit else { return Menu::Over };
    let said = if visit.at.is_some() {
        let mut said = first_of_all(visit, Place::Message, &SERVICES, cx);
        let mut acts = after_a_message(visit);
        acts.retain(|act| !SERVICES.contains(act));
        said.extend(cx.offer(Place::Message, &acts));
        said
    } else {
        at_the_start_in_full(visit, cx)
    };
    cx.ask(said);
    Menu::Main(Main)
}

fn at_the_start(visit: &Visit, cx: &Cx) -> Vec<Prompt> {
    if cx.offer_unless_short(Place::Main, &[Act::Exit]).is_empty() {
        return vec![];
    }
    at_the_start_in_full(visit, cx)
}

fn at_the_start_in_full(visit: &Visit, cx: &Cx) -> Vec<Prompt> {
    let acts = [&SERVICES[..], &[Act::Help, Act::Exit]].concat();
    first_of_all(visit, Place::Main, &acts, cx)
}

/// How to hear the messages of this folder, and what else there is.
fn first_of_all(visit: &Visit, place: Place, acts: &[Act], cx: &Cx) -> Vec<Prompt> {
    let mut said = vec![];
    if !visit.items.is_empty() {
        let keys = cx.keys();
        let play = keys.offer(place, &[Act::Play]);
        if keys.key(place, Act::Play) == Some('1') {
            // "Press one for new messages"
            said.extend([Sound("vm-onefor"), Prompt::Shelf(visit.shelf.clone())]);
        } else {
            said.extend(play);
        }
    }
    said.extend(cx.offer(place, acts));
    said
}

const SERVICES: [Act; 3] = [Act::Folders, Act::Advanced, Act::Options];

/// Only what is possible now.
fn after_a_message(visit: &Visit) -> Vec<Act> {
    let mut acts = vec![];
    acts.extend(visit.previous().map(|_| Act::Previous));
    acts.extend([Act::Advanced, Act::Repeat]);
    acts.extend(visit.next().map(|_| Act::Next));
    acts.push(if visit.is_deleted() { Act::Undelete } else { Act::Delete });
    if visit.owner.may.send && visit.current().is_some_and(|message| !message.private) {
        acts.push(Act::Forward);
    }
    acts.extend([Act::Save, Act::Help, Act::Exit]);
    acts
}

/// Whether the owner's temporary greeting is there, after a change of it.
pub(super) fn recorded(greeting: Greeting, there: bool, cx: &mut Cx) {
    let Some(visit) = &mut cx.visit else { return };
    let recorded = &mut visit.owner.recorded;
    match greeting {
        Greeting::Temporary => recorded.temporary = there,
        Greeting::Unavailable => recorded.unavailable = there,
        Greeting::Busy => recorded.busy = there,
        Greeting::Name => recorded.name = there,
    }
}
