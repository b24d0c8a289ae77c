//! Between TeleCMI's words and ours; pure.
//!
//! Odd about this vendor: times are milliseconds; `from` is a number, so that a caller without one is
//! 0; pages have ten rows; a file's name ends in `.mp3` and its digits are nobody's clock.

use super::wire::{Given, Voicemail};
use crate::mailbox::{Folder, Message};
use crate::spool::Query;

/// The two forms of the interface.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Global,
    India,
}

pub(super) struct Wish {
    pub(super) query: Query,
    pub(super) skip: usize,
    pub(super) limit: usize,
}

pub(super) fn wish(given: &Given, form: Form, now: i64) -> Result<Wish, ()> {
    let now_ms = now.saturating_mul(1000);
    let start = given.number("start_date")?.unwrap_or(now_ms - A_DAY);
    let end = given.number("end_date")?.unwrap_or(now_ms);
    let page = given.number("page")?.unwrap_or(1);
    let limit = match form {
        Form::Global => ROWS,
        Form::India => given.number("limit")?.unwrap_or(ROWS),
    };
    if page < 1 || !(1..=ROWS).contains(&limit) {
        return Err(());
    }
    let skip = (page - 1).saturating_mul(limit);
    let size = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
    // Both ends are included; ours are whole seconds.
    let from = start.div_euclid(1000) + i64::from(start.rem_euclid(1000) > 0);
    let query = Query {
        from: Some(from),
        to: Some(end.div_euclid(1000)),
        newest_first: true,
        ..Query::default()
    };
    Ok(Wish { query, skip: size(skip), limit: size(limit) })
}

const A_DAY: i64 = 86_400_000;
const ROWS: i64 = 10;

pub(super) fn is_told(message: &Message) -> bool {
    match message.folder {
        Folder::Sent | Folder::Deleted => false,
        Folder::Inbox
        | Folder::Urgent
        | Folder::Old
        | Folder::Work
        | Folder::Family
        | Folder::Friends
        | Folder::Other(_) => true,
    }
}

pub(super) fn voicemail(message: &Message, appid: &str, form: Form) -> Voicemail {
    let digits: String =
        message.envelope.caller.number.chars().filter(char::is_ascii_digit).collect();
    Voicemail {
        id: (form == Form::India).then(|| hex(message)),
        time: message.envelope.received.saturating_mul(1000),
        // More digits than a telephone number has are no number.
        from: digits.parse().ok().filter(|_| digits.len() <= 15).unwrap_or(0),
        voicename: voicename(message, appid),
    }
}

/// Thirteen digits of the time, eleven of the message, and who called, else the app.
pub(super) fn voicename(message: &Message, appid: &str) -> String {
    let milliseconds = message.envelope.received.clamp(0, 9_999_999_999) * 1000;
    let own = tail(message) % 100_000_000_000;
    let digits: String =
        message.envelope.caller.number.chars().filter(char::is_ascii_digit).take(32).collect();
    let who = if digits.is_empty() { appid } else { &digits };
    format!("{milliseconds:013}{own:011}_{who}.mp3")
}

/// When to look for the message of this name: one of ours says so, others lead nowhere.
pub(super) fn around(voicename: &str) -> Option<Query> {
    let second: i64 = voicename.get(..13)?.parse().ok().map(|ms: i64| ms / 1000)?;
    Some(Query { from: Some(second), to: Some(second), ..Query::default() })
}

fn hex(message: &Message) -> String {
    let second = u32::try_from(message.envelope.received.max(0)).unwrap_or(u32::MAX);
    format!("{second:08x}{:016x}", tail(message))
}

fn tail(message: &Message) -> u64 {
    let bytes = message.id.bytes();
    u64::from_be_bytes(bytes[8..].try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_whole_seconds_within_what_was_asked() {
        let ask = |body: &str| wish(&Given::read(body.as_bytes()).unwrap(), Form::Global, 1000);
        let asked = ask(r#"{"start_date": 1001, "end_date": "2999", "page": 3}"#).unwrap();
        assert_eq!((asked.query.from, asked.query.to, asked.skip), (Some(2), Some(2), 20));
        let plain = ask("{}").unwrap();
        assert_eq!((plain.query.from, plain.query.to), (Some(1000 - 86_400), Some(1000)));
        for bad in [r#"{"page": 0}"#, r#"{"page": "x"}"#, r#"{"start_date": true}"#] {
            assert!(ask(bad).is_err(), "{bad}");
        }
        assert!(ask(r#"{"page": 9223372036854775807, "start_date": -1e300}"#).is_ok());
    }
}
