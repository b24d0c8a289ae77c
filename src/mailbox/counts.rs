//! The four numbers of RFC 3842 §5.2: new and old, and how many of each are urgent.

use super::{Folder, Message};

/// Urgent messages are included in `new` and `old`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub new: u32,
    pub old: u32,
    pub urgent_new: u32,
    pub urgent_old: u32,
}

impl Counts {
    pub fn add(&mut self, message: &Message) {
        self.weigh(&message.folder, message.heard.is_some(), message.urgent, true);
    }

    /// Counts a message in that comes into a folder, or out where it goes.
    pub fn weigh(&mut self, folder: &Folder, heard: bool, is_urgent: bool, comes: bool) {
        let with = if comes { u32::saturating_add } else { u32::saturating_sub };
        let (all, urgent) = match folder {
            Folder::Inbox | Folder::Urgent if !heard => (&mut self.new, &mut self.urgent_new),
            Folder::Inbox | Folder::Urgent | Folder::Old => (&mut self.old, &mut self.urgent_old),
            Folder::Work
            | Folder::Family
            | Folder::Friends
            | Folder::Sent
            | Folder::Deleted
            | Folder::Other(_) => return,
        };
        *all = with(*all, 1);
        if is_urgent {
            *urgent = with(*urgent, 1);
        }
    }
}

/// The lamp of several mailboxes together.
impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            new: sum.new.saturating_add(one.new),
            old: sum.old.saturating_add(one.old),
            urgent_new: sum.urgent_new.saturating_add(one.urgent_new),
            urgent_old: sum.urgent_old.saturating_add(one.urgent_old),
        })
    }
}
