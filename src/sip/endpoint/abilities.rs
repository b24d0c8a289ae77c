//! What we say that we can do, and what we object to: RFC 3261 §8.2.1–§8.2.3, §20.

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::subscribing::allow_events;
use crate::sip::message::{Request, every, first, other};
use crate::sip::text::list;

const ALLOWED: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, SUBSCRIBE";
/// RFC 3262, RFC 4028, RFC 3891.
const SUPPORTED: [&str; 3] = ["100rel", "timer", "replaces"];
/// What a key may come in.
const KEYS: [&str; 2] = ["application/dtmf-relay", "application/dtmf"];

pub(super) fn allow() -> Header {
    headers::Allow::new(ALLOWED).into()
}

/// RFC 3261 §13.2.1: what a call should be told about us.
pub(super) fn abilities() -> [Header; 2] {
    [allow(), headers::Supported::new(SUPPORTED.join(", ")).into()]
}

/// The same of our own calls, in which we send no PRACK.
pub(super) fn abilities_of_a_caller() -> [Header; 2] {
    [allow(), headers::Supported::new(SUPPORTED[1..].join(", ")).into()]
}

/// RFC 3261 §11.2: what OPTIONS is told beyond.
pub(super) fn all_abilities() -> Vec<Header> {
    let mut all: Vec<Header> = abilities().into();
    all.extend([
        accept(),
        allow_events(),
        headers::AcceptEncoding::new("identity").into(),
        headers::AcceptLanguage::new("en").into(),
    ]);
    all
}

pub(super) fn accept() -> Header {
    headers::Accept::new("application/sdp, multipart/mixed").into()
}

/// RFC 3261 §8.2.2.3: the extensions that a request requires and we lack.
pub(super) fn unsupported(request: &Request) -> Option<Header> {
    let known = |tag: &&str| SUPPORTED.iter().any(|known| known.eq_ignore_ascii_case(tag));
    let required = every!(request.headers, Require).flat_map(list);
    let wanted: Vec<&str> = required.filter(|tag| !known(tag)).collect();
    (!wanted.is_empty()).then(|| headers::Unsupported::new(wanted.join(", ")).into())
}

/// Whether a request requires this extension.
pub(super) fn requires(request: &Request, tag: &str) -> bool {
    every!(request.headers, Require).flat_map(list).any(|known| known.eq_ignore_ascii_case(tag))
}

/// RFC 3261 §8.2.3, §21.4.13.
pub(super) fn unsupported_body() -> Vec<Header> {
    vec![accept(), headers::AcceptEncoding::new("identity").into()]
}

/// What is wrong with an INFO; nothing with one that has no body (RFC 2976 §2.2) or a key.
pub(super) fn objection_to_info(request: &Request) -> Option<(u16, Vec<Header>)> {
    // RFC 6086 §4.2.2: we have no packages, and say so.
    if other(&request.headers, "Info-Package").next().is_some() {
        return Some((469, vec![Header::Other("Recv-Info".to_owned(), String::new())]));
    }
    let kind = first!(request.headers, ContentType).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    let plain = first!(request.headers, ContentEncoding)
        .is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
    let key = plain && KEYS.iter().any(|known| known.eq_ignore_ascii_case(kind));
    if request.body.is_empty() || key {
        return None;
    }
    let keys = headers::Accept::new(KEYS.join(", ")).into();
    Some((415, vec![keys, headers::AcceptEncoding::new("identity").into()]))
}
