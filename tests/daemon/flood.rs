//! Floods, and a stop in the middle of calls: what runs goes on to its end.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::calls::assert_whole;
use crate::house::House;
use crate::phone::{Phone, code};
use crate::voice::{Law, Voice, wav_samples};

#[test]
fn a_flood_leaves_the_running_calls_without_a_lost_frame() {
    let house = House::new("");
    let boxes = ["1000", "1001", "1002"];
    house.ok(&["mailbox", "add", "1001-1002"]);
    let voices = [41, 42, 43].map(|seed| Voice::new(Law::Mu, 5.0, seed));
    thread::scope(|scope| {
        let callers = boxes.iter().zip(&voices).map(|(number, voice)| {
            let house = &house;
            scope.spawn(move || {
                let phone = Phone::new(house);
                let mut call = phone.call(number);
                call.skip_to_the_end_of_the_beep();
                call.say(voice, 0..voice.len());
                call.hang_up();
            })
        });
        let callers: Vec<_> = callers.collect();
        // While they speak.
        thread::sleep(Duration::from_millis(1_500));
        let dripping = drip(&house);
        shower(&house);
        for caller in callers {
            caller.join().unwrap();
        }
        drop(dripping);
    });
    for (number, voice) in boxes.iter().zip(&voices) {
        assert_whole(voice, &wav_samples(&message(&house, number)));
    }
    let ends = || house.log().lines().filter(|line| line.contains("the caller hung up")).count();
    house.until("the ends of all are told", || ends() == 3);
    // And those who come after are served.
    assert_eq!(code(&Phone::new(&house).request("OPTIONS")), 200);
}

/// 20,000 datagrams that are no messages, from ten sources, within a second or so.
fn shower(house: &House) {
    let invite = |n: usize| {
        format!(
            "INVITE sip:1000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{n}\r\n\
             From: <sip:a@h>;tag={n}\r\nTo: <sip:1000@h>\r\nCall-ID: {n}\r\nCSeq: {n} INVITE\r\n"
        )
    };
    let sockets: Vec<_> = (0..10).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let to = house.sip("UDP");
    for n in 0..20_000 {
        let datagram: Vec<u8> = match n % 5 {
            0 => (0..n % 300).map(|at| u8::try_from((at * 7 + n) % 256).unwrap()).collect(),
            1 => invite(n).into_bytes()[..n % 90 + 10].to_vec(),
            2 => (invite(n) + "Content-Length: 99999\r\n\r\n").into_bytes(),
            3 => invite(n).replace("CSeq", "C Seq").into_bytes(),
            _ => invite(n).replace("INVITE", "FROBNICATE").into_bytes(),
        };
        sockets[n % 10].send_to(&datagram, to).unwrap();
        if n % 250 == 249 {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// 20,000 bytes in messages that never end, over connections that stay.
fn drip(house: &House) -> Vec<TcpStream> {
    let to = house.sip("TCP");
    let mut streams: Vec<_> = (0..100).map(|_| TcpStream::connect(to).unwrap()).collect();
    for byte in b"INVITE sip:1000@h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nX: ".iter().chain(&[b'y'; 149])
    {
        for stream in &mut streams {
            // It may have been hung up on.
            let _ = stream.write_all(&[*byte]);
        }
    }
    streams
}

#[test]
fn a_stop_lets_calls_finish_ends_those_that_last_and_takes_no_new_ones() {
    let mut house = House::new("[sip]\ndrain_seconds = 8");
    house.ok(&["mailbox", "add", "1001"]);
    let (short, long) = (&Voice::new(Law::Mu, 3.0, 51), &Voice::new(Law::Mu, 12.0, 52));
    let (one, two) = (Phone::new(&house), Phone::new(&house));
    thread::scope(|scope| {
        let (mut brief, mut lasting) = (one.call("1000"), two.call("1001"));
        brief.skip_to_the_end_of_the_beep();
        lasting.skip_to_the_end_of_the_beep();
        let speaking = scope.spawn(move || {
            brief.say(short, 0..short.len());
            brief.hang_up();
        });
        let going_on = scope.spawn(move || {
            lasting.say(long, 0..long.len());
            lasting.expect_bye();
        });
        house.signal(Signal::SIGTERM);
        let late = Phone::new(&house);
        house.until("it takes no more", || {
            let answer = late.request("OPTIONS");
            code(&answer) == 503 && answer.contains("Retry-After: ")
        });
        let late = Phone::new(&house);
        assert_eq!(code(&late.invite("1000", &late.sdp("0", ""))), 503);
        speaking.join().unwrap();
        going_on.join().unwrap();
    });
    house.until_over();
    assert_whole(short, &wav_samples(&message(&house, "1000")));
    let kept = long.kept_in(&wav_samples(&message(&house, "1001")));
    assert!(kept.head <= 1 && (kept.middle, kept.foreign) == (0, 0), "{kept:?}");
    assert!(kept.tail > 50 && long.len() - kept.tail > 150, "{kept:?}");
}

fn message(house: &House, number: &str) -> PathBuf {
    let list = || house.ok(&["messages", "list", number, "--json"]);
    house.until("the message is there", || list().lines().count() == 1);
    let message: Value = serde_json::from_str(list().trim()).unwrap();
    message["file"].as_str().unwrap().into()
}
