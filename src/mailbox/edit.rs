//! What a person may ask of a message, and what comes of it: the rule book.

use std::fmt;

use super::{Deleted, Folder, Heard, Message};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Somebody listened to it.
    MarkHeard,
    MarkNew,
    SetUrgent(bool),
    /// A private message is not forwarded.
    SetPrivate(bool),
    /// Nobody was heard to speak.
    SetSilent(bool),
    /// Into one of the owner's folders; out of the trash too.
    File(Folder),
    /// Into the trash.
    Delete,
    /// Out of the trash, to where it lay.
    Restore,
    /// Away for good, audio and all.
    Purge,
    /// What was said, in words.
    Annotate {
        transcript: String,
    },
    Categorize(String),
}

/// Who asks, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// As `read_by` shall tell it: the mailbox's number on the phone, the user's name elsewhere.
    pub who: String,
    /// Unix seconds.
    pub at: i64,
}

impl By {
    pub fn new(who: impl Into<String>, at: i64) -> Self {
        Self { who: who.into(), at }
    }
}

/// The house's choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// A heard message moves from the INBOX to Old, for portals that count folders.
    pub move_heard: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so already.
    Unchanged,
    /// The message as it shall be, perhaps in another folder.
    Changed(Box<Message>),
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a message goes into `{0}` by being sent or deleted, not by being filed")]
    NotAFolderToFileIn(Folder),
    #[error("a private message is not sent on")]
    Private,
}

/// The longest transcript that is kept, in bytes.
pub const LONGEST_TRANSCRIPT: usize = 32 * 1024;
const LONGEST_CATEGORY: usize = 256;

impl Edit {
    pub fn apply(&self, message: &Message, by: &By, rules: Rules) -> Result<Outcome, Refused> {
        let mut edited = message.clone();
        match self {
            Self::MarkHeard => {
                if edited.heard.is_none() {
                    edited.heard = Some(Heard { at: by.at, by: by.who.clone() });
                }
                if rules.move_heard && matches!(edited.folder, Folder::Inbox | Folder::Urgent) {
                    edited.lay(Folder::Old, by.at);
                }
            }
            Self::MarkNew => {
                edited.heard = None;
                // What lies in Old counts as old, heard or not.
                if edited.folder == Folder::Old {
                    edited.lay(Folder::Inbox, by.at);
                }
            }
            Self::SetUrgent(urgent) => {
                edited.urgent = *urgent;
                // Asterisk's folder for urgent messages says the same as the mark.
                if !urgent && edited.folder == Folder::Urgent {
                    edited.lay(Folder::Inbox, by.at);
                }
            }
            Self::SetPrivate(private) => edited.private = *private,
            Self::SetSilent(silent) => edited.silent = *silent,
            Self::File(folder @ (Folder::Sent | Folder::Deleted)) => {
                return Err(Refused::NotAFolderToFileIn(folder.clone()));
            }
            Self::File(Folder::Urgent) => {
                edited.urgent = true;
                if edited.folder != Folder::Urgent {
                    edited.lay(Folder::Inbox, by.at);
                }
            }
            Self::File(folder) => edited.lay(folder.clone(), by.at),
            Self::Delete => {
                if edited.folder != Folder::Deleted {
                    let from = edited.folder.clone();
                    edited.lay(Folder::Deleted, by.at);
                    edited.deleted = Some(Deleted { at: by.at, by: by.who.clone(), from });
                }
            }
            Self::Restore => {
                if edited.folder == Folder::Deleted {
                    let from = edited.deleted.as_ref().map(|deleted| deleted.from.clone());
                    let from = from.filter(|from| *from != Folder::Deleted);
                    edited.lay(from.unwrap_or(Folder::Inbox), by.at);
                }
            }
            Self::Purge => return Ok(Outcome::Gone),
            Self::Annotate { transcript } => {
                cut(transcript, LONGEST_TRANSCRIPT).clone_into(&mut edited.transcript);
            }
            Self::Categorize(category) => {
                cut(category, LONGEST_CATEGORY).clone_into(&mut edited.category);
            }
        }
        if edited == *message {
            Ok(Outcome::Unchanged)
        } else {
            Ok(Outcome::Changed(Box::new(edited)))
        }
    }
}

impl Message {
    /// Puts it into a folder; one that lies there already stays as it is.
    fn lay(&mut self, folder: Folder, at: i64) {
        if self.folder != folder {
            self.folder = folder;
            self.filed = Some(at);
            self.deleted = None;
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MarkHeard => "mark as heard",
            Self::MarkNew => "mark as new",
            Self::SetUrgent(true) => "mark as urgent",
            Self::SetUrgent(false) => "mark as not urgent",
            Self::SetPrivate(true) => "mark as private",
            Self::SetPrivate(false) => "mark as not private",
            Self::SetSilent(_) => "mark as silent or not",
            Self::File(folder) => return write!(f, "move to {folder}"),
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::Purge => "purge",
            Self::Annotate { .. } => "annotate",
            Self::Categorize(_) => "categorize",
        })
    }
}

fn cut(text: &str, longest: usize) -> &str {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{MessageId, Stem};

    const JANE: &str = "1000";

    fn message(folder: Folder) -> Message {
        let stem = Stem::found("msg0000").unwrap();
        let new = Message::new(MessageId::new(1, 1), 1, JANE.parse().unwrap(), stem);
        Message { folder, ..new }
    }

    fn by() -> By {
        By::new(JANE, 7)
    }

    fn changed(message: &Message, edit: &Edit) -> Message {
        match edit.apply(message, &by(), Rules::default()) {
            Ok(Outcome::Changed(edited)) => *edited,
            other => panic!("{edit}: {other:?}"),
        }
    }

    #[test]
    fn the_first_who_listened_is_remembered() {
        let heard = changed(&message(Folder::Inbox), &Edit::MarkHeard);
        assert_eq!(heard.heard, Some(Heard { at: 7, by: JANE.into() }));
        assert_eq!(heard.folder, Folder::Inbox, "until its owner files it");
        let again = Edit::MarkHeard.apply(&heard, &By::new("joe", 9), Rules::default());
        assert_eq!(again, Ok(Outcome::Unchanged));
    }

    #[test]
    fn a_heard_message_moves_where_the_house_wants_it() {
        let rules = Rules { move_heard: true };
        let Ok(Outcome::Changed(heard)) =
            Edit::MarkHeard.apply(&message(Folder::Inbox), &by(), rules)
        else {
            panic!("unmoved")
        };
        assert_eq!(heard.folder, Folder::Old);
        let new = changed(&heard, &Edit::MarkNew);
        assert_eq!((new.folder, new.heard), (Folder::Inbox, None));
        let work = Edit::MarkHeard.apply(&message(Folder::Work), &by(), rules);
        assert!(matches!(work, Ok(Outcome::Changed(work)) if work.folder == Folder::Work));
    }

    #[test]
    fn what_is_deleted_comes_back_to_where_it_lay() {
        for folder in [Folder::Inbox, Folder::Work, Folder::Sent, Folder::Other("Cust1".into())] {
            let there = message(folder.clone());
            let deleted = changed(&there, &Edit::Delete);
            let trace = Deleted { at: 7, by: JANE.into(), from: folder.clone() };
            assert_eq!((&deleted.folder, &deleted.deleted), (&Folder::Deleted, &Some(trace)));
            assert_eq!(
                Edit::Delete.apply(&deleted, &by(), Rules::default()),
                Ok(Outcome::Unchanged)
            );
            let back = changed(&deleted, &Edit::Restore);
            assert_eq!((back.folder, back.deleted), (folder, None));
        }
        let strangers = message(Folder::Deleted);
        assert_eq!(changed(&strangers, &Edit::Restore).folder, Folder::Inbox);
        let filed = changed(&strangers, &Edit::File(Folder::Family));
        assert_eq!((filed.folder, filed.filed), (Folder::Family, Some(7)));
    }

    #[test]
    fn urgent_is_a_mark_and_no_folder_of_ours() {
        let urgent = changed(&message(Folder::Work), &Edit::File(Folder::Urgent));
        assert_eq!((&urgent.folder, urgent.urgent), (&Folder::Inbox, true));
        let theirs = Message { urgent: true, ..message(Folder::Urgent) };
        let calm = changed(&theirs, &Edit::SetUrgent(false));
        assert_eq!((calm.folder, calm.urgent), (Folder::Inbox, false));
    }

    #[test]
    fn the_trash_and_what_was_sent_are_not_filed_in() {
        for folder in [Folder::Deleted, Folder::Sent] {
            let filed =
                Edit::File(folder.clone()).apply(&message(Folder::Inbox), &by(), Rules::default());
            assert_eq!(filed, Err(Refused::NotAFolderToFileIn(folder)));
        }
    }

    #[test]
    fn a_transcript_is_cut_at_a_letter() {
        let transcript = "é".repeat(LONGEST_TRANSCRIPT);
        let kept = changed(&message(Folder::Inbox), &Edit::Annotate { transcript }).transcript;
        assert_eq!(kept.len(), LONGEST_TRANSCRIPT);
    }
}
