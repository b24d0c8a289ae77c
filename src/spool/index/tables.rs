//! What is held in memory: order and counts of every mailbox, and what is not yet written.

use std::collections::HashMap;
use std::sync::Arc;

use super::batch::{Batch, Filed};
use super::run::{By, Entry, HEARD, Page, Run, URGENT, Wish};
use super::{Scope, Seen, Usage};
use crate::mailbox::{Counts, Folder, MailboxId, Message, MessageId};
use crate::spool::{Order, Query};

#[derive(Default)]
pub(super) struct Tables {
    pub(super) numbers: HashMap<MailboxId, u32>,
    pub(super) shelves: HashMap<u32, Shelf>,
    pub(super) contexts: HashMap<String, Run>,
    pub(super) folders: Vec<Folder>,
    /// Not yet in the database, by number.
    pub(super) pending: HashMap<u64, Arc<Filed>>,
    /// The same by id: messages are asked for by it while thousands wait.
    pub(super) pending_ids: HashMap<MessageId, u64>,
    /// Removed and not yet so in the database.
    pub(super) gone: HashMap<u64, u32>,
    /// Where messages lay that are in another mailbox now.
    pub(super) left: Vec<(u32, u64)>,
    pub(super) mailboxes: HashMap<u32, Option<MailboxId>>,
    pub(super) new_folders: Vec<(u16, Folder)>,
    pub(super) stamps: HashMap<(u32, u16), i64>,
    pub(super) next: u32,
}

/// One mailbox.
pub(super) struct Shelf {
    pub(super) id: MailboxId,
    pub(super) run: Run,
    pub(super) counts: Counts,
    pub(super) usage: Usage,
    pub(super) stamps: Vec<(u16, i64)>,
}

impl Tables {
    pub(super) fn run(&self, scope: Scope) -> Option<&Run> {
        match scope {
            Scope::Mailbox(mailbox) => {
                self.shelves.get(self.numbers.get(mailbox)?).map(|shelf| &shelf.run)
            }
            Scope::Organization(context) => self.contexts.get(context),
        }
    }

    pub(super) fn wish(&self, query: &Query, among: Option<Vec<u64>>) -> Wish {
        let at = |folder: &Folder| {
            self.folders
                .iter()
                .position(|known| known == folder)
                .and_then(|at| u16::try_from(at).ok())
        };
        let folders = match (&query.folders[..], &query.except[..]) {
            ([], []) => None,
            ([], except) => {
                let others = self.folders.iter().filter(|folder| !except.contains(folder));
                Some(others.filter_map(at).collect())
            }
            (named, _) => Some(named.iter().filter_map(at).collect()),
        };
        Wish {
            folders,
            heard: query.heard,
            urgent: query.urgent,
            from: query.from.unwrap_or(i64::MIN),
            to: query.to.unwrap_or(i64::MAX),
            among,
        }
    }

    /// The page that a query asks for.
    pub(super) fn page(&self, scope: Scope, query: &Query, among: Option<Vec<u64>>) -> Vec<Entry> {
        let Some(run) = self.run(scope) else { return vec![] };
        let by = match query.order {
            Order::Received => By::Received,
            Order::Number => By::Number,
            Order::Duration => By::Duration,
        };
        let limit = query.limit.unwrap_or(usize::MAX);
        let page = Page { by, backwards: query.newest_first, skip: query.skip, limit };
        run.page(&self.wish(query, among), page)
    }

    pub(super) fn put(&mut self, message: &Arc<Message>, seen: Seen) -> Counts {
        let number = self.mailbox(&message.mailbox);
        let entry = self.entry(message);
        if let Some(run) = self.contexts.get_mut(message.mailbox.context()) {
            run.insert(entry);
        } else {
            self.contexts.insert(message.mailbox.context().to_owned(), Run::of(vec![entry]));
        }
        if let Some(before) = self.gone.remove(&message.number)
            && before != number
        {
            self.left.push((before, message.number));
        }
        let filed = Filed { mailbox: number, entry, message: message.clone(), seen };
        self.pending.insert(message.number, Arc::new(filed));
        self.pending_ids.insert(message.id, message.number);
        let Some(shelf) = self.shelves.get_mut(&number) else { return Counts::default() };
        shelf.run.insert(entry);
        shelf.weigh(entry, true);
        shelf.counts
    }

    pub(super) fn take(&mut self, message: &Message) -> Option<Counts> {
        let number = *self.numbers.get(&message.mailbox)?;
        let entry = self.entry(message);
        let shelf = self.shelves.get_mut(&number)?;
        let kept = shelf.run.remove(entry)?;
        shelf.weigh(kept, false);
        let counts = shelf.counts;
        if let Some(run) = self.contexts.get_mut(message.mailbox.context()) {
            run.remove(entry);
        }
        self.waits_no_more(message.number);
        self.gone.insert(message.number, number);
        Some(counts)
    }

    /// A message that is not yet in the database.
    pub(super) fn waiting(&self, id: MessageId) -> Option<Arc<Message>> {
        let filed = self.pending.get(self.pending_ids.get(&id)?)?;
        Some(filed.message.clone())
    }

    pub(super) fn waits_no_more(&mut self, number: u64) {
        if let Some(filed) = self.pending.remove(&number) {
            self.pending_ids.remove(&filed.message.id);
        }
    }

    /// Nothing of this mailbox is to be written.
    pub(super) fn forget_waiting(&mut self, mailbox: u32) {
        self.pending.retain(|_, filed| filed.mailbox != mailbox);
        let pending = &self.pending;
        self.pending_ids.retain(|_, number| pending.contains_key(number));
    }

    pub(super) fn entry(&mut self, message: &Message) -> Entry {
        let heard = if message.heard.is_some() { HEARD } else { 0 };
        let urgent = if message.urgent { URGENT } else { 0 };
        Entry::new(
            (message.envelope.received, message.number),
            (self.folder(&message.folder), heard | urgent),
            (message.duration.as_millis(), message.bytes),
        )
    }

    pub(super) fn mailbox(&mut self, id: &MailboxId) -> u32 {
        if let Some(number) = self.numbers.get(id) {
            return *number;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(id.clone(), number);
        self.shelves.insert(number, Shelf::new(id.clone()));
        self.mailboxes.insert(number, Some(id.clone()));
        number
    }

    pub(super) fn folder(&mut self, folder: &Folder) -> u16 {
        if let Some(at) = self.folders.iter().position(|known| known == folder) {
            return u16::try_from(at).unwrap_or(u16::MAX);
        }
        let at = u16::try_from(self.folders.len()).unwrap_or(u16::MAX);
        if at < u16::MAX {
            self.folders.push(folder.clone());
            self.new_folders.push((at, folder.clone()));
        }
        at
    }

    pub(super) fn is_written(&self) -> bool {
        self.pending.is_empty()
            && self.gone.is_empty()
            && self.left.is_empty()
            && self.mailboxes.is_empty()
            && self.new_folders.is_empty()
            && self.stamps.is_empty()
    }

    /// What is to be written now. Messages stay here until they are.
    pub(super) fn batch(&mut self) -> Batch {
        let mut put: Vec<Arc<Filed>> = self.pending.values().cloned().collect();
        put.sort_unstable_by_key(|filed| filed.message.number);
        Batch {
            mailboxes: self.mailboxes.drain().collect(),
            folders: std::mem::take(&mut self.new_folders),
            stamps: self.stamps.drain().map(|((of, folder), at)| (of, folder, at)).collect(),
            gone: self
                .gone
                .iter()
                .map(|(number, of)| (*of, *number))
                .chain(self.left.drain(..))
                .collect(),
            put,
        }
    }

    pub(super) fn put_back(&mut self, batch: Batch) {
        let left = batch.gone.into_iter().filter(|(_, number)| !self.gone.contains_key(number));
        self.left.extend(left);
        for (number, mailbox) in batch.mailboxes {
            self.mailboxes.entry(number).or_insert(mailbox);
        }
        self.new_folders.extend(batch.folders);
        for (of, folder, at) in batch.stamps {
            self.stamps.entry((of, folder)).or_insert(at);
        }
    }
}

impl Shelf {
    pub(super) fn new(id: MailboxId) -> Self {
        Self {
            id,
            run: Run::default(),
            counts: Counts::default(),
            usage: Usage::default(),
            stamps: vec![],
        }
    }

    /// Counts an entry in, or out.
    pub(super) fn weigh(&mut self, entry: Entry, comes: bool) {
        let folder = NAMED.get(usize::from(entry.folder()));
        let (heard, urgent) = (entry.is(HEARD), entry.is(URGENT));
        if let Some(folder) = folder {
            self.counts.weigh(folder, heard, urgent, comes);
        }
        if matches!(folder, Some(Folder::Sent | Folder::Deleted)) {
            return;
        }
        let Usage { messages, millis, bytes } = &mut self.usage;
        if comes {
            *messages += 1;
            *millis += u64::from(entry.millis);
            *bytes += u64::from(entry.bytes);
        } else {
            *messages = messages.saturating_sub(1);
            *millis = millis.saturating_sub(entry.millis.into());
            *bytes = bytes.saturating_sub(entry.bytes.into());
        }
    }
}

/// Folders with a meaning, at places that do not change.
pub(super) const NAMED: [Folder; 8] = [
    Folder::Inbox,
    Folder::Urgent,
    Folder::Old,
    Folder::Work,
    Folder::Family,
    Folder::Friends,
    Folder::Sent,
    Folder::Deleted,
];
