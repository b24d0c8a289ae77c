//! How full mailboxes are, and when that is told.

use std::sync::PoisonError;

use super::{Spool, Usage};
use crate::mailbox::retention::Ceiling;
use crate::mailbox::{Level, MailboxId, Message};

impl Spool {
    /// What each mailbox may hold: told once, when it is known.
    pub fn limit(&self, ceiling: impl Fn(&MailboxId) -> Ceiling + Send + Sync + 'static) {
        let _ = self.0.ceiling.set(Box::new(ceiling));
    }

    /// How full a mailbox is.
    pub fn level(&self, mailbox: &MailboxId) -> Level {
        level(&self.ceiling(mailbox), self.usage(mailbox))
    }

    fn ceiling(&self, mailbox: &MailboxId) -> Ceiling {
        self.0.ceiling.get().map_or_else(Ceiling::default, |ceiling| ceiling(mailbox))
    }

    /// The level of a mailbox, where it has just come to be fuller than before.
    pub(super) fn has_risen(&self, mailbox: &MailboxId, came: Option<&Message>) -> Option<Level> {
        let (ceiling, usage) = (self.ceiling(mailbox), self.usage(mailbox));
        let now = level(&ceiling, usage);
        let mut levels = self.0.levels.lock().unwrap_or_else(PoisonError::into_inner);
        // What it was before this run is known by taking away what has just come.
        let before = levels.get(mailbox).copied().unwrap_or_else(|| {
            let millis = came.map_or(0, |m| u64::try_from(m.duration.as_millis()).unwrap_or(0));
            level(
                &ceiling,
                Usage {
                    messages: usage.messages.saturating_sub(usize::from(came.is_some())),
                    millis: usage.millis.saturating_sub(millis),
                    bytes: usage.bytes.saturating_sub(came.map_or(0, |m| m.bytes)),
                },
            )
        });
        if now == Level::Room {
            levels.remove(mailbox);
        } else {
            levels.insert(mailbox.clone(), now);
        }
        (now > before).then_some(now)
    }
}

pub(super) type Ceilings = dyn Fn(&MailboxId) -> Ceiling + Send + Sync;

fn level(ceiling: &Ceiling, usage: Usage) -> Level {
    ceiling.level(usage.messages as u64, usage.millis / 1000, usage.bytes)
}
