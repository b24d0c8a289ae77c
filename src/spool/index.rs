//! What lies in the spool, in memory: lists and counts without touching a directory.
//!
//! A private matter of the spool: it is made anew from the tree at each start.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use super::query::{Order, Query};
use crate::mailbox::{Counts, Folder, MailboxId, Message, MessageId, Stem};

#[derive(Default)]
pub(super) struct Index {
    shelves: RwLock<HashMap<MailboxId, Shelf>>,
}

/// One mailbox's messages.
#[derive(Default)]
struct Shelf {
    by_time: BTreeMap<Place, Arc<Message>>,
    by_stem: HashMap<Stem, Vec<Place>>,
    by_id: HashMap<MessageId, Place>,
    counts: Counts,
    /// Messages that count against the mailbox's limit.
    kept: usize,
}

/// Start of the recording, then the number, so that equal seconds have an order; the id, since a
/// copied number must not take another message's place.
type Place = (i64, u64, MessageId);

impl Index {
    /// `None` where the id is on this shelf already.
    pub(super) fn insert(&self, message: Arc<Message>) -> Option<Counts> {
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.entry(message.mailbox.clone()).or_default();
        let place = (message.envelope.received, message.number, message.id);
        if shelf.by_id.contains_key(&message.id) {
            return None;
        }
        shelf.counts.add(&message);
        shelf.kept += usize::from(fills(&message.folder));
        shelf.by_id.insert(message.id, place);
        shelf.by_stem.entry(message.stem.clone()).or_default().push(place);
        shelf.by_time.insert(place, message);
        Some(shelf.counts)
    }

    /// The message as it was, where it is there; counts without it.
    pub(super) fn remove(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
    ) -> Option<(Arc<Message>, Counts)> {
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.get_mut(mailbox)?;
        let place = shelf.by_id.remove(&id)?;
        let message = shelf.by_time.remove(&place)?;
        if let Some(places) = shelf.by_stem.get_mut(&message.stem) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                shelf.by_stem.remove(&message.stem);
            }
        }
        shelf.counts.subtract(&message);
        shelf.kept -= usize::from(fills(&message.folder));
        Some((message, shelf.counts))
    }

    pub(super) fn forget(&self, mailbox: &MailboxId) {
        self.shelves.write().unwrap_or_else(PoisonError::into_inner).remove(mailbox);
    }

    pub(super) fn list(&self, mailbox: &MailboxId, query: &Query) -> Vec<Arc<Message>> {
        self.with(mailbox, |shelf| {
            let (from, to) = (query.from.unwrap_or(i64::MIN), query.to.unwrap_or(i64::MAX));
            if from > to {
                return vec![];
            }
            let window = (from, 0, MessageId::LEAST)..=(to, u64::MAX, MessageId::GREATEST);
            let mut found: Vec<_> = shelf
                .by_time
                .range(window)
                .map(|(_, message)| message)
                .filter(|message| query.wants(message))
                .cloned()
                .collect();
            match query.order {
                Order::Received => {}
                Order::Number => found.sort_by_key(|message| message.number),
                Order::Duration => found.sort_by_key(|m| (m.duration, m.number)),
            }
            if query.newest_first {
                found.reverse();
            }
            let limit = query.limit.unwrap_or(usize::MAX);
            found.into_iter().skip(query.skip).take(limit).collect()
        })
        .unwrap_or_default()
    }

    pub(super) fn get(&self, mailbox: &MailboxId, id: MessageId) -> Option<Arc<Message>> {
        self.with(mailbox, |shelf| shelf.by_time.get(shelf.by_id.get(&id)?).cloned()).flatten()
    }

    pub(super) fn find(
        &self,
        mailbox: &MailboxId,
        folders: &[Folder],
        stem: &Stem,
    ) -> Option<Arc<Message>> {
        self.with(mailbox, |shelf| {
            let places = shelf.by_stem.get(stem)?;
            places
                .iter()
                .filter_map(|place| shelf.by_time.get(place))
                .find(|message| folders.contains(&message.folder))
                .cloned()
        })
        .flatten()
    }

    pub(super) fn counts(&self, mailbox: &MailboxId) -> Counts {
        self.with(mailbox, |shelf| shelf.counts).unwrap_or_default()
    }

    pub(super) fn kept(&self, mailbox: &MailboxId) -> usize {
        self.with(mailbox, |shelf| shelf.kept).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        shelves.values().map(|shelf| shelf.by_time.len()).sum()
    }

    fn with<T>(&self, mailbox: &MailboxId, read: impl FnOnce(&Shelf) -> T) -> Option<T> {
        let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        shelves.get(mailbox).map(read)
    }
}

/// The owner's copies and the trash do not keep callers out.
fn fills(folder: &Folder) -> bool {
    match folder {
        Folder::Sent | Folder::Deleted => false,
        Folder::Inbox
        | Folder::Urgent
        | Folder::Old
        | Folder::Work
        | Folder::Family
        | Folder::Friends
        | Folder::Other(_) => true,
    }
}
