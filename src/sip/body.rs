//! The session description in a body: alone, or a part of `multipart/*` (RFC 2046, RFC 5621).

use rsip::Headers;

use super::message::first;
use super::text::{Params, unquote};

/// What a body holds for us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    None,
    Sdp(&'a [u8]),
    /// Something else, and the sender does not say that it may be passed over: 415.
    Unsupported,
}

pub(super) fn read<'a>(headers: &Headers, body: &'a [u8]) -> Body<'a> {
    if body.is_empty() {
        return Body::None;
    }
    let encoded = first!(headers, ContentEncoding);
    if encoded.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Body::Unsupported;
    }
    // RFC 3261 §7.4.1 wants a Content-Type with every body; SDP is what all of them mean.
    let content_type = first!(headers, ContentType).unwrap_or("application/sdp");
    let (kind, params) = content_type.split_once(';').unwrap_or((content_type, ""));
    let found = if is_sdp(kind) {
        Some(body)
    } else {
        boundary_of(kind, params).and_then(|boundary| sdp_part(body, boundary.as_bytes(), 0))
    };
    let optional = first!(headers, ContentDisposition)
        .is_some_and(|d| d.to_ascii_lowercase().replace(' ', "").contains("handling=optional"));
    match found {
        Some(sdp) => Body::Sdp(sdp),
        None if optional => Body::None,
        None => Body::Unsupported,
    }
}

/// The first part of type `application/sdp`, also inside of parts that are multipart themselves
/// (RFC 5621 §3.2).
fn sdp_part<'a>(body: &'a [u8], boundary: &[u8], depth: usize) -> Option<&'a [u8]> {
    let mut parts = Parts { rest: body, boundary, inside: false };
    parts.find_map(|part| {
        let (head, content) = split_head(part);
        let kind = content_type(head);
        let (kind, params) = kind.split_once(';').unwrap_or((&kind, ""));
        if is_sdp(kind) {
            return Some(content);
        }
        let inner = boundary_of(kind, params).filter(|_| depth < MAX_DEPTH)?;
        sdp_part(content, inner.as_bytes(), depth + 1)
    })
}

fn is_sdp(kind: &str) -> bool {
    kind.trim().eq_ignore_ascii_case("application/sdp")
}

fn boundary_of(kind: &str, params: &str) -> Option<String> {
    let multipart = kind.trim().get(..10)?.eq_ignore_ascii_case("multipart/");
    let boundary = Params::read(params).value("boundary").filter(|_| multipart).map(unquote);
    // RFC 2046 §5.1.1: at most 70 characters.
    boundary.filter(|boundary| (1..=70).contains(&boundary.len()))
}

/// What stands between delimiter lines (RFC 2046 §5.1.1): neither the preamble nor the epilogue.
/// A last part without its closing delimiter counts, because nothing but an epilogue can follow.
struct Parts<'a, 'b> {
    rest: &'a [u8],
    boundary: &'b [u8],
    inside: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Delimiter {
    Next,
    Last,
}

impl<'a> Iterator for Parts<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let part = self.rest;
        let mut at = 0;
        while at < part.len() {
            let end =
                part[at..].iter().position(|&b| b == b'\n').map_or(part.len(), |n| at + n + 1);
            let Some(found) = self.delimiter(&part[at..end]) else {
                at = end;
                continue;
            };
            self.rest = if found == Delimiter::Last { &[] } else { &part[end..] };
            if std::mem::replace(&mut self.inside, true) {
                return Some(without_line_end(&part[..at]));
            }
            return self.next();
        }
        self.rest = &[];
        (self.inside && !part.is_empty()).then_some(part)
    }
}

impl Parts<'_, '_> {
    /// A line of two hyphens, the boundary, two more for the last one, and blanks.
    fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        let rest = line.strip_prefix(b"--")?.strip_prefix(self.boundary)?.trim_ascii_end();
        match rest {
            b"" => Some(Delimiter::Next),
            b"--" => Some(Delimiter::Last),
            _ => None,
        }
    }
}

/// The line end before a delimiter belongs to the delimiter.
fn without_line_end(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

/// The head may be empty, and is then one blank line.
fn split_head(part: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while at < part.len() {
        let end = part[at..].iter().position(|&b| b == b'\n').map_or(part.len(), |n| at + n + 1);
        if part[at..end].trim_ascii().is_empty() {
            return (&part[..at], &part[end..]);
        }
        at = end;
    }
    (part, &[])
}

/// Unfolded; RFC 2046 §5.1: a part that says nothing is text.
fn content_type(head: &[u8]) -> String {
    let mut lines = head.split(|&byte| byte == b'\n').map(String::from_utf8_lossy).peekable();
    while let Some(line) = lines.next() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if !matches!(name.trim().to_ascii_lowercase().as_str(), "content-type" | "c") {
            continue;
        }
        let mut value = value.trim().to_owned();
        while let Some(folded) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
            value.push_str(folded.trim());
        }
        return value;
    }
    "text/plain".to_owned()
}

/// Multipart within multipart within multipart: nobody has seen more.
const MAX_DEPTH: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use rsip::headers::{ContentDisposition, ContentType, UntypedHeader};

    fn typed(content_type: &str) -> Headers {
        vec![ContentType::new(content_type).into()].into()
    }

    #[test]
    fn sdp_alone_and_among_other_parts() {
        assert_eq!(read(&typed("Application/SDP;x=y"), b"v=0"), Body::Sdp(b"v=0"));
        assert_eq!(read(&Headers::default(), b"v=0"), Body::Sdp(b"v=0"));
        let mixed = b"junk\r\n--b\r\nContent-Type: text/xml\r\n\r\n<x/>\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\no=x\r\n\r\n--b--\r\n";
        assert_eq!(
            read(&typed("multipart/mixed; boundary=\"b\""), mixed),
            Body::Sdp(b"v=0\r\no=x\r\n")
        );
    }

    #[test]
    fn multipart_in_all_its_forms() {
        const SDP: &str = "Content-Type: application/sdp\r\n\r\nv=0\r\n";
        let nested = format!(
            "--o\r\nContent-Type: multipart/alternative;\r\n boundary=\"o i\"\r\n\r\n--o i\r\n\r\ntext\r\n--o i\r\n{SDP}\r\n--o i--\r\n\r\n--o\r\n\r\nx\r\n--o--"
        );
        let deep = (0..9).fold(SDP.to_owned(), |inner, depth| {
            format!("Content-Type: multipart/mixed;boundary=b{depth}\r\n\r\n--b{depth}\r\n{inner}\r\n--b{depth}--")
        });
        let rows: [(&str, String, bool); 15] = [
            ("alone", format!("--o\r\n{SDP}\r\n--o--\r\n"), true),
            ("preamble", format!("not --o\r\n--oo\r\n--o\r\n{SDP}\r\n--o--"), true),
            ("preamble that looks like a part", format!("{SDP}\r\n--o\r\n\r\nx\r\n--o--"), false),
            ("epilogue", format!("--o\r\n\r\nx\r\n--o--\r\n--o\r\n{SDP}"), false),
            ("blanks behind delimiters", format!("--o  \r\n{SDP}\r\n--o-- \t\r\n"), true),
            (
                "the boundary within a line",
                format!("--o\r\n\r\na --o b\r\n--o\r\n{SDP}\r\n--o--"),
                true,
            ),
            ("a boundary that begins with ours", nested.clone(), true),
            ("nested", nested.replace("o i", "i"), true),
            ("nested too deep", format!("--o\r\n{deep}\r\n--o--"), false),
            ("no end", format!("--o\r\n{SDP}"), true),
            ("no end after the delimiter", "--o".to_owned(), false),
            ("wrong boundary", format!("--x\r\n{SDP}\r\n--x--"), false),
            ("bare line feeds", format!("--o\n{SDP}\n--o--\n").replace('\r', ""), true),
            ("folded type", format!("--o\r\n{SDP}\r\n--o--").replace("Type: ", "Type:\r\n "), true),
            ("compact type", format!("--o\r\n{SDP}\r\n--o--").replace("Content-Type", "C "), true),
        ];
        for (name, body, found) in rows {
            let body = body.as_bytes();
            match read(&typed("Multipart/Mixed ; x=y; Boundary=o"), body) {
                Body::Sdp(sdp) => assert!(found && sdp.trim_ascii() == b"v=0", "{name}: {sdp:?}"),
                other => assert!(!found, "{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_for_us() {
        assert_eq!(read(&typed("text/plain"), b"hello"), Body::Unsupported);
        assert_eq!(read(&typed("multipart/mixed"), b"--\r\n"), Body::Unsupported);
        let mut optional = typed("text/plain");
        optional.push(ContentDisposition::new("render; handling = optional").into());
        assert_eq!(read(&optional, b"hello"), Body::None);
    }
}
