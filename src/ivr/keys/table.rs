//! The menus and their usual keys.

use super::words::Act;

/// A menu, or a place where keys mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Greeting,
    Screen,
    Recording,
    Review,
    Main,
    Message,
    Playing,
    Paused,
    Advanced,
    Folders,
    Options,
    Greetings,
    OneGreeting,
    Recipients,
    Forward,
    CallBack,
    Directory,
}

impl Place {
    pub const ALL: [Self; 17] = [
        Self::Greeting,
        Self::Screen,
        Self::Recording,
        Self::Review,
        Self::Main,
        Self::Message,
        Self::Playing,
        Self::Paused,
        Self::Advanced,
        Self::Folders,
        Self::Options,
        Self::Greetings,
        Self::OneGreeting,
        Self::Recipients,
        Self::Forward,
        Self::CallBack,
        Self::Directory,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Screen => "screen",
            Self::Recording => "recording",
            Self::Review => "review",
            Self::Main => "main",
            Self::Message => "message",
            Self::Playing => "playing",
            Self::Paused => "paused",
            Self::Advanced => "advanced",
            Self::Folders => "folders",
            Self::Options => "options",
            Self::Greetings => "greetings",
            Self::OneGreeting => "one-greeting",
            Self::Recipients => "recipients",
            Self::Forward => "forward",
            Self::CallBack => "call-back",
            Self::Directory => "directory",
        }
    }

    /// The head of its part of the card.
    pub fn title(self) -> &'static str {
        match self {
            Self::Greeting => "While the greeting plays (callers)",
            Self::Screen => "Where callers must show that they are people (option)",
            Self::Recording => "While recording",
            Self::Review => "After a recording",
            Self::Main => "Main menu",
            Self::Message => "After a message",
            Self::Playing => "While a message plays",
            Self::Paused => "While a message is paused",
            Self::Advanced => "Advanced options",
            Self::Folders => "Which folder",
            Self::Options => "Mailbox options",
            Self::Greetings => "Hear or erase greetings",
            Self::OneGreeting => "One greeting",
            Self::Recipients => "To whom",
            Self::Forward => "How to forward",
            Self::CallBack => "Calling the sender",
            Self::Directory => "Names in the directory",
        }
    }

    /// What the card says below its keys.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Self::Playing | Self::Paused => {
                Some("every other key stops it and does what it does after a message")
            }
            Self::Greeting => Some("logging in and the operator: only where callers may"),
            Self::Recording => Some(
                "before the tone, what accepts goes straight to it; the operator: only callers",
            ),
            Self::Advanced => Some("calls: only where the configuration allows them"),
            Self::Review => Some("cancelling: only owners; the operator: only callers"),
            Self::Recipients => {
                Some("several numbers: with * between them; a list has a number too")
            }
            _ => None,
        }
    }
}

/// Deeds without which one could not leave a menu, or not use it.
pub(super) fn exits(place: Place) -> &'static [Act] {
    match place {
        Place::Greeting | Place::Playing => &[],
        Place::Screen => &[Act::LeaveMessage],
        Place::Recording | Place::Review => &[Act::Accept],
        Place::Main => &[Act::Exit, Act::Play],
        Place::Message => &[Act::Exit],
        Place::Paused => &[Act::Resume],
        Place::Advanced | Place::Options | Place::Greetings | Place::OneGreeting => &[Act::Return],
        Place::Folders
        | Place::Recipients
        | Place::Forward
        | Place::CallBack
        | Place::Directory => &[Act::Cancel],
    }
}

/// The usual keys: Asterisk's, and ours where it has none.
pub const DEFAULT: &[(Place, &[(char, Act)])] = &[
    (Place::Greeting, &[('#', Act::Skip), ('0', Act::Operator), ('*', Act::LogIn)]),
    (Place::Screen, &[('1', Act::LeaveMessage)]),
    (Place::Recording, &[('#', Act::Accept), ('0', Act::Operator)]),
    (
        Place::Review,
        &[
            ('1', Act::Accept),
            ('2', Act::Listen),
            ('3', Act::RecordAgain),
            ('4', Act::Urgent),
            ('5', Act::Private),
            ('0', Act::Operator),
            ('*', Act::Cancel),
        ],
    ),
    (
        Place::Main,
        &[
            ('1', Act::Play),
            ('2', Act::Folders),
            ('3', Act::Advanced),
            ('0', Act::Options),
            ('*', Act::Help),
            ('#', Act::Exit),
            ('4', Act::Previous),
            ('5', Act::Repeat),
            ('6', Act::Next),
            ('7', Act::Delete),
            ('8', Act::Forward),
            ('9', Act::Save),
        ],
    ),
    (
        Place::Message,
        &[
            ('1', Act::Play),
            ('2', Act::Folders),
            ('3', Act::Advanced),
            ('4', Act::Previous),
            ('5', Act::Repeat),
            ('6', Act::Next),
            ('7', Act::Delete),
            ('8', Act::Forward),
            ('9', Act::Save),
            ('0', Act::Options),
            ('*', Act::Help),
            ('#', Act::Exit),
        ],
    ),
    (
        Place::Playing,
        &[('#', Act::SkipForward), ('*', Act::SkipBack), ('0', Act::Pause), ('2', Act::Restart)],
    ),
    (
        Place::Paused,
        &[
            ('0', Act::Resume),
            ('1', Act::Slower),
            ('3', Act::Faster),
            ('4', Act::Quieter),
            ('6', Act::Louder),
            ('#', Act::SkipForward),
            ('*', Act::SkipBack),
            ('2', Act::Restart),
        ],
    ),
    (
        Place::Advanced,
        &[
            ('1', Act::Reply),
            ('2', Act::CallBack),
            ('3', Act::Envelope),
            ('4', Act::DialOut),
            ('5', Act::Compose),
            ('6', Act::PlayAll),
            ('7', Act::DeleteHeard),
            ('8', Act::MarkNew),
            ('9', Act::Order),
            ('*', Act::Return),
        ],
    ),
    (
        Place::Folders,
        &[
            ('0', Act::New),
            ('1', Act::Old),
            ('2', Act::Work),
            ('3', Act::Family),
            ('4', Act::Friends),
            ('5', Act::Cust1),
            ('6', Act::Cust2),
            ('7', Act::Cust3),
            ('8', Act::Cust4),
            ('9', Act::Cust5),
            ('*', Act::Trash),
            ('#', Act::Cancel),
        ],
    ),
    (
        Place::Options,
        &[
            ('1', Act::Unavailable),
            ('2', Act::Busy),
            ('3', Act::Name),
            ('4', Act::Temporary),
            ('5', Act::Pin),
            ('6', Act::Greetings),
            ('*', Act::Return),
        ],
    ),
    (
        Place::Greetings,
        &[
            ('1', Act::Unavailable),
            ('2', Act::Busy),
            ('3', Act::Name),
            ('4', Act::Temporary),
            ('*', Act::Return),
        ],
    ),
    (
        Place::OneGreeting,
        &[
            ('1', Act::Record),
            ('2', Act::Erase),
            ('3', Act::Listen),
            ('4', Act::Expiry),
            ('*', Act::Return),
        ],
    ),
    (Place::Recipients, &[('1', Act::ByNumber), ('2', Act::ByName), ('*', Act::Cancel)]),
    (Place::Forward, &[('1', Act::WithIntro), ('2', Act::AsIs), ('*', Act::Cancel)]),
    (Place::CallBack, &[('1', Act::Call), ('2', Act::OtherNumber), ('*', Act::Cancel)]),
    (Place::Directory, &[('1', Act::Select), ('*', Act::NextName), ('#', Act::Cancel)]),
];
