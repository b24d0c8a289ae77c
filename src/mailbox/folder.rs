//! Where a message lies: Asterisk's folders, ours, and any that another program made.

use std::fmt;

use super::is_plain_name;

/// A folder of a mailbox. Its name is safe as a directory's name: that is checked once, here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Folder {
    Inbox,
    /// Asterisk's place for urgent messages; we keep them in the INBOX and mark them.
    Urgent,
    Old,
    Work,
    Family,
    Friends,
    /// The owner's own copies of what was sent from this mailbox.
    Sent,
    /// The trash.
    Deleted,
    Other(Box<str>),
}

/// Folders with a meaning, by the name of their directory.
const NAMED: [(Folder, &str); 8] = [
    (Folder::Inbox, "INBOX"),
    (Folder::Urgent, "Urgent"),
    (Folder::Old, "Old"),
    (Folder::Work, "Work"),
    (Folder::Family, "Family"),
    (Folder::Friends, "Friends"),
    (Folder::Sent, "SENT"),
    (Folder::Deleted, "Deleted"),
];

impl Folder {
    /// `None` for a name that no directory may have, and for `tmp`, where drafts lie.
    pub fn named(name: &str) -> Option<Self> {
        if let Some((folder, _)) = NAMED.iter().find(|(_, known)| *known == name) {
            return Some(folder.clone());
        }
        (is_plain_name(name) && name != "tmp").then(|| Self::Other(name.into()))
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Inbox => "INBOX",
            Self::Urgent => "Urgent",
            Self::Old => "Old",
            Self::Work => "Work",
            Self::Family => "Family",
            Self::Friends => "Friends",
            Self::Sent => "SENT",
            Self::Deleted => "Deleted",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_strangers_keep_theirs() {
        for (folder, name) in NAMED {
            assert_eq!(Folder::named(name), Some(folder.clone()));
            assert_eq!(folder.name(), name);
        }
        assert_eq!(Folder::named("Cust1"), Some(Folder::Other("Cust1".into())));
        for bad in ["", "..", "a/b", ".lock", "tmp", "x\ny"] {
            assert_eq!(Folder::named(bad), None, "{bad:?}");
        }
    }
}
