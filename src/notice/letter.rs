//! A letter as it goes over the wire: MIME that every program reads, and no header that a caller
//! could write.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::address::AddressError;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox as Party, MultiPart, SinglePart};

use super::facts::plain;
use super::template::Words;

/// Who writes to whom.
#[derive(Clone, Debug)]
pub struct Address {
    pub name: String,
    pub address: String,
}

/// A recording as it is attached.
#[derive(Clone, Debug)]
pub struct Enclosure {
    pub name: String,
    /// Such as `audio/wav`.
    pub mime: &'static str,
    pub content: Vec<u8>,
}

pub struct Letter<'t> {
    pub from: &'t Address,
    pub to: &'t Address,
    pub words: &'t Words,
    /// Empty: the letter is text alone, as pagers want it.
    pub html: String,
    pub enclosure: Option<Enclosure>,
    /// The same for the same notice, so that a mail program shows a repeated one once.
    pub key: &'t str,
    /// Unix seconds.
    pub date: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the address `{0}` cannot be written to: {1}")]
    Address(String, AddressError),
    #[error("the letter cannot be put together: {0}")]
    Letter(#[from] lettre::error::Error),
}

impl Letter<'_> {
    pub fn message(self) -> Result<lettre::Message, Error> {
        let from = party(self.from)?;
        let domain = from.email.domain().to_owned();
        let date = UNIX_EPOCH + Duration::from_secs(self.date.try_into().unwrap_or(0));
        let builder = lettre::Message::builder()
            .from(from)
            .to(party(self.to)?)
            .raw_header(subject(&self.words.subject))
            .date(date.max(SystemTime::UNIX_EPOCH))
            .message_id(Some(format!("<{}@{domain}>", self.key)))
            // RFC 3834 §5: a machine wrote it, and nobody's absence note shall answer.
            .raw_header(raw("Auto-Submitted", "auto-generated"))
            .raw_header(raw("X-Auto-Response-Suppress", "All"));
        let text = SinglePart::plain(self.words.text.clone());
        if self.html.is_empty() {
            return Ok(builder.singlepart(text)?);
        }
        let both =
            MultiPart::alternative().singlepart(text).singlepart(SinglePart::html(self.html));
        let Some(Enclosure { name, mime, content }) = self.enclosure else {
            return Ok(builder.multipart(both)?);
        };
        // Older mail programs do not read a Content-Disposition that is folded by RFC 2231.
        let mime = ContentType::parse(&format!("{mime}; name=\"{name}\""))
            .or_else(|_| ContentType::parse(mime))
            .unwrap_or(ContentType::TEXT_PLAIN);
        let recording = Attachment::new(name).body(content, mime);
        Ok(builder.multipart(MultiPart::mixed().multipart(both).singlepart(recording))?)
    }
}

/// RFC 2047 §2. What only looks like an encoded word is encoded too: a mail program would read in it
/// what nobody has written.
fn subject(text: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Subject");
    if !text.contains("=?") {
        return HeaderValue::new(name, text.to_owned());
    }
    let mut words = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let end = (0..=rest.len().min(ENCODED)).rev().find(|end| rest.is_char_boundary(*end));
        let (word, more) = rest.split_at(end.unwrap_or(rest.len()));
        words.push(format!("=?utf-8?b?{}?=", STANDARD.encode(word)));
        rest = more;
    }
    HeaderValue::dangerous_new_pre_encoded(name, text.to_owned(), words.join("\r\n "))
}

/// Bytes in an encoded word, which is 75 characters long at most.
const ENCODED: usize = 45;

fn party(who: &Address) -> Result<Party, Error> {
    let name: String = plain(&who.name).chars().take(100).collect();
    let name = (!name.is_empty()).then_some(name);
    let address = who.address.parse();
    let address = address.map_err(|error| Error::Address(who.address.clone(), error))?;
    Ok(Party::new(name, address))
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// What a recording is called in a mail program: when, from whom, how long.
pub fn file_name(local: &str, number: &str, duration: Duration, extension: &str) -> String {
    let caller: String =
        number.chars().filter(|c| c.is_ascii_digit() || *c == '+').take(32).collect();
    let caller = if caller.is_empty() { "unknown".into() } else { caller };
    let seconds = duration.as_secs();
    format!("{local}_{caller}_{}m{:02}s.{extension}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(name: &str, subject: &str, enclosure: Option<Enclosure>) -> String {
        let from = Address { name: name.into(), address: "voicemail@pbx.example".into() };
        let to = Address { name: name.into(), address: "jane@example.com".into() };
        let words = Words { subject: subject.into(), text: "Hello\n".into() };
        let letter = Letter {
            from: &from,
            to: &to,
            words: &words,
            html: "<p>Hello</p>".into(),
            enclosure,
            key: "01J-a",
            date: 1_700_000_000,
        };
        String::from_utf8(letter.message().unwrap().formatted()).unwrap()
    }

    #[test]
    fn a_recording_is_attached_beside_both_forms_of_the_text() {
        let content = b"RIFF".to_vec();
        let enclosure = Enclosure { name: "a.wav".into(), mime: "audio/wav", content };
        let mail = formatted("Zoë", "Häh", Some(enclosure));
        for part in [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain; charset=utf-8",
            "text/html; charset=utf-8",
            "audio/wav",
            "filename=\"a.wav\"",
            "Auto-Submitted: auto-generated",
            "Message-ID: <01J-a@pbx.example>",
            "Date: Tue, 14 Nov 2023 22:13:20 +0000",
            "MIME-Version: 1.0",
        ] {
            assert!(mail.contains(part), "{part} is missing in:\n{mail}");
        }
        assert!(mail.is_ascii());
    }

    #[test]
    fn no_name_writes_a_header() {
        proptest::proptest!(|(name in ".*", tail in ".*")| {
            let evil = format!("{name}\r\nBcc: all@example.com\r\n\r\n{tail}");
            let subject = super::super::template::tests_one_line(&evil);
            let mail = formatted(&evil, &subject, None);
            let head = mail.split("\r\n\r\n").next().unwrap_or_default();
            for line in head.split("\r\n") {
                assert!(!line.to_ascii_lowercase().starts_with("bcc"), "{line}");
                assert!(line.len() < 999, "{line}");
            }
        });
    }

    #[test]
    fn a_file_is_named_for_its_reader_and_stays_in_its_folder() {
        let seconds = Duration::from_secs(77);
        let name = file_name("2026-01-05_1430", "+1 (555) 12/../", seconds, "mp3");
        assert_eq!(name, "2026-01-05_1430_+155512_1m17s.mp3");
        assert_eq!(file_name("d", "anonymous", seconds, "wav"), "d_unknown_1m17s.wav");
    }
}
