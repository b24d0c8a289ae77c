//! Cuts a byte stream into messages (RFC 3261 §18.3, §7.5).

/// What stands at the front of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message of this many bytes.
    Message(usize),
    /// `CRLF CRLF`, which wants `CRLF` back (RFC 5626 §4.4.1).
    Ping(usize),
    /// Blank lines of this many bytes: skip them.
    Blank(usize),
    /// More bytes are needed.
    Partial,
    /// Not a stream of SIP messages: where the next one would begin is unknown, so only closing
    /// the connection helps.
    Broken(&'static str),
}

/// Looks at the front of what has arrived so far.
pub fn next(bytes: &[u8]) -> Frame {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    if blank > 0 {
        return if bytes.starts_with(b"\r\n\r\n") {
            Frame::Ping(4)
        } else {
            blank_or_partial(bytes, blank)
        };
    }
    let Some(head) = end_of_head(bytes) else {
        return if bytes.len() >= MAX_MESSAGE {
            Frame::Broken("head too long")
        } else {
            Frame::Partial
        };
    };
    match content_length(&bytes[..head]) {
        Ok(body) if body > MAX_MESSAGE - head.min(MAX_MESSAGE) => Frame::Broken("message too long"),
        Ok(body) if bytes.len() < head + body => Frame::Partial,
        Ok(body) => Frame::Message(head + body),
        Err(why) => Frame::Broken(why),
    }
}

fn blank_or_partial(bytes: &[u8], blank: usize) -> Frame {
    // The rest of a ping may still be on its way.
    if blank == bytes.len() && b"\r\n\r\n".starts_with(bytes) {
        Frame::Partial
    } else {
        Frame::Blank(blank)
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let within = &bytes[..bytes.len().min(MAX_MESSAGE)];
    let ends = within.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    ends.into_iter().find_map(|at| match &bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// RFC 3261 §18.3: mandatory on streams. Blanks before the colon, the compact form and folded
/// values count.
fn content_length(head: &[u8]) -> Result<usize, &'static str> {
    let mut known = None;
    let mut lines = head.split(|&byte| byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = line[..colon].trim_ascii_end();
        if !(name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l")) {
            continue;
        }
        let mut value = line[colon + 1..].trim_ascii().to_vec();
        while let Some(folded) = lines.next_if(|line| matches!(line, [b' ' | b'\t', ..])) {
            let folded = folded.trim_ascii();
            if !(value.is_empty() || folded.is_empty()) {
                value.push(b' ');
            }
            value.extend(folded);
        }
        let digits = std::str::from_utf8(&value).ok().filter(|text| !text.starts_with('+'));
        let length: usize =
            digits.and_then(|text| text.parse().ok()).ok_or("bad Content-Length")?;
        if known.is_some_and(|known| known != length) {
            return Err("Content-Length differs");
        }
        known = Some(length);
    }
    known.ok_or("no Content-Length")
}

/// A datagram cannot be larger, and no honest stream message is.
pub const MAX_MESSAGE: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let rows: [(&[u8], Frame); 15] = [
            (b"", Frame::Partial),
            (b"\r", Frame::Partial),
            (b"\r\n", Frame::Partial),
            (b"\r\n\r\n", Frame::Ping(4)),
            (b"\r\nOPTIONS", Frame::Blank(2)),
            (b"OPTIONS sip:h SIP/2.0\r\nl: 0", Frame::Partial),
            (b"A\r\nContent-Length : 5\r\n\r\n1234", Frame::Partial),
            (b"A\r\nContent-Length : 5\r\n\r\n12345B", Frame::Message(30)),
            (b"A\nl:0\n\nB", Frame::Message(7)),
            (b"A\r\nContent-Length :\r\n\t1\r\n\r\nB", Frame::Message(28)),
            (b"A\r\nl: 1\r\n 2\r\n\r\nB", Frame::Broken("bad Content-Length")),
            (b"A\r\nX: y\r\n l: 1\r\nl: 0\r\n\r\nB", Frame::Message(24)),
            (b"A\r\n\r\n", Frame::Broken("no Content-Length")),
            (b"A\r\nl: 1\r\nl: 2\r\n\r\n", Frame::Broken("Content-Length differs")),
            (b"A\r\nl: 18446744073709551615\r\n\r\n", Frame::Broken("message too long")),
        ];
        for (bytes, frame) in rows {
            assert_eq!(next(bytes), frame, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_head_without_end_is_not_collected_for_ever() {
        assert_eq!(next(&vec![b'a'; MAX_MESSAGE - 1]), Frame::Partial);
        assert_eq!(next(&vec![b'a'; MAX_MESSAGE]), Frame::Broken("head too long"));
    }
}
