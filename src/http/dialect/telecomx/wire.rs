//! TelecomX's words: no envelope, real numbers and booleans, short keys for errors.
//!
//! <https://wiki.telecomx.dk/doku.php?id=api:mvno:voicemail:list>,
//! <https://wiki.telecomx.dk/doku.php?id=api:pbx:voicemail:list>.

use serde::{Deserialize, Serialize};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    pub(super) new_count: u32,
    pub(super) old_count: u32,
    pub(super) saved_count: u32,
    pub(super) voicemails: Vec<Voicemail>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Voicemail {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) voice_account: String,
    pub(super) customer: String,
    pub(super) from: String,
    pub(super) from_name: String,
    pub(super) to: String,
    pub(super) call_id: String,
    pub(super) date: String,
    pub(super) length: u64,
    #[serde(rename = "box")]
    pub(super) folder: &'static str,
    pub(super) played: bool,
}

#[derive(Serialize)]
pub(super) struct PbxList {
    pub(super) offset: usize,
    pub(super) limit: usize,
    pub(super) total: usize,
    pub(super) voicemails: Vec<PbxVoicemail>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PbxVoicemail {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) customer: String,
    pub(super) employee: String,
    pub(super) date: String,
    pub(super) length: u64,
    pub(super) old: bool,
    pub(super) a_number: String,
    pub(super) a_name: String,
    pub(super) a_employee: Option<String>,
    pub(super) transcription: Option<String>,
    pub(super) transcription_language: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Count {
    pub(super) new_messages: u32,
    pub(super) old_messages: u32,
}

#[derive(Serialize)]
pub(super) struct Success {
    pub(super) success: bool,
}

#[derive(Serialize)]
pub(super) struct Token {
    pub(super) token: String,
    /// Seconds; -1: for ever.
    pub(super) expires: i64,
}

#[derive(Serialize)]
pub(super) struct Error {
    pub(super) code: u16,
    pub(super) message: &'static str,
}

#[derive(Deserialize)]
pub(super) struct NewPin {
    pub(super) pin: String,
}

#[derive(Default, Deserialize)]
pub(super) struct Login {
    #[serde(default)]
    pub(super) username: String,
    #[serde(default)]
    pub(super) password: String,
    #[serde(default)]
    pub(super) persist: bool,
}
