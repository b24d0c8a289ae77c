//! The words between a conversation and whoever performs it: events, commands, and what both
//! speak of.

use std::sync::Arc;
use std::time::Duration;

use super::keys::KeyMap;
use crate::mailbox::greeting::{Greeting, Recorded};
use crate::mailbox::{Counts, Folder, MailboxId, Message, MessageId};
use crate::say::{Prompt, Shelf};

/// What happened to the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Key(char),
    PlaybackFinished,
    RecordingFinished {
        duration: Duration,
        ended: Ended,
    },
    TimedOut,
    HungUp,
    /// Whether a message is safe where it shall be: the answer to [`Command::Deliver`],
    /// [`Command::Send`] and [`Command::Forward`].
    Delivered {
        saved: bool,
    },
    /// Who logged in: the answer to [`Command::Identify`]. A wrong PIN, a mailbox that there is
    /// not and one that is locked are answered alike.
    Identified(Option<Box<Owner>>),
    /// The answer to [`Command::Load`], in any order.
    Loaded(Vec<Item>),
    /// The answer to [`Command::Read`], in any order and without those that are not there any more.
    Read(Vec<Arc<Message>>),
    /// The answer to [`Command::Find`] and [`Command::Search`].
    Found(Found),
    /// The answer to every other question.
    Done {
        done: bool,
    },
}

/// Mailboxes that something can be sent to, and those that take nothing more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub open: Vec<MailboxId>,
    pub full: Vec<MailboxId>,
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
    /// Changes what plays now. It goes on playing, but for [`Control::Pause`].
    Control(Control),
    Record {
        what: What,
        limit: Duration,
        /// Ends after so much silence.
        silence: Option<Duration>,
    },
    StopRecording,
    /// Turns the finished recording into a message for whom the caller wanted to reach.
    Deliver(Marks),
    /// Sends the finished recording from the owner who has logged in.
    Send {
        to: Vec<MailboxId>,
        marks: Marks,
    },
    /// Copies a message to others, after the finished recording if there is one.
    Forward {
        message: MessageId,
        to: Vec<MailboxId>,
        intro: bool,
    },
    /// Keeps a recording that broke off: what of it reaches the disk becomes a message later.
    Keep,
    Discard,
    /// The finished recording is this greeting from now on.
    KeepGreeting(Greeting),
    EraseGreeting(Greeting),
    /// The temporary greeting ends after so many days; 0: never.
    ExpireGreeting {
        days: u32,
    },
    Identify {
        number: String,
        pin: String,
    },
    /// What is weak or was used before is refused.
    ChangePin(String),
    /// The owner's first visit need not be repeated.
    SetUp,
    Load(Shelf),
    /// What of messages is to be told, by their numbers.
    Read(Vec<u64>),
    /// By their numbers.
    Edit(Vec<u64>, Edit),
    /// It will most likely be played next: its sound may be made ready while others are heard.
    Fetch(MessageId),
    /// The owner hears it; nobody waits for it to be written down.
    Heard(MessageId),
    /// The mailboxes behind a number: one, or those of a list.
    Find(String),
    /// The mailboxes whose owners' names begin with the letters on these keys.
    Search(String),
    /// Whether the owner may call there now.
    MayCall(Target),
    Transfer(Target),
    HangUp,
}

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// For whom the caller wanted to reach.
    Deposit,
    /// To be sent by the owner who has logged in: to this mailbox, and perhaps to more.
    Message(MailboxId),
    Greeting(Greeting),
    /// To be heard before a message that is forwarded.
    Intro,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Pause,
    Resume,
    Back,
    Forward,
    Restart,
    Slower,
    Faster,
    Quieter,
    Louder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub urgent: bool,
    pub private: bool,
}

/// What an owner does to messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Unheard, in the INBOX.
    New,
    File(Folder),
    /// Into the trash.
    Delete,
    /// Out of the trash, to where it lay.
    Restore,
}

/// Where a caller goes from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Operator,
    /// Dialled in the middle of a greeting.
    Extension(String),
    /// The sender of a message.
    CallBack(String),
    /// Any number that the owner may call.
    Number(String),
}

/// A message, as its owner sees it during one visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub number: u64,
    /// Unix seconds.
    pub received: i64,
    pub urgent: bool,
    /// Where it is now.
    pub folder: Folder,
    pub heard: bool,
    /// Before it is told it must have been read: of many messages few are.
    pub message: Option<Arc<Message>>,
}

impl Item {
    pub fn new(message: Arc<Message>) -> Self {
        Self {
            number: message.number,
            received: message.envelope.received,
            urgent: message.urgent,
            folder: message.folder.clone(),
            heard: message.heard.is_some(),
            message: Some(message),
        }
    }
}

/// Whom the caller wants to reach, and whether there is room.
#[derive(Clone, Debug, Default)]
pub struct Callee {
    /// As it is spoken when the owner recorded nothing.
    pub number: String,
    pub greeting: Option<Greeting>,
    pub busy: bool,
    pub beep: bool,
    pub full: bool,
    /// Only the greeting: nothing is recorded.
    pub greeting_only: bool,
    /// A key must be pressed before anything is recorded: robots press none.
    pub screen: bool,
    /// The caller may hear and correct what was recorded.
    pub review: bool,
    pub may_mark_urgent: bool,
    pub may_mark_private: bool,
    pub exits: Exits,
}

impl Callee {
    pub(super) fn takes_messages(&self) -> bool {
        !self.full && !self.greeting_only
    }
}

/// Where a caller may go instead of leaving a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    pub operator: bool,
    pub log_in: bool,
    /// Any extension, by its digits.
    pub extensions: bool,
}

/// An owner who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub id: MailboxId,
    pub counts: Counts,
    pub recorded: Recorded,
    pub set_up: SetUp,
    pub wishes: Wishes,
    pub may: May,
    /// Where the last visit broke off.
    pub left_off: Option<(MessageId, Duration)>,
}

/// What an owner has to do before anything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetUp {
    pub name: bool,
    pub unavailable: bool,
    pub busy: bool,
    pub pin: bool,
}

/// How an owner likes messages to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub caller: bool,
    pub datetime: bool,
    /// Told of messages that last as long.
    pub duration: Option<Duration>,
    pub newest_first: bool,
    /// After deleting or saving a message the next one plays.
    pub next_after: bool,
    /// The first message follows the last.
    pub wrap: bool,
}

/// What the operator of this server lets owners do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct May {
    pub send: bool,
    pub call_back: bool,
    pub dial_out: bool,
    pub directory: bool,
}

/// How somebody begins who wants to hear their messages.
#[derive(Clone, Debug)]
pub enum Door {
    /// Mailbox and PIN are asked for.
    Ask,
    /// Only the PIN: the mailbox was dialled.
    Pin(String),
    /// Nothing: a trusted PBX knows who it is.
    Open(Box<Owner>),
}

/// The rules of a conversation.
#[derive(Clone, Debug)]
pub struct Policy {
    pub shortest: Duration,
    pub longest: Duration,
    pub longest_greeting: Duration,
    /// Ends a recording; `None`: silence never does.
    pub silence: Option<Duration>,
    /// How long the caller may stay silent when asked for a key.
    pub patience: Duration,
    /// How often a menu is told to one who presses nothing that it knows.
    pub rounds: u8,
    /// How often one may try to log in.
    pub logins: u8,
    /// How often a caller may try again after too short a message.
    pub retries: u8,
    /// Instructions between greeting and beep.
    pub instructions: bool,
    pub keys: Arc<KeyMap>,
}
