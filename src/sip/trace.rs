//! The wire as an operator may watch it: whose messages, and without secrets.
//!
//! What a call is for is known only some messages after its INVITE, so messages of calls that may
//! yet be wanted wait, up to a bound, until somebody says whose they are.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::name_addr::NameAddr;
use super::transport::Transport;
use super::{Flow, Uri};

/// Which calls are watched; what is unset fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The beginning of a Call-ID.
    pub call: Option<String>,
    /// Who calls: the user part of From or P-Asserted-Identity.
    pub caller: Option<String>,
    /// Whom a call is for: the user part of the Request-URI or of To, or what its owner says.
    pub called: Option<String>,
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// One message, as it passed.
#[derive(Debug)]
pub(super) struct Sighting {
    pub at: SystemTime,
    pub flow: Flow,
    pub way: Way,
    pub bytes: Arc<[u8]>,
}

/// One message, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: SystemTime,
    pub way: Way,
    pub transport: Transport,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Empty where there was none.
    pub call_id: String,
    /// `INVITE sip:1000@h` or `200 OK (INVITE)`.
    pub summary: String,
    /// The whole message, with `***` for what is secret.
    pub text: String,
}

/// What one watcher sees.
pub(super) struct Watch {
    filter: Filter,
    calls: HashMap<String, Standing>,
    /// Calls in the order they came in.
    order: VecDeque<String>,
    /// Bytes of all that wait.
    waiting: usize,
}

enum Standing {
    Wanted,
    Unwanted,
    /// It may yet turn out to be wanted.
    Waiting(Vec<Arc<Sighting>>),
}

impl Watch {
    pub fn new(filter: Filter) -> Self {
        Self { filter, calls: HashMap::new(), order: VecDeque::new(), waiting: 0 }
    }

    /// What is to be shown now that this message has passed.
    pub fn see(&mut self, sighting: &Arc<Sighting>) -> Vec<Line> {
        let text = String::from_utf8_lossy(&sighting.bytes);
        let head = Head::read(&text);
        if self.filter == Filter::default() {
            return vec![line(sighting, &head, &text)];
        }
        let Some(call_id) = head.value("call-id") else { return vec![] };
        if self.filter.call.as_ref().is_some_and(|wanted| !call_id.starts_with(wanted)) {
            return vec![];
        }
        if !self.calls.contains_key(call_id) {
            self.make_room();
            self.order.push_back(call_id.to_owned());
            self.calls.insert(call_id.to_owned(), Standing::Waiting(Vec::new()));
        }
        let fits = self.fits(&head, sighting.way);
        let Some(standing) = self.calls.get_mut(call_id) else { return vec![] };
        match standing {
            Standing::Wanted => vec![line(sighting, &head, &text)],
            Standing::Unwanted if !fits => vec![],
            Standing::Unwanted => {
                *standing = Standing::Wanted;
                vec![line(sighting, &head, &text)]
            }
            Standing::Waiting(waiting) => {
                self.waiting += sighting.bytes.len();
                waiting.push(sighting.clone());
                if fits { self.release(call_id) } else { vec![] }
            }
        }
    }

    /// Somebody knows who calls and whom a call is for.
    pub fn learn(&mut self, call_id: &str, caller: &str, called: &str) -> Vec<Line> {
        let Filter { caller: from, called: to, .. } = &self.filter;
        let fits = from.as_deref().is_none_or(|wanted| is_number(caller, wanted))
            && to.as_deref().is_none_or(|wanted| is_called(called, wanted));
        if fits {
            return self.release(call_id);
        }
        if let Some(standing @ Standing::Waiting(_)) = self.calls.get_mut(call_id) {
            let dropped = std::mem::replace(standing, Standing::Unwanted);
            self.waiting -= dropped.size();
        }
        vec![]
    }

    fn fits(&self, head: &Head<'_>, way: Way) -> bool {
        let Filter { caller, called, .. } = &self.filter;
        let is =
            |name: &str, wanted: &str| head.user(name).is_some_and(|user| is_number(&user, wanted));
        caller.as_deref().is_none_or(|wanted| {
            ["from", "p-asserted-identity", "remote-party-id"].iter().any(|name| is(name, wanted))
        }) && called.as_deref().is_none_or(|wanted| {
            let number = wanted.split('@').next().unwrap_or(wanted);
            let dialled = head.target().is_some_and(|uri| is_number(&uri.user, number));
            dialled || is("to", number) || (way == Way::Out && is("from", number))
        })
    }

    fn release(&mut self, call_id: &str) -> Vec<Line> {
        let Some(standing) = self.calls.get_mut(call_id) else { return vec![] };
        let waited = std::mem::replace(standing, Standing::Wanted);
        self.waiting -= waited.size();
        match waited {
            Standing::Waiting(waiting) => waiting.iter().map(|sighting| show(sighting)).collect(),
            Standing::Wanted | Standing::Unwanted => vec![],
        }
    }

    /// The oldest calls are forgotten.
    fn make_room(&mut self) {
        while self.calls.len() >= MOST_CALLS || self.waiting > MOST_WAITING {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(standing) = self.calls.remove(&oldest) {
                self.waiting -= standing.size();
            }
        }
    }
}

impl Standing {
    fn size(&self) -> usize {
        match self {
            Self::Waiting(waiting) => waiting.iter().map(|sighting| sighting.bytes.len()).sum(),
            Self::Wanted | Self::Unwanted => 0,
        }
    }
}

fn show(sighting: &Sighting) -> Line {
    let text = String::from_utf8_lossy(&sighting.bytes);
    line(sighting, &Head::read(&text), &text)
}

fn line(sighting: &Sighting, head: &Head<'_>, text: &str) -> Line {
    let Sighting { at, flow, way, .. } = sighting;
    Line {
        at: *at,
        way: *way,
        transport: flow.transport,
        local: flow.local,
        remote: flow.remote,
        call_id: head.value("call-id").unwrap_or_default().to_owned(),
        summary: head.summary(),
        text: masked(text),
    }
}

/// The lines before the body, as written. Nothing here judges them: what cannot be read is shown
/// as well.
struct Head<'t> {
    start: &'t str,
    fields: Vec<(&'t str, &'t str)>,
}

impl<'t> Head<'t> {
    fn read(text: &'t str) -> Self {
        let mut lines = text.trim_start().lines();
        let start = lines.next().unwrap_or_default().trim();
        let fields = lines
            .take_while(|line| !line.trim().is_empty())
            .filter(|line| !line.starts_with([' ', '\t']))
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()));
        Self { start, fields: fields.collect() }
    }

    fn value(&self, name: &str) -> Option<&'t str> {
        let compact = match name {
            "call-id" => "i",
            "from" => "f",
            "to" => "t",
            "content-type" => "c",
            _ => name,
        };
        let is =
            |known: &str| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(compact);
        self.fields.iter().find(|(known, _)| is(known)).map(|(_, value)| *value)
    }

    fn user(&self, name: &str) -> Option<String> {
        Some(self.value(name)?.parse::<NameAddr>().ok()?.uri.user)
    }

    fn target(&self) -> Option<Uri> {
        if self.start.starts_with("SIP/") {
            return None;
        }
        self.start.split(' ').nth(1)?.parse().ok()
    }

    fn summary(&self) -> String {
        let kind = self.value("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let body = kind.rsplit('/').next().filter(|kind| !kind.is_empty());
        if let Some(status) = self.start.strip_prefix("SIP/2.0 ") {
            let method = self.value("cseq").and_then(|cseq| cseq.split_whitespace().nth(1));
            let notes: Vec<&str> = method.into_iter().chain(body).collect();
            return without_passwords(&format!("{status} ({})", notes.join(", ")));
        }
        let request = self.start.strip_suffix(" SIP/2.0").unwrap_or(self.start);
        let note = body.map(|body| format!(" ({body})")).unwrap_or_default();
        without_passwords(&format!("{request}{note}"))
    }
}

/// What may be shown of a message.
fn masked(text: &str) -> String {
    let text = text.get(..text.floor_char_boundary(MOST_TEXT)).unwrap_or(text);
    let (head, body) = match text.find("\r\n\r\n") {
        Some(at) => text.split_at(at + 4),
        None => (text, ""),
    };
    let mut shown = String::with_capacity(text.len());
    let mut secret = false;
    for line in head.split_inclusive('\n') {
        let folded = line.starts_with([' ', '\t']);
        if folded && secret {
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        secret = SECRET_FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name.trim()));
        if secret {
            // Basic, Digest, Bearer: how somebody proves himself is no secret.
            let scheme = value.split_whitespace().next().unwrap_or_default();
            let scheme = if scheme.contains('=') { "" } else { scheme };
            shown.push_str(&format!("{name}: {scheme} ***\r\n"));
        } else {
            shown.push_str(&without_passwords(line));
        }
    }
    let kind = Head::read(head).value("content-type").unwrap_or_default().to_ascii_lowercase();
    // A key press may be part of a PIN.
    if kind.starts_with("application/dtmf") {
        shown.push_str(if body.is_empty() { "" } else { "***\r\n" });
        return shown;
    }
    for line in body.split_inclusive('\n') {
        let key = SECRET_LINES.iter().find(|key| line.starts_with(**key));
        match key {
            Some(key) => shown.push_str(&format!("{key}***\r\n")),
            None => shown.push_str(line),
        }
    }
    shown
}

/// `sip:user:password@host` without the password.
fn without_passwords(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    let scheme = |text: &str| ["sip:", "sips:"].iter().filter_map(|s| text.find(s)).min();
    while let Some(at) = scheme(rest) {
        let from = at + rest[at..].find(':').unwrap_or(0) + 1;
        let uri = &rest[from..];
        let end = uri.find(|c: char| "@<>\"".contains(c) || c.is_whitespace());
        let password = end.filter(|end| uri[*end..].starts_with('@'));
        let password = password.and_then(|end| Some((uri[..end].find(':')?, end)));
        if let Some((colon, end)) = password {
            shown.push_str(&rest[..from + colon]);
            shown.push_str(":***");
            rest = &uri[end..];
        } else {
            shown.push_str(&rest[..from]);
            rest = uri;
        }
    }
    shown + rest
}

/// A number with or without its plus sign.
fn is_number(user: &str, wanted: &str) -> bool {
    let plain = |number: &str| number.trim_start_matches('+').to_owned();
    !wanted.is_empty() && plain(user) == plain(wanted)
}

/// `1000@default` is `1000`, and `1000@default`, and no other.
fn is_called(called: &str, wanted: &str) -> bool {
    called == wanted || called.split('@').next() == Some(wanted)
}

const SECRET_FIELDS: [&str; 5] =
    ["Authorization", "Proxy-Authorization", "Authentication-Info", "Cookie", "Identity"];
/// The keys of media, which would let somebody listen.
const SECRET_LINES: [&str; 4] = ["a=crypto:", "a=ice-pwd:", "a=key-mgmt:", "k="];
const MOST_CALLS: usize = 1_024;
const MOST_WAITING: usize = 4 << 20;
const MOST_TEXT: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Link;

    fn sighting(way: Way, text: &str) -> Arc<Sighting> {
        let address = |text: &str| text.parse().expect("an address");
        let flow = Flow {
            transport: Transport::Udp,
            local: address("192.0.2.9:5060"),
            remote: address("10.0.0.1:5060"),
            link: Link::Socket(0),
        };
        let at = SystemTime::UNIX_EPOCH;
        Arc::new(Sighting { at, flow, way, bytes: text.as_bytes().into() })
    }

    fn message(start: &str, call: &str, more: &str) -> String {
        format!(
            "{start}\r\nf: <sip:+1555@h>;tag=1\r\nTo: <sip:vm@h>\r\ni: {call}\r\n\
             CSeq: 1 INVITE\r\n{more}\r\n"
        )
    }

    fn summaries(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.summary.as_str()).collect()
    }

    #[test]
    fn without_a_filter_all_is_seen_also_what_cannot_be_read() {
        let mut watch = Watch::new(Filter::default());
        let invite = message("INVITE sip:vm@h SIP/2.0", "a", "c: application/sdp\r\n");
        let seen = watch.see(&sighting(Way::In, &invite));
        assert_eq!(summaries(&seen), ["INVITE sip:vm@h (sdp)"]);
        assert_eq!((seen[0].call_id.as_str(), seen[0].way), ("a", Way::In));
        let ok = message("SIP/2.0 200 OK", "a", "");
        assert_eq!(summaries(&watch.see(&sighting(Way::Out, &ok))), ["200 OK (INVITE)"]);
        assert_eq!(summaries(&watch.see(&sighting(Way::In, "\0nonsense"))), ["\0nonsense"]);
    }

    #[test]
    fn a_call_whose_mailbox_is_told_late_is_seen_from_its_first_message() {
        let filter = Filter { called: Some("1000".into()), ..Filter::default() };
        let mut watch = Watch::new(filter);
        for call in ["a", "b"] {
            let invite = message("INVITE sip:vm@h SIP/2.0", call, "");
            assert_eq!(watch.see(&sighting(Way::In, &invite)), []);
        }
        let told = watch.learn("a", "1555", "1000@default");
        assert_eq!(summaries(&told), ["INVITE sip:vm@h"]);
        assert_eq!(watch.learn("b", "1555", "1001@default"), []);
        let bye = |call: &str| sighting(Way::In, &message("BYE sip:vm@h SIP/2.0", call, ""));
        assert_eq!(summaries(&watch.see(&bye("a"))), ["BYE sip:vm@h"]);
        assert_eq!(watch.see(&bye("b")), []);
        assert_eq!(watch.waiting, 0);
    }

    #[test]
    fn filters_all_hold_together() {
        let seen = |filter: &Filter, start: &str, call: &str| {
            let mut watch = Watch::new(filter.clone());
            watch.see(&sighting(Way::In, &message(start, call, ""))).len()
        };
        let invite = "INVITE sip:1000@h SIP/2.0";
        let by = |call: &str, caller: &str, called: &str| Filter {
            call: Some(call.to_owned()).filter(|text| !text.is_empty()),
            caller: Some(caller.to_owned()).filter(|text| !text.is_empty()),
            called: Some(called.to_owned()).filter(|text| !text.is_empty()),
        };
        assert_eq!(seen(&by("ab", "", ""), invite, "abc"), 1);
        assert_eq!(seen(&by("bc", "", ""), invite, "abc"), 0);
        assert_eq!(seen(&by("", "1555", ""), invite, "a"), 1);
        assert_eq!(seen(&by("", "555", ""), invite, "a"), 0);
        assert_eq!(seen(&by("", "", "1000@default"), invite, "a"), 1);
        assert_eq!(seen(&by("", "+1555", "1000"), invite, "a"), 1);
        assert_eq!(seen(&by("", "+1555", "1001"), invite, "a"), 0);
        assert_eq!(seen(&by("", "", "vm"), "SIP/2.0 200 OK", "a"), 1);
    }

    #[test]
    fn what_is_kept_has_an_end() {
        let filter = Filter { called: Some("none".into()), ..Filter::default() };
        let mut watch = Watch::new(filter);
        let long = "X: y\r\n".repeat(2_000);
        for call in 0..5_000 {
            let invite = message("INVITE sip:vm@h SIP/2.0", &call.to_string(), &long);
            watch.see(&sighting(Way::In, &invite));
        }
        assert!(watch.calls.len() <= MOST_CALLS && watch.order.len() <= MOST_CALLS);
        assert!(watch.waiting <= MOST_WAITING + (16 << 10), "{}", watch.waiting);
    }

    #[test]
    fn no_secret_is_shown() {
        let text = "REGISTER sip:user:hunter2@h SIP/2.0\r\n\
            Authorization : Digest username=\"a\",\r\n response=\"hunter2\"\r\n\
            proxy-authorization: hunter2=x\r\n\
            Contact: <sips:a:hunter2@h>, <sip:b@h>\r\n\
            Call-ID: 1:2@h\r\n\
            Content-Type: application/sdp\r\n\r\n\
            v=0\r\na=crypto:1 AES inline:hunter2\r\nk=clear:hunter2\r\na=ice-pwd:hunter2\r\n";
        let shown = masked(text);
        assert!(
            !shown.contains("hunter2") && shown.contains("Authorization : Digest ***"),
            "{shown}"
        );
        assert!(shown.contains("<sips:a:***@h>, <sip:b@h>"), "{shown}");
        assert!(shown.contains("Call-ID: 1:2@h") && shown.contains("a=crypto:***"), "{shown}");
        assert!(!Head::read(text).summary().contains("hunter2"));
        let key =
            "INFO sip:a@h SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=7\r\n";
        assert!(!masked(key).contains('7'), "{}", masked(key));
    }
}
