//! Everything that RFC 3261 lets a sender do to one and the same INVITE, and some that it does
//! not: what is understood stays the same.

use std::time::Instant;

use afterbeep::sip::endpoint::{Endpoint, Output};
use afterbeep::sip::framing::{self, Frame};
use afterbeep::sip::{Flow, Limits, Link, Transport};

use crate::malformed::flow;
use crate::vectors::receive;

/// What is done to the INVITE: its name, what is replaced by what, and what is understood besides.
type Form = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn a_header_may_be_written_in_many_ways() {
    let rows: &[Form] = &[
        ("as it is", &[], &[]),
        ("folded", &[("To: <", "To:\r\n \t <"), (";tag=1", "\r\n ;tag\r\n =\r\n 1")], &[]),
        ("folded many times", &[("Call-ID: 1", "Call-ID:\r\n \r\n\t\r\n 1")], &[]),
        (
            "compact",
            &[
                ("Via:", "v:"),
                ("From:", "f:"),
                ("To:", "t:"),
                ("Call-ID:", "i:"),
                ("Contact:", "m:"),
                ("Content-Type:", "c:"),
            ],
            &[],
        ),
        ("compact and capital", &[("Via:", "V:"), ("From:", "F :"), ("Call-ID:", "I\t:")], &[]),
        ("any case", &[("Via:", "vIA:"), ("From:", "FROM:"), ("CSeq:", "cSEQ:")], &[]),
        ("blanks around every sign", &[("SIP/2.0/UDP 10", "SIP / 2.0 / UDP   10")], &["vias 1"]),
        ("blanks around semicolons", &[(";branch=z9", " ; branch = z9")], &["vias 1"]),
        ("blanks before the colon", &[("From:", "From \t :"), ("CSeq:", "CSeq  :")], &[]),
        ("no blank behind the colon", &[("From: ", "From:"), ("CSeq: ", "CSeq:")], &[]),
        (
            "blanks at line ends",
            &[("<sip:401@h>\r", "<sip:401@h> \t \r"), ("1 INVITE", "1 INVITE  ")],
            &[],
        ),
        ("tab in CSeq", &[("CSeq: 1 INVITE", "CSeq: 1\tINVITE")], &[]),
        ("zeros in CSeq", &[("CSeq: 1 INVITE", "CSeq: 0000000000001 INVITE")], &[]),
        ("bare line feeds", &[("h: 5", "h: 4"), ("\r\n", "\n")], &[]),
        ("blank lines before", &[("INVITE sip:401@h", "\r\n\r\n\r\nINVITE sip:401@h")], &[]),
        ("From last", &[], &[]),
        (
            "two Vias in one line",
            &[(";branch=z9hG4bK1", ";branch=z9hG4bK1 , SIP/2.0/TCP h2;branch=z9hG4bK2")],
            &["vias 2"],
        ),
        (
            "two Vias in two lines",
            &[("From:", "v: SIP/2.0/TCP h2;branch=z9hG4bK2\r\nFrom:")],
            &["vias 2"],
        ),
        (
            "a comma in a quoted parameter of Via",
            &[(";branch", ";x=\"a,b;c\";branch")],
            &["vias 1"],
        ),
        ("a tag in capitals", &[(";tag=1", ";TAG=1")], &[]),
        ("a quoted tag", &[(";tag=1", ";x=\"tag=2\";tag=1")], &[]),
        ("no brackets", &[("\"A\" <sip:a@h>;tag=1", "sip:a@h;tag=1")], &[]),
        ("no Content-Length", &[("Content-Length: 5\r\n", "")], &[]),
        ("Content-Length too small", &[("Content-Length: 5", "Content-Length: 4")], &[]),
        (
            "Content-Length twice, the same",
            &[("Content-Length: 5", "Content-Length: 5\r\nl: 05")],
            &[],
        ),
        ("a folded Content-Length", &[("Content-Length: 5", "Content-Length:\r\n  5")], &[]),
        ("more than the body", &[("v=0\r\n", "v=0\r\nINVITE")], &[]),
        ("headers that nobody knows", &[("From:", "X:\r\nY : ,;,;\"\r\nFrom:")], &[]),
        ("lower-case version", &[("SIP/2.0\r\nVia", "sip/2.0\r\nVia")], &[]),
    ];
    let plain = meaning(&understood(invite(&[]).as_bytes()));
    assert!(plain.contains(&"from tag 1".to_owned()), "{plain:?}");
    for (name, edits, more) in rows {
        let text = if *name == "From last" { from_last() } else { invite(edits) };
        let facts = understood(text.as_bytes());
        for fact in *more {
            assert!(facts.contains(&(*fact).to_owned()), "{name}: {fact} is not in {facts:?}");
        }
        assert_eq!(meaning(&facts), plain, "{name}");
    }
}

/// What must not change: a second Via is a second Via, a missing name is missing, and `CSeq` is
/// repeated as it was written.
fn meaning(facts: &[String]) -> Vec<String> {
    let same = |fact: &&String| {
        !["vias", "from name", "cseq"].iter().any(|changing| fact.starts_with(changing))
    };
    let mut facts: Vec<String> = facts.iter().filter(same).cloned().collect();
    facts.sort();
    facts
}

#[test]
fn addresses_come_in_many_forms() {
    let rows = [
        ("From", "<sip:a@h>;tag=1", "from user a"),
        ("From", "\"J\\\"R\\\\\" <sip:a@h>;tag=1", "from name J\"R\\"),
        ("From", "Mr. Watson<sip:a@h>;tag=1", "from name Mr. Watson"),
        ("From", "Smith, John <sip:a@h>;tag=1", "from name Smith, John"),
        ("From", "\"J\u{fc}rg \u{674e}\" <sip:a@h>;tag=1", "from name Jürg 李"),
        ("From", "\"<sip:x@y>\" <sip:a@h>;tag=1", "from user a"),
        ("From", "\"\" <sip:a@h>;tag=1", "from tag 1"),
        ("From", "<sip:h>;tag=1", "from user "),
        ("From", "<sip:%61%20b@h>;tag=1", "from user a b"),
        ("From", "<sip:a%zz@h>;tag=1", "from user a%zz"),
        ("From", "<sip:a%0d%0ab@h>;tag=1", "from user ab"),
        ("From", "<sip:a:secret@h>;tag=1", "from user a"),
        ("From", "<sip:a;x=1?y@h>;tag=1", "from user a;x=1?y"),
        ("From", "sip:a;x=1@h;tag=1", "from tag 1"),
        ("From", "<sips:a@h:5061;transport=tls>;tag=1", "from host h"),
        ("From", "<SIP:a@H>;tag=1", "from host H"),
        ("From", "<tel:+1-555-0100;phone-context=example.com>;tag=1", "from user +1-555-0100"),
        ("From", "tel:7042;phone-context=x.example;tag=1", "from tag 1"),
        ("From", "<urn:service:sos>;tag=1", "from host service:sos"),
        ("From", "<sip:a@[2001:db8::1]:5060>;tag=1", "from host [2001:db8::1]"),
        ("From", "<sip:a@[fe80::1%25eth0]>;tag=1", "from host [fe80::1%25eth0]"),
        ("From", "<sip:a@[::ffff:10.0.0.1]>;tag=1", "from host [::ffff:10.0.0.1]"),
        ("From", "<sip:a@h_1.example.>;tag=1", "from host h_1.example."),
        ("From", "<sip:a@h> ; x = \"y;tag=2\" ; tag = 1", "from tag 1"),
        ("To", "<sip:401@h;user=phone?Subject=x%20y>", "to user 401"),
        ("To", "\"%Z%45\" <sip:401@h>", "to name %Z%45"),
        ("Diversion", "<sip:1@h>;reason=busy, \"x, y\" <sip:2@h>", "diversion 1"),
        ("Diversion", "<sip:1@h>;reason=busy, \"x, y\" <sip:2@h>", "diversion 2"),
        ("Diversion", "<sip:1@h>\r\nDIVERSION: <tel:+3>", "diversion +3"),
        ("Diversion", "nonsense, <sip:2@h>", "diversion 2"),
        ("P-Asserted-Identity", "\"A\" <sip:+1@h>, <tel:+1>", "asserted +1"),
        ("p-asserted-identity", "tel:+1;x", "asserted +1"),
    ];
    for (name, value, fact) in rows {
        let facts = understood(with(name, value).as_bytes());
        assert!(facts.contains(&fact.to_owned()), "{value}: {fact} is not in {facts:#?}");
    }
}

#[test]
fn request_uris_come_in_many_forms() {
    let rows = [
        ("sip:401@h", "user 401"),
        ("SIP:401@h", "user 401"),
        ("sip:%34%30%31@h", "user 401"),
        ("sip:401;npdi@h;user=phone", "user 401;npdi"),
        ("sip:401@h;user=phone", "parameter user"),
        ("sip:h", "host h"),
        ("sips:401@h:5061", "user 401"),
        ("tel:+15550100", "user +15550100"),
        ("tel:401;phone-context=example.com", "parameter phone-context"),
        ("sip:401@[2001:db8::1]:5070;lr", "host [2001:db8::1]"),
        ("sip:401@[2001:db8:::192.0.2.1]", "user 401"),
        ("sip:j\u{fc}rg@h", "user jürg"),
        ("sip:a/b&c=d+e$f,g@h", "user a/b&c=d+e$f,g"),
    ];
    for (uri, fact) in rows {
        let facts = understood(invite(&[("sip:401@h SIP", &format!("{uri} SIP"))]).as_bytes());
        assert!(facts.contains(&fact.to_owned()), "{uri}: {fact} is not in {facts:#?}");
    }
    let refused = [
        ("im:401@h", "416 Unsupported URI Scheme"),
        ("urn:service:sos", "416 Unsupported URI Scheme"),
        ("401", "400 Bad Request-URI"),
        ("sip:401@h:port", "400 Bad Request-URI"),
        ("sip:401@[::1", "400 Bad Request-URI"),
        ("sip:401@[::1]x", "400 Bad Request-URI"),
        ("sip:401@a@b", "400 Bad Request-URI"),
        ("sip:", "400 Bad Request-URI"),
    ];
    for (uri, code) in refused {
        let text = invite(&[("sip:401@h SIP", &format!("{uri} SIP"))]);
        assert_eq!(receive(flow(), [text.as_bytes()]).what, code, "{uri}");
    }
}

#[test]
fn a_content_length_that_lies_is_refused() {
    for length in ["-1", "+5", "5 5", "0x5", "6", "99999999999999999999", "five", "", "5\r\nl: 4"] {
        let text = invite(&[("Content-Length: 5", &format!("Content-Length: {length}"))]);
        let what = receive(flow(), [text.as_bytes()]).what;
        assert!(what.starts_with("400"), "{length}: {what}");
        let end = framing::next(text.as_bytes());
        assert!(matches!(end, Frame::Broken(_) | Frame::Partial), "{length}: {end:?}");
    }
}

#[test]
fn latin_1_is_read_and_answered_as_utf_8() {
    let text = invite(&[("\"A\"", "\"J?rg\"")]);
    let bytes: Vec<u8> = text.bytes().map(|b| if b == b'?' { 0xfc } else { b }).collect();
    assert!(understood(&bytes).contains(&"from name Jürg".to_owned()));
}

#[test]
fn a_stream_of_messages_and_keep_alives_may_be_cut_anywhere() {
    let mut bytes = b"\r\n\r\n".to_vec();
    let messages = [invite(&[]), invite(&[("z9hG4bK1", "z9hG4bK2"), ("ID: 1", "ID: 2")])];
    for (message, between) in messages.iter().zip(["\r\n\r\n\r\n\r\n", "\r\n"]) {
        bytes.extend(message.bytes());
        bytes.extend(between.bytes());
    }
    for at in 0..bytes.len() {
        let (heard, pings) = arrive([&bytes[..at], &bytes[at..]]);
        assert_eq!((heard, pings), (vec!["call 1".to_owned(), "call 2".to_owned()], 3), "{at}");
    }
    let (heard, _) = arrive(bytes.chunks(1));
    assert_eq!(heard.len(), 2, "one byte at a time");
}

/// The calls that a connection brings, and how many pings.
fn arrive<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, usize) {
    let mut endpoint = Endpoint::new("", Limits::default(), [1; 32]);
    let flow = Flow { transport: Transport::Tcp, link: Link::Connection(1), ..flow() };
    let (mut kept, mut heard, mut pings): (Vec<u8>, _, _) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        kept.extend(piece);
        loop {
            let used = match framing::next(&kept) {
                Frame::Message(length) => {
                    endpoint.receive(Instant::now(), flow, &kept[..length]);
                    length
                }
                Frame::Ping(length) => {
                    pings += 1;
                    length
                }
                Frame::Blank(length) => length,
                Frame::Partial => break,
                Frame::Broken(why) => panic!("{why}"),
            };
            kept.drain(..used);
        }
    }
    while let Some(output) = endpoint.poll() {
        if let Output::Incoming(_, incoming) = output {
            heard.push(format!("call {}", incoming.call_id));
        }
    }
    (heard, pings)
}

fn understood(bytes: &[u8]) -> Vec<String> {
    let reaction = receive(flow(), [bytes]);
    let text = String::from_utf8_lossy(bytes);
    assert!(reaction.what == "call", "{} for:\n{text}", reaction.what);
    reaction.facts
}

/// The INVITE with a header of its own, or another one of that name.
fn with(name: &str, value: &str) -> String {
    let text = invite(&[]);
    let old = text.lines().find(|line| line.starts_with(&format!("{name}:")));
    match old {
        Some(old) => text.replace(old, &format!("{name}: {value}")),
        None => text.replace("Call-ID:", &format!("{name}: {value}\r\nCall-ID:")),
    }
}

fn from_last() -> String {
    let from = "From: \"A\" <sip:a@h>;tag=1\r\n";
    let text = INVITE.replace(from, "");
    text.replace("Content-Length: 5\r\n", &format!("Content-Length: 5\r\n{from}"))
}

fn invite(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(INVITE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, if *from == "\r\n" { usize::MAX } else { 1 })
    })
}

const INVITE: &str = "INVITE sip:401@h SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\nFrom: \"A\" <sip:a@h>;tag=1\r\nTo: <sip:401@h>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@10.0.0.1>\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n";
