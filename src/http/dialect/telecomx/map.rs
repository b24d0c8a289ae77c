//! Between TelecomX's words and ours; pure.
//!
//! Odd about this vendor: what is asked for is NEW, OLD or SAVED, what is answered is INBOX or SAVED
//! with `played`; the counts are of the whole mailbox whatever was asked; the PIN is in the path.

use jiff::Timestamp;

use super::wire::{PbxVoicemail, Voicemail};
use crate::mailbox::{Folder, Mailbox, MailboxId, Message, hex_id};
use crate::spool::Query;
use crate::state::organization::Organization;

#[derive(Clone, Copy)]
pub(super) enum Box {
    New,
    Old,
    Saved,
}

pub(super) fn named(name: &str) -> Option<Box> {
    match name {
        "" | "NEW" => Some(Box::New),
        "OLD" => Some(Box::Old),
        "SAVED" => Some(Box::Saved),
        _ => None,
    }
}

/// What to ask for; together they are the box.
pub(super) fn queries(asked: Box) -> Vec<Query> {
    let query = |folders: &[Folder], heard| Query {
        folders: folders.to_vec(),
        heard,
        newest_first: true,
        ..Query::default()
    };
    match asked {
        Box::New => vec![query(&[Folder::Inbox, Folder::Urgent], Some(false))],
        Box::Old => {
            vec![query(&[Folder::Inbox, Folder::Urgent], Some(true)), query(&[Folder::Old], None)]
        }
        Box::Saved => {
            use Folder::{Deleted, Inbox, Old, Sent, Urgent};
            vec![Query { except: vec![Inbox, Urgent, Old, Sent, Deleted], ..query(&[], None) }]
        }
    }
}

fn is_saved(folder: &Folder) -> bool {
    match folder {
        Folder::Work | Folder::Family | Folder::Friends | Folder::Other(_) => true,
        Folder::Inbox | Folder::Urgent | Folder::Old | Folder::Sent | Folder::Deleted => false,
    }
}

fn is_played(message: &Message) -> bool {
    message.heard.is_some() || message.folder == Folder::Old
}

pub(super) fn voicemail(
    message: &Message,
    mailbox: &Mailbox,
    organization: &Organization,
) -> Voicemail {
    let envelope = &message.envelope;
    Voicemail {
        id: message_id(message),
        voice_account: hex_id(mailbox.uuid),
        customer: hex_id(organization.uuid),
        from: e164(&envelope.caller.number),
        from_name: envelope.caller.name.clone(),
        to: mailbox.e164.clone().unwrap_or_else(|| e164(&envelope.to)),
        call_id: envelope.sip_call_id.clone(),
        date: date(envelope.received),
        length: message.duration.as_secs(),
        folder: if is_saved(&message.folder) { "SAVED" } else { "INBOX" },
        played: is_played(message),
    }
}

/// `employee_of`: the mailbox that a caller inside the organization has.
pub(super) fn pbx_voicemail(
    message: &Message,
    mailbox: &Mailbox,
    organization: &Organization,
    employee_of: impl Fn(&str) -> Option<String>,
) -> PbxVoicemail {
    let caller = &message.envelope.caller;
    let transcript = Some(message.transcript.clone()).filter(|text| !text.is_empty());
    PbxVoicemail {
        id: message_id(message),
        customer: hex_id(organization.uuid),
        employee: hex_id(mailbox.uuid),
        date: date(message.envelope.received),
        length: message.duration.as_secs(),
        old: is_played(message),
        a_number: e164(&caller.number),
        a_name: caller.name.clone(),
        a_employee: employee_of(&caller.number),
        transcription_language: transcript.as_ref().map(|_| mailbox.language.clone()),
        transcription: transcript,
    }
}

/// Like an ObjectId: four bytes of the second, eight of the message's id.
fn message_id(message: &Message) -> String {
    let second = u32::try_from(message.envelope.received.max(0)).unwrap_or(u32::MAX);
    let low = u64::from_be_bytes(message.id.bytes()[8..].try_into().unwrap_or_default());
    format!("{second:08x}{low:016x}")
}

/// Where to look for the message with this id.
pub(super) fn around(id: &str) -> Option<Query> {
    let hex = id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let second = hex.then(|| u32::from_str_radix(&id[..8], 16).ok()).flatten()?;
    let second = i64::from(second);
    // What lies before 1970 has the first second in its id, and what lies after 2106 the last.
    let from = (second > 0).then_some(second);
    let to = (second < i64::from(u32::MAX)).then_some(second);
    Some(Query { folders: owners(false), from, to, ..Query::default() })
}

pub(super) fn is_called(message: &Message, id: &str) -> bool {
    message_id(message).eq_ignore_ascii_case(id)
}

/// The folders that a PBX tells of; what lies in Old is old, heard or not.
pub(super) fn owners(only_new: bool) -> Vec<Folder> {
    let mut folders = vec![Folder::Inbox, Folder::Urgent];
    folders.extend((!only_new).then_some(Folder::Old));
    folders
}

/// With a plus where it is a whole number; an extension stays as it is.
fn e164(number: &str) -> String {
    let whole =
        number.len() >= 9 && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
    if whole { format!("+{number}") } else { number.to_owned() }
}

fn date(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

/// What the interface takes for a new PIN.
pub(super) fn is_pin(text: &str) -> bool {
    (4..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Newest first, and equal seconds by number.
pub(super) fn sort(messages: &mut [(MailboxId, std::sync::Arc<Message>)]) {
    messages
        .sort_by_key(|(_, message)| std::cmp::Reverse((message.envelope.received, message.number)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_gets_its_plus() {
        assert_eq!(e164("4520000002"), "+4520000002");
        for same in ["+4520000002", "2002", "", "anonymous", "04520000002"] {
            assert_eq!(e164(same), same);
        }
    }

    #[test]
    fn what_is_no_id_leads_nowhere() {
        assert_eq!(around("665712f0a1b2c3d4e5f60718").unwrap().from, Some(0x6657_12f0));
        for bad in ["", "665712f0", "665712f0a1b2c3d4e5f6071g", "../../../../../../etc/pw"] {
            assert!(around(bad).is_none(), "{bad}");
        }
    }
}
