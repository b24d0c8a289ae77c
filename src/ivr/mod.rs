//! The conversation with a caller, as a state machine that touches nothing.
//!
//! [`Session::handle`] takes one [`Event`]; [`Session::poll`] then yields [`Command`]s until it
//! returns `None`. In between there is no socket, no file and no clock. `call::driver` is the only
//! code that performs commands, and it promises three things in return: playback that was stopped
//! never reports [`Event::PlaybackFinished`]; a recording that was started always reports
//! [`Event::RecordingFinished`], even when the caller is gone; and every question is answered.
//!
//! One menu is one file. A menu is a value, and an event turns it into the next one; whatever it
//! does to the world is a verb of [`floor::Cx`].

mod acting;
mod advanced;
mod call_back;
mod change_pin;
mod deposit;
mod digits;
mod directory;
mod floor;
mod folders;
mod forward;
mod greetings;
pub mod keys;
mod login;
mod main_menu;
mod messages;
mod options;
mod recipients;
mod recording;
mod review;
mod sending;
mod set_up;
mod visit;
mod vocabulary;

use std::time::Instant;

use floor::{Cx, Floor};
pub use vocabulary::{
    Callee, Command, Control, Door, Edit, Ended, Event, Exits, Found, Item, Marks, May, Owner,
    Policy, SetUp, Target, What, Wishes,
};

pub struct Session {
    menu: Menu,
    cx: Cx,
}

impl Session {
    /// A caller leaves a message.
    pub fn deposit(callee: &Callee, policy: Policy, now: Instant) -> Self {
        let mut cx = Cx::new(policy, now);
        let menu = deposit::Greeting::enter(callee, &mut cx);
        Self { menu, cx }
    }

    /// An owner hears messages. `caller` is whose mailbox is meant where none is entered.
    pub fn visit(door: Door, caller: String, policy: Policy, now: Instant) -> Self {
        let mut cx = Cx::new(policy, now);
        let menu = login::Login::enter(door, caller, &mut cx);
        Self { menu, cx }
    }

    pub fn handle(&mut self, event: Event, now: Instant) {
        self.cx.observe(&event, now);
        let cx = &mut self.cx;
        self.menu = match std::mem::replace(&mut self.menu, Menu::Over) {
            Menu::Greeting(menu) => menu.on(&event, cx),
            Menu::Screen(menu) => menu.on(&event, cx),
            Menu::Dialling(menu) => menu.on(event, cx),
            Menu::Leaving(menu) => menu.on(&event, cx),
            Menu::Tone(menu) => menu.on(&event, cx),
            Menu::Recording(menu) => menu.on(&event, cx),
            Menu::Review(menu) => menu.on(&event, cx),
            Menu::Saving(menu) => menu.on(&event, cx),
            Menu::Login(menu) => menu.on(event, cx),
            Menu::SettingUp(menu) => menu.on(&event, cx),
            Menu::Opening(menu) => menu.on(event, cx),
            Menu::Main(menu) => menu.on(&event, cx),
            Menu::Reading(menu) => menu.on(event, cx),
            Menu::Announcing(menu) => menu.on(&event, cx),
            Menu::Listening(menu) => menu.on(&event, cx),
            Menu::Acting(menu) => menu.on(&event, cx),
            Menu::Folders(menu) => menu.on(&event, cx),
            Menu::Advanced(menu) => menu.on(&event, cx),
            Menu::Options(menu) => menu.on(&event, cx),
            Menu::Greetings(menu) => menu.on(&event, cx),
            Menu::OneGreeting(menu) => menu.on(&event, cx),
            Menu::Kept(menu) => menu.on(&event, cx),
            Menu::Erasing(menu) => menu.on(&event, cx),
            Menu::Expiring(menu) => menu.on(event, cx),
            Menu::ChangePin(menu) => menu.on(&event, cx),
            Menu::Recipients(menu) => menu.on(&event, cx),
            Menu::Directory(menu) => menu.on(&event, cx),
            Menu::How(menu) => menu.on(&event, cx),
            Menu::Replying(menu) => menu.on(event, cx),
            Menu::Sending(menu) => menu.on(&event, cx),
            Menu::CallBack(menu) => menu.on(&event, cx),
            Menu::Dial(menu) => menu.on(event, cx),
            Menu::Calling(menu) => menu.on(&event, cx),
            Menu::Goodbye => deposit::goodbye(&event, cx),
            Menu::Over => Menu::Over,
        };
    }

    pub fn poll(&mut self) -> Option<Command> {
        self.cx.poll()
    }

    /// When [`Event::TimedOut`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match self.cx.floor() {
            Floor::Open { until } | Floor::Paused { until } if !self.is_over() => Some(until),
            Floor::Open { .. }
            | Floor::Paused { .. }
            | Floor::Playing
            | Floor::Recording
            | Floor::Stopping
            | Floor::Asking => None,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.menu, Menu::Over)
    }
}

/// Where the caller is. Each variant lives in the file named after its flow.
enum Menu {
    Greeting(deposit::Greeting),
    Screen(deposit::Screen),
    Dialling(deposit::Dialling),
    Leaving(deposit::Leaving),
    Tone(recording::Tone),
    Recording(recording::Recording),
    Review(review::Review),
    Saving(recording::Saving),
    Login(login::Login),
    SettingUp(set_up::SettingUp),
    Opening(main_menu::Opening),
    Main(main_menu::Main),
    Reading(messages::Reading),
    Announcing(messages::Announcing),
    Listening(messages::Listening),
    Acting(acting::Acting),
    Folders(folders::Folders),
    Advanced(advanced::Advanced),
    Options(options::Options),
    Greetings(greetings::Greetings),
    OneGreeting(greetings::OneGreeting),
    Kept(greetings::Kept),
    Erasing(greetings::Erasing),
    Expiring(greetings::Expiring),
    ChangePin(change_pin::ChangePin),
    Recipients(recipients::Recipients),
    Directory(directory::Directory),
    How(forward::How),
    Replying(recipients::Replying),
    Sending(sending::Sending),
    CallBack(call_back::CallBack),
    Dial(call_back::Dial),
    Calling(call_back::Calling),
    /// The last words are being said.
    Goodbye,
    Over,
}
