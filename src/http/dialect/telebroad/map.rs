//! Between Telebroad's words and ours; pure.
//!
//! Odd about this vendor: `offset` counts from one though its own client sends zero; `mailbox` may
//! be a list with a trailing comma; `end=-1` is no end; `caller` is a name and `callerid` the
//! number; heard messages are still in its INBOX.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::Arc;

use super::wire::{Error, File, Given, Item};
use crate::mailbox::{DEFAULT_CONTEXT, Folder, MailboxId, Message};
use crate::spool::Query;

pub(super) enum Refusal {
    Login,
    Blocked,
    Busy,
    Missing(&'static str),
    Wrong { parameter: &'static str, why: &'static str },
    NoSuchMailbox,
    AmbiguousMailbox,
    NoSuchFile,
    TooLarge,
    NoSuchCall,
    NoSuchMethod,
    Broken,
}

pub(super) struct ListWish {
    pub(super) mailboxes: Vec<String>,
    pub(super) query: Query,
}

pub(super) struct FileWish {
    pub(super) mailbox: String,
    pub(super) folders: Vec<Folder>,
    pub(super) file: String,
}

pub(super) fn list_wish(given: &Given, offset_base: u8) -> Result<ListWish, Refusal> {
    let mailboxes: Vec<String> = given
        .text("mailbox")
        .ok_or(Refusal::Missing("mailbox"))?
        .split(',')
        .map(str::trim)
        .filter(|number| !number.is_empty())
        .map(str::to_owned)
        .collect();
    if mailboxes.is_empty() {
        return Err(Refusal::Missing("mailbox"));
    }
    let offset = number(given, "offset")?.unwrap_or(0);
    let limit = number(given, "limit")?;
    if offset < 0 {
        return Err(Refusal::Wrong { parameter: "offset", why: "must not be negative" });
    }
    if limit.is_some_and(|limit| limit < -1) {
        return Err(Refusal::Wrong { parameter: "limit", why: "must not be negative" });
    }
    Ok(ListWish {
        mailboxes,
        query: Query {
            folders: folders(given)?,
            from: number(given, "start")?,
            to: number(given, "end")?.filter(|end| *end != -1),
            newest_first: flag(given, "descending")?,
            skip: usize::try_from((offset - i64::from(offset_base)).max(0)).unwrap_or(usize::MAX),
            limit: limit.and_then(|limit| usize::try_from(limit).ok()),
            ..Query::default()
        },
    })
}

pub(super) fn file_wish(given: &Given) -> Result<FileWish, Refusal> {
    let mailbox = given.text("mailbox").ok_or(Refusal::Missing("mailbox"))?.to_owned();
    // Its table says `voicemail`, its example `file`.
    let file = given.text("file").or_else(|| given.text("voicemail"));
    let file = file.ok_or(Refusal::Missing("file"))?.to_owned();
    Ok(FileWish { mailbox, folders: folders(given)?, file })
}

/// The mailbox of this number: in the default context before any other.
pub(super) fn mailbox(
    number: &str,
    numbered: impl Fn(&str) -> Vec<MailboxId>,
) -> Result<MailboxId, Refusal> {
    let (plain, context) = number.split_once('@').map_or((number, None), |(n, c)| (n, Some(c)));
    let mut found = numbered(plain);
    match context {
        Some(context) => found.retain(|id| id.context() == context),
        None if found.iter().any(|id| id.context() == DEFAULT_CONTEXT) => {
            found.retain(|id| id.context() == DEFAULT_CONTEXT);
        }
        None => {}
    }
    match (found.pop(), found.is_empty()) {
        (Some(id), true) => Ok(id),
        (Some(_), false) => Err(Refusal::AmbiguousMailbox),
        (None, _) => Err(Refusal::NoSuchMailbox),
    }
}

/// The page of several mailboxes' lists as one list.
pub(super) fn merge(lists: Vec<Vec<Arc<Message>>>, query: &Query) -> Vec<Arc<Message>> {
    let mut all: Vec<_> = lists.into_iter().flatten().collect();
    all.sort_by_key(|message| (message.envelope.received, message.number));
    if query.newest_first {
        all.reverse();
    }
    all.into_iter().skip(query.skip).take(query.limit.unwrap_or(usize::MAX)).collect()
}

pub(super) fn item(message: &Message) -> Item {
    let caller = &message.envelope.caller;
    let number = caller.number.trim_start_matches('+').to_owned();
    let name = [&caller.name, &number].into_iter().find(|text| !text.is_empty());
    let ext = if caller.ext.is_empty() { &number } else { &caller.ext };
    Item {
        id: message.number.to_string(),
        time: message.envelope.received.to_string(),
        duration: message.duration.as_secs().to_string(),
        mailbox: message.mailbox.number().to_owned(),
        caller: name.map_or_else(|| "Unknown".into(), Clone::clone),
        callerid_ext: ext.trim_start_matches('+').to_owned(),
        callerid: number,
        name: message.stem.to_string(),
        dir: dir(&message.folder).to_owned(),
        read_by: message.heard.as_ref().map_or(String::new(), |heard| heard.by.clone()),
    }
}

pub(super) fn file(message: &Message, audio: &[u8], zone: Option<&str>) -> File {
    let zone = zone.and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system);
    let at = Timestamp::from_second(message.envelope.received).unwrap_or(Timestamp::UNIX_EPOCH);
    let when = at.to_zoned(zone).strftime("%Y%m%d%H%M%S").to_string();
    let digits: String =
        message.envelope.caller.number.chars().filter(char::is_ascii_digit).take(32).collect();
    let caller = if digits.is_empty() { digits } else { format!("_{digits}") };
    File {
        name: format!("voicemail_{when}{caller}.wav"),
        data: STANDARD.encode(audio),
        mimetype: "audio/x-wav",
        transcription: String::new(),
    }
}

pub(super) fn error(refusal: &Refusal) -> Error {
    let (code, message) = match refusal {
        Refusal::Login => (433, "Login incorrect".into()),
        Refusal::Blocked => (439, "Account blocked".into()),
        Refusal::Busy => (503, "Too many requests at once, try again".into()),
        Refusal::Missing(parameter) => (400, format!("Parameter {parameter} is missing")),
        Refusal::Wrong { parameter, why } => (400, format!("Parameter {parameter} {why}")),
        Refusal::NoSuchMailbox => (404, "Mailbox does not exist".into()),
        Refusal::AmbiguousMailbox => {
            (409, "Several mailboxes have this number, write NUMBER@CONTEXT".into())
        }
        Refusal::NoSuchFile => (404, "Voicemail does not exist".into()),
        Refusal::TooLarge => (413, "Voicemail is too large".into()),
        Refusal::NoSuchCall => (404, "This call does not exist here".into()),
        Refusal::NoSuchMethod => (405, "This call does not take this method".into()),
        Refusal::Broken => (500, "Internal error".into()),
    };
    Error { code, message }
}

fn folders(given: &Given) -> Result<Vec<Folder>, Refusal> {
    match given.text("dir").unwrap_or("INBOX") {
        "INBOX" => Ok(vec![Folder::Inbox, Folder::Urgent, Folder::Old]),
        "Old" => Ok(vec![Folder::Old]),
        "SENT" => Ok(vec![Folder::Sent]),
        _ => Err(Refusal::Wrong { parameter: "dir", why: "is INBOX, Old or SENT" }),
    }
}

fn dir(folder: &Folder) -> &str {
    match folder {
        Folder::Urgent => Folder::Inbox.name(),
        Folder::Inbox
        | Folder::Old
        | Folder::Work
        | Folder::Family
        | Folder::Friends
        | Folder::Sent
        | Folder::Deleted
        | Folder::Other(_) => folder.name(),
    }
}

fn number(given: &Given, parameter: &'static str) -> Result<Option<i64>, Refusal> {
    given
        .text(parameter)
        .map(|text| text.trim().parse())
        .transpose()
        .map_err(|_| Refusal::Wrong { parameter, why: "is not a whole number" })
}

fn flag(given: &Given, parameter: &'static str) -> Result<bool, Refusal> {
    match given.text(parameter).map(str::to_ascii_lowercase).as_deref() {
        Some("1" | "true" | "yes" | "on") => Ok(true),
        None | Some("0" | "false" | "no" | "off") => Ok(false),
        Some(_) => Err(Refusal::Wrong { parameter, why: "is 1 or 0" }),
    }
}
