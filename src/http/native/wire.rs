//! Our words.

use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::mailbox;
use crate::mailbox::greeting::Rule;
use crate::mailbox::{MailboxId, NotifyEmail};

/// A mailbox, without its PIN.
#[derive(Serialize, ToSchema)]
pub(super) struct Mailbox {
    /// `NUMBER@CONTEXT`.
    #[schema(example = "1000@default")]
    id: String,
    /// Stays whatever the mailbox is renumbered to.
    #[schema(value_type = String, format = "uuid")]
    uuid: Uuid,
    /// The integer that file names and other interfaces use.
    owner: u64,
    number: String,
    /// The organization.
    context: String,
    enabled: bool,
    name: String,
    sip_address: Option<String>,
    e164: Option<String>,
    time_zone: Option<String>,
    language: String,
    say_caller_id: bool,
    say_duration: bool,
    say_datetime: bool,
    #[schema(example = "attach")]
    notify_email: &'static str,
    recipients: Vec<Recipient>,
    notify_pager: bool,
    pager: Option<String>,
    /// SIP addresses whose message lamps follow it.
    mwi: Vec<String>,
    beep: bool,
    /// A sound that greets in place of the owner's recording.
    #[schema(value_type = Option<String>, format = "uuid")]
    greeting: Option<Uuid>,
    transcribe: bool,
    max_messages: Option<u32>,
    max_seconds: Option<u32>,
    min_seconds: Option<u32>,
    /// Callers hear the greeting, and leave nothing.
    greeting_only: bool,
    greeting_rules: Vec<GreetingRule>,
    /// The temporary greeting is played until then.
    #[schema(format = DateTime)]
    temporary_until: Option<String>,
    /// Found by name by others of the organization.
    listed: bool,
    /// 12 or 24: how times are told; as the language has it where null.
    clock: Option<u8>,
    /// How dates are told, by Asterisk's tokens; as the language has it where null.
    date_format: Option<String>,
    has_pin: bool,
    /// Its PIN breaks the policy.
    pin_weak: bool,
    /// Doors that wrong PINs have shut.
    locks: Vec<Lock>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    modified_at: String,
    counts: Counts,
}

/// A greeting for some callers or times: of a mailbox's rules the first that fits, unless the
/// temporary one plays.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct GreetingRule {
    /// Under which name it is recorded, at `/mailboxes/{mailbox}/greetings/{greeting}`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]
    pub(super) greeting: String,
    /// `mon-fri`, `sat,sun`; every day where empty.
    #[serde(default)]
    days: String,
    /// `18:00`, in the mailbox's time zone; `until` before `from` is the day after.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Numbers, with a `*` at the end for more digits; everybody where empty.
    #[serde(default)]
    callers: Vec<String>,
}

impl From<&Rule> for GreetingRule {
    fn from(rule: &Rule) -> Self {
        let Rule { greeting, days, from, until, callers } = rule.clone();
        Self { greeting, days, from, until, callers }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Recipient {
    #[schema(value_type = String, format = "uuid")]
    uuid: Uuid,
    address: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Lock {
    #[schema(example = "phone")]
    door: &'static str,
    #[schema(format = DateTime)]
    until: String,
}

/// As a message lamp has them (RFC 3842); urgent ones are included in `new` and `old`.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(super) struct Counts {
    new: u32,
    old: u32,
    urgent_new: u32,
    urgent_old: u32,
}

impl From<mailbox::Counts> for Counts {
    fn from(counts: mailbox::Counts) -> Self {
        let mailbox::Counts { new, old, urgent_new, urgent_old } = counts;
        Self { new, old, urgent_new, urgent_old }
    }
}

/// What a mailbox is made with. Everything else has its default.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewMailbox {
    /// Of the organization; the asker's own, or `default`, where absent.
    pub(super) context: Option<String>,
    #[schema(
        example = "1000",
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"
    )]
    pub(super) number: String,
    /// 4 to 16 digits; a random one is drawn, and told this once, where absent.
    pub(super) pin: Option<String>,
    #[serde(flatten)]
    pub(super) settings: Settings,
}

/// Settings to change; what is absent stays. Empty text takes an optional one away.
#[derive(Default, Deserialize, Serialize, ToSchema)]
pub(super) struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e164: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    say_caller_id: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    say_duration: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    say_datetime: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_email: Option<Notify>,
    /// Mail addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_pager: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pager: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mwi: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beep: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcribe: Option<bool>,
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    max_messages: Option<u32>,
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    max_seconds: Option<u32>,
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    min_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting_rules: Option<Vec<GreetingRule>>,
    /// RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "moment", skip_serializing_if = "Option::is_none")]
    temporary_until: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listed: Option<bool>,
    /// 12 or 24.
    #[schema(minimum = 12, maximum = 24)]
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    clock: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date_format: Option<String>,
}

/// What is mailed of a new message: nothing, that it is there, or it itself; and whether it then
/// leaves the mailbox.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Notify {
    No,
    Yes,
    Attach,
    Delete,
}

impl Settings {
    /// What an owner may change himself.
    pub(super) fn is_owners_own(&self) -> bool {
        let Self { enabled, sip_address, e164, max_messages, max_seconds, min_seconds, .. } = self;
        enabled.is_none()
            && sip_address.is_none()
            && e164.is_none()
            && [max_messages, max_seconds, min_seconds].iter().all(|limit| limit.is_none())
    }

    pub(super) fn by_name(&self) -> crate::directory::Settings {
        match serde_json::to_value(self) {
            Ok(Value::Object(settings)) => settings,
            _ => crate::directory::Settings::new(),
        }
    }
}

/// The body of a change: settings, a number, a PIN.
#[derive(Deserialize, ToSchema)]
pub(super) struct MailboxPatch {
    /// Renumbers the mailbox, with all that it holds.
    pub(super) number: Option<String>,
    /// A new PIN; the policy binds.
    pub(super) pin: Option<String>,
    #[serde(flatten)]
    pub(super) settings: Settings,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MadeMailbox {
    /// Told this once.
    pub(super) pin: String,
    pub(super) mailbox: Mailbox,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Mailboxes {
    pub(super) items: Vec<Mailbox>,
    /// Asks for the next page, by `cursor`.
    pub(super) next: Option<String>,
}

impl Mailbox {
    pub(super) fn new(
        id: &MailboxId,
        mailbox: &mailbox::Mailbox,
        counts: mailbox::Counts,
        locks: Vec<(crate::directory::Door, i64)>,
    ) -> Self {
        let recipients = mailbox.email.iter().map(|row| Recipient {
            uuid: row.uuid,
            address: row.address.clone(),
            created_at: time(row.created),
            updated_at: time(row.updated),
        });
        let locks =
            locks.into_iter().map(|(door, until)| Lock { door: door.name(), until: time(until) });
        Self {
            id: id.to_string(),
            uuid: mailbox.uuid,
            owner: mailbox.id,
            number: id.number().to_owned(),
            context: id.context().to_owned(),
            enabled: mailbox.enabled,
            name: mailbox.name.clone(),
            sip_address: mailbox.sip_address.clone(),
            e164: mailbox.e164.clone(),
            time_zone: mailbox.time_zone.clone(),
            language: mailbox.language.clone(),
            say_caller_id: mailbox.say_caller_id,
            say_duration: mailbox.say_duration,
            say_datetime: mailbox.say_datetime,
            notify_email: match mailbox.notify_email {
                NotifyEmail::No => "no",
                NotifyEmail::Yes => "yes",
                NotifyEmail::Attach => "attach",
                NotifyEmail::Delete => "delete",
            },
            recipients: recipients.collect(),
            notify_pager: mailbox.notify_pager,
            pager: mailbox.pager.clone(),
            mwi: mailbox.mwi.clone(),
            beep: mailbox.beep,
            greeting: mailbox.greeting,
            transcribe: mailbox.transcribe,
            max_messages: mailbox.max_messages,
            max_seconds: mailbox.max_seconds,
            min_seconds: mailbox.min_seconds,
            greeting_only: mailbox.greeting_only,
            greeting_rules: mailbox.greeting_rules.iter().map(Into::into).collect(),
            temporary_until: mailbox.temporary_until.map(time),
            listed: mailbox.listed,
            clock: mailbox.clock,
            date_format: mailbox.date_format.clone(),
            has_pin: !mailbox.pin.is_empty(),
            pin_weak: mailbox.pin_weak,
            locks: locks.collect(),
            created_at: time(mailbox.created),
            modified_at: time(mailbox.modified),
            counts: counts.into(),
        }
    }
}

/// A message, without its audio.
#[derive(Serialize, ToSchema)]
pub(super) struct Message {
    /// A ULID.
    #[schema(example = "01HZ0000000000000000000812")]
    id: String,
    /// The integer that other interfaces use.
    number: u64,
    mailbox: String,
    #[schema(example = "INBOX")]
    folder: String,
    /// The name of its files, without extension.
    name: String,
    caller: Caller,
    /// The number that was dialled.
    to: String,
    #[schema(format = DateTime)]
    received_at: String,
    duration_ms: u64,
    /// Who listened, and when; null while it is new.
    heard: Option<Heard>,
    urgent: bool,
    private: bool,
    /// The message that it is a copy of.
    origin: Option<String>,
    forwarded_by: Option<String>,
    #[schema(format = DateTime)]
    deleted_at: Option<String>,
    category: String,
    transcript: String,
    /// Of the audio file.
    bytes: u64,
    sha256: String,
    sip_call_id: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Caller {
    number: String,
    name: String,
    /// The outside number of an internal caller.
    ext: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Heard {
    #[schema(format = DateTime)]
    at: String,
    by: String,
}

impl From<&mailbox::Message> for Message {
    fn from(message: &mailbox::Message) -> Self {
        let envelope = &message.envelope;
        let caller = &envelope.caller;
        Self {
            id: message.id.to_string(),
            number: message.number,
            mailbox: message.mailbox.to_string(),
            folder: message.folder.to_string(),
            name: message.stem.to_string(),
            caller: Caller {
                number: caller.number.clone(),
                name: caller.name.clone(),
                ext: caller.ext.clone(),
            },
            to: envelope.to.clone(),
            received_at: time(envelope.received),
            duration_ms: u64::try_from(message.duration.as_millis()).unwrap_or(u64::MAX),
            heard: message.heard.as_ref().map(|h| Heard { at: time(h.at), by: h.by.clone() }),
            urgent: message.urgent,
            private: message.private,
            origin: message.origin.map(|origin| origin.to_string()),
            forwarded_by: message.forwarded.as_ref().map(|forwarded| forwarded.by.clone()),
            deleted_at: message.deleted.as_ref().map(|deleted| time(deleted.at)),
            category: message.category.clone(),
            transcript: message.transcript.clone(),
            bytes: message.bytes,
            sha256: message.sha256.clone(),
            sip_call_id: envelope.sip_call_id.clone(),
        }
    }
}

/// Which messages, in which order.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MessageQuery {
    /// Folders, separated by commas: `INBOX,Old`. All but the trash and SENT where absent.
    pub(super) folder: Option<String>,
    pub(super) heard: Option<bool>,
    pub(super) urgent: Option<bool>,
    /// Received from this second on, RFC 3339.
    #[param(format = DateTime)]
    pub(super) from: Option<String>,
    /// Received up to this second, RFC 3339.
    #[param(format = DateTime)]
    pub(super) to: Option<String>,
    /// Words that begin a word of the caller's name or the transcript, or stand in the number.
    #[param(max_length = 200)]
    pub(super) q: Option<String>,
    /// `received` where absent.
    #[param(inline)]
    pub(super) order: Option<Order>,
    /// Newest, or largest, first; the default.
    pub(super) descending: Option<bool>,
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
    /// What the page before said in `next`.
    pub(super) cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    #[default]
    Received,
    Number,
    Duration,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Messages {
    pub(super) items: Vec<Message>,
    /// Asks for the next page, by `cursor`.
    pub(super) next: Option<String>,
    pub(super) counts: Counts,
}

/// Marks to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(super) struct MessagePatch {
    pub(super) heard: Option<bool>,
    pub(super) urgent: Option<bool>,
    pub(super) private: Option<bool>,
    /// Moves it there.
    pub(super) folder: Option<String>,
    pub(super) category: Option<String>,
    pub(super) transcript: Option<String>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Heard,
    New,
    Delete,
    Restore,
    Purge,
    /// Into `folder`.
    File,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct Bulk {
    #[schema(min_items = 1, max_items = 1000)]
    pub(super) ids: Vec<String>,
    pub(super) action: Action,
    pub(super) folder: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct BulkDone {
    pub(super) done: Vec<String>,
    pub(super) failed: Vec<BulkFailure>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct BulkFailure {
    pub(super) id: String,
    pub(super) problem: super::problem::Problem,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct CopyTo {
    /// A folder of the same mailbox.
    pub(super) folder: String,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct ForwardTo {
    /// Mailboxes.
    #[schema(min_items = 1, max_items = 100)]
    pub(super) to: Vec<String>,
    #[serde(default)]
    pub(super) urgent: bool,
}

/// A recording: WAV, MP3, Ogg, FLAC or M4A.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "only described: bodies are read as they come")]
pub(super) struct Recording(Vec<u8>);

/// RFC 3339, as Unix seconds; what is no time stays as it is, and is refused with its reason.
fn moment<'de, D: Deserializer<'de>>(given: D) -> Result<Option<Value>, D::Error> {
    let Some(text) = Option::<String>::deserialize(given)? else { return Ok(None) };
    let second = text.parse::<Timestamp>().map(|at| at.as_second().into());
    Ok(Some(second.unwrap_or(Value::String(text))))
}

/// JSON knows no integers: 7.0 is one.
pub(super) fn whole<'de, D: Deserializer<'de>, N: TryFrom<i64>>(
    given: D,
) -> Result<Option<N>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(given)? else { return Ok(None) };
    let is_whole = number.fract() == 0.0 && number.abs() < 9e15;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
    let whole = is_whole.then(|| N::try_from(number as i64).ok()).flatten();
    whole.map(Some).ok_or_else(|| D::Error::custom("that is no whole number in its range"))
}

/// RFC 3339.
pub(super) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// The same for the same, another after a change.
pub(super) fn tag(value: &impl Serialize) -> String {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let digest = Sha256::digest(&text);
    let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}
