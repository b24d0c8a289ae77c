//! Messages left by real clients, as they are found in the tree and in the list.

use std::cell::Cell;
use std::fs;
use std::net::UdpSocket;

use serde_json::Value;

use crate::clients::{baresip, sipp, sipp_with};
use crate::house::{House, field, names};
use crate::phone::Phone;
use crate::voice::{FRAME, Kept, Law, Voice, loud_seconds, wav_samples, write_wav};

#[test]
fn sipp_leaves_a_message_by_udp_in_pcmu_and_every_frame_is_kept() {
    let house = House::new("");
    let voice = Voice::new(Law::Mu, 4.0, 1);
    fs::write(house.dir.path().join("voice.raw"), &voice.bytes).unwrap();
    sipp(&house, "pcmu-udp.xml", "UDP");

    let audio = house.message();
    let recorded = wav_samples(&audio);
    assert_whole(&voice, &recorded);
    assert!(loud_seconds(&recorded) > 3.5);
    let stem = audio.file_stem().unwrap().to_str().unwrap();
    assert_eq!(names(&house.inbox()), [format!("{stem}.txt"), format!("{stem}.wav")]);
    let parts: Vec<&str> = stem.split('_').collect();
    let ["voicemail", second, call, owner, "+12125550142", "4"] = parts[..] else {
        panic!("{stem} is no name of ours")
    };
    assert_eq!(
        (second, call),
        (field(&audio, "origtime").as_str(), field(&audio, "call").as_str())
    );
    assert!(call.len() == 17 && owner.parse::<u64>().is_ok(), "{stem}");
    for (key, value) in [
        ("origmailbox", "1000"),
        ("context", "default"),
        ("callerid", "\"Grace Hopper\" <+12125550142>"),
        ("caller_num", "+12125550142"),
        ("caller_name", "Grace Hopper"),
        ("duration", "4"),
        ("rate", "8000"),
        ("number", "1"),
    ] {
        assert_eq!(field(&audio, key), value, "{key}");
    }
    assert_eq!(house.drafts(), [""; 0]);

    let list = house.telebroad("1000");
    let [Value::Object(item)] = &list[..] else { panic!("{list:?}") };
    assert!(item.values().all(Value::is_string), "{item:?}");
    for (key, value) in [
        ("caller", "Grace Hopper"),
        ("callerid", "12125550142"),
        ("duration", "4"),
        ("mailbox", "1000"),
        ("dir", "INBOX"),
        ("read_by", ""),
        ("name", stem),
        ("time", second),
    ] {
        assert_eq!(item[key], value, "{key}");
    }
}

#[test]
fn sipp_leaves_a_message_by_tcp_in_pcma_with_a_late_offer_and_a_hold_in_the_middle() {
    let house = House::new(
        "[deposit]\nsilence_seconds = 6\n[sip]\n[[sip.peers]]\naddress = '127.0.0.1'\ntrusted = true",
    );
    let (first, second) = (Voice::new(Law::A, 2.0, 2), Voice::new(Law::A, 2.0, 3));
    fs::write(house.dir.path().join("first.raw"), &first.bytes).unwrap();
    fs::write(house.dir.path().join("second.raw"), &second.bytes).unwrap();
    sipp(&house, "pcma-tcp-late-offer.xml", "TCP");

    let audio = house.message();
    let recorded = wav_samples(&audio);
    assert_whole(&first, &recorded);
    assert_whole(&second, &recorded);
    assert_eq!((field(&audio, "exten"), field(&audio, "to")), ("1000".into(), "9000".into()));
}

#[test]
fn sipp_leaves_a_message_with_a_password() {
    let house = House::new(
        "[sip]\nrealm = 'vm'\nauthenticate = 'strangers'\ndigest = ['MD5']\n\
         [[sip.peers]]\nusername = 'grace'\nsecret = 'hopper'",
    );
    let voice = Voice::new(Law::Mu, 4.0, 1);
    fs::write(house.dir.path().join("voice.raw"), &voice.bytes).unwrap();
    sipp_with(&house, "digest-udp.xml", "UDP", &["-au", "grace", "-ap", "hopper"]);
    assert_whole(&voice, &wav_samples(&house.message()));
    assert!(!house.log().contains("hopper"));

    // Our own caller answers with more than MD5, where he may.
    let secret = house.dir.path().join("secret");
    fs::write(&secret, "hopper\n").unwrap();
    let target = format!("sip:1000@{}", house.sip("UDP"));
    let called = |more: &[&str]| {
        let call = ["call", &target, "--wait", "1"];
        house.run(&[&call[..], more].concat()).status.success()
    };
    let file = secret.to_str().unwrap();
    assert!(called(&["--user", "grace", "--password-file", file, "--realm", "vm"]));
    assert!(!called(&["--user", "grace", "--password-file", file]));
    assert!(!called(&["--user", "murray", "--password-file", file, "--realm", "vm"]));
    assert!(!called(&[]));
}

#[test]
fn baresip_leaves_a_message() {
    let house = House::new("[deposit]\ninstructions = false");
    // A short greeting of the owner's own.
    write_wav(&house.mailbox().join("unavail.wav"), &Voice::new(Law::Mu, 0.3, 4).samples());
    // Speech, a second of silence, speech.
    let mut said = Voice::new(Law::Mu, 4.0, 5).samples();
    said[16_000..24_000].fill(0);
    let wav = house.dir.path().join("said.wav");
    // And again.
    write_wav(&wav, &said.repeat(2));
    baresip(&house, "UDP", &wav, 3);

    let recorded = wav_samples(&house.message());
    let loud = loud_seconds(&recorded);
    assert!((1.5..6.0).contains(&loud), "{loud}");
    let list = house.telebroad("1000");
    assert_eq!((list.len(), &list[0]["callerid"]), (1, &Value::from("12125550142")));
}

#[test]
fn a_caller_hears_the_greeting_at_once_and_the_beep_when_pound_is_pressed() {
    let house = House::new("");
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    // Which did not wait for the caller's first word: nothing was said so far.
    println!(
        "INVITE to 200 {:?}, ACK to the first sound {:?}",
        call.timing.answer, call.timing.sound
    );

    call.press_pound();
    // The greeting would last for three seconds more.
    let heard = call.listen_until_silence();
    assert!((20..150).contains(&(heard.len() / FRAME)), "{} frames", heard.len() / FRAME);
    let voice = Voice::new(Law::Mu, 2.5, 6);
    call.say(&voice, 0..voice.len());
    call.press_pound();
    // "Your message has been saved. Goodbye."
    assert!(call.listen_until_silence().len() / FRAME > 80);
    call.expect_bye();
    assert_whole(&voice, &wav_samples(&house.message()));
}

#[test]
fn what_a_stranger_sends_into_a_recording_is_not_in_the_message() {
    let house = House::new("");
    let (phone, stranger) = (Phone::new(&house), UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    let (voice, noise) = (Voice::new(Law::Mu, 3.0, 7), Voice::new(Law::Mu, 3.0, 8));
    let (audio, sent) = (call.audio, Cell::new(0));
    // The stranger knows all but the caller's own port, and is always a frame ahead.
    call.say_with(&voice, 0..voice.len(), |packet| {
        let number = u16::from_be_bytes([packet[2], packet[3]]) + 1;
        let time = u32::from_be_bytes(packet[4..8].try_into().unwrap()) + 160;
        let frame = &noise.bytes[sent.get() * FRAME..][..FRAME];
        sent.set(sent.get() + 1);
        let head = [&packet[..2], &number.to_be_bytes(), &time.to_be_bytes(), &packet[8..12]];
        // It may be told that nobody listens to it.
        let _ = stranger.send_to(&[&head.concat(), frame].concat(), audio);
    });
    call.hang_up();

    let recorded = wav_samples(&house.message());
    assert_whole(&voice, &recorded);
    assert_eq!(noise.kept_in(&recorded).head, noise.len());
}

#[test]
fn a_message_that_is_too_short_is_thrown_away_and_its_caller_asked_again() {
    let house = House::new("");
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    let voice = Voice::new(Law::Mu, 2.5, 9);
    call.say(&voice, 0..50);
    call.press_pound();
    // "Your message is too short. Please record it again after the tone."
    assert!(call.listen_until_silence().len() / FRAME > 100);

    call.say(&voice, 0..voice.len());
    call.hang_up();
    assert_whole(&voice, &wav_samples(&house.message()));
    assert_eq!(house.drafts(), [""; 0]);
}

#[test]
fn a_message_in_which_nobody_speaks_is_kept_and_says_so() {
    let house = House::new("[deposit]\ninstructions = false\nlevel_dbfs = -20");
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    let mut silence = Voice::new(Law::Mu, 3.0, 30);
    silence.bytes.fill(0xff);
    call.say(&silence, 0..silence.len());
    call.hang_up();
    let audio = house.message();
    assert_eq!(field(&audio, "empty"), "yes");
    assert!(wav_samples(&audio).len() > 2 * 8000);
}

#[test]
fn a_full_mailbox_says_so_and_records_nothing() {
    let house = House::new("");
    house.ok(&["mailbox", "edit", "1000", "--max-messages", "1"]);
    let voice = Voice::new(Law::Mu, 2.2, 10);
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    call.say(&voice, 0..voice.len());
    call.hang_up();
    house.message();

    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    // It skips only who is not there: "The mailbox is full. Goodbye."
    call.press_pound();
    assert!(call.listen_until_silence().len() / FRAME > 200);
    call.expect_bye();
    house.message();
    assert_eq!(house.drafts(), [""; 0]);
}

/// Nothing missing but perhaps the first frame, nothing in between that nobody said.
pub fn assert_whole(voice: &Voice, recorded: &[i16]) {
    let kept = voice.kept_in(recorded);
    assert!(kept.head <= 1, "{kept:?}");
    assert_eq!(kept, Kept { head: kept.head, middle: 0, tail: 0, foreign: 0 });
}
