//! Twenty thousand damaged messages: no panic, no answer to a stranger, no table beyond its limit,
//! and in the end nothing left.

use std::time::{Duration, Instant};

use afterbeep::sip::endpoint::{CallKey, Endpoint, Output};
use afterbeep::sip::{Event, Limits, Reject, Ticket, framing, sdp};

use crate::malformed::flow;
use crate::pair::Dice;

#[test]
fn damaged_messages_harm_nothing() {
    let limits = Limits { calls: 50, transactions: 300, ..Limits::default() };
    let mut endpoint = Endpoint::new("Afterbeep", limits, [5; 32]);
    let mut dice = Dice(0x5EED);
    let mut now = Instant::now();
    let mut calls: Vec<CallKey> = Vec::new();
    let mut offers: Vec<(CallKey, Ticket)> = Vec::new();
    let mut sent: Vec<Vec<u8>> = MODELS.iter().map(|model| model.as_bytes().to_vec()).collect();
    for round in 0..20_000 {
        let mut bytes = sent
            [usize::try_from(dice.below(u32::try_from(sent.len()).expect("few"))).expect("small")]
        .clone();
        for _ in 0..dice.below(6) {
            damage(&mut bytes, &mut dice);
        }
        let _no_panic = framing::next(&bytes);
        let _no_panic = sdp::read(&bytes);
        endpoint.receive(now, flow(), &bytes);
        act(&mut endpoint, &mut calls, &mut offers, &mut dice, now);
        now += Duration::from_millis(u64::from(dice.below(100)));
        endpoint.wake(now);
        while let Some(output) = endpoint.poll() {
            match output {
                Output::Locate(..) | Output::Registration(..) => panic!("nobody registers"),
                Output::Incoming(key, _) => calls.push(key),
                Output::Transmit(to, bytes) => {
                    check(&bytes, round);
                    assert_eq!(to.remote.is_ipv4(), to.local.is_ipv4());
                    // What we say comes back damaged as well.
                    if sent.len() < 200 {
                        sent.push(bytes.to_vec());
                    }
                }
                Output::Event(key, Event::Offer { ticket, .. }) => offers.push((key, ticket)),
                Output::Gone(_)
                | Output::Event(..)
                | Output::Taken(..)
                | Output::Refused(..)
                | Output::Subscribing(..)
                | Output::Unsubscribed(..)
                | Output::Announced(..)
                | Output::TurnedAway { .. }
                | Output::Dropped { .. } => {}
            }
        }
        assert!(endpoint.calls() <= 50 && endpoint.transactions() <= 400, "round {round}");
    }
    for key in endpoint.call_keys() {
        endpoint.bye(now, key);
    }
    for _ in 0..400 {
        now += Duration::from_secs(1);
        endpoint.wake(now);
    }
    assert_eq!((endpoint.calls(), endpoint.transactions()), (0, 0));
}

/// The owners of the calls are as wild as the messages.
fn act(
    endpoint: &mut Endpoint,
    calls: &mut Vec<CallKey>,
    offers: &mut Vec<(CallKey, Ticket)>,
    dice: &mut Dice,
    now: Instant,
) {
    let Some(key) = calls.last().copied() else { return };
    let offer = offers.last().copied();
    match dice.below(9) {
        0 => endpoint.ring(now, key),
        1 | 2 => drop(endpoint.answer(now, key, "v=0\r\n")),
        3 => endpoint.reject(now, key, Reject::NotFound),
        4 => offer.into_iter().for_each(|(key, it)| endpoint.accept(now, key, it, "v=0\r\n")),
        5 => offers.pop().into_iter().for_each(|(key, it)| endpoint.refuse(now, key, it)),
        6 => endpoint.bye(now, key),
        7 => endpoint.progress(now, key, "v=0\r\n"),
        _ => drop(calls.pop()),
    }
}

fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let Ok(length) = u32::try_from(bytes.len()) else { return };
    if length < 2 {
        return;
    }
    let at = dice.below(length) as usize;
    let other = dice.below(length) as usize;
    let (from, to) = (at.min(other), at.max(other));
    match dice.below(8) {
        0 => bytes[at] = dice.below(256).to_le_bytes()[0],
        1 => drop(bytes.remove(at)),
        2 => bytes.insert(at, b";,:<>\"\\\r\n%@ =\0"[dice.below(14) as usize]),
        3 => bytes.truncate(at),
        4 if to - from < 200 => drop(bytes.drain(from..to)),
        5 if to - from < 200 && length < 20_000 => {
            let copy = bytes[from..to].to_vec();
            bytes.splice(at..at, copy);
        }
        6 => bytes.swap(at, other),
        _ => {
            // A new branch now and then, else every copy is a retransmission.
            let text = String::from_utf8_lossy(bytes)
                .replace("z9hG4bK", &format!("z9hG4bK{}", dice.below(9999)));
            *bytes = text.into_bytes();
        }
    }
}

/// Whatever came in, what goes out has one head with whole lines.
fn check(bytes: &[u8], round: u32) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an end of the head");
    let head = std::str::from_utf8(&bytes[..end]).expect("we write UTF-8");
    for line in head.split("\r\n").skip(1) {
        let name = line.split_once(':').map(|(name, _)| name);
        assert!(
            name.is_some_and(|name| !name.is_empty() && !name.contains(' ')),
            "round {round}: {line:?}"
        );
        assert!(!line.contains(|c: char| c.is_ascii_control()), "round {round}: {line:?}");
    }
}

const MODELS: [&str; 5] = [
    "INVITE sip:401@vm.example.com;target=sip:402%40h;cause=302 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKa, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKx\r\nMax-Forwards: 70\r\nRecord-Route: <sip:10.0.0.1;lr>, <sip:p2>\r\nFrom: \"A \\\"x\\\" B\" <sip:alice@example.com>;tag=alice\r\nTo: <sip:401@vm.example.com>\r\nCall-ID: call-1\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@10.0.0.1>\r\nDiversion: <sip:402@pbx>;reason=busy\r\nHistory-Info: <sip:x@h?Reason=SIP%3Bcause%3D302>;index=1\r\nP-Asserted-Identity: \"A\" <sip:+1@pbx>\r\nPrivacy: id\r\nContent-Type: application/sdp\r\nContent-Length: 96\r\n\r\nv=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0 8\r\na=sendrecv\r\n",
    "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 6000/2 RTP/AVP 0 96\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 x=1\r\na=ptime:20\r\nm=video 0 RTP/AVP 31\r\n",
    "OPTIONS tel:+1;ext=2 SIP/2.0\r\nv: SIP / 2.0 / UDP 10.0.0.1\r\n ;branch=z9hG4bKb\r\nf: sip:a@h;tag=1\r\nt: <sip:h>\r\ni: 1\r\nCSeq: 1 OPTIONS\r\nl: 0\r\n\r\n",
    "BYE sip:401@h SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKc\r\nFrom: <sip:alice@example.com>;tag=alice\r\nTo: <sip:401@h>;tag=x\r\nCall-ID: call-1\r\nCSeq: 2 BYE\r\n\r\n",
    "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKd\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n",
];
