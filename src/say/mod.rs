//! What is said, free of any language; and how one language says it.
//!
//! A sound's name is Asterisk's where Asterisk has one, so that a sound pack made for Asterisk
//! fits. Where it has a sentence that names keys, and ours is made of parts that fit any keys, a
//! clip has both: the whole, and the parts for packs without it.

mod datetime;
pub mod lang;
mod number;

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::mailbox::greeting::Greeting;
use crate::mailbox::{CallerId, Folder, MailboxId, MessageId};

use datetime::Moment;
pub use lang::Clock;
use lang::Language;

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// One recorded sound, by its name below `sounds/<language>/`.
    Sound(&'static str),
    /// One sound where a pack has it, else what stands for it.
    Either(&'static str, Vec<Prompt>),
    /// A number spelled one character after the other.
    Digits(String),
    Number(u32),
    /// A key, at the end of a sentence that tells what it does.
    Key(char),
    /// The owner's own recording.
    Greeting(Greeting),
    /// The recorded name of a mailbox's owner, else the mailbox's number.
    Name(MailboxId),
    /// "three new messages"
    Count(u32, Kind),
    /// "your work messages"
    Shelf(Shelf),
    DateTime(i64),
    Lasts(Duration),
    Caller(CallerId),
    /// A sound that a PBX named for the kind of a call.
    Category(String),
    /// The audio of a message.
    Message {
        id: MessageId,
        from: Duration,
    },
    /// What was just recorded.
    Take,
}

/// Which messages are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    New,
    Urgent,
    Old,
    Any,
}

/// Messages that are listened to together: new ones, heard ones, or those of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shelf {
    New,
    Old,
    Filed(Folder),
}

/// A recording to be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clip {
    /// Below `sounds/<language>/`, without extension; where a language has none, the parts.
    Sound {
        name: String,
        parts: Vec<Clip>,
    },
    Greeting(Greeting),
    /// Of another mailbox; the clips where nothing is recorded.
    Name(MailboxId, Vec<Clip>),
    /// The recorded name of whoever has this number, if anybody is known by it; the clips else:
    /// for one with a mailbox, and for a stranger.
    Caller {
        number: String,
        known: Vec<Clip>,
        extension: Vec<Clip>,
        stranger: Vec<Clip>,
    },
    Message {
        id: MessageId,
        from: Duration,
    },
    Take,
}

impl Clip {
    pub(crate) fn either(name: impl Into<String>, parts: Vec<Clip>) -> Self {
        Self::Sound { name: name.into(), parts }
    }
}

/// How somebody is spoken to.
#[derive(Clone, Debug)]
pub struct Voice {
    pub language: &'static Language,
    pub zone: TimeZone,
    /// `None`: as the language has it.
    pub clock: Option<Clock>,
    /// Asterisk's tokens; `None`: as the language has it.
    pub date: Option<String>,
    /// Unix seconds.
    pub now: i64,
}

impl Voice {
    pub fn new(language: &str, now: i64) -> Self {
        let language = lang::of(language);
        Self { language, zone: TimeZone::UTC, clock: None, date: None, now }
    }

    /// The recordings that say `prompts`, in their order.
    pub fn clips(&self, prompts: &[Prompt]) -> Vec<Clip> {
        prompts.iter().flat_map(|prompt| self.said(prompt)).collect()
    }

    fn said(&self, prompt: &Prompt) -> Vec<Clip> {
        match prompt {
            Prompt::Sound(name) => vec![sound(*name)],
            Prompt::Either(name, parts) => vec![Clip::either(*name, self.clips(parts))],
            Prompt::Digits(text) => spelled(text),
            Prompt::Number(n) => self.language.number(*n, None),
            Prompt::Key(key) => character(*key).into_iter().map(|name| self.key(name)).collect(),
            Prompt::Greeting(greeting) => vec![Clip::Greeting(*greeting)],
            Prompt::Name(mailbox) => {
                let mut clips = vec![sound("vm-extension")];
                clips.extend(spelled(mailbox.number()));
                vec![Clip::Name(mailbox.clone(), clips)]
            }
            Prompt::Count(n, kind) => self.count(*n, *kind),
            Prompt::Shelf(shelf) => vec![named(shelf)],
            Prompt::DateTime(at) => {
                let moment = Moment::new(self.language, self.clock, &self.zone, [*at, self.now]);
                moment.said(self.date.as_deref().unwrap_or(self.language.date))
            }
            Prompt::Lasts(duration) => self.duration(*duration),
            Prompt::Caller(caller) => vec![from(caller)],
            Prompt::Category(name) => vec![sound(name.clone())],
            Prompt::Message { id, from } => vec![Clip::Message { id: *id, from: *from }],
            Prompt::Take => vec![Clip::Take],
        }
    }

    fn key(&self, name: String) -> Clip {
        match (self.language.keys, name.strip_prefix("digits/")) {
            (Some(keys), Some(key)) => Clip::either(format!("{keys}/{key}"), vec![sound(name)]),
            (Some(_) | None, _) => sound(name),
        }
    }

    fn count(&self, n: u32, kind: Kind) -> Vec<Clip> {
        let (one, many, of) = match kind {
            Kind::New => ("counts/new-one", "counts/new", Some("vm-INBOX")),
            Kind::Urgent => ("counts/urgent-one", "counts/urgent", Some("vm-Urgent")),
            Kind::Old => ("counts/old-one", "counts/old", Some("vm-Old")),
            Kind::Any => ("counts/one", "counts/many", None),
        };
        let clip =
            |name, noun| Clip::either(name, of.into_iter().chain([noun]).map(sound).collect());
        let nouns = [clip(one, "vm-message"), clip(many, "vm-messages")];
        if n > 0 {
            return self.language.counted(n, self.language.message, nouns);
        }
        let none = match kind {
            Kind::New => "counts/no-new",
            Kind::Urgent => "counts/no-urgent",
            Kind::Old => "counts/no-old",
            Kind::Any => "counts/none",
        };
        let [_, many] = nouns;
        vec![Clip::either(none, vec![sound("vm-no"), many])]
    }

    /// Minutes and seconds; hours are many minutes.
    fn duration(&self, duration: Duration) -> Vec<Clip> {
        let seconds = duration.as_secs_f32().round().clamp(1.0, 1e6);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let seconds = seconds as u32;
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        let language = self.language;
        let mut clips = vec![sound("vm-duration")];
        if minutes > 0 {
            let nouns = [sound("vm-minute"), sound("vm-minutes")];
            clips.extend(language.counted(minutes, language.minute, nouns));
        }
        if seconds > 0 {
            clips.extend((minutes > 0).then(|| sound("vm-and")));
            let nouns = [sound("vm-second"), sound("vm-seconds")];
            clips.extend(language.counted(seconds, language.second, nouns));
        }
        clips
    }
}

fn named(shelf: &Shelf) -> Clip {
    let (name, parts) = match shelf {
        Shelf::New => ("shelf/new", vec!["vm-INBOX", "vm-messages"]),
        Shelf::Old => ("shelf/old", vec!["vm-Old", "vm-messages"]),
        Shelf::Filed(Folder::Work) => ("shelf/work", vec!["vm-Work", "vm-messages"]),
        Shelf::Filed(Folder::Family) => ("shelf/family", vec!["vm-Family", "vm-messages"]),
        Shelf::Filed(Folder::Friends) => ("shelf/friends", vec!["vm-Friends", "vm-messages"]),
        Shelf::Filed(Folder::Deleted) => ("shelf/deleted", vec![]),
        Shelf::Filed(Folder::Sent) => ("shelf/sent", vec![]),
        Shelf::Filed(Folder::Other(name)) => match &**name {
            "Cust1" => ("vm-Cust1", vec![]),
            "Cust2" => ("vm-Cust2", vec![]),
            "Cust3" => ("vm-Cust3", vec![]),
            "Cust4" => ("vm-Cust4", vec![]),
            "Cust5" => ("vm-Cust5", vec![]),
            _ => ("shelf/other", vec![]),
        },
        Shelf::Filed(Folder::Inbox | Folder::Urgent | Folder::Old) => ("shelf/other", vec![]),
    };
    Clip::either(name, parts.into_iter().map(sound).collect())
}

/// Nobody is passed over in silence: a plus, letters, and one who wishes to be unknown are said.
fn from(caller: &CallerId) -> Clip {
    let number = caller.number.clone();
    if spelled(&number).is_empty() {
        return sound("vm-unknown-caller");
    }
    let led = |lead: &'static str| {
        let mut clips = vec![sound(lead)];
        clips.extend(spelled(&number));
        clips
    };
    Clip::Caller {
        known: vec![sound("vm-from")],
        extension: led("vm-from-extension"),
        stranger: led("vm-from-phonenumber"),
        number,
    }
}

fn sound(name: impl Into<String>) -> Clip {
    Clip::Sound { name: name.into(), parts: vec![] }
}

/// What nobody would listen to the end of is cut.
const LONGEST: usize = 40;

/// Within a number digits keep the voice up, but for the last.
fn spelled(text: &str) -> Vec<Clip> {
    let names: Vec<String> = text.chars().filter_map(character).take(LONGEST).collect();
    let last = names.len().saturating_sub(1);
    let clip = |(at, name): (usize, String)| match name.strip_prefix("digits/") {
        Some(digit) if at < last && digit.len() == 1 => {
            Clip::either(format!("digits/mid-{digit}"), vec![sound(name)])
        }
        Some(_) | None => sound(name),
    };
    names.into_iter().enumerate().map(clip).collect()
}

fn character(c: char) -> Option<String> {
    match c.to_ascii_lowercase() {
        digit @ '0'..='9' => Some(format!("digits/{digit}")),
        '*' => Some("digits/star".into()),
        '#' => Some("digits/pound".into()),
        letter @ 'a'..='z' => Some(format!("letters/{letter}")),
        '-' => Some("letters/dash".into()),
        '+' => Some("letters/plus".into()),
        '.' => Some("letters/dot".into()),
        '_' => Some("letters/underscore".into()),
        '@' => Some("letters/at".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
