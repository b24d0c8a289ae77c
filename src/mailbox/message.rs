//! One message: all that is known of it without its audio.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ulid::Ulid;

use super::{Folder, Formats, MailboxId};

/// Who a message is, wherever it is moved and whatever its files are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Ulid);

impl MessageId {
    pub const LEAST: Self = Self(Ulid(0));
    pub const GREATEST: Self = Self(Ulid(u128::MAX));

    pub fn new(unix_ms: u64, chance: u128) -> Self {
        Self(Ulid::from_parts(unix_ms, chance))
    }

    pub fn bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(bytes))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = ulid::DecodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ulid::from_string(text).map(Self)
    }
}

/// The name that a message's two files share, without extension. Never a source of facts: another
/// program's names say something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stem(Box<str>);

impl Stem {
    /// Our own form, which the Telebroad interface shows: start of recording, call, owner, caller
    /// and seconds.
    pub fn ours(received: i64, call: &str, owner: u64, caller: &str, seconds: u64) -> Self {
        let caller: String =
            caller.chars().filter(|c| c.is_ascii_digit() || *c == '+').take(32).collect();
        Self(format!("voicemail_{received}_{call}_{owner}_{caller}_{seconds}").into())
    }

    /// Any name that lies in one folder and is not hidden.
    pub fn found(name: &str) -> Option<Self> {
        let plain = |byte: u8| !byte.is_ascii_control() && byte != b'/' && byte != b'\\';
        let fits = (1..=200).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(plain)
            && (name.is_ascii() || !name.chars().any(char::is_control));
        fits.then(|| Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who called, as far as the network says. Every part may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerId {
    pub number: String,
    pub name: String,
    /// The outside number of an internal caller.
    pub ext: String,
}

/// Who left a message, for whom, when and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    pub caller: CallerId,
    /// The number that was dialled, before any mailbox was found.
    pub to: String,
    /// Unix seconds at the start of the recording.
    pub received: i64,
    /// The call's 17 digits, unique on this spool.
    pub call: String,
    /// The SIP Call-ID.
    pub sip_call_id: String,
}

/// Who listened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub at: i64,
    pub by: String,
}

/// Who put a message into the trash, when, and where it lay before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub at: i64,
    pub by: String,
    pub from: Folder,
}

/// Who sent a message on, and when the caller had left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    pub by: String,
    pub received: i64,
}

/// All that is known of a message without its audio. One of another program's has the same shape;
/// what its files do not tell is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: MessageId,
    /// A small integer for interfaces that want one. Never given twice.
    pub number: u64,
    pub mailbox: MailboxId,
    pub folder: Folder,
    pub stem: Stem,
    pub formats: Formats,
    pub envelope: Envelope,
    pub duration: Duration,
    /// Samples a second; 0 where the audio cannot be read.
    pub rate: u32,
    /// Size of the best audio file.
    pub bytes: u64,
    /// SHA-256 of the audio, in hexadecimal; empty where nobody computed it.
    pub sha256: String,
    pub heard: Option<Heard>,
    pub urgent: bool,
    pub private: bool,
    /// Nobody was heard to speak.
    pub silent: bool,
    /// The message that this one is a copy of.
    pub origin: Option<MessageId>,
    pub forwarded: Option<Forwarded>,
    pub deleted: Option<Deleted>,
    /// Unix seconds since when it has lain in its folder, where it was moved there.
    pub filed: Option<i64>,
    /// Asterisk's category: free text for whoever sorts by it.
    pub category: String,
    /// What was said, in words; empty until somebody wrote it down.
    pub transcript: String,
}

impl Message {
    /// A message in the INBOX that nobody has touched.
    pub fn new(id: MessageId, number: u64, mailbox: MailboxId, stem: Stem) -> Self {
        Self {
            id,
            number,
            mailbox,
            folder: Folder::Inbox,
            stem,
            formats: Formats::WAV,
            envelope: Envelope::default(),
            duration: Duration::ZERO,
            rate: 8000,
            bytes: 0,
            sha256: String::new(),
            heard: None,
            urgent: false,
            private: false,
            silent: false,
            origin: None,
            forwarded: None,
            deleted: None,
            filed: None,
            category: String::new(),
            transcript: String::new(),
        }
    }

    /// Unix seconds from which its folder's retention counts.
    pub fn lies_since(&self) -> i64 {
        let moved = self.deleted.as_ref().map(|deleted| deleted.at).or(self.filed);
        moved.unwrap_or(self.envelope.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_keeps_only_a_number_of_the_caller() {
        let stem = Stem::ours(1_505_418_688, "15054186870000001", 10142, "+1 (631) ../x\n", 3);
        assert_eq!(stem.as_str(), "voicemail_1505418688_15054186870000001_10142_+1631_3");
        let stem = Stem::ours(1, "c", 2, "anonymous", 3);
        assert_eq!(stem.as_str(), "voicemail_1_c_2__3");
    }

    #[test]
    fn a_found_stem_stays_in_its_folder() {
        assert!(Stem::found("msg0007").is_some());
        for bad in ["", "..", "../x", "a/b", "a\\b", ".x", "a\0", "a\nb"] {
            assert_eq!(Stem::found(bad), None, "{bad:?}");
        }
    }
}
