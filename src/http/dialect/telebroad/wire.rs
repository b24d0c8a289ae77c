//! Telebroad's words: its parameters, its fields in its order, every value a string.
//!
//! <https://helpdesk.telebroad.com/support/solutions/articles/4000108986-get-voicemail>,
//! <https://helpdesk.telebroad.com/support/solutions/articles/4000110784>.

use std::collections::HashMap;
use std::io;

use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// One message of `GET /voicemail`.
#[derive(Serialize)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) duration: String,
    pub(super) mailbox: String,
    pub(super) caller: String,
    pub(super) callerid: String,
    pub(super) callerid_ext: String,
    pub(super) name: String,
    pub(super) dir: String,
    pub(super) read_by: String,
}

/// The answer of `GET /voicemail/file`.
#[derive(Serialize)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) data: String,
    pub(super) mimetype: &'static str,
    pub(super) transcription: String,
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

/// JSON as that server writes it, with `/` escaped.
pub(super) fn text(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    match value.serialize(&mut Serializer::with_formatter(&mut json, Slashes)) {
        Ok(()) => String::from_utf8(json).unwrap_or_default(),
        Err(_) => "null".into(),
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
    query: HashMap<String, String>,
    headers: &'r HeaderMap,
}

impl<'r> Given<'r> {
    pub(super) fn new(query: &str, headers: &'r HeaderMap) -> Self {
        let mut given = HashMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()).take(MOST_PARAMETERS) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            given.entry(decoded(name)).or_insert_with(|| decoded(value));
        }
        Self { query: given, headers }
    }

    /// Empty text is as good as none.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let header = || self.headers.get(name).and_then(|value| value.to_str().ok());
        self.query.get(name).map(String::as_str).or_else(header).filter(|text| !text.is_empty())
    }
}

const MOST_PARAMETERS: usize = 100;

/// `application/x-www-form-urlencoded`; what is not UTF-8 becomes a replacement character.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        rest = tail;
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.extend(u8::try_from(high * 16 + low));
                rest = &tail[2..];
            }
            (b'+', _, _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_escaped_wherever_they_stand() {
        assert_eq!(text(&["/a//b/", "", "\\/\n"]), r#"["\/a\/\/b\/","","\\\/\n"]"#);
    }
}
