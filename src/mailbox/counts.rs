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
        let (all, urgent) = match message.folder {
            Folder::Inbox | Folder::Urgent if message.heard.is_none() => {
                (&mut self.new, &mut self.urgent_new)
            }
            Folder::Inbox | Folder::Urgent | Folder::Old => (&mut self.old, &mut self.urgent_old),
            Folder::Work
            | Folder::Family
            | Folder::Friends
            | Folder::Sent
            | Folder::Deleted
            | Folder::Other(_) => return,
        };
        *all += 1;
        if message.urgent {
            *urgent += 1;
        }
    }
}
