//! The conversation with a caller, as a state machine that touches nothing.
//!
//! [`Session::handle`] takes one [`Event`]; [`Session::poll`] then yields [`Command`]s until it
//! returns `None`. In between there is no socket, no file and no clock. `call::driver` is the only
//! code that performs commands, and it promises three things in return: playback that was stopped
//! never reports [`Event::PlaybackFinished`]; a recording that was started always reports
//! [`Event::RecordingFinished`], even when the caller is gone; and [`Command::Deliver`] is always
//! answered by [`Event::Delivered`].

mod deposit;
mod floor;

use std::time::{Duration, Instant};

use crate::mailbox::greeting::Greeting;
use crate::say::Prompt;

use floor::{Cx, Floor};

/// What happened to the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Key(char),
    PlaybackFinished,
    RecordingFinished {
        duration: Duration,
        ended: Ended,
    },
    /// The answer to [`Command::Deliver`]: whether the message is safe.
    Delivered {
        saved: bool,
    },
    TimedOut,
    HungUp,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// [`Command::StopRecording`] ended it.
    Stopped,
    Silence,
    Limit,
    /// It could not be written on. More than is reported may yet reach the disk.
    Failed,
}

/// What the call should do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Play(Vec<Prompt>),
    StopPlayback,
    Record {
        limit: Duration,
        /// Ends after so much silence.
        silence: Option<Duration>,
    },
    StopRecording,
    /// Turns the finished recording into a message.
    Deliver,
    /// Keeps a recording that broke off: what of it reaches the disk becomes a message later.
    Keep,
    Discard,
    HangUp,
}

/// Whom the caller wants to reach, and whether there is room.
#[derive(Clone, Debug)]
pub struct Callee {
    /// As it is spoken when the owner recorded nothing.
    pub number: String,
    pub greeting: Option<Greeting>,
    pub beep: bool,
    pub full: bool,
}

/// The rules of a deposit.
#[derive(Clone, Debug)]
pub struct Policy {
    pub shortest: Duration,
    pub longest: Duration,
    /// Ends a recording; `None`: silence never does.
    pub silence: Option<Duration>,
    /// How long the caller may stay silent when asked for a key.
    pub patience: Duration,
    /// How often a caller may try again after too short a message.
    pub retries: u8,
    /// Instructions between greeting and beep.
    pub instructions: bool,
}

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

    pub fn handle(&mut self, event: Event, now: Instant) {
        self.cx.observe(event, now);
        let cx = &mut self.cx;
        self.menu = match std::mem::replace(&mut self.menu, Menu::Over) {
            Menu::Greeting(menu) => menu.on(event, cx),
            Menu::Beep(menu) => menu.on(event, cx),
            Menu::Recording(menu) => menu.on(event, cx),
            Menu::Saving(menu) => menu.on(event, cx),
            Menu::Goodbye => deposit::goodbye(event, cx),
            Menu::Over => Menu::Over,
        };
    }

    pub fn poll(&mut self) -> Option<Command> {
        self.cx.poll()
    }

    /// When [`Event::TimedOut`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match self.cx.floor() {
            Floor::Open { until } if !self.is_over() => Some(until),
            Floor::Open { .. }
            | Floor::Playing
            | Floor::Recording
            | Floor::Stopping
            | Floor::Saving => None,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.menu, Menu::Over)
    }
}

/// Where the caller is. Each variant lives in the file named after its flow.
enum Menu {
    Greeting(deposit::Greeting),
    Beep(deposit::Beep),
    Recording(deposit::Recording),
    Saving(deposit::Saving),
    /// The last words are being said.
    Goodbye,
    Over,
}
