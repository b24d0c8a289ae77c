//! What others hear of the directory.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::Directory;
use crate::mailbox::greeting::Greeting;
use crate::mailbox::{Mailbox, MailboxId};

#[derive(Clone, Debug)]
pub enum Happening {
    /// Made, changed or gone: the settings of before and of now.
    Settings { mailbox: MailboxId, was: Option<Arc<Mailbox>>, is: Option<Arc<Mailbox>> },
    /// The owner's recording is another one, or gone.
    Greeting { mailbox: MailboxId, greeting: Greeting },
    /// Nobody gets in with a PIN before this Unix second.
    Shut { mailbox: MailboxId, until: i64 },
}

/// Happenings that a listener may be behind with.
const BEHIND: usize = 1024;

pub(super) fn channel() -> broadcast::Sender<Happening> {
    broadcast::channel(BEHIND).0
}

impl Directory {
    /// What happens from now on; who is too slow must look again.
    pub fn happenings(&self) -> broadcast::Receiver<Happening> {
        self.0.happenings.subscribe()
    }

    pub(super) fn tell(&self, happening: Happening) {
        // Perhaps nobody listens.
        let _ = self.0.happenings.send(happening);
    }
}
