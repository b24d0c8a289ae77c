//! What has happened to a mailbox: the only thing that listeners hear.

use std::sync::Arc;

use super::{Counts, MailboxId, Message};

#[derive(Clone, Debug)]
pub enum Change {
    /// A caller left it, or its sender sent it: the one change that mails, pages and calls hooks.
    Delivered { message: Arc<Message>, counts: Counts },
    /// It was simply there: after a start, a crash, or another program's work.
    Found { message: Arc<Message>, counts: Counts },
    /// A copy that its owner made: in SENT, or of a message of the same mailbox.
    Copied { message: Arc<Message>, counts: Counts },
    /// Its marks or its words are others than they were; it lies where it lay.
    Edited { was: Arc<Message>, message: Arc<Message>, counts: Counts },
    /// It lies in another folder, and may have other marks: filed, deleted, restored.
    Moved { was: Arc<Message>, message: Arc<Message>, counts: Counts },
    /// It is gone for good.
    Removed { message: Arc<Message>, counts: Counts },
    /// So much has changed at once that only the sum is told: the tree was read anew.
    Counts { mailbox: MailboxId, counts: Counts },
    /// How full the mailbox is has crossed a line.
    Filled { mailbox: MailboxId, level: Level },
    /// The mailbox has another number or context; what it holds is the same.
    Renamed { from: MailboxId, to: MailboxId },
    /// The mailbox is gone, with all that it held.
    Closed { mailbox: MailboxId },
}

impl Change {
    pub fn mailbox(&self) -> &MailboxId {
        match self {
            Self::Delivered { message, .. }
            | Self::Found { message, .. }
            | Self::Copied { message, .. }
            | Self::Edited { message, .. }
            | Self::Moved { message, .. }
            | Self::Removed { message, .. } => &message.mailbox,
            Self::Counts { mailbox, .. }
            | Self::Filled { mailbox, .. }
            | Self::Closed { mailbox } => mailbox,
            Self::Renamed { to, .. } => to,
        }
    }

    /// What the mailbox's lamp shows after it, where the change can have touched that.
    pub fn counts(&self) -> Option<Counts> {
        match self {
            Self::Delivered { counts, .. }
            | Self::Found { counts, .. }
            | Self::Copied { counts, .. }
            | Self::Edited { counts, .. }
            | Self::Moved { counts, .. }
            | Self::Removed { counts, .. }
            | Self::Counts { counts, .. } => Some(*counts),
            Self::Closed { .. } => Some(Counts::default()),
            Self::Filled { .. } | Self::Renamed { .. } => None,
        }
    }
}

/// How full a mailbox is, by the fullest of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Room,
    /// At least 80 %.
    NearlyFull,
    /// Callers are told so.
    Full,
}
