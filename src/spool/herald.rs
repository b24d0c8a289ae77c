//! The intent to tell an owner, on disk before there is something to tell.

use tracing::warn;

use super::Spool;
use crate::mailbox::{MailboxId, MessageId};
use crate::state::outbox::{Intent, Intents};

/// Writes down, before a message exists, that its owner is to be told of it.
pub struct Herald {
    pub intents: Intents,
    /// Whether anybody is told of messages to this mailbox.
    pub wants: Box<dyn Fn(&MailboxId) -> bool + Send + Sync>,
}

impl Spool {
    /// From now on intents to tell are written down; the first herald stays.
    pub fn engage(&self, herald: Herald) {
        let _one_is_there_already = self.0.herald.set(herald);
    }

    /// On disk when this returns. What cannot be written down must not cost the message.
    pub(super) async fn intend(&self, mailbox: &MailboxId, id: MessageId, now: i64) {
        let intent = || Intent { message: id.to_string(), mailbox: mailbox.to_string() };
        let done = match self.0.herald.get() {
            Some(herald) if (herald.wants)(mailbox) => herald.intents.intend(intent(), now).await,
            Some(_) => Ok(()),
            // A start: what a crash left is delivered before anybody listens.
            None => self.0.state.intend(&intent(), now).await,
        };
        if let Err(error) = done {
            warn!(%mailbox, "a notice may be lost should this process be killed now: {error}");
        }
    }
}
