//! Bytes to messages. Tolerant where the world is sloppy (bare LF, folding, compact names,
//! Latin-1, leading blank lines), strict where tolerance would let someone smuggle a line.

use rsip::headers::{self, UntypedHeader};
use rsip::{Header, Headers};

use super::message::{Identity, Method, Request, Response, every, first};
use super::name_addr::NameAddr;
use super::text::{is_token, is_well_separated, list};
use super::uri::Uri;
use super::via::Via;

pub(super) enum Message {
    Request(Request),
    Response(Response),
}

/// Why bytes are no message.
pub(super) enum Fault {
    /// Nobody to answer, or nothing worth an answer.
    Drop(&'static str),
    /// A request with at least a Via: RFC 3261 §8.2 and §21.4.1 let us say what is wrong.
    Refuse(Box<Refused>),
}

pub(super) struct Refused {
    pub method: Method,
    pub via: Via,
    pub headers: Headers,
    pub code: u16,
    pub reason: &'static str,
}

/// Reads one whole message: a datagram, or what `framing` cut out of a stream.
pub(super) fn read(bytes: &[u8]) -> Result<Message, Fault> {
    let bytes = skip_blank_lines(bytes);
    if bytes.is_empty() {
        return Err(Fault::Drop("nothing but a keep-alive"));
    }
    let mut lines = Lines { rest: bytes };
    let start = lines.next().map(text).unwrap_or_default();
    let start = Start::read(&start).ok_or(Fault::Drop("not a SIP start line"))?;
    let (headers, mut flaw) = read_headers(&mut lines);
    let mut body = lines.rest;
    match content_length(&headers) {
        // RFC 3261 §18.3: what follows the body is discarded; a body cut short is an error.
        Ok(Some(length)) if length <= body.len() => body = &body[..length],
        Ok(None) => {}
        Ok(Some(_)) => flaw = flaw.or(Some("Body Shorter Than Content-Length")),
        Err(reason) => flaw = flaw.or(Some(reason)),
    }
    match start {
        Start::Response { code, reason } => {
            if let Some(flaw) = flaw {
                return Err(Fault::Drop(flaw));
            }
            let identity = identify(&headers).map_err(Fault::Drop)?;
            let body = body.to_vec();
            Ok(Message::Response(Response { code, reason, headers, identity, body }))
        }
        Start::Request { method, target, version } => {
            let identity = match (version, flaw) {
                (Version::Other, _) => Err((505, "Version Not Supported")),
                (Version::Two, Some(flaw)) => Err((400, flaw)),
                (Version::Two, None) => identify(&headers).map_err(|reason| (400, reason)),
            };
            let checked = identity.and_then(|identity| {
                let uri = check(&method, &target, &headers, &identity);
                uri.map(|uri| (identity, uri)).map_err(|reason| (400, reason))
            });
            match checked {
                Ok((identity, uri)) => {
                    let body = body.to_vec();
                    Ok(Message::Request(Request { method, target, uri, headers, identity, body }))
                }
                Err((code, reason)) => Err(refuse(method, headers, code, reason)),
            }
        }
    }
}

fn refuse(method: Method, headers: Headers, code: u16, reason: &'static str) -> Fault {
    let top = first!(headers, Via).and_then(|value| list(value).next()).and_then(Via::read);
    match top {
        Some(via) => Fault::Refuse(Box::new(Refused { method, via, headers, code, reason })),
        None => Fault::Drop(reason),
    }
}

enum Version {
    Two,
    Other,
}

enum Start {
    Request { method: Method, target: String, version: Version },
    Response { code: u16, reason: String },
}

impl Start {
    fn read(line: &str) -> Option<Self> {
        if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) {
            return Self::read_status(line);
        }
        let (method, rest) = line.split_once(' ')?;
        let (target, version) = rest.trim_end().rsplit_once(' ')?;
        if !is_token(method) || !version.get(..4)?.eq_ignore_ascii_case("SIP/") {
            return None;
        }
        let method = Method::read(method);
        let two = version[4..].trim_end() == "2.0";
        let version = if two { Version::Two } else { Version::Other };
        // A blank at the end of the line is kept in the target, where it is found wrong.
        let target = if rest.ends_with(' ') { format!("{target} ") } else { target.to_owned() };
        Some(Self::Request { method, target, version })
    }

    fn read_status(line: &str) -> Option<Self> {
        let (version, rest) = line.split_once(' ')?;
        let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = code.parse().ok().filter(|code| (100..700).contains(code))?;
        (version[4..] == *"2.0").then(|| Self::Response { code, reason: reason.to_owned() })
    }
}

/// Lines end with CRLF or LF; the iterator stops behind the empty one.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|&b| b == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() { None } else { Some(line) }
    }
}

fn skip_blank_lines(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|b| !b"\r\n\0 \t".contains(b)).unwrap_or(bytes.len());
    &bytes[start..]
}

/// UTF-8 where it is UTF-8, else Latin-1, which is what old gateways send.
/// Control characters (a bare CR among them) become blanks: none of them may survive into a line
/// that we write.
fn text(line: &[u8]) -> String {
    let mut text = match std::str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => line.iter().map(|&byte| char::from(byte)).collect(),
    };
    if text.contains(char::is_control) {
        text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    text
}

/// Unfolds (RFC 3261 §7.3.1) and names the headers; remembers the first thing that is wrong.
fn read_headers(lines: &mut Lines<'_>) -> (Headers, Option<&'static str>) {
    let mut flaw = None;
    let mut headers: Vec<Header> = Vec::with_capacity(20);
    let mut pending: Option<(String, String)> = None;
    for line in lines.by_ref() {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            match &mut pending {
                Some((_, value)) => {
                    let more = text(line);
                    let more = more.trim();
                    // RFC 3261 §25.1: LWS is one blank, and none at either end of a value.
                    if !(value.is_empty() || more.is_empty()) {
                        value.push(' ');
                    }
                    value.push_str(more);
                }
                None => flaw = flaw.or(Some("Folded Line Without A Header")),
            }
            continue;
        }
        headers.extend(pending.take().map(|(name, value)| named(&name, value)));
        let line = text(line);
        match line.split_once(':').map(|(name, value)| (name.trim_end(), value.trim())) {
            Some((name, value)) if is_token(name) => {
                pending = Some((name.to_owned(), value.to_owned()));
            }
            Some(_) | None => flaw = flaw.or(Some("Malformed Header")),
        }
        if headers.len() == MAX_HEADERS {
            return (headers.into(), Some("Too Many Headers"));
        }
    }
    headers.extend(pending.map(|(name, value)| named(&name, value)));
    (headers.into(), flaw)
}

/// `rsip`'s type for a name, long or compact (RFC 3261 §7.3.3, RFC 3515, RFC 4028, RFC 6665).
fn named(name: &str, value: String) -> Header {
    let name = match name {
        "x" | "X" => "Session-Expires",
        "r" | "R" => "Refer-To",
        "b" | "B" => "Referred-By",
        name => name,
    };
    let known: Option<fn(String) -> Header> = match name.to_ascii_lowercase().as_str() {
        "via" | "v" => Some(|v| headers::Via::new(v).into()),
        "from" | "f" => Some(|v| headers::From::new(v).into()),
        "to" | "t" => Some(|v| headers::To::new(v).into()),
        "call-id" | "i" => Some(|v| headers::CallId::new(v).into()),
        "cseq" => Some(|v| headers::CSeq::new(v).into()),
        "contact" | "m" => Some(|v| headers::Contact::new(v).into()),
        "content-type" | "c" => Some(|v| headers::ContentType::new(v).into()),
        "content-length" | "l" => Some(|v| headers::ContentLength::new(v).into()),
        "content-encoding" | "e" => Some(|v| headers::ContentEncoding::new(v).into()),
        "content-disposition" => Some(|v| headers::ContentDisposition::new(v).into()),
        "supported" | "k" => Some(|v| headers::Supported::new(v).into()),
        "subject" | "s" => Some(|v| headers::Subject::new(v).into()),
        "event" | "o" => Some(|v| headers::Event::new(v).into()),
        "route" => Some(|v| headers::Route::new(v).into()),
        "record-route" => Some(|v| headers::RecordRoute::new(v).into()),
        "require" => Some(|v| headers::Require::new(v).into()),
        "max-forwards" => Some(|v| headers::MaxForwards::new(v).into()),
        "expires" => Some(|v| headers::Expires::new(v).into()),
        "accept" => Some(|v| headers::Accept::new(v).into()),
        "allow" => Some(|v| headers::Allow::new(v).into()),
        "authorization" => Some(|v| headers::Authorization::new(v).into()),
        "retry-after" => Some(|v| headers::RetryAfter::new(v).into()),
        "timestamp" => Some(|v| headers::Timestamp::new(v).into()),
        "user-agent" => Some(|v| headers::UserAgent::new(v).into()),
        _ => None,
    };
    match known {
        Some(make) => make(value),
        None => Header::Other(long(name).to_owned(), value),
    }
}

/// The long form of a compact name that `rsip` has no type for (RFC 3515, RFC 3841, RFC 3892,
/// RFC 4028, RFC 6665, RFC 8224).
fn long(name: &str) -> &str {
    match name {
        "a" | "A" => "Accept-Contact",
        "b" | "B" => "Referred-By",
        "d" | "D" => "Request-Disposition",
        "j" | "J" => "Reject-Contact",
        "r" | "R" => "Refer-To",
        "u" | "U" => "Allow-Events",
        "x" | "X" => "Session-Expires",
        "y" | "Y" => "Identity",
        other => other,
    }
}

/// RFC 3261 §20.14. Several that differ, or one that is no number, cut the body differently for
/// every reader: that is how requests are smuggled.
fn content_length(headers: &Headers) -> Result<Option<usize>, &'static str> {
    let mut known = None;
    for value in every!(headers, ContentLength) {
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let length = if digits { value.parse().ok() } else { None };
        let length: usize = length.ok_or("Bad Content-Length")?;
        if known.is_some_and(|known| known != length) {
            return Err("Content-Length Differs");
        }
        known = Some(length);
    }
    Ok(known)
}

fn identify(headers: &Headers) -> Result<Identity, &'static str> {
    let via = first!(headers, Via).and_then(|value| list(value).next()).and_then(Via::read);
    let via = via.filter(|via| via.version == "2.0").ok_or("Bad Or Missing Via")?;
    if !every!(headers, Via).all(is_well_separated) {
        return Err("Bad Or Missing Via");
    }
    let from = one(every!(headers, From)).ok_or("Bad Or Missing From")?;
    let to = one(every!(headers, To)).ok_or("Bad Or Missing To")?;
    let call_id = one(every!(headers, CallId)).ok_or("Bad Or Missing Call-ID")?;
    let cseq = one(every!(headers, CSeq)).ok_or("Bad Or Missing CSeq")?;
    let (number, method) = cseq.split_once([' ', '\t']).ok_or("Bad Or Missing CSeq")?;
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    let sequence = if digits { number.parse().ok() } else { None };
    Ok(Identity {
        via,
        from: from.parse::<NameAddr>().map_err(|_| "Bad Or Missing From")?,
        to: to.parse::<NameAddr>().map_err(|_| "Bad Or Missing To")?,
        call_id: Some(call_id).filter(|id| !id.is_empty()).ok_or("Bad Or Missing Call-ID")?.into(),
        sequence: sequence.ok_or("Bad Or Missing CSeq")?,
        method: Method::read(method.trim()),
    })
}

/// RFC 3261 §7.3.1: of these there is exactly one.
fn one<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let value = values.next()?;
    if values.next().is_some() { None } else { Some(value) }
}

/// What only a request must keep to; its Request-URI.
fn check(
    method: &Method,
    target: &str,
    headers: &Headers,
    identity: &Identity,
) -> Result<Uri, &'static str> {
    // RFC 4475 §3.1.2: no blanks in or around the Request-URI, and no brackets around it.
    let uri = target.parse().map_err(|_| "Bad Request-URI")?;
    // RFC 4475 §3.1.2.18: a method that nobody knows is better refused for that.
    if identity.method != *method && matches!(method, Method::Known(_)) {
        return Err("CSeq Method Differs");
    }
    // RFC 3261 §8.1.1.6: 0 to 255. Some senders leave it out, and no harm comes of that.
    if first!(headers, MaxForwards).is_some_and(|value| value.parse::<u8>().is_err()) {
        return Err("Bad Max-Forwards");
    }
    Ok(uri)
}

/// Ten times what a long way through proxies makes; more is an attack on our time.
const MAX_HEADERS: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        match read(text.as_bytes()) {
            Ok(Message::Request(request)) => request,
            Ok(Message::Response(_)) => panic!("a response"),
            Err(Fault::Drop(why)) => panic!("dropped: {why}"),
            Err(Fault::Refuse(refused)) => panic!("refused: {}", refused.reason),
        }
    }

    #[test]
    fn compact_folded_and_sloppy() {
        let request = request(
            "\r\n\r\nINVITE sip:401@h SIP/2.0\nv: SIP/2.0/UDP\n 10.0.0.1\n\t;branch=z9hG4bK1\nf : \"A\"\n <sip:a@h>;tag=1\nt: sip:401@h\ni: x@y\nCSeq: 0007   INVITE\nm: <sip:a@10.0.0.1>\nl: 3\n\nabcdef",
        );
        assert_eq!(request.identity.via.branch(), Some("z9hG4bK1"));
        assert_eq!(request.identity.from.tag(), Some("1"));
        assert_eq!(request.identity.sequence, 7);
        assert_eq!(request.body, b"abc");
    }

    #[test]
    fn latin_1_and_control_characters_harm_nothing() {
        let mut bytes = b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: \"J\xfcrg\x07\" <sip:a@h>;tag=1\r\nTo: <sip:h>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n".to_vec();
        bytes.extend([0, 255]);
        let Ok(Message::Request(request)) = read(&bytes) else { panic!("not read") };
        assert_eq!(request.identity.from.display.as_deref(), Some("Jürg "));
        assert_eq!(request.body, [0, 255]);
    }
}
