//! What every answer says of our abilities: one row for each kind of request.

use std::time::Instant;

use afterbeep::sip::endpoint::{Endpoint, Output};
use afterbeep::sip::{Flow, Limits, Link, Transport};

/// Request, whether within a dialog, more header fields, body; then the answer: its code and the
/// header fields that it must have, and `!` those that it must not.
type Row = (&'static str, bool, &'static str, &'static str, u16, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("OPTIONS", false, "", "", 200, EVERYTHING),
    ("OPTIONS", true, "", "", 200, EVERYTHING),
    ("OPTIONS", false, "Require: 100rel, timer, replaces", "", 200, EVERYTHING),
    ("OPTIONS", false, "Require: gruu", "", 420, &["Unsupported: gruu"]),
    ("OPTIONS", true, "Require: Timer, path, 199", "", 420, &["Unsupported: path, 199"]),
    ("INVITE", false, "Require: precondition", "v=0", 420, &["Unsupported: precondition"]),
    ("INVITE", false, "Content-Type: text/plain", "x", 415, TYPES),
    ("INVITE", false, "Content-Encoding: gzip", "x", 415, TYPES),
    ("INVITE", false, "Supported: timer\r\nSession-Expires: 9", "", 422, &["Min-SE: 90"]),
    ("INVITE", true, "Content-Type: text/plain", "x", 415, TYPES),
    ("INVITE", true, "Supported: timer\r\nSession-Expires: 9", "", 422, &["Min-SE: 90"]),
    ("INVITE", true, "Require: gruu", "", 420, &["Unsupported: gruu"]),
    ("UPDATE", false, "", "", 481, &["!Allow"]),
    ("UPDATE", true, "", "", 200, &["Allow: ", "Supported: ", "Contact: ", "!Require"]),
    ("UPDATE", true, "Supported: timer", "", 200, &["Session-Expires: 1800", "Require: timer"]),
    ("UPDATE", true, "Content-Type: text/plain", "x", 415, TYPES),
    ("UPDATE", true, OPTIONAL, "x", 200, &["!Accept"]),
    ("PRACK", false, "RAck: 1 1 INVITE", "", 481, &[]),
    ("PRACK", true, "RAck: 1 1 INVITE", "", 481, &[]),
    ("PRACK", true, "RAck: 1 INVITE", "", 400, &[]),
    ("INFO", false, "", "", 405, &["Allow: "]),
    ("INFO", true, "", "", 200, &["!Accept"]),
    ("INFO", true, "Content-Type: application/dtmf", "5", 200, &[]),
    ("INFO", true, "Content-Type: application/DTMF-Relay; x=y", "Signal=5", 200, &[]),
    ("INFO", true, "Content-Type: application/media_control+xml", "<x/>", 415, KEYS),
    ("INFO", true, "Info-Package: foo", "x", 469, &["Recv-Info: "]),
    ("REFER", true, "Refer-To: <sip:x@y>", "", 603, &[]),
    ("REFER", false, "Refer-To: <sip:x@y>", "", 603, &[]),
    ("REFER", true, "", "", 400, &[]),
    ("MESSAGE", false, "", "", 405, &["Allow: INVITE, ACK"]),
    ("SUBSCRIBE", true, "", "", 405, &["Allow: INVITE, ACK"]),
    ("NEWFANGLED", false, "", "", 501, &["Allow: INVITE, ACK"]),
    ("NEWFANGLED", true, "", "", 501, &["Allow: INVITE, ACK"]),
    ("BYE", false, "", "", 481, &[]),
    ("BYE", true, "", "", 200, &[]),
];
const EVERYTHING: &[&str] = &[
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, SUBSCRIBE",
    "Supported: 100rel, timer, replaces",
    "Accept: application/sdp, multipart/mixed",
    "Accept-Encoding: identity",
    "Accept-Language: en",
];
const TYPES: &[&str] = &["Accept: application/sdp, multipart/mixed", "Accept-Encoding: identity"];
const KEYS: &[&str] = &["Accept: application/dtmf-relay, application/dtmf"];
const OPTIONAL: &str = "Content-Type: text/plain\r\nContent-Disposition: render; handling=optional";

#[test]
fn every_answer_says_what_we_can_do() {
    for (row, (method, within, more, body, code, lines)) in ROWS.iter().enumerate() {
        let mut endpoint = Endpoint::new("Afterbeep", Limits::default(), [9; 32]);
        let tag = if *within { established(&mut endpoint) } else { String::new() };
        let request = request(method, &tag, 9, more, body);
        let answer = answers(&mut endpoint, &request).pop().unwrap_or_default();
        let at = format!("row {row}: {method} {more}\n{answer}");
        assert!(answer.starts_with(&format!("SIP/2.0 {code} ")), "{at}");
        for line in *lines {
            match line.strip_prefix('!') {
                Some(name) => assert!(!answer.contains(&format!("\r\n{name}: ")), "{at}"),
                None => assert!(answer.contains(&format!("\r\n{line}")), "no {line} in {at}"),
            }
        }
    }
}

/// A call that goes on; its tag.
fn established(endpoint: &mut Endpoint) -> String {
    let now = Instant::now();
    endpoint.receive(now, flow(), request("INVITE", "", 1, "", "v=0\r\n").as_bytes());
    let mut key = None;
    while let Some(output) = endpoint.poll() {
        if let Output::Incoming(known, _) = output {
            key = Some(known);
        }
    }
    assert!(endpoint.answer(now, key.expect("a call"), "v=0\r\n").is_ok());
    let answer = sent(endpoint).pop().expect("a 200");
    let to = answer.lines().find(|line| line.starts_with("To:")).expect("a To");
    let tag = to[to.find(";tag=").expect("a tag")..].to_owned();
    assert!(answers(endpoint, &request("ACK", &tag, 1, "", "")).is_empty());
    tag
}

fn answers(endpoint: &mut Endpoint, request: &str) -> Vec<String> {
    endpoint.receive(Instant::now(), flow(), request.as_bytes());
    sent(endpoint)
}

fn sent(endpoint: &mut Endpoint) -> Vec<String> {
    std::iter::from_fn(|| endpoint.poll())
        .filter_map(|output| match output {
            Output::Transmit(_, bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        })
        .collect()
}

fn request(method: &str, tag: &str, cseq: u32, more: &str, body: &str) -> String {
    let more = if more.is_empty() { String::new() } else { format!("{more}\r\n") };
    format!(
        "{method} sip:401@h SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK{cseq}{method}\r\n\
         From: <sip:a@h>;tag=1\r\nTo: <sip:401@h>{tag}\r\nCall-ID: c\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:a@10.0.0.1>\r\n{more}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.9:5060".parse().expect("an address"),
        remote: "10.0.0.1:5060".parse().expect("an address"),
        link: Link::Socket(0),
    }
}
