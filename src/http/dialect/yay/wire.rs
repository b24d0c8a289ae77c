//! Yay's words: an envelope that repeats the status, real booleans, dates without a time.
//!
//! <https://www.yay.com/voip/api-docs/mailbox/>, <https://www.yay.com/voip/api-docs/sound/>.

use serde::{Deserialize, Serialize};

#[derive(Serialize)]
pub(super) struct Envelope<R> {
    pub(super) result: R,
    pub(super) status_code: u16,
    pub(super) status_message: &'static str,
}

#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
pub(super) struct Mailbox {
    pub(super) beep: bool,
    pub(super) created_on: String,
    pub(super) email_recipients: Vec<Recipient>,
    pub(super) greeting: Option<String>,
    pub(super) name: String,
    pub(super) password: Option<String>,
    pub(super) play_caller_id: bool,
    pub(super) play_timestamp: bool,
    pub(super) transcribe: bool,
    /// Not of one that has just been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) updated_on: Option<String>,
    pub(super) uuid: String,
}

#[derive(Serialize)]
pub(super) struct Recipient {
    pub(super) created_on: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) updated_on: Option<String>,
    pub(super) uuid: String,
}

/// The body of `POST` and `PUT`: what is left out has its default, what is not known is ignored.
#[derive(Deserialize)]
pub(super) struct NewMailbox {
    pub(super) name: String,
    pub(super) beep: Option<bool>,
    pub(super) greeting: Option<String>,
    pub(super) password: Option<String>,
    pub(super) play_caller_id: Option<bool>,
    pub(super) play_timestamp: Option<bool>,
    pub(super) transcribe: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct Message {
    pub(super) caller_id_name: String,
    pub(super) caller_id_number: String,
    pub(super) created_on: String,
    pub(super) duration: u64,
    pub(super) read: bool,
    pub(super) transcription: Option<String>,
    pub(super) uuid: String,
}

#[derive(Serialize)]
pub(super) struct Sound {
    pub(super) audio_type: u8,
    /// Good for ten minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_url: Option<String>,
    pub(super) created_on: String,
    pub(super) file_name: String,
    pub(super) name: String,
    pub(super) shared: bool,
    pub(super) tag: String,
    pub(super) updated_on: String,
    pub(super) uuid: String,
}

/// The body of `POST /voip/sound` as JSON, and of `PUT` without the content.
#[derive(Deserialize)]
pub(super) struct NewSound {
    pub(super) name: Option<String>,
    pub(super) file_name: Option<String>,
    pub(super) tag: Option<String>,
    /// The audio, base64.
    pub(super) content: Option<String>,
}

pub(super) fn envelope(status: u16, message: &'static str, result: impl Serialize) -> String {
    let envelope = Envelope { result, status_code: status, status_message: message };
    serde_json::to_string(&envelope).unwrap_or_default()
}
