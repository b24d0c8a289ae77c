//! The torture messages of RFC 4475 and RFC 5118, all of them, as datagram and as stream, against
//! what `torture/rfc4475.txt` and `torture/rfc5118.txt` say must come of them.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use afterbeep::sip::endpoint::{CallKey, Endpoint, Output};
use afterbeep::sip::framing::{self, Frame};
use afterbeep::sip::{Flow, Incoming, Limits, Link, NameAddr, Transport, sdp};

#[test]
fn all_49_messages_of_rfc_4475_have_their_reaction() {
    assert_eq!(play("rfc4475.txt", "10.0.0.1:5060", "192.0.2.9:5060"), 49);
}

#[test]
fn all_messages_of_rfc_5118_have_their_reaction() {
    assert_eq!(play("rfc5118.txt", "[2001:db8::9:1]:5060", "[2001:db8::10]:5060"), 12);
}

#[test]
fn a_stream_cut_anywhere_yields_the_same_messages() {
    for name in ["wsinv", "dblreq", "mpart01", "longreq", "intmeth"] {
        let bytes = message(name);
        let whole = cut(&bytes, bytes.len());
        for at in 1..bytes.len() {
            assert_eq!(cut(&bytes, at), whole, "{name} cut at {at}");
        }
    }
}

/// Plays each row of a table; answers how many there are.
fn play(table: &str, remote: &str, local: &str) -> usize {
    let text = fs::read_to_string(folder().join(table)).expect("the table");
    let flow = |transport, link| Flow {
        transport,
        local: local.parse().expect("an address"),
        remote: remote.parse().expect("an address"),
        link,
    };
    let udp = flow(Transport::Udp, Link::Socket(0));
    let tcp = flow(Transport::Tcp, Link::Connection(1));
    let mut wrong = String::new();
    let rows: Vec<Row> = text.split("\n\n").filter_map(Row::read).collect();
    for row in &rows {
        let bytes = message(row.name);
        let mut tell = |way: &str, wanted: &str, got: &Reaction| {
            if wanted != got.what {
                let name = row.name;
                writeln!(wrong, "{name}, {way}: wanted {wanted}, got {}", got.what).expect("room");
            }
            let facts = if got.facts.is_empty() && got.what == wanted { &[] } else { &*row.facts };
            for fact in facts.iter().filter(|fact| !got.facts.contains(&(**fact).to_owned())) {
                writeln!(wrong, "{}, {way}: {fact} is not in {:#?}", row.name, got.facts)
                    .expect("room");
            }
        };
        if let Some(wanted) = row.ours {
            tell("as an answer to our INVITE", wanted, &as_ours(udp, &bytes));
            assert_eq!(receive(udp, [&*bytes]).what, "dropped", "{}", row.name);
            continue;
        }
        tell("as a datagram", row.udp, &receive(udp, [&*bytes]));
        let frames = frames(&bytes);
        let mut got = receive(tcp, frames.messages.iter().map(|range| &bytes[range.clone()]));
        if let Some(end) = frames.end {
            got.what = if got.what == "dropped" { end } else { format!("{}, {end}", got.what) };
        }
        tell("on a stream", row.stream.unwrap_or(row.udp), &got);
    }
    assert!(wrong.is_empty(), "{wrong}");
    rows.len()
}

/// One message of a table.
struct Row<'a> {
    name: &'a str,
    udp: &'a str,
    stream: Option<&'a str>,
    /// What a response does to the call of ours that it answers.
    ours: Option<&'a str>,
    facts: Vec<&'a str>,
}

impl<'a> Row<'a> {
    fn read(block: &'a str) -> Option<Self> {
        let mut lines = block.lines().filter(|line| !line.starts_with('#'));
        let name = lines.next()?.split(' ').next().filter(|name| !name.is_empty())?;
        let mut row = Self { name, udp: "", stream: None, ours: None, facts: Vec::new() };
        for line in lines {
            let (key, value) = line.trim().split_once(' ').expect("a key and a value");
            match key {
                "->" => row.udp = value,
                "stream" => row.stream = Some(value),
                "ours" => row.ours = Some(value),
                "=" => row.facts.push(value),
                "why" | "|" => {}
                _ => panic!("{line}: not understood"),
            }
        }
        Some(row)
    }
}

/// What came of a message.
pub struct Reaction {
    /// `call`, `dropped`, or the code and reason of the response.
    pub what: String,
    /// What was understood, one fact a line.
    pub facts: Vec<String>,
}

pub fn receive<'a>(flow: Flow, messages: impl IntoIterator<Item = &'a [u8]>) -> Reaction {
    let mut endpoint = Endpoint::new("", Limits::default(), [1; 32]);
    let mut what: Vec<String> = Vec::new();
    let mut facts = Vec::new();
    for bytes in messages {
        endpoint.receive(Instant::now(), flow, bytes);
        while let Some(output) = endpoint.poll() {
            match output {
                Output::Transmit(to, wire) => {
                    assert_eq!(to.remote.ip(), flow.remote.ip(), "an answer to somebody else");
                    let text = String::from_utf8(wire.to_vec()).expect("we write UTF-8");
                    let start = text.lines().next().unwrap_or("").trim_start_matches("SIP/2.0 ");
                    if start != "100 Trying" {
                        what.push(start.to_owned());
                    }
                    facts.extend(told_by_response(&text));
                }
                Output::Incoming(_, incoming) => {
                    what.push("call".to_owned());
                    facts.extend(told_by_call(&incoming));
                }
                Output::Dropped { .. } | Output::TurnedAway { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let what = if what.is_empty() { "dropped".to_owned() } else { what.join(", ") };
    Reaction { what, facts }
}

/// Makes a response one to an INVITE of ours: all but its start line, its other headers and its
/// body is exchanged.
fn as_ours(flow: Flow, bytes: &[u8]) -> Reaction {
    let mut endpoint = Endpoint::new("", Limits::default(), [1; 32]);
    let now = Instant::now();
    let (target, from) = ("sip:user@10.0.0.1", "<sip:vm@192.0.2.9>");
    let (target, from) = (target.parse().expect("a URI"), from.parse().expect("a name"));
    let key = endpoint.call(now, flow, &target, &from, String::new()).expect("a call");
    let Some(Output::Transmit(_, invite)) = endpoint.poll() else { panic!("no INVITE") };
    let invite = String::from_utf8(invite.to_vec()).expect("we write UTF-8");
    let ours = |name: &str| invite.lines().find(|line| line.starts_with(name)).expect("a header");
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let mut exchanged = Vec::new();
    let lines = text.split("\r\n").map(|line| {
        let name = ["Via:", "From:", "Call-ID:", "CSeq:"].into_iter().find(|n| line.starts_with(n));
        match name.filter(|name| !exchanged.contains(name)) {
            Some("CSeq:") if is_overlarge(line) => line,
            Some(name) => {
                exchanged.push(name);
                ours(name)
            }
            None => line,
        }
    });
    let text = lines.collect::<Vec<_>>().join("\r\n");
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c).expect("a byte")).collect();
    endpoint.receive(now, flow, &bytes);
    what_happened(&mut endpoint, key, now)
}

/// The very thing that RFC 4475 §3.1.2.5 tests.
fn is_overlarge(cseq: &str) -> bool {
    cseq.split(' ').nth(1).is_some_and(|number| number.parse::<u32>().is_err())
}

fn what_happened(endpoint: &mut Endpoint, key: CallKey, now: Instant) -> Reaction {
    let (mut what, mut facts) = (String::from("dropped"), Vec::new());
    while let Some(output) = endpoint.poll() {
        match output {
            Output::Taken(_, body) => {
                what = String::from("taken");
                facts.extend(told_by_sdp(&body));
            }
            Output::Refused(_, refusal) => what = format!("refused {}", refusal.code),
            _ => {}
        }
    }
    // RFC 3261 §9.1: only after a provisional response is there a CANCEL.
    endpoint.give_up(now, key);
    if let Some(Output::Transmit(_, wire)) = endpoint.poll()
        && wire.starts_with(b"CANCEL")
    {
        what = String::from("heard");
    }
    Reaction { what, facts }
}

/// A response copies what identifies its request.
fn told_by_response(text: &str) -> Vec<String> {
    let mut facts = Vec::new();
    let mut vias = 0;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    assert!(body.is_empty(), "a body that nobody asked for");
    for line in text.lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name {
            "Via" => vias += value.split(", ").count(),
            "From" | "To" => facts.extend(told_by_address(&name.to_lowercase(), value)),
            "CSeq" | "Call-ID" | "Unsupported" | "Accept" | "Allow" => {
                facts.push(format!("{} {value}", name.to_lowercase()));
            }
            _ => {}
        }
    }
    facts.push(format!("vias {vias}"));
    facts
}

fn told_by_call(incoming: &Incoming) -> Vec<String> {
    let uri = &incoming.request_uri;
    let mut facts = vec![
        format!("user {}", uri.user),
        format!("host {}", uri.host),
        format!("call-id {}", incoming.call_id),
    ];
    facts.extend(incoming.diversion.iter().map(|by| format!("diversion {}", by.uri.user)));
    facts.extend(incoming.asserted.iter().map(|who| format!("asserted {}", who.uri.user)));
    facts.extend(uri.params.iter().map(|(name, _)| format!("parameter {name}")));
    facts.extend(told_by_sdp(incoming.offer.as_deref().unwrap_or_default()));
    facts
}

fn told_by_address(whose: &str, value: &str) -> Vec<String> {
    let Ok(address) = value.parse::<NameAddr>() else { return Vec::new() };
    let mut facts = vec![
        format!("{whose} user {}", address.uri.user),
        format!("{whose} host {}", address.uri.host),
    ];
    facts.extend(address.display.as_ref().map(|name| format!("{whose} name {name}")));
    facts.extend(address.tag().map(|tag| format!("{whose} tag {tag}")));
    facts
}

fn told_by_sdp(body: &[u8]) -> Vec<String> {
    let Ok(description) = sdp::read(body) else { return vec!["audio none".to_owned()] };
    let Some(audio) = description.audio() else { return vec!["audio none".to_owned()] };
    let address = audio.address.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    vec![format!("audio {} {address} {}", audio.formats[0].name, audio.port)]
}

#[derive(Debug, PartialEq, Eq)]
struct Frames {
    messages: Vec<std::ops::Range<usize>>,
    /// `waits` for more, or `closes` the connection.
    end: Option<String>,
}

fn frames(bytes: &[u8]) -> Frames {
    let mut frames = Frames { messages: Vec::new(), end: None };
    let mut at = 0;
    while at < bytes.len() {
        match framing::next(&bytes[at..]) {
            Frame::Message(length) => {
                frames.messages.push(at..at + length);
                at += length;
            }
            Frame::Ping(length) | Frame::Blank(length) => at += length,
            Frame::Partial => {
                frames.end = Some("waits".to_owned());
                break;
            }
            Frame::Broken(_) => {
                frames.end = Some("closes".to_owned());
                break;
            }
        }
    }
    frames
}

/// The messages of a stream that arrives in two pieces.
fn cut(bytes: &[u8], at: usize) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut arrived: Vec<u8> = Vec::new();
    for piece in [&bytes[..at], &bytes[at..]] {
        arrived.extend(piece);
        loop {
            let length = match framing::next(&arrived) {
                Frame::Message(length) => {
                    messages.push(arrived[..length].to_vec());
                    length
                }
                Frame::Ping(length) | Frame::Blank(length) => length,
                Frame::Partial | Frame::Broken(_) => break,
            };
            arrived.drain(..length);
        }
    }
    messages
}

/// A message in the notation of RFC 4475 §2: lines end with CRLF, `<hex>0D0A</hex>` and
/// `<repeat count=3>x</repeat>` stand for bytes.
fn message(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(folder().join(format!("{name}.sip"))).expect(name);
    let text = text.replace('\n', "\r\n");
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('<') {
        bytes.extend(rest[..at].bytes());
        rest = &rest[at..];
        if let Some((hex, after)) = between(rest, "<hex>", "</hex>") {
            let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
            bytes.extend((0..hex.len()).step_by(2).map(digits));
            rest = after;
        } else if let Some((repeat, after)) = between(rest, "<repeat count=", "</repeat>") {
            let (count, what) = repeat.split_once('>').expect("a count");
            bytes.extend(what.repeat(count.parse().expect("a count")).bytes());
            rest = after;
        } else {
            bytes.push(b'<');
            rest = &rest[1..];
        }
    }
    bytes.extend(rest.bytes());
    bytes
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(start)?.split_once(end)
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sip/torture")
}
