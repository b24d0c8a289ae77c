//! TeleCMI's words: numbers everywhere, even for telephone numbers.
//!
//! <https://doc.telecmi.com/chub/docs/voicemail>, <https://doc.telecmi.com/chub-india/docs/voicemail>.

use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Serialize)]
pub(super) struct List {
    /// Of all pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<usize>,
    /// The same, as the Indian form calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<usize>,
    pub(super) voicemail: Vec<Voicemail>,
    pub(super) code: u16,
}

#[derive(Serialize)]
pub(super) struct Voicemail {
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Milliseconds.
    pub(super) time: i64,
    pub(super) from: u64,
    pub(super) voicename: String,
}

/// <https://doc.telecmi.com/chub/docs/incoming-missed/>.
#[derive(Serialize)]
pub(super) struct MissedCall {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) direction: &'static str,
    pub(super) status: &'static str,
    pub(super) appid: u64,
    pub(super) cmiuuid: String,
    pub(super) conversation_uuid: String,
    pub(super) from: u64,
    pub(super) virtual_number: u64,
    /// Milliseconds.
    pub(super) time: i64,
    pub(super) waitedsec: u64,
    pub(super) hangup_reason: &'static str,
    /// The global form has a boolean, the Indian one a word.
    pub(super) voicemail: Value,
    pub(super) voicename: String,
    pub(super) team: &'static str,
    pub(super) ivr_name: &'static str,
    pub(super) custom: &'static str,
}

#[derive(Serialize)]
pub(super) struct Token {
    pub(super) secret: String,
    #[serde(rename = "expiresIn")]
    pub(super) expires_in: &'static str,
    pub(super) code: u16,
}

#[derive(Serialize)]
pub(super) struct Error {
    pub(super) code: u16,
    pub(super) msg: &'static str,
}

/// A body's members, of which each may be missing or of a wrong type.
pub(super) struct Given(Map<String, Value>);

impl Given {
    /// `None` where it is no object.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A number, or digits in quotes as some clients send them. `Err`: something else.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, ()> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => {
                let whole = number.as_i64();
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a float's whole part, clamped"
                )]
                whole.or_else(|| number.as_f64().map(|n| n as i64)).map(Some).ok_or(())
            }
            Some(Value::String(text)) => text.trim().parse().map(Some).map_err(|_| ()),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(()),
        }
    }
}
