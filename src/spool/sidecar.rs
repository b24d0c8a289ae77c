//! A message's text file: Asterisk's `msgNNNN.txt`, its fields first and in its order, then ours.
//!
//! One line per key. What a caller controls is escaped, so that no name can make a line of its
//! own. Keys that we do not know are kept when the file is rewritten. Readers expect anything:
//! another program's file, a half-written one, none of our keys.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::mailbox::{
    CallerId, Deleted, Envelope, Folder, Formats, Forwarded, Heard, MailboxId, Message, MessageId,
    Stem,
};
use crate::state;

/// Larger files are no sidecars.
pub(super) const LARGEST: u64 = 256 * 1024;

/// Fields of a message of ours.
const USUAL: usize = 40;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sidecar {
    fields: Vec<(Cow<'static, str>, String)>,
}

/// What the files beside a sidecar say where it is silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fallback {
    pub(crate) received: i64,
    pub(crate) duration: Duration,
    pub(crate) rate: u32,
    pub(crate) formats: Formats,
    pub(crate) bytes: u64,
}

impl Default for Fallback {
    fn default() -> Self {
        let (received, duration, rate, bytes) = (0, Duration::ZERO, 0, 0);
        Self { received, duration, rate, formats: Formats::WAV, bytes }
    }
}

impl Sidecar {
    /// What a draft knows while its caller still speaks.
    pub(super) fn draft(
        mailbox: &MailboxId,
        owner: u64,
        id: MessageId,
        envelope: &Envelope,
    ) -> Self {
        let mut sidecar = Self::default();
        let CallerId { number, name, ext } = &envelope.caller;
        let mut set = |key: &str, value: &str| sidecar.set(key, value);
        set("origmailbox", mailbox.number());
        set("context", mailbox.context());
        set("exten", mailbox.number());
        set("rdnis", if envelope.to.is_empty() { "unknown" } else { &envelope.to });
        set("priority", "1");
        set("callerchan", &format!("SIP/{}", if number.is_empty() { "unknown" } else { number }));
        set("callerid", &callerid(&envelope.caller));
        set("origdate", &origdate(envelope.received));
        set("origtime", &envelope.received.to_string());
        set("category", "");
        set("msg_id", &msg_id(envelope));
        set("flag", "");
        set("duration", "0");
        set("id", &id.to_string());
        set("owner", &owner.to_string());
        set("call", &envelope.call);
        set("call_id", &envelope.sip_call_id);
        set("caller_num", number);
        set("caller_name", name);
        set("caller_ext", ext);
        set("to", &envelope.to);
        // It is kept as long as the call.
        sidecar.fields.shrink_to_fit();
        sidecar
    }

    /// What is known of a recording that another program left without a word.
    pub(super) fn described(message: &Message) -> Self {
        let mut sidecar = Self::draft(&message.mailbox, 0, message.id, &message.envelope);
        sidecar.set("duration", &message.duration.as_secs().to_string());
        sidecar.mark(message);
        sidecar
    }

    /// What is true of a message of ours once it is whole.
    pub(super) fn complete(&mut self, message: &Message) {
        self.set("duration", &message.duration.as_secs().to_string());
        self.set("duration_ms", &message.duration.as_millis().to_string());
        self.set("codec", "pcm_s16le");
        self.set("rate", &message.rate.to_string());
        self.set("sha256", &message.sha256);
        self.mark(message);
    }

    /// What somebody did to a message, whosever it is.
    pub(super) fn mark(&mut self, message: &Message) {
        self.set("category", &message.category);
        self.set("flag", if message.urgent { "Urgent" } else { "" });
        self.set("id", &message.id.to_string());
        self.set("number", &message.number.to_string());
        let yes = |wanted: bool| wanted.then_some("yes");
        self.set_or_remove("private", yes(message.private));
        self.set_or_remove("empty", yes(message.silent));
        let heard = message.heard.as_ref();
        self.set_or_remove("heard_at", heard.map(|heard| heard.at.to_string()).as_deref());
        self.set_or_remove("read_by", heard.map(|heard| heard.by.as_str()));
        let deleted = message.deleted.as_ref();
        self.set_or_remove("deleted_at", deleted.map(|gone| gone.at.to_string()).as_deref());
        self.set_or_remove("deleted_by", deleted.map(|gone| gone.by.as_str()));
        self.set_or_remove("deleted_from", deleted.map(|gone| gone.from.name()));
        self.set_or_remove("filed_at", message.filed.map(|at| at.to_string()).as_deref());
        self.set_or_remove("origin", message.origin.map(|id| id.to_string()).as_deref());
        let forwarded = message.forwarded.as_ref();
        self.set_or_remove("forwarded_by", forwarded.map(|sent| sent.by.as_str()));
        let left = forwarded.map(|sent| sent.received.to_string());
        self.set_or_remove("forwarded_received", left.as_deref());
        let transcript = Some(message.transcript.as_str()).filter(|text| !text.is_empty());
        self.set_or_remove("transcript", transcript);
    }

    /// A message of another spool's: what it says stays, and it belongs to somebody here.
    pub(super) fn taken_over(&mut self, message: &Message, owner: u64) {
        let urgent = message.urgent;
        let flag = self.text_of("flag").to_owned();
        self.mark(message);
        // Asterisk has flags of its own.
        if !urgent {
            self.set("flag", &flag);
        }
        for (key, value) in [
            ("origtime", message.envelope.received.to_string()),
            ("duration", message.duration.as_secs().to_string()),
            ("duration_ms", message.duration.as_millis().to_string()),
            ("rate", message.rate.to_string()),
            ("sha256", message.sha256.clone()),
            ("owner", owner.to_string()),
            ("call", message.envelope.call.clone()),
        ] {
            self.set(key, &value);
        }
    }

    /// A copy of a message: who called stays, who owns it does not.
    pub(super) fn copied(&mut self, message: &Message, owner: u64) {
        let Envelope { caller, to, received, call, sip_call_id } = &message.envelope;
        for (key, value) in [
            ("callerid", callerid(caller).as_str()),
            ("origdate", &origdate(*received)),
            ("origtime", &received.to_string()),
            ("msg_id", &msg_id(&message.envelope)),
            ("owner", &owner.to_string()),
            ("call", call),
            ("call_id", sip_call_id),
            ("caller_num", &caller.number),
            ("caller_name", &caller.name),
            ("caller_ext", &caller.ext),
            ("to", to),
        ] {
            self.set(key, value);
        }
    }

    /// Reads whatever can be read.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut sidecar = Self { fields: Vec::with_capacity(USUAL) };
        let mut within = true;
        for line in bytes.split(|&byte| byte == b'\n') {
            let line = readable(line);
            let line = line.trim();
            if let Some(section) = line.strip_prefix('[') {
                within = section.starts_with("message]");
            } else if let Some((key, value)) = line.split_once('=')
                && within
                && !line.starts_with(';')
            {
                // Asterisk also writes `key => value`.
                let value = value.strip_prefix('>').unwrap_or(value);
                sidecar.fields.push((named(key.trim()), unescape(value.trim())));
            }
        }
        sidecar
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::from(";\n; Message Information file\n;\n[message]\n");
        for (key, value) in &self.fields {
            text.push_str(key);
            text.push('=');
            escape(value, &mut text);
            text.push('\n');
        }
        text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(super) fn text_of(&self, key: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
    }

    pub(super) fn id(&self) -> Option<MessageId> {
        self.text_of("id").parse().ok()
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.text_of("number").parse().ok().filter(|number| (1..=state::HIGHEST).contains(number))
    }

    /// Rate and length of the audio of a message that we have stored ourselves.
    pub(super) fn own_audio(&self) -> Option<(u32, Duration)> {
        let millis = self.text_of("duration_ms").parse().ok().filter(|millis| *millis > 0)?;
        let rate = self.text_of("rate").parse().ok()?;
        let is_ours = self.id().is_some() && !self.text_of("sha256").is_empty();
        is_ours.then_some((rate, Duration::from_millis(millis)))
    }

    /// The mailbox's integer, for the file's name.
    pub(super) fn owner(&self) -> u64 {
        self.text_of("owner").parse().unwrap_or(0)
    }

    pub(super) fn set(&mut self, key: &str, value: &str) {
        match self.fields.iter_mut().find(|(known, _)| known == key) {
            Some((_, kept)) => value.clone_into(kept),
            None => self.fields.push((named(key), value.to_owned())),
        }
    }

    fn set_or_remove(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.set(key, value),
            None => self.fields.retain(|(known, _)| known != key),
        }
    }

    pub(super) fn envelope(&self, fallback: i64) -> Envelope {
        let (name, number) = split_callerid(self.text_of("callerid"));
        let or = |key: &str, other: String| match self.text_of(key) {
            "" => other,
            value => value.to_owned(),
        };
        Envelope {
            caller: CallerId {
                number: or("caller_num", number),
                name: or("caller_name", name),
                ext: self.text_of("caller_ext").to_owned(),
            },
            to: self.text_of("to").to_owned(),
            received: self.text_of("origtime").parse().unwrap_or(fallback),
            call: self.text_of("call").to_owned(),
            sip_call_id: self.text_of("call_id").to_owned(),
        }
    }

    /// The message that this file describes. `id` and `number` are told, since a file may lack
    /// them or share them with its copy.
    pub(crate) fn message(
        &self,
        (id, number): (MessageId, u64),
        place: (&MailboxId, &Folder, Stem),
        fallback: &Fallback,
    ) -> Message {
        let (mailbox, folder, stem) = place;
        let seconds = self.text_of("duration").parse().ok().map(Duration::from_secs);
        let millis = self.text_of("duration_ms").parse().ok().map(Duration::from_millis);
        let at = |key: &str| self.text_of(key).parse::<i64>().ok();
        let text = |key: &str| self.text_of(key).to_owned();
        let is = |key: &str| matches!(self.text_of(key), "yes" | "true" | "1");
        let heard = at("heard_at").map(|at| Heard { at, by: text("read_by") });
        let deleted = at("deleted_at").filter(|_| *folder == Folder::Deleted).map(|at| {
            let from = Folder::named(self.text_of("deleted_from")).unwrap_or(Folder::Inbox);
            Deleted { at, by: text("deleted_by"), from }
        });
        let forwarded = at("forwarded_received")
            .map(|received| Forwarded { by: text("forwarded_by"), received });
        let flagged = self.text_of("flag").eq_ignore_ascii_case("urgent");
        Message {
            id,
            number,
            mailbox: mailbox.clone(),
            folder: folder.clone(),
            stem,
            formats: fallback.formats,
            envelope: self.envelope(fallback.received),
            duration: millis
                .or(seconds)
                .filter(|known| !known.is_zero())
                .unwrap_or(fallback.duration),
            rate: self.text_of("rate").parse().unwrap_or(fallback.rate),
            bytes: fallback.bytes,
            sha256: text("sha256"),
            heard,
            // Whatever lies in Asterisk's folder of that name is urgent.
            urgent: flagged || *folder == Folder::Urgent,
            private: is("private"),
            silent: is("empty"),
            origin: self.text_of("origin").parse().ok(),
            forwarded,
            deleted,
            filed: at("filed_at"),
            category: text("category"),
            transcript: text("transcript"),
        }
    }
}

/// A key, without a copy of it where it is one of the usual: a start reads tens of millions.
fn named(key: &str) -> Cow<'static, str> {
    match USUAL_KEYS.binary_search(&key) {
        Ok(at) => Cow::Borrowed(USUAL_KEYS[at]),
        Err(_) => Cow::Owned(key.to_owned()),
    }
}

/// In their order.
const USUAL_KEYS: [&str; 39] = [
    "call",
    "call_id",
    "caller_ext",
    "caller_name",
    "caller_num",
    "callerchan",
    "callerid",
    "category",
    "codec",
    "context",
    "deleted_at",
    "deleted_by",
    "deleted_from",
    "duration",
    "duration_ms",
    "empty",
    "exten",
    "filed_at",
    "flag",
    "forwarded_by",
    "forwarded_received",
    "heard_at",
    "id",
    "macrocontext",
    "msg_id",
    "number",
    "origdate",
    "origin",
    "origmailbox",
    "origtime",
    "owner",
    "priority",
    "private",
    "rate",
    "rdnis",
    "read_by",
    "sha256",
    "to",
    "transcript",
];

/// Old systems write Latin-1, where every byte is a character.
fn readable(line: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(line) {
        Ok(line) => Cow::Borrowed(line),
        Err(_) => Cow::Owned(line.iter().map(|&byte| char::from(byte)).collect()),
    }
}

/// `"Name" <number>`, in Asterisk's four forms.
fn callerid(caller: &CallerId) -> String {
    let name = caller.name.replace('"', "'");
    match (name.is_empty(), caller.number.is_empty()) {
        (true, true) => "Unknown".into(),
        (true, false) => caller.number.clone(),
        (false, true) => name,
        (false, false) => format!("\"{name}\" <{}>", caller.number),
    }
}

fn split_callerid(text: &str) -> (String, String) {
    if text.is_empty() || text == "Unknown" {
        return (String::new(), String::new());
    }
    if let Some((name, number)) = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        return (name.trim().trim_matches('"').to_owned(), number.trim().to_owned());
    }
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || b"+*#".contains(&b));
    if is_number {
        (String::new(), text.to_owned())
    } else {
        (text.trim_matches('"').to_owned(), String::new())
    }
}

fn origdate(received: i64) -> String {
    let at = Timestamp::from_second(received).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned(TimeZone::UTC).strftime("%a %b %e %I:%M:%S %p UTC %Y").to_string()
}

fn msg_id(envelope: &Envelope) -> String {
    let counter = envelope.call.get(10..).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    format!("{}-{counter:08x}", envelope.received)
}

/// Keeps a value on its line, and whole: Asterisk's reader ends a value at `;` and trims it.
fn escape(value: &str, out: &mut String) {
    let outer =
        |at: usize, c: char| c.is_whitespace() && (at == 0 || at + c.len_utf8() == value.len());
    for (at, c) in value.char_indices() {
        match c {
            '\\' | ';' => out.extend(['\\', c]),
            c if c.is_control() || is_line_end(c) || outer(at, c) => out.extend(c.escape_unicode()),
            // `=>` is one sign to Asterisk's reader.
            '>' if at == 0 => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Undoes [`escape`]; a backslash that it cannot have written stands for itself.
fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (c, used) = escaped(rest);
        out.push(c);
        rest = &rest[used..];
    }
    out.push_str(rest);
    out
}

/// What the text after a backslash stands for, and how many of its bytes do.
fn escaped(rest: &str) -> (char, usize) {
    match rest.as_bytes().first() {
        Some(b'\\') => ('\\', 1),
        Some(b';') => (';', 1),
        Some(b'u') => rest
            .strip_prefix("u{")
            .and_then(|hex| hex.split_once('}'))
            .and_then(|(hex, _)| {
                Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, hex.len() + 3))
            })
            .unwrap_or(('\\', 0)),
        Some(_) | None => ('\\', 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope(name: &str) -> Envelope {
        Envelope {
            caller: CallerId {
                number: "2001".into(),
                name: name.into(),
                ext: "12125550102".into(),
            },
            to: "1000".into(),
            received: 1_767_623_411,
            call: "17676234000000042".into(),
            sip_call_id: "abc@host".into(),
        }
    }

    #[test]
    fn the_usual_keys_lie_in_their_order() {
        assert!(USUAL_KEYS.is_sorted());
        let mut sidecar = Sidecar::parse(b"[message]\nfoo=1\nnumber=2\n");
        assert_eq!((sidecar.text_of("foo"), sidecar.text_of("number")), ("1", "2"));
        sidecar.set("foo", "3");
        assert!(sidecar.text().ends_with("foo=3\nnumber=2\n"));
    }

    fn draft(name: &str) -> Sidecar {
        Sidecar::draft(&"1234".parse().unwrap(), 10142, MessageId::new(1, 2), &envelope(name))
    }

    #[test]
    fn asterisks_fields_come_first_and_in_its_order() {
        let text = draft("Alice Example").text();
        let expected = ";\n; Message Information file\n;\n[message]\norigmailbox=1234\n\
            context=default\nexten=1234\nrdnis=1000\npriority=1\ncallerchan=SIP/2001\n\
            callerid=\"Alice Example\" <2001>\norigdate=Mon Jan  5 02:30:11 PM UTC 2026\n\
            origtime=1767623411\ncategory=\nmsg_id=1767623411-0000002a\nflag=\nduration=0\nid=";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn asterisks_own_file_is_read() {
        let sidecar = Sidecar::parse(
            b";\n; Message Information file\n;\n[message]\norigmailbox=1234\ncontext=from-internal\n\
              callerid=\"Bob \xe9\"<2002>\norigtime=1767623411\nflag=Urgent\nduration=17\nodd key\n\
              [other]\nduration=99\n",
        );
        let fallback = Fallback { received: 5, rate: 8000, ..Fallback::default() };
        let mailbox = "1234".parse().unwrap();
        let message = sidecar.message(
            (MessageId::new(1, 1), 7),
            (&mailbox, &Folder::Inbox, Stem::found("msg0000").unwrap()),
            &fallback,
        );
        assert_eq!(message.envelope.caller.number, "2002");
        assert_eq!(message.envelope.caller.name, "Bob \u{e9}");
        assert_eq!(message.duration, Duration::from_secs(17));
        assert!(message.urgent && message.heard.is_none());
    }

    #[test]
    fn a_half_written_file_still_tells_what_it_has() {
        let whole = draft("Alice").text();
        for end in 0..whole.len() {
            let sidecar = Sidecar::parse(&whole.as_bytes()[..end]);
            let message = sidecar.message(
                (MessageId::new(1, 1), 7),
                (&"1234".parse().unwrap(), &Folder::Inbox, Stem::found("x").unwrap()),
                &Fallback { duration: Duration::from_secs(3), ..Fallback::default() },
            );
            assert_eq!(message.duration, Duration::from_secs(3));
        }
    }

    #[test]
    fn a_number_that_nobody_can_have_drawn_is_none() {
        let number = |text: &str| Sidecar::parse(text.as_bytes()).number();
        assert_eq!(number("number=816"), Some(816));
        for wrong in ["0", "-1", "9007199254740993", "9223372036854775807", "x"] {
            assert_eq!(number(&format!("number={wrong}")), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_not_ours_is_kept() {
        let mut sidecar = Sidecar::parse(b"[message]\nduration=1\nx_portal=a\\;b\n");
        sidecar.set("duration", "2");
        assert_eq!(
            sidecar.text(),
            ";\n; Message Information file\n;\n[message]\nduration=2\nx_portal=a\\;b\n"
        );
    }

    proptest! {
        #[test]
        fn no_name_makes_a_line_of_its_own(name in any::<String>()) {
            let text = draft(&name).text();
            prop_assert_eq!(text.lines().count(), draft("x").text().lines().count());
            let read = Sidecar::parse(text.as_bytes());
            prop_assert_eq!(read.text_of("caller_name"), name.as_str());
            prop_assert_eq!(read.envelope(0).caller.number, "2001");
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            Sidecar::parse(&bytes);
        }
    }
}
