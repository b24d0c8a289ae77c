//! What a letter may say of a message: plain values under the names that templates use, ours and
//! those of Asterisk's voicemail.conf.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::date;
use super::words::word;
use crate::mailbox::{CallerId, Counts, Mailbox, MailboxId, Message};

/// How the house writes.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// strftime; empty: as the language has it.
    pub date_format: String,
    /// The zone of mailboxes that name none.
    pub zone: Option<TimeZone>,
}

impl Style {
    pub fn zone(&self, mailbox: &Mailbox) -> TimeZone {
        let own = mailbox.time_zone.as_deref().and_then(|name| TimeZone::get(name).ok());
        own.or_else(|| self.zone.clone()).unwrap_or_else(TimeZone::system)
    }

    pub fn date(&self, mailbox: &Mailbox, seconds: i64) -> String {
        date::written(seconds, &self.zone(mailbox), &mailbox.language, &self.date_format)
    }
}

/// What is said of a mailbox, whatever has happened.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    pub name: String,
    pub mailbox: String,
    pub context: String,
    pub new: u32,
    pub old: u32,
    #[serde(flatten)]
    pub message: Option<MessageFacts>,
    /// Until when a mailbox is locked.
    pub until: String,
    /// What was changed.
    pub what: String,
    pub percent: u8,
    /// The unheard messages of a digest.
    pub messages: Vec<MessageFacts>,
    /// How many more there are.
    pub more: u32,
    #[serde(flatten)]
    asterisk: Asterisk,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct MessageFacts {
    pub caller: String,
    pub caller_number: String,
    pub caller_name: String,
    pub date: String,
    pub duration: String,
    pub seconds: u64,
    pub number: u64,
    pub urgent: bool,
    pub private: bool,
    pub transcript: String,
    pub forwarded_by: String,
    /// The recording comes with the letter, and then leaves the mailbox.
    pub attached: bool,
    pub deleted: bool,
    /// Where to listen, and until when that works.
    pub link: String,
    pub link_until: String,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Asterisk {
    vm_name: String,
    vm_mailbox: String,
    vm_context: String,
    vm_dur: String,
    vm_msgnum: u64,
    vm_callerid: String,
    vm_cidnum: String,
    vm_cidname: String,
    vm_date: String,
    vm_category: String,
    vm_flag: String,
    vm_messagefile: String,
    orig_vm_callerid: String,
    orig_vm_cidnum: String,
    orig_vm_cidname: String,
    orig_vm_date: String,
}

/// What Asterisk says of a caller of whom nothing is known.
const UNKNOWN: &str = "an unknown caller";

impl Facts {
    pub fn of(id: &MailboxId, mailbox: &Mailbox, counts: Counts) -> Self {
        Self {
            name: plain(&mailbox.name),
            mailbox: id.number().to_owned(),
            context: id.context().to_owned(),
            new: counts.new,
            old: counts.old,
            ..Self::default()
        }
    }

    /// With unheard messages, the newest of them first.
    pub fn listing(mut self, unheard: &[Arc<Message>], mailbox: &Mailbox, style: &Style) -> Self {
        let facts = unheard.iter().map(|message| MessageFacts::of(message, mailbox, style));
        self.messages = facts.collect();
        let listed = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        self.more = self.new.saturating_sub(listed);
        self
    }

    pub fn with(mut self, message: &Message, mailbox: &Mailbox, style: &Style) -> Self {
        let facts = MessageFacts::of(message, mailbox, style);
        let known = |text: &str| if text.is_empty() { UNKNOWN } else { text }.to_owned();
        let CallerId { number, name, .. } = clean(&message.envelope.caller);
        let caller = match (name.as_str(), number.as_str()) {
            ("", "") => UNKNOWN.to_owned(),
            ("", number) => number.to_owned(),
            (name, number) => format!("\"{name}\" <{number}>"),
        };
        // When the caller left it, also where it was sent on later.
        let received =
            message.forwarded.as_ref().map_or(message.envelope.received, |sent| sent.received);
        self.asterisk = Asterisk {
            vm_name: self.name.clone(),
            vm_mailbox: self.mailbox.clone(),
            vm_context: self.context.clone(),
            vm_dur: facts.duration.clone(),
            vm_msgnum: message.number,
            vm_callerid: caller.clone(),
            vm_cidnum: known(&number),
            vm_cidname: known(&name),
            vm_date: facts.date.clone(),
            vm_category: if message.category.is_empty() {
                "no category".into()
            } else {
                plain(&message.category)
            },
            vm_flag: if message.urgent { "Urgent".into() } else { String::new() },
            vm_messagefile: format!("{}.wav", message.stem),
            orig_vm_callerid: caller,
            orig_vm_cidnum: known(&number),
            orig_vm_cidname: known(&name),
            orig_vm_date: style.date(mailbox, received),
        };
        self.message = Some(facts);
        self
    }
}

impl MessageFacts {
    pub fn of(message: &Message, mailbox: &Mailbox, style: &Style) -> Self {
        let clean = clean(&message.envelope.caller);
        Self {
            caller: if clean.name.is_empty() && clean.number.is_empty() {
                word("unknown", &mailbox.language).to_owned()
            } else {
                caller(&clean)
            },
            caller_number: clean.number,
            caller_name: clean.name,
            date: style.date(mailbox, message.envelope.received),
            duration: minutes(message.duration),
            seconds: message.duration.as_secs(),
            number: message.number,
            urgent: message.urgent,
            private: message.private,
            transcript: text(&message.transcript),
            forwarded_by: message
                .forwarded
                .as_ref()
                .map(|sent| plain(&sent.by))
                .unwrap_or_default(),
            attached: false,
            deleted: false,
            link: String::new(),
            link_until: String::new(),
        }
    }
}

/// Who called, as it may stand in a line.
fn clean(caller: &CallerId) -> CallerId {
    CallerId { number: plain(&caller.number), name: plain(&caller.name), ..caller.clone() }
}

/// One line of what somebody else has written: no character that ends a line, rings a terminal's
/// bell or turns the order of what follows.
pub(super) fn plain(written: &str) -> String {
    let known = written.chars().map(|c| if is_plain(c) { c } else { ' ' });
    let known: String = known.take(LONGEST).collect();
    known.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The same in several lines.
fn text(written: &str) -> String {
    written.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn is_plain(c: char) -> bool {
    // U+2028 and U+2029 end lines and paragraphs; the others are bidirectional controls (UAX #9).
    let turns = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// Characters of one line.
const LONGEST: usize = 2_000;

/// Name and number, as far as they are known.
pub fn caller(caller: &CallerId) -> String {
    match (caller.name.trim(), caller.number.trim()) {
        ("", "") => "unknown".into(),
        ("", known) | (known, "") => known.into(),
        (name, number) if name == number => name.into(),
        (name, number) => format!("{name} ({number})"),
    }
}

/// `0:17`; minutes may be more than 59, as in Asterisk.
fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{MessageId, Stem};

    #[test]
    fn a_letter_knows_what_asterisks_letters_know() {
        let id: MailboxId = "1000".parse().unwrap();
        let mut mailbox = Mailbox::new(uuid::Uuid::nil(), 1, 0);
        mailbox.name = "Jane".into();
        mailbox.time_zone = Some("Europe/Berlin".into());
        let stem = Stem::found("msg0007").unwrap();
        let mut message = Message::new(MessageId::LEAST, 7, id.clone(), stem);
        message.duration = Duration::from_millis(77_900);
        message.envelope.received = 1_700_000_000;
        let counts = Counts { new: 3, ..Counts::default() };
        let style = Style { date_format: "%H:%M".into(), zone: None };
        let facts = Facts::of(&id, &mailbox, counts).with(&message, &mailbox, &style);
        let told = serde_json::to_value(&facts).unwrap();
        for (name, value) in [
            ("caller", "unknown"),
            ("duration", "1:17"),
            ("VM_DUR", "1:17"),
            ("VM_NAME", "Jane"),
            ("VM_CALLERID", UNKNOWN),
            ("VM_DATE", "23:13"),
            ("ORIG_VM_DATE", "23:13"),
            ("VM_CATEGORY", "no category"),
        ] {
            assert_eq!(told[name], value, "{name}");
        }
        assert_eq!((told["new"].as_u64(), told["VM_MSGNUM"].as_u64()), (Some(3), Some(7)));
        mailbox.language = "de".into();
        let facts = MessageFacts::of(&message, &mailbox, &style);
        assert_eq!(facts.caller, "unbekannt", "in the reader's language");
        message.envelope.caller.name = "unknown".into();
        assert_eq!(MessageFacts::of(&message, &mailbox, &style).caller, "unknown", "a name");
    }
}
