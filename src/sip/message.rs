//! Messages as read and as written. `rsip` models the headers; the head and the body are printed
//! here, because a body is bytes and a header value must never end its line.

use std::io::Write;
use std::sync::Arc;

use rsip::headers::UntypedHeader;
use rsip::{Header, Headers};

use super::name_addr::NameAddr;
use super::uri::Uri;
use super::via::Via;

/// A printed message: kept for retransmission, shared with whoever sends it.
pub(super) type Wire = Arc<[u8]>;

/// A method; `rsip` has no room for one it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    Known(rsip::Method),
    Unknown(String),
}

pub(super) const INVITE: Method = Method::Known(rsip::Method::Invite);
pub(super) const ACK: Method = Method::Known(rsip::Method::Ack);
pub(super) const BYE: Method = Method::Known(rsip::Method::Bye);
pub(super) const REGISTER: Method = Method::Known(rsip::Method::Register);
pub(super) const CANCEL: Method = Method::Known(rsip::Method::Cancel);
pub(super) const REFER: Method = Method::Known(rsip::Method::Refer);
pub(super) const NOTIFY: Method = Method::Known(rsip::Method::Notify);
pub(super) const SUBSCRIBE: Method = Method::Known(rsip::Method::Subscribe);
pub(super) const PRACK: Method = Method::Known(rsip::Method::PRack);
pub(super) const UPDATE: Method = Method::Known(rsip::Method::Update);

impl Method {
    /// RFC 3261 §7.1: methods are case-sensitive.
    pub fn read(text: &str) -> Self {
        let known = NAMES.iter().find(|(_, name)| *name == text);
        known.map_or_else(|| Self::Unknown(text.to_owned()), |(method, _)| Self::Known(*method))
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(known) => {
                NAMES.iter().find(|(method, _)| method == known).map_or("", |(_, name)| name)
            }
            Self::Unknown(name) => name,
        }
    }
}

const NAMES: [(rsip::Method, &str); 14] = [
    (rsip::Method::Invite, "INVITE"),
    (rsip::Method::Ack, "ACK"),
    (rsip::Method::Bye, "BYE"),
    (rsip::Method::Cancel, "CANCEL"),
    (rsip::Method::Options, "OPTIONS"),
    (rsip::Method::Info, "INFO"),
    (rsip::Method::Message, "MESSAGE"),
    (rsip::Method::Notify, "NOTIFY"),
    (rsip::Method::PRack, "PRACK"),
    (rsip::Method::Publish, "PUBLISH"),
    (rsip::Method::Refer, "REFER"),
    (rsip::Method::Register, "REGISTER"),
    (rsip::Method::Subscribe, "SUBSCRIBE"),
    (rsip::Method::Update, "UPDATE"),
];

/// What every message must say (RFC 3261 §8.1.1), read once.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub via: Via,
    pub from: NameAddr,
    pub to: NameAddr,
    pub call_id: String,
    pub sequence: u32,
    pub method: Method,
}

/// A request that was understood as far as its frame goes.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: Method,
    /// The Request-URI as written.
    pub target: String,
    pub uri: Uri,
    pub headers: Headers,
    pub identity: Identity,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct Response {
    pub code: u16,
    pub reason: String,
    pub headers: Headers,
    pub identity: Identity,
    pub body: Vec<u8>,
}

/// A request of ours, before it is printed.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub method: Method,
    pub target: String,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
}

impl Outgoing {
    pub fn print(&self) -> Wire {
        let start = format!("{} {} SIP/2.0", self.method.as_str(), self.target);
        print(&start, &self.headers, &self.body)
    }

    /// The same request once more, with another Via, number and credentials: RFC 3261 §22.2.
    pub fn again(&self, via: &str, number: u32, credentials: Vec<Header>) -> Self {
        let kept = self.headers.iter().filter_map(|header| match header {
            Header::Via(_) => Some(rsip::headers::Via::new(via).into()),
            Header::CSeq(_) => {
                let value = format!("{number} {}", self.method.as_str());
                Some(rsip::headers::CSeq::new(value).into())
            }
            Header::Other(name, _) if name.ends_with("Authorization") => None,
            _ => Some(header.clone()),
        });
        let headers = kept.chain(credentials).collect();
        let (method, target, body) = (self.method.clone(), self.target.clone(), self.body.clone());
        Self { method, target, headers, body }
    }

    pub fn sequence(&self) -> u32 {
        let number = first!(self.headers, CSeq).and_then(|value| value.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(1)
    }

    /// The same request by another way.
    pub fn over(&self, via: &str) -> Self {
        let mut other = self.clone();
        for header in &mut other.headers {
            if let Header::Via(_) = header {
                *header = rsip::headers::Via::new(via).into();
            }
        }
        other
    }

    /// The ACK for a failure: RFC 3261 §17.1.1.3.
    pub fn ack(&self, to: &str) -> Self {
        self.derived(ACK, Some(to))
    }

    /// The ACK for a 2xx of a dialog that is over: RFC 3261 §13.2.2.4.
    pub fn ack_success(&self, via: Header) -> Self {
        let mut ack = self.derived(ACK, None);
        ack.headers.retain(|header| !matches!(header, Header::Via(_)));
        ack.headers.insert(0, via);
        ack
    }

    /// RFC 3261 §9.1.
    pub fn cancel(&self) -> Self {
        self.derived(CANCEL, None)
    }

    fn derived(&self, method: Method, to: Option<&str>) -> Self {
        let number = self.sequence();
        let headers = self.headers.iter().filter_map(|header| match header {
            Header::Via(_)
            | Header::From(_)
            | Header::CallId(_)
            | Header::MaxForwards(_)
            | Header::Route(_) => Some(header.clone()),
            Header::To(value) => {
                Some(Header::To(rsip::headers::To::new(to.unwrap_or(value.value()))))
            }
            Header::CSeq(_) => {
                Some(rsip::headers::CSeq::new(format!("{number} {}", method.as_str())).into())
            }
            _ => None,
        });
        let headers = headers.collect();
        Self { method, target: self.target.clone(), headers, body: Vec::new() }
    }
}

/// Prints a response to the request whose headers are given: Via, From, To, Call-ID and `CSeq`
/// are copied (RFC 3261 §8.2.6.2), To gets `tag` unless it has one.
pub(super) fn print_response(
    request: &Headers,
    code: u16,
    reason: &str,
    tag: &str,
    more: &[Header],
    body: &[u8],
) -> Wire {
    let mut out = Vec::with_capacity(1024 + body.len());
    line(&mut out, format_args!("SIP/2.0 {code} {reason}"));
    for header in request.iter() {
        match header {
            Header::To(to) if lacks_tag(to.value()) && !tag.is_empty() => {
                line(&mut out, format_args!("{to};tag={tag}"));
            }
            Header::Via(_)
            | Header::From(_)
            | Header::To(_)
            | Header::CallId(_)
            | Header::CSeq(_) => line(&mut out, format_args!("{header}")),
            // RFC 3261 §8.2.6.1: 100 copies Timestamp.
            Header::Timestamp(_) if code == 100 => line(&mut out, format_args!("{header}")),
            _ => {}
        }
    }
    finish(out, more, body)
}

fn lacks_tag(to: &str) -> bool {
    to.parse::<NameAddr>().is_ok_and(|to| to.tag().is_none())
}

fn print(start: &str, headers: &[Header], body: &[u8]) -> Wire {
    let mut out = Vec::with_capacity(1024 + body.len());
    line(&mut out, format_args!("{start}"));
    finish(out, headers, body)
}

fn finish(mut out: Vec<u8>, headers: &[Header], body: &[u8]) -> Wire {
    for header in headers {
        line(&mut out, format_args!("{header}"));
    }
    line(&mut out, format_args!("Content-Length: {}", body.len()));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out.into()
}

/// One line, and one line only, whatever stands in it.
fn line(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let start = out.len();
    let _a_vec_takes_all = out.write_fmt(text);
    for byte in &mut out[start..] {
        if *byte < b' ' || *byte == 0x7f {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The values of a header that `rsip` has no type for.
pub(super) fn other<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter_map(move |header| match header {
        Header::Other(known, value) if known.eq_ignore_ascii_case(name) => Some(value.as_str()),
        _ => None,
    })
}

/// The value of the first header of a kind that `rsip` knows.
macro_rules! first {
    ($headers:expr, $kind:ident) => {
        $headers.iter().find_map(|header| match header {
            rsip::Header::$kind(value) => Some(rsip::headers::UntypedHeader::value(value)),
            _ => None,
        })
    };
}

/// The values of all headers of a kind that `rsip` knows, as they stand.
macro_rules! every {
    ($headers:expr, $kind:ident) => {
        $headers.iter().filter_map(|header| match header {
            rsip::Header::$kind(value) => Some(rsip::headers::UntypedHeader::value(value)),
            _ => None,
        })
    };
}

pub(super) use {every, first};

/// RFC 3261 §21 and the later ones that we use.
pub(super) fn reason(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        603 => "Decline",
        _ => "Server Internal Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_breaks_its_line() {
        let headers = [Header::Other("Subject".into(), "a\r\nEvil: yes\0".into())];
        let wire = print("OPTIONS sip:a SIP/2.0", &headers, b"\r\n");
        let text = String::from_utf8_lossy(&wire);
        assert_eq!(
            text,
            "OPTIONS sip:a SIP/2.0\r\nSubject: a  Evil: yes \r\nContent-Length: 2\r\n\r\n\r\n"
        );
    }

    #[test]
    fn methods_are_case_sensitive() {
        assert_eq!(Method::read("INVITE"), INVITE);
        assert_eq!(Method::read("invite"), Method::Unknown("invite".into()));
        for (method, name) in NAMES {
            assert_eq!(Method::Known(method).as_str(), name);
        }
    }
}
