//! The other side of a conversation, and what must be true of it whatever happens: no recording
//! that matters is lost, nothing is said to a dead line, an edit is told only when it is done, and
//! one thing happens at a time. The fuzz target and the storm of `tests/calls.rs` both use it.

use std::time::Duration;

use crate::ivr::{Command, Control, Ended, Event, Target, What};
use crate::say::Prompt;

/// What calls came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub delivered: u64,
    pub sent: u64,
    pub forwarded: u64,
    pub edits: u64,
    pub greetings: u64,
    pub logins: u64,
}

/// What the other side of a session knows of it.
#[derive(Debug, Default)]
pub struct Line {
    pub playing: bool,
    pub paused: bool,
    pub recording: Option<What>,
    pub stopping: bool,
    /// The question that waits for its answer.
    pub asked: Option<Command>,
    pub gone: bool,
    pub seen: Seen,
    held: Option<(What, Duration)>,
    failed: bool,
    hung_up: bool,
    /// The last edit is done, and may be told.
    edited: bool,
    /// Where the owner was told that a call may go.
    allowed: Option<Target>,
    /// The last event was a key.
    pressed: bool,
    /// The shortest message that is kept.
    shortest: Duration,
}

impl Line {
    /// `seen` is what other calls came to.
    pub fn new(shortest: Duration, seen: Seen) -> Self {
        Self { seen, shortest, ..Self::default() }
    }

    /// Something happens without the caller or the clock.
    pub fn waits(&self) -> bool {
        self.playing && !self.paused || self.recording.is_some() || self.asked.is_some()
    }

    /// The conversation is over.
    pub fn end(&self) {
        assert!(self.held.is_none(), "a recording is left");
        assert!(self.recording.is_none(), "over in mid-recording");
    }

    pub fn perform(&mut self, command: Command) {
        assert!(!self.hung_up, "{command:?} after hanging up");
        match &command {
            Command::Play(prompts) => self.play(prompts),
            Command::StopPlayback => {
                assert!(self.playing, "stops what does not play");
                (self.playing, self.paused) = (false, false);
            }
            Command::Control(control) => {
                assert!(self.playing, "controls what does not play");
                match control {
                    Control::Pause => self.paused = true,
                    Control::Resume => self.paused = false,
                    _ => {}
                }
            }
            Command::Record { what, limit, .. } => {
                assert!(self.asked.is_none(), "records while a question waits");
                assert!(self.recording.is_none() && self.held.is_none(), "records over another");
                assert!(!self.playing, "records what is said");
                assert!(*limit > Duration::ZERO, "records nothing");
                self.recording = Some(what.clone());
            }
            Command::StopRecording => {
                assert!(self.recording.is_some() && !self.stopping, "stops twice");
                self.stopping = true;
            }
            Command::Keep => {
                self.take("keeps");
                assert!(self.failed, "keeps what is whole");
            }
            Command::Discard => {
                let (what, lost) = self.take("discards");
                let matters =
                    matches!(what, What::Deposit | What::Message(_)) && lost >= self.shortest;
                assert!(!matters || self.pressed, "lost {lost:?}");
            }
            Command::HangUp => self.hung_up = true,
            Command::Fetch(_) | Command::Heard(_) => {}
            _ => {
                self.passes_on(&command);
                assert!(self.asked.is_none() && !self.playing, "two things at once: {command:?}");
                self.asked = Some(command);
            }
        }
    }

    fn play(&mut self, prompts: &[Prompt]) {
        assert!(self.asked.is_none(), "said while a question waits");
        assert!(!self.gone, "said to a dead line");
        assert!(self.recording.is_none(), "said into the recording");
        assert!(!prompts.is_empty(), "says nothing");
        let told = |name| prompts.contains(&Prompt::Sound(name));
        let edits = ["vm-deleted", "vm-undeleted", "vm-savedto", "vm-alldeleted"];
        assert!(self.edited || !edits.into_iter().any(told), "tells an edit that is not done");
        (self.playing, self.paused) = (true, false);
    }

    fn take(&mut self, does: &str) -> (What, Duration) {
        self.held.take().unwrap_or_else(|| panic!("{does} a recording, and there is none"))
    }

    /// What becomes of a recording.
    fn passes_on(&mut self, command: &Command) {
        match command {
            Command::Deliver(_) => {
                let (what, kept) = self.take("delivers");
                assert_eq!(what, What::Deposit);
                assert!(kept >= self.shortest && !self.failed, "delivers {kept:?}");
                self.seen.delivered += 1;
            }
            Command::Send { to, .. } => {
                let (what, kept) = self.take("sends");
                assert!(matches!(what, What::Message(_)), "sends {what:?}");
                assert!(kept >= self.shortest && !self.failed, "sends {kept:?}");
                assert!(!to.is_empty(), "sends to nobody");
                self.seen.sent += 1;
            }
            Command::Forward { to, intro, .. } => {
                assert_eq!(self.held.take().map(|(what, _)| what), intro.then_some(What::Intro));
                assert!(!to.is_empty(), "forwards to nobody");
                self.seen.forwarded += 1;
            }
            Command::KeepGreeting(greeting) => {
                let (what, _) = self.take("keeps");
                assert_eq!(what, What::Greeting(*greeting));
                assert!(!self.gone, "nobody has accepted it");
                self.seen.greetings += 1;
            }
            Command::Transfer(target @ (Target::CallBack(_) | Target::Number(_))) => {
                assert_eq!(self.allowed.take().as_ref(), Some(target), "calls without leave");
            }
            _ => {}
        }
    }

    pub fn observe(&mut self, event: &Event) {
        self.pressed = matches!(event, Event::Key(_));
        // What is told next may have to be read first.
        self.edited &= matches!(self.asked, Some(Command::Read(_)));
        match event {
            Event::PlaybackFinished => self.playing = false,
            Event::RecordingFinished { duration, ended } => {
                self.held = self.recording.take().map(|what| (what, *duration));
                (self.stopping, self.failed) = (false, *ended == Ended::Failed);
            }
            Event::HungUp => self.gone = true,
            Event::Key(_) | Event::TimedOut => {}
            Event::Identified(owner) => {
                self.seen.logins += u64::from(owner.is_some());
                self.asked = None;
            }
            Event::Done { done } => {
                if let Some(Command::MayCall(target)) = &self.asked {
                    self.allowed = done.then(|| target.clone());
                }
                if let Some(Command::Edit(..)) = self.asked {
                    self.edited = *done;
                    self.seen.edits += u64::from(*done);
                }
                self.asked = None;
            }
            Event::Delivered { .. } | Event::Loaded(_) | Event::Read(_) | Event::Found(_) => {
                self.asked = None;
            }
        }
    }
}
