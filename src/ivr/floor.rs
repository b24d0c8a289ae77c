//! The verbs of a menu, and who has the floor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::{Act, KeyMap, Place, Style};
use super::visit::Visit;
use super::{Command, Control, Event, Menu, Policy, What};
use crate::say::Prompt::{self, Sound};

/// Who has the floor. There is always an answer, so a session can never wait for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    Playing,
    /// What plays waits for a key.
    Paused {
        until: Instant,
    },
    Recording,
    /// The recording was told to stop and has not reported yet.
    Stopping,
    /// A question waits for its answer.
    Asking,
    Open {
        until: Instant,
    },
}

/// All that a menu can do to the world is a method here.
pub(super) struct Cx {
    pub(super) policy: Policy,
    /// The owner's, once somebody has logged in.
    pub(super) visit: Option<Visit>,
    now: Instant,
    floor: Floor,
    caller_gone: bool,
    /// How often the caller has pressed nothing that a menu knows.
    rounds: u8,
    commands: VecDeque<Command>,
}

impl Cx {
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        let floor = Floor::Open { until: now + policy.patience };
        let commands = VecDeque::new();
        Self { policy, visit: None, now, floor, caller_gone: false, rounds: 0, commands }
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

    pub(super) fn keys(&self) -> Arc<KeyMap> {
        self.policy.keys.clone()
    }

    pub(super) fn act(&self, place: Place, key: char) -> Option<Act> {
        self.policy.keys.act(place, key)
    }

    /// What is true of an event whatever the menu makes of it.
    pub(super) fn observe(&mut self, event: &Event, now: Instant) {
        self.now = now;
        match event {
            Event::Key(_) => {}
            Event::HungUp => {
                self.caller_gone = true;
                self.stop_playback();
            }
            // What was paused is not heard any more.
            Event::TimedOut => {
                self.stop_playback();
                self.open();
            }
            Event::PlaybackFinished
            | Event::RecordingFinished { .. }
            | Event::Delivered { .. }
            | Event::Identified(_)
            | Event::Loaded(_)
            | Event::Read(_)
            | Event::Found(_)
            | Event::Done { .. } => self.open(),
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

    /// Says something, if there is something to say, and waits for a key.
    pub(super) fn ask(&mut self, prompts: Vec<Prompt>) {
        if prompts.is_empty() {
            self.listen(self.policy.patience);
        } else {
            self.play(prompts);
        }
    }

    /// Waits for a key in silence.
    pub(super) fn listen(&mut self, patience: Duration) {
        self.stop_playback();
        self.floor = Floor::Open { until: self.now + patience };
    }

    pub(super) fn stop_playback(&mut self) {
        if let Floor::Playing | Floor::Paused { .. } = self.floor {
            self.open();
            self.commands.push_back(Command::StopPlayback);
        }
    }

    pub(super) fn control(&mut self, control: Control) {
        match control {
            Control::Pause => self.floor = Floor::Paused { until: self.now + LONGEST_PAUSE },
            Control::Resume => self.floor = Floor::Playing,
            _ => {}
        }
        self.commands.push_back(Command::Control(control));
    }

    pub(super) fn record(&mut self, what: What) {
        self.stop_playback();
        self.floor = Floor::Recording;
        let Policy { longest, longest_greeting, silence, .. } = self.policy;
        let limit = match what {
            What::Deposit | What::Message(_) | What::Intro => longest,
            What::Greeting(_) => longest_greeting,
        };
        self.commands.push_back(Command::Record { what, limit, silence });
    }

    pub(super) fn stop_recording(&mut self) {
        if self.floor == Floor::Recording {
            self.floor = Floor::Stopping;
            self.commands.push_back(Command::StopRecording);
        }
    }

    /// Does something that is answered: until then nothing else happens.
    pub(super) fn question(&mut self, command: Command) {
        self.stop_playback();
        self.floor = Floor::Asking;
        self.commands.push_back(command);
    }

    /// Does something that is not answered.
    pub(super) fn run(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// A key or word that the menu knows: the caller is with us.
    pub(super) fn understood(&mut self) {
        self.rounds = 0;
    }

    /// Counts a wrong or missing key; true once the caller has had their tries.
    pub(super) fn gives_up(&mut self) -> bool {
        self.rounds = self.rounds.saturating_add(1);
        self.rounds >= self.policy.rounds
    }

    /// The keys of a menu, told where that is wished.
    pub(super) fn offer(&self, place: Place, acts: &[Act]) -> Vec<Prompt> {
        self.policy.keys.offer(place, acts)
    }

    /// The same, but left out for those who know the keys and have not yet hesitated.
    pub(super) fn offer_unless_short(&self, place: Place, acts: &[Act]) -> Vec<Prompt> {
        if self.is_short() { vec![] } else { self.offer(place, acts) }
    }

    pub(super) fn is_short(&self) -> bool {
        self.policy.keys.style == Style::Short && self.rounds == 0
    }

    /// Says the last words, if anybody hears them.
    pub(super) fn leave(&mut self, words: Vec<Prompt>) -> Menu {
        if self.caller_gone {
            return Menu::Over;
        }
        self.play(words);
        Menu::Goodbye
    }

    pub(super) fn goodbye(&mut self) -> Menu {
        self.leave(vec![Sound("vm-goodbye")])
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

/// A call that was forgotten on pause ends some time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
