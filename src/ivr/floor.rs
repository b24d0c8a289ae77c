//! The verbs of a menu, and who has the floor.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Command, Event, Menu, Policy};
use crate::say::Prompt;

/// Who has the floor. There is always an answer, so a session can never wait for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    Playing,
    Recording,
    /// The recording was told to stop and has not reported yet.
    Stopping,
    /// The message is on its way to disk.
    Saving,
    Open {
        until: Instant,
    },
}

/// All that a menu can do to the world is a method here.
pub(super) struct Cx {
    pub(super) policy: Policy,
    now: Instant,
    floor: Floor,
    caller_gone: bool,
    commands: VecDeque<Command>,
}

impl Cx {
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        let floor = Floor::Open { until: now + policy.patience };
        Self { policy, now, floor, caller_gone: false, commands: VecDeque::new() }
    }

    pub(super) fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub(super) fn floor(&self) -> Floor {
        self.floor
    }

    pub(super) fn caller_gone(&self) -> bool {
        self.caller_gone
    }

    /// What is true of an event whatever the menu makes of it.
    pub(super) fn observe(&mut self, event: Event, now: Instant) {
        self.now = now;
        match event {
            Event::Key(_) => {}
            Event::HungUp => {
                self.caller_gone = true;
                self.stop_playback();
            }
            Event::PlaybackFinished
            | Event::RecordingFinished { .. }
            | Event::Delivered { .. }
            | Event::TimedOut => self.open(),
        }
    }

    pub(super) fn play(&mut self, prompts: Vec<Prompt>) {
        if self.caller_gone {
            return;
        }
        self.stop_playback();
        self.floor = Floor::Playing;
        self.commands.push_back(Command::Play(prompts));
    }

    pub(super) fn stop_playback(&mut self) {
        if self.floor == Floor::Playing {
            self.open();
            self.commands.push_back(Command::StopPlayback);
        }
    }

    pub(super) fn record(&mut self) {
        self.stop_playback();
        self.floor = Floor::Recording;
        let Policy { longest: limit, silence, .. } = self.policy;
        self.commands.push_back(Command::Record { limit, silence });
    }

    pub(super) fn stop_recording(&mut self) {
        if self.floor == Floor::Recording {
            self.floor = Floor::Stopping;
            self.commands.push_back(Command::StopRecording);
        }
    }

    pub(super) fn deliver(&mut self) {
        self.floor = Floor::Saving;
        self.commands.push_back(Command::Deliver);
    }

    pub(super) fn keep(&mut self) {
        self.commands.push_back(Command::Keep);
    }

    pub(super) fn discard(&mut self) {
        self.commands.push_back(Command::Discard);
    }

    /// Says the last words, if anybody hears them.
    pub(super) fn leave(&mut self, words: Vec<Prompt>) -> Menu {
        if self.caller_gone {
            return Menu::Over;
        }
        self.play(words);
        Menu::Goodbye
    }

    pub(super) fn hang_up(&mut self) -> Menu {
        if !self.caller_gone {
            self.commands.push_back(Command::HangUp);
        }
        Menu::Over
    }

    fn open(&mut self) {
        self.floor = Floor::Open { until: self.now + self.policy.patience };
    }
}
