//! Replays the transcripts in `tests/calls/`: `->` is what happens to the call, `<-` what the
//! session asks for. `BLESS=1` rewrites them; read the difference like prose.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};
use std::{env, fs};

use afterbeep::ivr::{Callee, Command, Ended, Event, Policy, Session};
use afterbeep::mailbox::greeting::Greeting;
use afterbeep::say::Prompt;

#[test]
fn transcripts() {
    let mut played = 0;
    for entry in fs::read_dir("tests/calls").unwrap() {
        let path = entry.unwrap().path();
        let script = fs::read_to_string(&path).unwrap();
        let replayed = replay(&script);
        if env::var_os("BLESS").is_some() {
            fs::write(&path, &replayed).unwrap();
        } else {
            assert_eq!(script, replayed, "{}", path.display());
        }
        played += 1;
    }
    assert!(played >= 15, "only {played} transcripts found");
}

/// However a caller behaves: no recording is lost, nothing is said to a dead line, and a session
/// that is not over always has something to wait for.
#[test]
fn nothing_is_lost_and_nothing_hangs() {
    let mut delivered = 0;
    for seed in 0..20_000 {
        delivered += storm(seed);
    }
    assert!(delivered > 2_000, "the storm hardly ever left a message: {delivered}");
}

/// One random call; how many messages it left.
#[allow(clippy::too_many_lines)] // one flat list of invariants
fn storm(seed: u64) -> u32 {
    let mut dice = Dice(seed);
    let mut now = Instant::now();
    let callee = Callee {
        number: "1000".into(),
        greeting: [None, Some(Greeting::Unavailable), Some(Greeting::Name)][dice.pick(3)],
        beep: dice.roll(4) > 0,
        full: dice.roll(10) == 0,
    };
    let full = callee.full;
    let policy = Policy {
        retries: u8::try_from(dice.roll(3)).unwrap(),
        instructions: dice.roll(2) == 0,
        ..policy()
    };
    let shortest = policy.shortest;
    let mut session = Session::deposit(&callee, policy, now);
    let (mut playing, mut recording, mut stopping, mut saving) = (false, false, false, false);
    let (mut held, mut failed): (Option<Duration>, bool) = (None, false);
    let (mut gone, mut hung_up, mut delivered) = (false, false, 0);
    for step in 0.. {
        while let Some(command) = session.poll() {
            assert!(!hung_up, "seed {seed}: {command:?} after hanging up");
            match command {
                Command::Play(prompts) => {
                    assert!(!gone, "seed {seed}: said to a dead line");
                    assert!(!recording, "seed {seed}: said into the recording");
                    assert!(!prompts.is_empty(), "seed {seed}: says nothing");
                    playing = true;
                }
                Command::StopPlayback => {
                    assert!(playing, "seed {seed}: stops what does not play");
                    playing = false;
                }
                Command::Record { limit, .. } => {
                    assert!(!full && !recording && held.is_none(), "seed {seed}: records");
                    assert!(limit > Duration::ZERO);
                    recording = true;
                }
                Command::StopRecording => {
                    assert!(recording && !stopping, "seed {seed}: stops twice");
                    stopping = true;
                }
                Command::Deliver => {
                    let kept = held.take().expect("delivers a recording that it has");
                    assert!(kept >= shortest && !failed, "seed {seed}: delivers {kept:?}");
                    saving = true;
                    delivered += 1;
                }
                Command::Keep => {
                    held.take().expect("keeps a recording that it has");
                    assert!(failed, "seed {seed}: keeps what is whole");
                }
                Command::Discard => {
                    let lost = held.take().expect("discards a recording that it has");
                    assert!(lost < shortest && !failed, "seed {seed}: lost {lost:?}");
                }
                Command::HangUp => hung_up = true,
            }
        }
        assert!(held.is_none(), "seed {seed}: neither delivered, kept nor discarded");
        if session.is_over() {
            assert!(!recording && !saving, "seed {seed}: over in mid-recording");
            break;
        }
        assert!(step < 200, "seed {seed}: never ends");
        assert!(
            playing || recording || saving || session.deadline().is_some(),
            "seed {seed}: waits for nothing"
        );
        let event = match dice.roll(8) {
            0 | 1 if playing => Event::PlaybackFinished,
            0..=2 if recording => {
                let ended = match dice.roll(4) {
                    // A hung disk can spoil the end as well.
                    1 => Ended::Failed,
                    _ if stopping => Ended::Stopped,
                    0 => Ended::Limit,
                    _ => Ended::Silence,
                };
                Event::RecordingFinished { duration: Duration::from_secs(dice.roll(9)), ended }
            }
            0..=2 if saving => Event::Delivered { saved: dice.roll(5) > 0 },
            3 if session.deadline().is_some() => {
                now = session.deadline().unwrap();
                Event::TimedOut
            }
            4 if !gone && dice.roll(6) == 0 => Event::HungUp,
            _ if !gone => Event::Key(['0', '1', '5', '9', '*', '#'][dice.pick(6)]),
            _ if recording => {
                Event::RecordingFinished { duration: Duration::from_secs(9), ended: Ended::Stopped }
            }
            _ if saving => Event::Delivered { saved: true },
            _ => continue,
        };
        match event {
            Event::PlaybackFinished => playing = false,
            Event::RecordingFinished { duration, ended } => {
                (recording, stopping, held) = (false, false, Some(duration));
                failed = ended == Ended::Failed;
            }
            Event::Delivered { .. } => saving = false,
            Event::HungUp => gone = true,
            Event::Key(_) | Event::TimedOut => {}
        }
        session.handle(event, now);
        assert!(session.deadline().is_none_or(|at| at > now), "seed {seed}: spins");
    }
    delivered
}

/// Feeds the `->` lines to a session and writes the transcript afresh.
fn replay(script: &str) -> String {
    let mut now = Instant::now();
    let mut session: Option<Session> = None;
    let mut out = String::new();
    for line in script.lines().filter(|line| !line.starts_with("<-")) {
        out += &format!("{line}\n");
        let Some(step) = line.strip_prefix("-> ") else { continue };
        if let Some(wishes) = step.strip_prefix("leave a message") {
            session = Some(Session::deposit(&callee(wishes), policy_for(wishes), now));
        } else {
            let session = session.as_mut().expect("start with «leave a message»");
            if step == "nothing" {
                now = session.deadline().expect("nothing to wait for");
            }
            session.handle(event(step), now);
        }
        while let Some(command) = session.as_mut().and_then(Session::poll) {
            out += &format!("<- {}\n", shown(&command));
        }
        if session.as_ref().is_some_and(Session::is_over) {
            out += "<- over\n";
        }
    }
    out
}

fn callee(wishes: &str) -> Callee {
    Callee {
        number: "1000".into(),
        greeting: match () {
            () if wishes.contains("temporary greeting") => Some(Greeting::Temporary),
            () if wishes.contains("own greeting") => Some(Greeting::Unavailable),
            () if wishes.contains("recorded name") => Some(Greeting::Name),
            () => None,
        },
        beep: !wishes.contains("no beep"),
        full: wishes.contains("full"),
    }
}

fn policy_for(wishes: &str) -> Policy {
    Policy {
        instructions: !wishes.contains("no instructions"),
        retries: u8::from(!wishes.contains("no retry")),
        ..policy()
    }
}

fn policy() -> Policy {
    Policy {
        shortest: Duration::from_secs(2),
        longest: Duration::from_secs(180),
        silence: Some(Duration::from_secs(10)),
        patience: Duration::from_secs(5),
        retries: 1,
        instructions: true,
    }
}

fn event(step: &str) -> Event {
    let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
    match word {
        "key" => Event::Key(rest.chars().next().unwrap()),
        "played" => Event::PlaybackFinished,
        "nothing" => Event::TimedOut,
        "hangs" => Event::HungUp,
        "saved" => Event::Delivered { saved: true },
        "unsaved" => Event::Delivered { saved: false },
        "recorded" => {
            let (seconds, ended) = rest.split_once(' ').unwrap_or((rest, "stopped"));
            Event::RecordingFinished {
                duration: Duration::from_secs(seconds.trim_end_matches('s').parse().unwrap()),
                ended: match ended {
                    "stopped" => Ended::Stopped,
                    "silence" => Ended::Silence,
                    "limit" => Ended::Limit,
                    "failed" => Ended::Failed,
                    _ => panic!("ended how? {step}"),
                },
            }
        }
        _ => panic!("unknown step: {step}"),
    }
}

fn shown(command: &Command) -> String {
    match command {
        Command::Play(prompts) => {
            format!("play {}", prompts.iter().map(said).collect::<Vec<_>>().join(", "))
        }
        Command::StopPlayback => "stop playback".into(),
        Command::Record { limit, silence } => format!(
            "record up to {}s{}",
            limit.as_secs(),
            silence.map_or(String::new(), |s| format!(", or {}s of silence", s.as_secs()))
        ),
        Command::StopRecording => "stop recording".into(),
        Command::Deliver => "deliver".into(),
        Command::Keep => "keep".into(),
        Command::Discard => "discard".into(),
        Command::HangUp => "hang up".into(),
    }
}

fn said(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Sound(name) => (*name).into(),
        Prompt::Digits(digits) => format!("digits {digits}"),
        Prompt::Greeting(greeting) => format!("own {greeting}"),
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll(sides as u64)).unwrap()
    }
}
