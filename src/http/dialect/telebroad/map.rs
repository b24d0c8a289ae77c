//! Between Telebroad's words and ours; pure.
//!
//! Odd about this vendor: `offset` counts from one though its own client sends zero; `mailbox` may
//! be a list with a trailing comma; `end=-1` is no end; `caller` is a name and `callerid` the
//! number; heard messages are still in its INBOX, and said to be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::wire::{self, Error, File, Given, Item};
use crate::directory::Settings;
use crate::mailbox::{DEFAULT_CONTEXT, Folder, Mailbox, MailboxId, Message, NotifyEmail};
use crate::spool::Query;

pub(super) enum Refusal {
    Login,
    Blocked,
    Busy,
    NotAllowed,
    Missing(&'static str),
    Wrong { parameter: &'static str, why: &'static str },
    NoSuchMailbox,
    AmbiguousMailbox,
    NoSuchFile,
    NoSuchMessage,
    NoSuchPhoneCall,
    NoBody,
    Settings(String),
    TooLarge,
    TooSlow,
    LongHead,
    Garbled,
    NoSuchCall,
    NoSuchMethod,
    Broken,
}

pub(super) struct ListWish {
    pub(super) mailboxes: Vec<String>,
    pub(super) dir: Dir,
    pub(super) query: Query,
}

/// A directory as they name it; a message is told to lie where it was asked for.
#[derive(Clone, Copy)]
pub(super) enum Dir {
    Inbox,
    Old,
    Sent,
}

impl Dir {
    fn name(self) -> &'static str {
        match self {
            Self::Inbox => "INBOX",
            Self::Old => "Old",
            Self::Sent => "SENT",
        }
    }

    fn folders(self) -> Vec<Folder> {
        match self {
            Self::Inbox => vec![Folder::Inbox, Folder::Urgent, Folder::Old],
            Self::Old => vec![Folder::Old],
            Self::Sent => vec![Folder::Sent],
        }
    }
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
    let dir = dir(given)?;
    Ok(ListWish {
        mailboxes,
        dir,
        query: Query {
            folders: dir.folders(),
            from: number(given, "start")?,
            to: number(given, "end")?.filter(|end| *end != -1),
            newest_first: flag(given, "descending")?,
            skip: usize::try_from((offset - i64::from(offset_base)).max(0)).unwrap_or(usize::MAX),
            limit: limit.and_then(|limit| usize::try_from(limit).ok()),
            ..Query::default()
        },
    })
}

/// Several files of one mailbox.
pub(super) fn files_wish(given: &Given) -> Result<(String, Vec<Folder>, Vec<String>), Refusal> {
    let mailbox = given.text("mailbox").ok_or(Refusal::Missing("mailbox"))?.to_owned();
    let mut files = given.all("file");
    if files.is_empty() {
        files.extend(given.text("file"));
    }
    if files.is_empty() {
        return Err(Refusal::Missing("file"));
    }
    Ok((mailbox, dir(given)?.folders(), files.into_iter().map(str::to_owned).collect()))
}

/// The messages that `PUT /messages/read` marks: ours have the type vox.
pub(super) fn read_wish(read: &wire::Read) -> Result<Vec<u64>, Refusal> {
    match read.kind.as_str() {
        "vox" | "all" => {}
        "sms" | "fax" | "phn" => return Err(Refusal::NoSuchMessage),
        "" => return Err(Refusal::Missing("type")),
        _ => return Err(Refusal::Wrong { parameter: "type", why: "is sms, fax, vox, phn or all" }),
    }
    let ids: Vec<&str> = read.ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    if ids.is_empty() {
        return Err(Refusal::Missing("ids"));
    }
    if ids.len() > 10 {
        return Err(Refusal::Wrong { parameter: "ids", why: "has more than 10" });
    }
    let ids: Result<Vec<u64>, _> = ids.iter().map(|id| id.parse()).collect();
    ids.map_err(|_| Refusal::Wrong { parameter: "ids", why: "is not a list of numbers" })
}

/// `pin`: in clear, or stars.
pub(super) fn mailbox_settings(id: &MailboxId, mailbox: &Mailbox, pin: String) -> wire::Mailbox {
    let flag = |on| if on { "1" } else { "0" };
    let addresses: Vec<&str> = mailbox.email.iter().map(AsRef::as_ref).collect();
    let wish = mailbox.notify_email;
    wire::Mailbox {
        uniqueid: mailbox.id.to_string(),
        context: id.context().to_owned(),
        number: id.number().to_owned(),
        password: pin.clone(),
        pin,
        fullname: mailbox.name.clone(),
        email: addresses.join(","),
        attach: flag(matches!(wish, NotifyEmail::Attach | NotifyEmail::Delete)),
        delete: flag(wish == NotifyEmail::Delete),
        notify_only: flag(wish == NotifyEmail::Yes),
        pager: mailbox.pager.clone().unwrap_or_default(),
        pager_attach: "0",
        timezone: mailbox.time_zone.clone().unwrap_or_default(),
        envelope: flag(mailbox.say_datetime),
        saycid: flag(mailbox.say_caller_id),
        sayduration: flag(mailbox.say_duration),
    }
}

/// What `PUT /mailbox` changes; what it does not name stays. And the PIN.
pub(super) fn mailbox_wish(
    body: &Map<String, Value>,
    mailbox: &Mailbox,
) -> Result<(Settings, Option<String>), Refusal> {
    let text = |name: &'static str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(Value::Bool(on)) => Ok(Some(if *on { "1" } else { "0" }.into())),
        Some(Value::Array(_) | Value::Object(_)) => {
            Err(Refusal::Wrong { parameter: name, why: "is no text" })
        }
    };
    let mut settings = Settings::new();
    for (theirs, ours) in [("fullname", "name"), ("timezone", "time_zone")] {
        if let Some(value) = text(theirs)? {
            settings.insert(ours.into(), value.into());
        }
    }
    for (theirs, ours) in
        [("envelope", "say_datetime"), ("saycid", "say_caller_id"), ("sayduration", "say_duration")]
    {
        if let Some(on) = switch(text(theirs)?.as_deref(), theirs)? {
            settings.insert(ours.into(), on.into());
        }
    }
    if let Some(list) = text("email")? {
        let list: Vec<&str> = list.split(',').map(str::trim).filter(|a| !a.is_empty()).collect();
        let none = list.is_empty();
        settings.insert("email".into(), json!(list));
        let now = if none { "no" } else { "yes" };
        if none || mailbox.notify_email == NotifyEmail::No {
            settings.insert("notify_email".into(), now.into());
        }
    }
    if let Some(pager) = text("pager")? {
        settings.insert("notify_pager".into(), (!pager.is_empty()).into());
        settings.insert("pager".into(), pager.into());
    }
    for (theirs, ours) in [("notify_only", "yes"), ("attach", "attach"), ("delete", "delete")] {
        if switch(text(theirs)?.as_deref(), theirs)? == Some(true) {
            settings.insert("notify_email".into(), ours.into());
        }
    }
    let pin = text("pin")?.or(text("password")?).filter(|pin| !pin.is_empty());
    Ok((settings, pin))
}

fn switch(text: Option<&str>, parameter: &'static str) -> Result<Option<bool>, Refusal> {
    match text {
        None | Some("") => Ok(None),
        Some("1" | "true" | "yes" | "on") => Ok(Some(true)),
        Some("0" | "false" | "no" | "off") => Ok(Some(false)),
        Some(_) => Err(Refusal::Wrong { parameter, why: "is 1 or 0" }),
    }
}

pub(super) fn file_wish(given: &Given) -> Result<FileWish, Refusal> {
    let mailbox = given.text("mailbox").ok_or(Refusal::Missing("mailbox"))?.to_owned();
    // Its table says `voicemail`, its example `file`.
    let file = given.text("file").or_else(|| given.text("voicemail"));
    let file = file.ok_or(Refusal::Missing("file"))?.to_owned();
    Ok(FileWish { mailbox, folders: dir(given)?.folders(), file })
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

pub(super) fn item(message: &Message, dir: Dir) -> Item<'_> {
    let caller = &message.envelope.caller;
    let number = caller.number.trim_start_matches('+');
    let name = [caller.name.as_str(), number].into_iter().find(|text| !text.is_empty());
    let ext = if caller.ext.is_empty() { number } else { &caller.ext };
    Item {
        id: message.number.to_string(),
        time: message.envelope.received.to_string(),
        duration: message.duration.as_secs().to_string(),
        mailbox: message.mailbox.number(),
        caller: name.unwrap_or("Unknown"),
        callerid: number,
        callerid_ext: ext.trim_start_matches('+'),
        name: message.stem.as_str(),
        dir: dir.name(),
        read_by: message.heard.as_ref().map_or("", |heard| &heard.by),
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
        transcription: message.transcript.clone(),
    }
}

pub(super) fn error(refusal: &Refusal) -> Error {
    let (code, message) = match refusal {
        Refusal::Login => (433, "Login incorrect".into()),
        Refusal::Blocked => (439, "Account blocked".into()),
        Refusal::Busy => (503, "Too many requests at once, try again".into()),
        Refusal::NotAllowed => (403, "Not allowed".into()),
        Refusal::NoSuchMessage => (404, "Message does not exist".into()),
        Refusal::NoSuchPhoneCall => (444, "Call does not exist".into()),
        Refusal::NoBody => (400, "The body is no JSON object".into()),
        Refusal::Settings(why) => (400, why.clone()),
        Refusal::TooSlow => (408, "The body is too slow".into()),
        Refusal::Missing(parameter) => (400, format!("Parameter {parameter} is missing")),
        Refusal::Wrong { parameter, why } => (400, format!("Parameter {parameter} {why}")),
        Refusal::NoSuchMailbox => (404, "Mailbox does not exist".into()),
        Refusal::AmbiguousMailbox => {
            (409, "Several mailboxes have this number, write NUMBER@CONTEXT".into())
        }
        Refusal::NoSuchFile => (404, "Voicemail does not exist".into()),
        Refusal::TooLarge => (413, "Too large".into()),
        Refusal::LongHead => (431, "The request is too long".into()),
        Refusal::Garbled => (400, "The request cannot be read".into()),
        Refusal::NoSuchCall => (404, "This call does not exist here".into()),
        Refusal::NoSuchMethod => (405, "This call does not take this method".into()),
        Refusal::Broken => (500, "Internal error".into()),
    };
    Error { code, message }
}

fn dir(given: &Given) -> Result<Dir, Refusal> {
    match given.text("dir").unwrap_or("INBOX") {
        "INBOX" => Ok(Dir::Inbox),
        "Old" => Ok(Dir::Old),
        "SENT" => Ok(Dir::Sent),
        _ => Err(Refusal::Wrong { parameter: "dir", why: "is INBOX, Old or SENT" }),
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
