//! Between Yay's words and ours; pure.
//!
//! Odd about this vendor: `PUT` replaces everything, and what is left out returns to its default;
//! dates have no time; a mailbox that has just been made has no `updated_on`; a recipient has no
//! address.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::wire::{self, NewMailbox};
use crate::directory::{Settings, Sound};
use crate::mailbox::{Mailbox, Message};

/// What a body asks for: settings, and a PIN.
pub(super) struct Wish {
    pub(super) settings: Settings,
    pub(super) pin: Option<String>,
}

pub(super) fn wish(body: &[u8]) -> Option<Wish> {
    let new: NewMailbox = serde_json::from_slice(body).ok()?;
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > 200 {
        return None;
    }
    let pin = new.password.filter(|pin| !pin.is_empty());
    if pin.as_ref().is_some_and(|pin| pin.len() != 4 || !pin.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let greeting = new.greeting.filter(|greeting| !greeting.is_empty());
    let greeting = greeting.map(|greeting| greeting.parse::<Uuid>()).transpose().ok()?;
    let settings = json!({
        "name": name,
        "beep": new.beep.unwrap_or(true),
        "greeting": greeting.map_or_else(String::new, |greeting| greeting.to_string()),
        "say_caller_id": new.play_caller_id.unwrap_or(false),
        "say_datetime": new.play_timestamp.unwrap_or(false),
        "transcribe": new.transcribe.unwrap_or(false),
    });
    Some(Wish { settings: settings.as_object().cloned().unwrap_or_default(), pin })
}

/// `pin`: in clear, or stars, or `None` where there is none.
pub(super) fn mailbox(mailbox: &Mailbox, pin: Option<String>, just_made: bool) -> wire::Mailbox {
    let updated = |seconds| (!just_made).then(|| date(seconds));
    let recipients = mailbox.email.iter().map(|row| wire::Recipient {
        created_on: date(row.created),
        updated_on: updated(row.updated),
        uuid: row.uuid.to_string(),
    });
    wire::Mailbox {
        beep: mailbox.beep,
        created_on: date(mailbox.created),
        email_recipients: recipients.collect(),
        greeting: mailbox.greeting.map(|greeting| greeting.to_string()),
        name: mailbox.name.clone(),
        password: pin,
        play_caller_id: mailbox.say_caller_id,
        play_timestamp: mailbox.say_datetime,
        transcribe: mailbox.transcribe,
        updated_on: updated(mailbox.modified),
        uuid: mailbox.uuid.to_string(),
    }
}

pub(super) fn message(message: &Message) -> wire::Message {
    let received = Timestamp::from_second(message.envelope.received);
    wire::Message {
        caller_id_name: message.envelope.caller.name.clone(),
        caller_id_number: message.envelope.caller.number.clone(),
        created_on: received.unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
        duration: message.duration.as_secs(),
        read: message.heard.is_some(),
        transcription: Some(message.transcript.clone()).filter(|text| !text.is_empty()),
        uuid: Uuid::from_bytes(message.id.bytes()).to_string(),
    }
}

pub(super) fn sound(sound: &Sound, content_url: Option<String>) -> wire::Sound {
    wire::Sound {
        audio_type: 1,
        content_url,
        created_on: date(sound.created),
        file_name: sound.file_name.clone(),
        name: sound.name.clone(),
        shared: false,
        tag: sound.tag.clone(),
        updated_on: date(sound.updated),
        uuid: sound.uuid.to_string(),
    }
}

fn date(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_mailbox_is_none() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"name":""}"#,
            r#"{"name":" "}"#,
            r#"{"name":7}"#,
            r#"{"name":"x","beep":"yes"}"#,
            r#"{"name":"x","password":"123"}"#,
            r#"{"name":"x","password":"12a4"}"#,
            r#"{"name":"x","password":1234}"#,
            r#"{"name":"x","greeting":"../x"}"#,
        ] {
            assert!(wish(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(wish("[".repeat(100_000).as_bytes()).is_none());
        let all = wish(br#"{"name":"x","extra":{"a":1},"beep":null}"#).unwrap();
        assert_eq!((all.settings["beep"].as_bool(), all.pin), (Some(true), None));
    }
}
