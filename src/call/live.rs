//! Calls in progress: how many there may be, what they are about, and which mailboxes they are
//! about to fill.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::mailbox::MailboxId;
use crate::mailbox::call::Call;

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
    /// In the order in which they came, each with what ends it.
    told: BTreeMap<u64, (Call, Arc<Notify>)>,
    last: u64,
    draining: bool,
}

/// A call's place; dropped, it is free again.
pub struct Seat {
    live: Live,
    /// And the Call-ID of the call that leaves a message there.
    mailbox: Option<(MailboxId, String)>,
    told: Option<u64>,
}

/// What a call tells of itself while it goes on.
#[derive(Clone)]
pub struct Line {
    live: Live,
    id: u64,
    ended: Arc<Notify>,
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
        seated.then(|| Seat { live: self.clone(), mailbox: None, told: None })
    }

    /// Calls in progress by their numbers, the oldest first.
    pub fn calls(&self) -> Vec<(u64, Call)> {
        self.table(|table| table.told.iter().map(|(id, (call, _))| (*id, call.clone())).collect())
    }

    /// Ends the call of this number; `false` where there is none.
    pub fn hang_up(&self, id: u64) -> bool {
        self.table(|table| table.told.get(&id).map(|(_, ended)| ended.notify_one()).is_some())
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

    /// The call is told of from now on.
    pub fn is(&mut self, call: Call) -> Line {
        let ended = Arc::new(Notify::new());
        let id = self.live.table(|table| {
            table.last += 1;
            table.told.insert(table.last, (call, Arc::clone(&ended)));
            table.last
        });
        self.told = Some(id);
        Line { live: self.live.clone(), id, ended }
    }
}

impl Line {
    pub fn tell(&self, how: impl FnOnce(&mut Call)) {
        self.live.table(|table| {
            if let Some((call, _)) = table.told.get_mut(&self.id) {
                how(call);
            }
        });
    }

    /// Ready when somebody wants the call to end.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(id) = self.told.take() {
            self.live.table(|table| table.told.remove(&id));
        }
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
    use crate::mailbox::CallerId;
    use crate::mailbox::call::{Purpose, Stage};

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

    #[tokio::test]
    async fn calls_are_told_of_until_they_are_over() {
        let live = Live::new(2);
        let call = |call_id: &str| Call {
            call_id: call_id.to_owned(),
            caller: CallerId::default(),
            mailbox: None,
            context: "default".into(),
            purpose: Purpose::Deposit,
            stage: Stage::Ringing,
            since: 7,
            codec: None,
        };
        let mut seats = [live.admit().unwrap(), live.admit().unwrap()];
        let lines = [seats[0].is(call("a")), seats[1].is(call("b"))];
        lines[1].tell(|call| call.stage = Stage::Recording);
        let told: Vec<_> = live.calls().into_iter().map(|(id, call)| (id, call.stage)).collect();
        assert_eq!(told, [(1, Stage::Ringing), (2, Stage::Recording)]);
        // Before the call waits for it as well.
        assert!(live.hang_up(2) && !live.hang_up(3));
        lines[1].ended().await;
        let [first, second] = seats;
        drop(second);
        lines[1].tell(|_| panic!("nobody tells of a call that is over"));
        assert!(!live.hang_up(2));
        assert_eq!(live.calls(), [(1, call("a"))]);
        drop(first);
        assert_eq!(live.calls(), []);
    }
}
