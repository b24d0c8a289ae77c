//! What has happened to a mailbox: the only thing that listeners hear.

use std::sync::Arc;

use super::{Counts, MailboxId, Message};

#[derive(Clone, Debug)]
pub enum Change {
    /// A caller left it: the one change that mails, pages and calls hooks.
    Delivered { message: Arc<Message>, counts: Counts },
    /// It was simply there: after a start, a crash, or another program's work.
    Found { message: Arc<Message>, counts: Counts },
    /// The mailbox is gone, with all that it held.
    Removed { mailbox: MailboxId },
}
