//! Calls in progress: how many there may be, and which mailboxes they are about to fill.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::mailbox::MailboxId;

#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    most: usize,
    table: Mutex<Table>,
    /// How many calls are in progress.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Table {
    depositing: HashMap<MailboxId, usize>,
    /// By Call-ID: a transfer takes over a call, and with it the mailbox.
    calls: HashMap<String, MailboxId>,
    draining: bool,
}

/// A call's place; dropped, it is free again.
pub struct Seat {
    live: Live,
    /// And the Call-ID of the call that leaves a message there.
    mailbox: Option<(MailboxId, String)>,
}

impl Live {
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Inner { most, table: Mutex::default(), count: watch::Sender::new(0) }))
    }

    /// `None` when there are as many calls as there may be.
    pub fn admit(&self) -> Option<Seat> {
        if self.table(|table| table.draining) {
            return None;
        }
        let most = self.0.most;
        let seated = self.0.count.send_if_modified(|count| {
            let free = *count < most;
            *count += usize::from(free);
            free
        });
        seated.then(|| Seat { live: self.clone(), mailbox: None })
    }

    pub fn count(&self) -> usize {
        *self.0.count.borrow()
    }

    /// Calls that are leaving a message in this mailbox now.
    pub fn depositing(&self, mailbox: &MailboxId) -> usize {
        self.table(|table| table.depositing.get(mailbox).copied().unwrap_or(0))
    }

    /// Where the call with this Call-ID is leaving a message.
    pub fn mailbox_of(&self, call_id: &str) -> Option<MailboxId> {
        self.table(|table| table.calls.get(call_id).cloned())
    }

    /// No new calls; ready when the last one is over.
    pub async fn drain(&self) {
        self.table(|table| table.draining = true);
        let mut count = self.0.count.subscribe();
        // The sender lives in `self`.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    fn table<T>(&self, with: impl FnOnce(&mut Table) -> T) -> T {
        with(&mut self.0.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Seat {
    /// The call may leave a message here.
    pub fn deposits_in(&mut self, mailbox: &MailboxId, call_id: &str) {
        self.live.table(|table| {
            *table.depositing.entry(mailbox.clone()).or_default() += 1;
            table.calls.insert(call_id.to_owned(), mailbox.clone());
        });
        self.mailbox = Some((mailbox.clone(), call_id.to_owned()));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((mailbox, call_id)) = self.mailbox.take() {
            self.live.table(|table| {
                table.calls.remove(&call_id);
                if let Some(count) = table.depositing.get_mut(&mailbox) {
                    *count -= 1;
                    if *count == 0 {
                        table.depositing.remove(&mailbox);
                    }
                }
            });
        }
        self.live.0.count.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn seats_are_counted_and_given_back() {
        let live = Live::new(2);
        let id: MailboxId = "1000".parse().unwrap();
        let mut first = live.admit().unwrap();
        first.deposits_in(&id, "call");
        assert_eq!(live.mailbox_of("call"), Some(id.clone()));
        let second = live.admit().unwrap();
        assert!(live.admit().is_none());
        assert_eq!((live.count(), live.depositing(&id)), (2, 1));
        drop(first);
        assert_eq!(live.mailbox_of("call"), None);
        assert_eq!((live.count(), live.depositing(&id)), (1, 0));
        drop(second);
        live.drain().await;
        assert!(live.admit().is_none(), "a draining server takes no call");
    }
}
