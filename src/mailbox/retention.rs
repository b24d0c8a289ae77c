//! How long messages stay, and how full a mailbox may be. Pure: the clock is told.

use serde::{Deserialize, Serialize};

use super::{Folder, Level, Message};

/// Days that messages stay in their folders; 0: for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// INBOX and Urgent.
    pub inbox: u32,
    pub old: u32,
    pub sent: u32,
    /// All other folders of the owner's.
    pub filed: u32,
    /// What lies in the trash longer is purged.
    pub trash: u32,
    /// A message that nobody has heard stays, whatever its age.
    pub keep_unheard: bool,
    /// Mailboxes that were removed, with all that they held.
    pub removed: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { inbox: 0, old: 0, sent: 0, filed: 0, trash: 30, keep_unheard: true, removed: 30 }
    }
}

/// What becomes of a message whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Stays,
    /// Into the trash.
    Expired,
    Purged,
}

const DAY: i64 = 24 * 60 * 60;

impl Retention {
    pub fn due(&self, message: &Message, now: i64) -> Due {
        let days = match message.folder {
            Folder::Inbox | Folder::Urgent => self.inbox,
            Folder::Old => self.old,
            Folder::Sent => self.sent,
            Folder::Deleted => self.trash,
            Folder::Work | Folder::Family | Folder::Friends | Folder::Other(_) => self.filed,
        };
        let age = now.saturating_sub(message.lies_since());
        if days == 0 || age < i64::from(days) * DAY {
            return Due::Stays;
        }
        match message.folder {
            Folder::Deleted => Due::Purged,
            Folder::Inbox | Folder::Urgent if self.keep_unheard && message.heard.is_none() => {
                Due::Stays
            }
            _ => Due::Expired,
        }
    }

    /// Whether any folder has an end.
    pub fn ends(&self) -> bool {
        [self.inbox, self.old, self.sent, self.filed, self.trash, self.removed] != [0; 6]
    }

    /// Whether a mailbox that was removed at this second goes for good.
    pub fn buries(&self, removed: i64, now: i64) -> bool {
        self.removed > 0 && now.saturating_sub(removed) >= i64::from(self.removed) * DAY
    }
}

/// Why a sweep does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    #[error("the clock has moved by {0} hours against the time that has passed")]
    Clock(i64),
    #[error("{going} of {all} messages would go at once")]
    TooMany { going: usize, all: usize },
}

/// So few messages may always go.
const FEW: usize = 100;
/// A longer time since the last sweep is believed once the clock has been seen to run.
const LONG: i64 = 2 * DAY;
/// For so many seconds.
const SEEN: i64 = 50 * 60;

/// What whoever sweeps has seen of the clock, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What the clock said at first.
    pub since: i64,
    /// The time that has passed since, by a clock that nobody sets.
    pub passed: i64,
}

/// When a sweep is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Now,
    Later,
    /// The clock has jumped.
    Odd(Halt),
}

/// Whether the nightly sweep is due, a day after the last one. A daemon that was off for long
/// waits until it has seen the clock run: it may have been set wrong, and be set right again.
pub fn turn(last: Option<i64>, now: i64, seen: Seen) -> Turn {
    let jump = now - seen.since - seen.passed;
    if jump.abs() > DAY {
        return Turn::Odd(Halt::Clock(jump / 3600));
    }
    match last.map(|last| now.saturating_sub(last)) {
        Some(since) if (0..DAY).contains(&since) => Turn::Later,
        Some(since) if since > LONG && seen.passed < SEEN => Turn::Later,
        Some(_) | None => Turn::Now,
    }
}

/// Whether a sweep may do what it found due. `last` is when the last one ran.
pub fn may_sweep(last: Option<i64>, now: i64, (going, all): (usize, usize)) -> Result<(), Halt> {
    if let Some(since) = last.map(|last| now.saturating_sub(last))
        && since < 0
    {
        return Err(Halt::Clock(since / 3600));
    }
    if going > FEW && going > all / 10 {
        return Err(Halt::TooMany { going, all });
    }
    Ok(())
}

/// What a mailbox may hold; `None`: any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceiling {
    pub messages: Option<u64>,
    pub seconds: Option<u64>,
    pub bytes: Option<u64>,
}

impl Ceiling {
    /// How full it is, by the fullest of its measures.
    pub fn level(&self, messages: u64, seconds: u64, bytes: u64) -> Level {
        let of = |used: u64, most: Option<u64>| match most {
            Some(most) if used >= most => Level::Full,
            Some(most) if used >= most - most / 5 => Level::NearlyFull,
            Some(_) | None => Level::Room,
        };
        let levels =
            [of(messages, self.messages), of(seconds, self.seconds), of(bytes, self.bytes)];
        levels.into_iter().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Deleted, Envelope, Heard, MessageId, Stem};

    fn message(folder: Folder, received: i64) -> Message {
        let stem = Stem::found("x").unwrap();
        let new = Message::new(MessageId::new(1, 1), 1, "1000".parse().unwrap(), stem);
        Message { folder, envelope: Envelope { received, ..Envelope::default() }, ..new }
    }

    #[test]
    fn a_message_stays_its_days_in_its_folder() {
        let retention = Retention { inbox: 10, filed: 20, ..Retention::default() };
        let due = |message: &Message, day: i64| retention.due(message, day * DAY);
        let heard = Some(Heard { at: 5, by: "x".into() });
        let inbox = Message { heard: heard.clone(), ..message(Folder::Inbox, 0) };
        assert_eq!((due(&inbox, 9), due(&inbox, 10)), (Due::Stays, Due::Expired));
        assert_eq!(due(&message(Folder::Inbox, 0), 999), Due::Stays, "unheard");
        assert_eq!(due(&message(Folder::Old, 0), 999), Due::Stays, "for good");
        let filed = Message { filed: Some(5 * DAY), ..message(Folder::Work, 0) };
        assert_eq!((due(&filed, 24), due(&filed, 25)), (Due::Stays, Due::Expired));
        let trash = Deleted { at: 7 * DAY, by: "x".into(), from: Folder::Inbox };
        let deleted = Message { deleted: Some(trash), ..message(Folder::Deleted, 0) };
        assert_eq!((due(&deleted, 36), due(&deleted, 37)), (Due::Stays, Due::Purged));
        assert_eq!(due(&message(Folder::Deleted, 0), -5), Due::Stays);
    }

    #[test]
    fn a_sweep_stops_where_the_clock_or_the_number_is_odd() {
        let now = 100 * DAY;
        assert_eq!(may_sweep(None, now, (5, 6)), Ok(()));
        assert_eq!(may_sweep(Some(now - DAY), now, (10, 100)), Ok(()));
        assert_eq!(may_sweep(Some(now - 30 * DAY), now, (0, 9)), Ok(()), "it was off");
        assert_eq!(may_sweep(Some(now + DAY), now, (0, 9)), Err(Halt::Clock(-24)));
        let many = may_sweep(None, now, (101, 1000));
        assert_eq!(many, Err(Halt::TooMany { going: 101, all: 1000 }));
        assert_eq!(may_sweep(None, now, (101, 1010)), Ok(()));
    }

    #[test]
    fn a_daemon_that_was_off_for_long_sweeps_once_the_clock_is_seen_to_run() {
        let now = 100 * DAY;
        let at =
            |last: Option<i64>, passed: i64| turn(last, now, Seen { since: now - passed, passed });
        assert_eq!(at(None, 0), Turn::Now);
        assert_eq!(at(Some(now - DAY + 1), 9 * DAY), Turn::Later);
        assert_eq!(at(Some(now - DAY), 0), Turn::Now);
        assert_eq!(at(Some(now - 30 * DAY), 60), Turn::Later);
        assert_eq!(at(Some(now - 30 * DAY), 3600), Turn::Now);
        assert_eq!(at(Some(now + 5), 3600), Turn::Now, "the sweep itself finds that odd");
        // Set forward by a week, or back, while it ran.
        let jumped = |days: i64| turn(None, now + days * DAY, Seen { since: now - 60, passed: 60 });
        assert_eq!(jumped(7), Turn::Odd(Halt::Clock(7 * 24)));
        assert_eq!(jumped(-7), Turn::Odd(Halt::Clock(-7 * 24)));
        assert_eq!(jumped(1), Turn::Now);
    }

    #[test]
    fn a_removed_mailbox_goes_after_its_days() {
        let retention = Retention { removed: 30, ..Retention::default() };
        assert!(!retention.buries(0, 30 * DAY - 1) && retention.buries(0, 30 * DAY));
        assert!(!Retention { removed: 0, ..retention }.buries(0, 999 * DAY));
    }

    #[test]
    fn a_mailbox_is_as_full_as_its_fullest_measure() {
        let ceiling = Ceiling { messages: Some(10), seconds: Some(100), bytes: None };
        assert_eq!(ceiling.level(7, 79, u64::MAX), Level::Room);
        assert_eq!(ceiling.level(8, 0, 0), Level::NearlyFull);
        assert_eq!(ceiling.level(0, 100, 0), Level::Full);
        assert_eq!(Ceiling { messages: Some(0), ..Ceiling::default() }.level(0, 0, 0), Level::Full);
    }
}
