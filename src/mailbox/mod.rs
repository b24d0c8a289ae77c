//! What a mailbox is: whose, how it wants to be treated, and what it may hold. No I/O, no clock.
//!
//! The words of everything else: the spool keeps [`Message`]s, the directory keeps [`Mailbox`]es,
//! the conversation and every HTTP face speak of both.

pub mod call;
pub mod change;
pub mod counts;
pub mod edit;
pub mod folder;
pub mod format;
pub mod greeting;
pub mod keypad;
pub mod message;
pub mod pin;
mod recipient;
pub mod retention;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use change::{Change, Level};
pub use counts::Counts;
pub use edit::{By, Edit};
pub use folder::Folder;
pub use format::Formats;
pub use message::{CallerId, Deleted, Envelope, Forwarded, Heard, Message, MessageId, Stem};
pub use recipient::{Recipient, settled};

/// The context used where nobody names one, as in Asterisk.
pub const DEFAULT_CONTEXT: &str = "default";

/// A mailbox's address: its number within a context, written `1000@default`.
///
/// Both halves are safe as a folder's name: that is checked once, here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxId {
    context: Arc<str>,
    number: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no mailbox: write NUMBER or NUMBER@CONTEXT, each of 1 to 64 letters, digits, `-`, `_` or `.`, not beginning with `.`"
)]
pub struct InvalidMailboxId(String);

impl MailboxId {
    pub fn new(context: &str, number: &str) -> Result<Self, InvalidMailboxId> {
        if is_plain_name(context) && is_plain_name(number) {
            return Ok(Self { context: context.into(), number: number.into() });
        }
        Err(InvalidMailboxId(format!("{number}@{context}").escape_debug().to_string()))
    }

    pub fn context(&self) -> &str {
        &self.context
    }

    pub fn number(&self) -> &str {
        &self.number
    }

    /// Where the mailbox lies below the spool's root.
    pub fn path(&self) -> PathBuf {
        Path::new(&*self.context).join(&*self.number)
    }
}

impl FromStr for MailboxId {
    type Err = InvalidMailboxId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, context) = text.split_once('@').unwrap_or((text, DEFAULT_CONTEXT));
        Self::new(context, number)
    }
}

impl fmt::Display for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.number, self.context)
    }
}

/// A name that can be a folder's name as it stands, here and on a case-keeping file share.
pub fn is_plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// 24 hexadecimal digits for interfaces that want them: the first of a UUID's 32.
pub fn hex_id(uuid: Uuid) -> String {
    let mut hex = uuid.simple().to_string();
    hex.truncate(24);
    hex
}

/// Settings of one mailbox. `mailbox.toml` holds exactly these keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Never changes, whatever the mailbox is renumbered to.
    pub uuid: Uuid,
    /// The integer that vendors' interfaces and file names use for the owner.
    pub id: u64,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Unix seconds.
    #[serde(default)]
    pub created: i64,
    #[serde(default)]
    pub modified: i64,
    #[serde(default)]
    pub name: String,
    /// The PIN, sealed by the key in the state directory; never in clear.
    #[serde(default)]
    pub pin: String,
    /// The PIN breaks the policy: its owner is asked for a new one at the next login.
    #[serde(default)]
    pub pin_weak: bool,
    /// Its owner has been through the first visit: name, greetings, and a PIN that nobody else knows.
    #[serde(default = "yes")]
    pub set_up: bool,
    /// Keyed hashes of the PINs before it, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_pins: Vec<String>,
    /// `user@domain`: calls to it are for this mailbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_address: Option<String>,
    /// The outside number in E.164, with its `+`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e164: Option<String>,
    /// IANA name; the host's zone where empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default = "english")]
    pub language: String,
    #[serde(default)]
    pub say_caller_id: bool,
    #[serde(default)]
    pub say_duration: bool,
    #[serde(default = "yes")]
    pub say_datetime: bool,
    #[serde(default)]
    pub notify_email: NotifyEmail,
    #[serde(default)]
    pub email: Vec<Recipient>,
    #[serde(default)]
    pub notify_pager: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pager: Option<String>,
    /// SIP addresses whose message lamps follow this mailbox.
    #[serde(default)]
    pub mwi: Vec<String>,
    /// A tone before the recording begins.
    #[serde(default = "yes")]
    pub beep: bool,
    #[serde(default)]
    pub transcribe: bool,
    /// A sound of the organization that greets in place of the owner's recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greeting: Option<Uuid>,
    /// Limits of its own; the configuration's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_messages: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_seconds: Option<u32>,
    /// Callers hear the greeting, and leave nothing.
    #[serde(default)]
    pub greeting_only: bool,
    /// Greetings for some callers or times: the first that fits, unless a temporary one plays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub greeting_rules: Vec<greeting::Rule>,
    /// Unix seconds after which the temporary greeting is not played any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary_until: Option<i64>,
    /// Found by name by others of the organization.
    #[serde(default = "yes")]
    pub listed: bool,
    /// 12 or 24: how times are told; as the language has it where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<u8>,
    /// How dates are told, by Asterisk's tokens; as the language has it where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
}

impl Mailbox {
    pub fn new(uuid: Uuid, id: u64, now: i64) -> Self {
        Self {
            uuid,
            id,
            enabled: true,
            created: now,
            modified: now,
            name: String::new(),
            pin: String::new(),
            pin_weak: false,
            set_up: false,
            earlier_pins: vec![],
            sip_address: None,
            e164: None,
            time_zone: None,
            language: english(),
            say_caller_id: false,
            say_duration: false,
            say_datetime: true,
            notify_email: NotifyEmail::No,
            email: vec![],
            notify_pager: false,
            pager: None,
            mwi: vec![],
            beep: true,
            transcribe: false,
            greeting: None,
            max_messages: None,
            max_seconds: None,
            min_seconds: None,
            greeting_only: false,
            greeting_rules: vec![],
            temporary_until: None,
            listed: true,
            clock: None,
            date_format: None,
        }
    }

    /// What is wrong with these settings, in words for the person who made them.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = vec![];
        let mut refuse = |wrong: bool, why: String| {
            if wrong {
                problems.push(why);
            }
        };
        let addresses = self.email.iter().map(|recipient| &recipient.address);
        for address in addresses.chain(&self.pager) {
            refuse(
                !is_mail_address(address),
                format!("`{}` is no mail address", address.escape_debug()),
            );
        }
        refuse(
            self.notify_email != NotifyEmail::No && self.email.is_empty(),
            "notify_email asks for mail, but email is empty".into(),
        );
        refuse(
            self.notify_pager && self.pager.is_none(),
            "notify_pager is on, but pager is empty".into(),
        );
        for address in &self.mwi {
            refuse(
                !is_lamp(address),
                format!(
                    "mwi `{}` is no SIP address: write sip:user@host, or sip:user@host;transport=tcp",
                    address.escape_debug()
                ),
            );
        }
        if let Some(address) = &self.sip_address {
            refuse(
                !is_sip_address(address),
                format!("sip_address `{}` is not user@domain", address.escape_debug()),
            );
        }
        if let Some(number) = &self.e164 {
            refuse(
                !is_e164(number),
                format!("e164 `{}` is not + and 2 to 15 digits", number.escape_debug()),
            );
        }
        refuse(
            !is_language(&self.language),
            format!("language `{}` is not like `en` or `pt-BR`", self.language.escape_debug()),
        );
        refuse(
            self.clock.is_some_and(|hours| hours != 12 && hours != 24),
            "clock is 12 or 24".into(),
        );
        for why in self.greeting_rules.iter().filter_map(greeting::Rule::problem) {
            refuse(true, why);
        }
        let shortest = self.min_seconds.unwrap_or(0);
        refuse(
            self.max_seconds.is_some_and(|longest| longest <= shortest),
            format!("max_seconds must be more than min_seconds, {shortest}"),
        );
        problems
    }
}

/// What reaches the owner by mail when a message has been left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyEmail {
    #[default]
    No,
    /// A mail without the audio.
    Yes,
    Attach,
    /// Attach, then delete the message once every recipient's server has accepted the mail.
    Delete,
}

/// Seconds. The telephone, which holds a message in memory, plays nothing that is much longer.
const LONGEST_MESSAGE: u32 = 3600;

/// What a mailbox may hold, after its own settings and the configuration's are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_messages: u32,
    pub max_seconds: u32,
    pub min_seconds: u32,
}

impl Limits {
    /// The mailbox's own come first. Joined, they may not fit each other: the longest message is
    /// then longer than the shortest all the same, or every one would be thrown away.
    pub fn of(self, mailbox: &Mailbox) -> Self {
        let max_seconds = mailbox.max_seconds.unwrap_or(self.max_seconds).clamp(1, LONGEST_MESSAGE);
        Self {
            max_messages: mailbox.max_messages.unwrap_or(self.max_messages),
            max_seconds,
            min_seconds: mailbox.min_seconds.unwrap_or(self.min_seconds).min(max_seconds - 1),
        }
    }
}

pub(crate) fn is_mail_address(text: &str) -> bool {
    text.len() <= 254
        && text
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
        && text.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"<>,;\"".contains(c))
}

fn is_sip_address(text: &str) -> bool {
    is_mail_address(text)
}

/// A SIP address with or without its scheme, and with the parameters of a URI (RFC 3261 §25.1).
fn is_lamp(text: &str) -> bool {
    let rest = text.strip_prefix("sips:").or_else(|| text.strip_prefix("sip:")).unwrap_or(text);
    let (address, params) = rest.split_once(';').unwrap_or((rest, ""));
    is_sip_address(address)
        && params.chars().all(|c| c.is_ascii_alphanumeric() || "-_.!~*'()[]/:&+$%=;".contains(c))
}

fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// RFC 5646 in the small: `en`, `pt-BR`. It becomes a folder's name below `sounds/`.
pub fn is_language(text: &str) -> bool {
    (2..=16).contains(&text.len())
        && text
            .split(['-', '_'])
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn yes() -> bool {
    true
}

fn english() -> String {
    "en".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_number_and_a_context() {
        let id: MailboxId = "1000@sales".parse().unwrap();
        assert_eq!((id.number(), id.context()), ("1000", "sales"));
        assert_eq!("1000".parse::<MailboxId>().unwrap().to_string(), "1000@default");
    }

    #[test]
    fn an_address_never_leaves_its_folder() {
        for bad in
            ["", "..", "../x", "a/b", "1000@..", "1000@", "@x", ".hidden", "a\0b", "é", "1 2"]
        {
            assert!(bad.parse::<MailboxId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_told_together() {
        let mut mailbox = Mailbox::new(Uuid::nil(), 1, 0);
        assert_eq!(mailbox.problems(), Vec::<String>::new());
        mailbox.notify_email = NotifyEmail::Attach;
        mailbox.e164 = Some("12".into());
        mailbox.mwi = vec!["sip:a b@c".into()];
        mailbox.language = "../en".into();
        (mailbox.min_seconds, mailbox.max_seconds) = (Some(5), Some(5));
        assert_eq!(mailbox.problems().len(), 5);
    }

    #[test]
    fn a_lamp_is_reached_as_its_address_says() {
        let mut mailbox = Mailbox::new(Uuid::nil(), 1, 0);
        for (address, is_one) in [
            ("1000@phone", true),
            ("sip:1000@192.0.2.1:5070;transport=tcp", true),
            ("sips:1000@pbx.example.com", true),
            ("sip:1000@pbx.example.com;transport=tls;x=%20", true),
            ("sip:1000", false),
            ("sip:1000@pbx;transport=\"tcp\"", false),
            ("sip:1000@pbx;a\r\nEvent: b", false),
            ("sip:1000@pbx>;a", false),
        ] {
            mailbox.mwi = vec![address.into()];
            assert_eq!(mailbox.problems().is_empty(), is_one, "{address}");
        }
    }

    #[test]
    fn some_message_is_always_long_enough_and_not_too_long() {
        let house = Limits { max_messages: 100, max_seconds: 180, min_seconds: 2 };
        for (min, max, joined) in [
            (None, None, (2, 180)),
            (None, Some(1), (0, 1)),
            (Some(300), None, (179, 180)),
            (None, Some(0), (0, 1)),
            (None, Some(86_400), (2, 3600)),
        ] {
            let mut mailbox = Mailbox::new(Uuid::nil(), 1, 0);
            (mailbox.min_seconds, mailbox.max_seconds) = (min, max);
            let limits = house.of(&mailbox);
            assert_eq!((limits.min_seconds, limits.max_seconds), joined, "{min:?} {max:?}");
        }
    }
}
