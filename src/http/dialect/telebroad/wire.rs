//! Telebroad's words: its parameters, its fields in its order, every value a string.
//!
//! <https://helpdesk.telebroad.com/support/solutions/articles/4000108986-get-voicemail>,
//! <https://helpdesk.telebroad.com/support/solutions/articles/4000110784>.

use std::io;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::super::super::form::{self, TooMany};

/// One message of `GET /voicemail`.
#[derive(Serialize)]
pub(super) struct Item<'m> {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) duration: String,
    pub(super) mailbox: &'m str,
    pub(super) caller: &'m str,
    pub(super) callerid: &'m str,
    pub(super) callerid_ext: &'m str,
    pub(super) name: &'m str,
    pub(super) dir: &'static str,
    pub(super) read_by: &'m str,
}

/// The answer of `GET /voicemail/file`.
#[derive(Serialize)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) data: String,
    pub(super) mimetype: &'static str,
    pub(super) transcription: String,
}

/// The answer of `GET /messages/unread`: for once numbers.
#[derive(Serialize)]
pub(super) struct Unread {
    pub(super) sms: u32,
    pub(super) vox: u32,
    pub(super) fax: u32,
    pub(super) phn: u32,
}

/// The body of `PUT /messages/read`.
#[derive(Deserialize)]
pub(super) struct Read {
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) phone: String,
    #[serde(default)]
    pub(super) ids: String,
}

/// The body of `POST /voicemail/call`.
#[derive(Deserialize)]
pub(super) struct Call {
    #[serde(default)]
    pub(super) uniqueid: String,
}

/// The body of `POST /login`.
#[derive(Deserialize)]
pub(super) struct Login {
    #[serde(default)]
    pub(super) username: String,
    #[serde(default)]
    pub(super) password: String,
}

#[derive(Serialize)]
pub(super) struct Token {
    pub(super) token: String,
}

/// A mailbox, by the names of `voicemail.conf`; flags are `1` or `0`.
#[derive(Serialize)]
pub(super) struct Mailbox {
    pub(super) uniqueid: String,
    pub(super) context: String,
    #[serde(rename = "mailbox")]
    pub(super) number: String,
    pub(super) password: String,
    pub(super) pin: String,
    pub(super) fullname: String,
    pub(super) email: String,
    pub(super) attach: &'static str,
    pub(super) delete: &'static str,
    pub(super) notify_only: &'static str,
    pub(super) pager: String,
    pub(super) pager_attach: &'static str,
    pub(super) timezone: String,
    pub(super) envelope: &'static str,
    pub(super) saycid: &'static str,
    pub(super) sayduration: &'static str,
}

#[derive(Serialize)]
pub(super) struct Error {
    pub(super) code: u16,
    pub(super) message: String,
}

pub(super) const LIST_HEAD: &str = r#"{"error":null,"result":["#;
pub(super) const LIST_TAIL: &str = "]}";

#[derive(Serialize)]
struct Envelope<E, R> {
    error: E,
    result: R,
}

pub(super) fn result(value: &impl Serialize) -> String {
    text(&Envelope { error: (), result: value })
}

pub(super) fn error(error: &Error) -> String {
    text(&Envelope { error, result: () })
}

fn text(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    write(value, &mut json);
    String::from_utf8(json).unwrap_or_default()
}

/// JSON as that server writes it, with `/` escaped.
pub(super) fn write(value: &impl Serialize, json: &mut Vec<u8>) {
    let begun = json.len();
    if value.serialize(&mut Serializer::with_formatter(&mut *json, Slashes)).is_err() {
        json.truncate(begun);
        json.extend(b"null");
    }
}

struct Slashes;

impl Formatter for Slashes {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut parts = fragment.split('/');
        writer.write_all(parts.next().unwrap_or("").as_bytes())?;
        parts.try_for_each(|part| {
            writer.write_all(b"\\/")?;
            writer.write_all(part.as_bytes())
        })
    }
}

/// Parameters as they came: in the query or, as the vendor's text has it, as header fields. The
/// query wins; of a repeated parameter the first.
pub(super) struct Given<'r> {
    query: Vec<(String, String)>,
    headers: &'r HeaderMap,
}

impl<'r> Given<'r> {
    pub(super) fn new(query: &str, headers: &'r HeaderMap) -> Result<Self, TooMany> {
        Ok(Self { query: form::pairs(query)?, headers })
    }

    /// Empty text is as good as none.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let header = || self.headers.get(name).and_then(|value| value.to_str().ok());
        let query = self.query.iter().find(|(known, _)| known == name);
        query.map(|(_, value)| value.as_str()).or_else(header).filter(|text| !text.is_empty())
    }

    /// Every value of a parameter that may be repeated, `file` or `file[]`.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let same = |known: &str| known.strip_suffix("[]").unwrap_or(known) == name;
        let query = self.query.iter().filter(|(known, value)| same(known) && !value.is_empty());
        query.map(|(_, value)| value.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_escaped_wherever_they_stand() {
        assert_eq!(text(&["/a//b/", "", "\\/\n"]), r#"["\/a\/\/b\/","","\\\/\n"]"#);
    }
}
