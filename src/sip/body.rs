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
    let kind = kind.trim().to_ascii_lowercase();
    let found = if kind == "application/sdp" {
        Some(body)
    } else if kind.starts_with("multipart/") {
        let boundary = Params::read(params).value("boundary").map(unquote);
        // RFC 2046 §5.1.1: at most 70 characters.
        let boundary = boundary.filter(|boundary| (1..=70).contains(&boundary.len()));
        boundary.and_then(|boundary| sdp_part(body, boundary.as_bytes()))
    } else {
        None
    };
    let optional = first!(headers, ContentDisposition)
        .is_some_and(|d| d.to_ascii_lowercase().replace(' ', "").contains("handling=optional"));
    match found {
        Some(sdp) => Body::Sdp(sdp),
        None if optional => Body::None,
        None => Body::Unsupported,
    }
}

/// The first part of type `application/sdp`.
fn sdp_part<'a>(body: &'a [u8], boundary: &[u8]) -> Option<&'a [u8]> {
    let delimiter = [b"--", boundary].concat();
    let mut rest = &body[find(body, &delimiter)? + delimiter.len()..];
    // A part costs one search; a body of nothing but delimiters must not cost thousands.
    for _ in 0..MAX_PARTS {
        let end = find(rest, &delimiter)?;
        if let Some(sdp) = as_sdp(&rest[..end]) {
            return Some(sdp);
        }
        rest = &rest[end + delimiter.len()..];
    }
    None
}

fn as_sdp(part: &[u8]) -> Option<&[u8]> {
    let (head, body) = split_head(part)?;
    let is_sdp = head.split(|&byte| byte == b'\n').any(|line| {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        line.split_once(':').is_some_and(|(name, value)| {
            matches!(name.trim(), "content-type" | "c")
                && value.trim().starts_with("application/sdp")
        })
    });
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    is_sdp.then(|| body.strip_suffix(b"\r").unwrap_or(body))
}

fn split_head(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let crlf = find(part, b"\r\n\r\n").map(|at| (at, 4));
    let (at, blank) = crlf.or_else(|| find(part, b"\n\n").map(|at| (at, 2)))?;
    Some((&part[..at], &part[at + blank..]))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

const MAX_PARTS: usize = 16;

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
    fn what_is_not_for_us() {
        assert_eq!(read(&typed("text/plain"), b"hello"), Body::Unsupported);
        assert_eq!(read(&typed("multipart/mixed"), b"--\r\n"), Body::Unsupported);
        let mut optional = typed("text/plain");
        optional.push(ContentDisposition::new("render; handling = optional").into());
        assert_eq!(read(&optional, b"hello"), Body::None);
    }
}
