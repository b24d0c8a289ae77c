//! Between TeleCMI's words and ours; pure.
//!
//! Odd about this vendor: times are milliseconds; `from` is a number, so that a caller without one is
//! 0; pages have ten rows; a file's name ends in `.mp3` and its digits are nobody's clock.

use serde_json::Value;
use uuid::Uuid;

use super::wire::{Given, MissedCall, Voicemail};
use crate::mailbox::{Folder, Message};
use crate::spool::Query;

/// The two forms of the interface.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Global,
    India,
}

/// The page that is asked for.
pub(super) fn wish(given: &Given, form: Form, now: i64) -> Result<Query, ()> {
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
    Ok(Query {
        except: UNTOLD.into(),
        from: Some(from),
        to: Some(end.div_euclid(1000)),
        newest_first: true,
        skip: size(skip),
        limit: Some(size(limit)),
        ..Query::default()
    })
}

const A_DAY: i64 = 86_400_000;
const ROWS: i64 = 10;

const UNTOLD: [Folder; 2] = [Folder::Sent, Folder::Deleted];

pub(super) fn voicemail(message: &Message, appid: &str, form: Form) -> Voicemail {
    Voicemail {
        id: (form == Form::India).then(|| hex(message)),
        time: message.envelope.received.saturating_mul(1000),
        from: number(&message.envelope.caller.number),
        voicename: voicename(message, appid),
    }
}

/// The webhook of a call that nobody took and that left a message.
pub(super) fn missed_call(message: &Message, appid: u64, form: Form) -> MissedCall {
    let uuid = Uuid::from_bytes(message.id.bytes()).to_string();
    MissedCall {
        kind: "cdr",
        direction: "inbound",
        status: "missed",
        appid,
        cmiuuid: uuid.clone(),
        conversation_uuid: uuid,
        from: number(&message.envelope.caller.number),
        virtual_number: number(&message.envelope.to),
        time: message.envelope.received.saturating_mul(1000),
        // Nobody was rung here.
        waitedsec: 0,
        hangup_reason: "recv_bye",
        voicemail: match form {
            Form::Global => Value::Bool(true),
            Form::India => Value::String("true".into()),
        },
        voicename: voicename(message, &appid.to_string()),
        team: "",
        ivr_name: "",
        custom: "",
    }
}

/// More digits than a telephone number has are no number.
fn number(text: &str) -> u64 {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|_| digits.len() <= 15).unwrap_or(0)
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
    Some(Query { except: UNTOLD.into(), from: Some(second), to: Some(second), ..Query::default() })
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
    use crate::mailbox::{MessageId, Stem};

    #[test]
    fn a_message_is_a_missed_call() {
        let id: MessageId = "01HZ0000000000000000000812".parse().unwrap();
        let mailbox = "5001@cmi".parse().unwrap();
        let mut message = Message::new(id, 1, mailbox, Stem::found("msg0000").unwrap());
        message.envelope.received = 1_717_000_100;
        message.envelope.caller.number = "+1 (212) 555-0147".into();
        message.envelope.to = "5001".into();
        let told = |form| serde_json::to_value(missed_call(&message, 2_220_001, form)).unwrap();
        let mut wanted = serde_json::json!({
            "type": "cdr", "direction": "inbound", "status": "missed", "appid": 2_220_001,
            "cmiuuid": Uuid::from_bytes(id.bytes()), "conversation_uuid": Uuid::from_bytes(id.bytes()),
            "from": 12_125_550_147_u64, "virtual_number": 5001, "time": 1_717_000_100_000_i64,
            "waitedsec": 0, "hangup_reason": "recv_bye", "voicemail": true,
            "voicename": voicename(&message, "2220001"),
            "team": "", "ivr_name": "", "custom": "",
        });
        assert_eq!(told(Form::Global), wanted);
        wanted["voicemail"] = "true".into();
        assert_eq!(told(Form::India), wanted);
    }

    #[test]
    fn ends_are_whole_seconds_within_what_was_asked() {
        let ask = |body: &str| wish(&Given::read(body.as_bytes()).unwrap(), Form::Global, 1000);
        let asked = ask(r#"{"start_date": 1001, "end_date": "2999", "page": 3}"#).unwrap();
        assert_eq!((asked.from, asked.to, asked.skip), (Some(2), Some(2), 20));
        let plain = ask("{}").unwrap();
        assert_eq!((plain.from, plain.to), (Some(1000 - 86_400), Some(1000)));
        for bad in [r#"{"page": 0}"#, r#"{"page": "x"}"#, r#"{"start_date": true}"#] {
            assert!(ask(bad).is_err(), "{bad}");
        }
        assert!(ask(r#"{"page": 9223372036854775807, "start_date": -1e300}"#).is_ok());
    }
}
