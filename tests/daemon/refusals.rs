//! What is not taken, and in which words.

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::house::House;
use crate::phone::{Phone, code};

#[test]
fn calls_that_cannot_be_are_refused_by_name() {
    let house = House::new("");
    house.ok(&["mailbox", "add", "1001", "--enabled", "false"]);
    let refused = |to: &str, sdp: fn(&Phone) -> String| {
        let phone = Phone::new(&house);
        code(&phone.invite(to, &sdp(&phone)))
    };
    let pcmu = |phone: &Phone| phone.sdp("0", "");
    assert_eq!(refused("4444", pcmu), 404, "no such mailbox");
    assert_eq!(refused("../1000", pcmu), 404, "a path");
    assert_eq!(refused("1001", pcmu), 480, "disabled");
    let g729 = |phone: &Phone| phone.sdp("18", "a=rtpmap:18 G729/8000\r\n");
    assert_eq!(refused("1000", g729), 488, "G.729 only");
    assert_eq!(refused("1000", |_| "nonsense".to_owned()), 400, "no session description");
    let video = |phone: &Phone| phone.sdp("0", "").replace("m=audio", "m=video");
    assert_eq!(refused("1000", video), 488, "no audio");
    // None of them holds a place or a port.
    assert_eq!(code(&Phone::new(&house).request("OPTIONS")), 200);
}

#[test]
fn one_call_too_many_is_told_when_to_come_back() {
    let house = House::new("[sip]\nmax_calls = 1\nretry_after_seconds = 7");
    let (first, second) = (Phone::new(&house), Phone::new(&house));
    let call = first.call("1000");
    let refused = second.invite("1000", &second.sdp("0", ""));
    assert_eq!(code(&refused), 503, "{refused}");
    assert!(refused.lines().any(|line| line == "Retry-After: 7"), "{refused}");

    call.hang_up();
    house.until("the place is free again", || {
        let phone = Phone::new(&house);
        code(&phone.invite("1000", &phone.sdp("0", ""))) == 200
    });
}

#[test]
fn a_call_taken_back_at_once_holds_nothing() {
    let house = House::new("[sip]\nmax_calls = 1");
    let (phone, began) = (Phone::new(&house), Instant::now());
    // Both are there before the daemon looks.
    house.signal(Signal::SIGSTOP);
    phone.send_invite("1000", &phone.sdp("0", ""));
    phone.send_cancel("1000");
    house.signal(Signal::SIGCONT);
    let answer = phone.answer_to_invite("1000");
    // RFC 3261 §9.2: the answer may have won all the same.
    if code(&answer) == 200 {
        phone.accepted("1000", &answer, began).hang_up();
    } else {
        assert_eq!(code(&answer), 487, "{answer}");
    }
    house.until("the place is free again", || {
        let phone = Phone::new(&house);
        code(&phone.invite("1000", &phone.sdp("0", ""))) == 200
    });
}

#[test]
fn other_methods_are_answered_as_the_standard_says() {
    let house = House::new("");
    let options = Phone::new(&house).request("OPTIONS");
    assert_eq!(code(&options), 200);
    assert!(options.lines().any(|line| line.starts_with("Allow:") && line.contains("INVITE")));
    let unknown = code(&Phone::new(&house).request("FROBNICATE"));
    assert!([405, 501].contains(&unknown), "{unknown}");
    assert_eq!(code(&Phone::new(&house).request("BYE")), 481);
}

#[test]
fn garbage_is_survived_in_silence() {
    let house = House::new("");
    let before = house.log().lines().count();
    let phone = Phone::new(&house);
    let mut chance = 1u64;
    for size in 0..500 {
        let noise = (0..size).map(|_| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chance.to_be_bytes()[0]
        });
        phone.send(noise.collect::<Vec<u8>>());
        phone.send(&b"INVITE sip:1000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP"[..size % 50]);
    }
    phone.send(format!("INVITE sip:1000@[ SIP/2.0\r\nContent-Length: {}\r\n\r\n", u64::MAX));
    phone.send(vec![b'\r'; 60_000]);
    assert_eq!(code(&Phone::new(&house).request("OPTIONS")), 200);
    let log = house.log();
    assert!(log.lines().count() - before <= 10, "{log}");
}
