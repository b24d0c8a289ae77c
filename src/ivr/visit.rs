//! An owner's visit: the messages that lie open, and which of them was heard last.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Item, Owner};
use crate::mailbox::{Folder, Message, MessageId};
use crate::say::Shelf;

/// The messages as they were when their folder was opened. Edits go to the spool at once; the list
/// keeps its order, so that "previous" still finds a message that has just been deleted.
#[derive(Debug)]
pub(super) struct Visit {
    pub owner: Owner,
    pub shelf: Shelf,
    pub items: Vec<Item>,
    /// The message that was heard last.
    pub at: Option<usize>,
    /// One message after the other, without a menu between.
    pub play_all: bool,
}

impl Visit {
    pub fn new(owner: Owner) -> Self {
        Self { owner, shelf: Shelf::New, items: vec![], at: None, play_all: false }
    }

    /// New messages first: an urgent one must not wait.
    pub fn first_shelf(&self) -> Shelf {
        let counts = self.owner.counts;
        if counts.new == 0 && counts.old > 0 { Shelf::Old } else { Shelf::New }
    }

    pub fn open(&mut self, shelf: Shelf, items: Vec<Item>) {
        (self.shelf, self.items, self.at, self.play_all) = (shelf, items, None, false);
        self.sort();
    }

    /// Urgent ones come first among the new: one list, so that no step between them loses any.
    pub fn sort(&mut self) {
        let urgent_first = self.shelf == Shelf::New;
        let at = self.item().map(|item| item.number);
        let calm = |item: &Item| urgent_first && !item.urgent;
        let age = |item: &Item| (item.received, item.number);
        if self.owner.wishes.newest_first {
            self.items.sort_by_key(|item| (calm(item), Reverse(age(item))));
        } else {
            self.items.sort_by_key(|item| (calm(item), age(item)));
        }
        self.at = at.and_then(|number| self.items.iter().position(|item| item.number == number));
    }

    /// The numbers of an item that is not read yet, and of those around it that are not either.
    pub fn unread(&self, at: usize) -> Vec<u64> {
        let around = at.saturating_sub(BEFORE)..self.items.len().min(at + BEHIND);
        let items = self.items.get(around).unwrap_or_default().iter();
        items.filter(|item| item.message.is_none()).map(|item| item.number).collect()
    }

    /// Takes in what was read, and leaves out what was asked for and is not there any more. Where
    /// the item is now that was at `at`, or the one after it.
    pub fn learn(&mut self, asked: &[u64], read: Vec<Arc<Message>>, at: usize) -> usize {
        let heard_last = self.item().map(|item| item.number);
        let mut read: HashMap<u64, Arc<Message>> =
            read.into_iter().map(|message| (message.number, message)).collect();
        let (mut now, mut place) = (0, 0);
        self.items.retain_mut(|item| {
            if item.message.is_none() {
                item.message = read.remove(&item.number);
            }
            let stays = item.message.is_some() || !asked.contains(&item.number);
            now += usize::from(stays && place < at);
            place += 1;
            stays
        });
        self.at =
            heard_last.and_then(|last| self.items.iter().position(|item| item.number == last));
        now
    }

    fn item(&self) -> Option<&Item> {
        self.items.get(self.at?)
    }

    /// The message that was heard last.
    pub fn current(&self) -> Option<&Message> {
        self.item()?.message.as_deref()
    }

    pub fn current_mut(&mut self) -> Option<&mut Item> {
        self.items.get_mut(self.at?)
    }

    pub fn next(&self) -> Option<usize> {
        let next = self.at.map_or(0, |at| at + 1);
        if next < self.items.len() {
            return Some(next);
        }
        (self.owner.wishes.wrap && !self.items.is_empty()).then_some(0)
    }

    /// The next one from there where one plays after the other: what was deleted meanwhile does not.
    pub fn in_one_go(&self, from: usize) -> Option<usize> {
        let trash = self.shelf == Shelf::Filed(Folder::Deleted);
        let plays = |item: &Item| trash || item.folder != Folder::Deleted;
        let rest = self.items.get(from..)?;
        rest.iter().position(plays).map(|at| from + at)
    }

    pub fn previous(&self) -> Option<usize> {
        match self.at?.checked_sub(1) {
            Some(previous) => Some(previous),
            None => self.owner.wishes.wrap.then(|| self.items.len() - 1),
        }
    }

    /// Where to go on in a message that the last call broke off; told once.
    pub fn begin_at(&mut self, id: MessageId) -> Duration {
        match self.owner.left_off {
            Some((left, at)) if left == id => {
                self.owner.left_off = None;
                at
            }
            Some(_) | None => Duration::ZERO,
        }
    }

    pub fn is_deleted(&self) -> bool {
        self.item().is_some_and(|item| item.folder == Folder::Deleted)
    }
}

/// So many are read at once around one that is told: owners go on, and sometimes back.
const BEFORE: usize = 5;
const BEHIND: usize = 20;
