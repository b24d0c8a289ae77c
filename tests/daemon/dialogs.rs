//! What a PBX does with a call while it lasts: hold, another codec, transfer.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::calls::assert_whole;
use crate::house::{House, field};
use crate::phone::{Call, Phone, code, received};
use crate::voice::{FRAME, Law, Voice, wav_samples};

#[test]
fn a_caller_may_be_held_and_go_on_in_another_codec_from_another_address() {
    let house = House::new("");
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    let (first, second) = (Voice::new(Law::Mu, 2.0, 21), Voice::new(Law::A, 2.0, 22));
    call.say(&first, 0..first.len());

    let held = call.request("UPDATE", "", &phone.sdp("0", "a=sendonly\r\n"));
    assert!(code(&held) == 200 && held.contains("a=recvonly"), "{held}");
    assert_eq!(version(&held), 2);
    let inactive = phone.sdp("0", "a=inactive\r\n").replace("IP4 127.0.0.1", "IP4 0.0.0.0");
    let held = call.request("INVITE", "", &inactive);
    assert!(code(&held) == 200 && held.contains("a=inactive"), "{held}");
    assert_eq!(version(&held), 3);
    let again = call.request("UPDATE", "", &inactive);
    assert_eq!(version(&again), 3, "nothing has changed");

    let moved = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = moved.local_addr().unwrap().port();
    let sdp =
        phone.sdp("8", "").replace(&format!("audio {} ", call.port()), &format!("audio {port} "));
    let resumed = call.request("INVITE", "", &sdp);
    assert!(code(&resumed) == 200 && resumed.contains("a=sendrecv"), "{resumed}");
    assert!(resumed.contains("RTP/AVP 8\r\n") && version(&resumed) == 4, "{resumed}");
    call.goes_on_from(&moved, 8);
    call.say(&second, 0..second.len());
    call.hang_up();

    let recorded = wav_samples(&house.message());
    assert_whole(&first, &recorded);
    assert_whole(&second, &recorded);
}

#[test]
fn a_codec_that_changes_in_the_greeting_leaves_the_whole_greeting_and_the_beep() {
    let house = House::new("");
    let phone = Phone::new(&house);
    let undisturbed = phone.call("1000");
    let whole = undisturbed.listen_until_silence().len();
    undisturbed.hang_up();

    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    let changed = call.request("INVITE", "", &phone.sdp("8 101", EVENTS));
    assert!(code(&changed) == 200 && changed.contains("RTP/AVP 8 101\r\n"), "{changed}");
    let heard = call.listen_until_silence();
    assert!(heard.len() + 10 * FRAME > whole, "{} of {whole} bytes", heard.len());
    let voice = Voice::new(Law::A, 2.5, 26);
    call.goes_on_from(&phone.rtp, 8);
    call.say(&voice, 0..voice.len());
    call.hang_up();
    assert_whole(&voice, &wav_samples(&house.message()));
}

#[test]
fn a_transferred_caller_is_who_the_message_is_from() {
    let house = House::new("[sip]\npeers = [{ address = '127.0.0.1', trusted = true }]");
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    let voice = Voice::new(Law::Mu, 2.5, 23);
    call.say(&voice, 0..50);
    let bob = "P-Asserted-Identity: \"Bob\" <sip:200@pbx.example>\r\n";
    assert_eq!(code(&call.request("UPDATE", bob, "")), 200);
    call.say(&voice, 50..voice.len());
    call.hang_up();
    let audio = house.message();
    assert_eq!(field(&audio, "callerid"), "\"Bob\" <200>");
    assert!(audio.to_str().unwrap().contains("_200_"), "{}", audio.display());
}

#[test]
fn whom_nobody_trusts_cannot_change_the_caller() {
    let house = House::new("");
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    let voice = Voice::new(Law::Mu, 2.5, 24);
    let bob = "P-Asserted-Identity: \"Bob\" <sip:200@pbx.example>\r\n";
    assert_eq!(code(&call.request("UPDATE", bob, "")), 200);
    call.say(&voice, 0..voice.len());
    call.hang_up();
    assert_eq!(field(&house.message(), "caller_num"), "+12125550142");
}

#[test]
fn an_attended_transfer_leaves_its_message_where_the_first_call_was() {
    let house = House::new("");
    let (alice, bob) = (Phone::new(&house), Phone::new(&house));
    let first = alice.call("1000");
    let replaces = format!("Replaces: {}\r\n", first.replaces());
    // A REFER names our Contact, which has no user part.
    let began = Instant::now();
    let answer = bob.invite_with("unknown", &replaces, &bob.sdp("0 101", EVENTS));
    let mut second = bob.accepted("unknown", &answer, began);
    first.expect_bye();
    second.skip_to_the_end_of_the_beep();
    let voice = Voice::new(Law::Mu, 2.5, 25);
    second.say(&voice, 0..voice.len());
    second.hang_up();
    assert_whole(&voice, &wav_samples(&house.message()));
}

#[test]
fn a_pbx_that_is_trusted_may_refer_the_call_to_another_party() {
    let house = House::new("[sip]\npeers = [{ address = '127.0.0.1', trusted = true }]");
    let (alice, carol) = (Phone::new(&house), Phone::new(&house));
    let mut first = alice.call("1000");
    first.skip_to_the_end_of_the_beep();
    let (hers, mine) = (Voice::new(Law::Mu, 2.0, 31), Voice::new(Law::Mu, 2.0, 32));
    first.say(&hers, 0..hers.len());
    assert_eq!(code(&first.request("REFER", &refer_to(carol.address(), "127.0.0.1"), "")), 202);
    let invite = carol.expect("INVITE");
    assert!(invite.contains("Require: replaces\r\n"), "{invite}");
    assert!(invite.contains("Replaces: far@pbx;to-tag=1;from-tag=2\r\n"), "{invite}");
    let second = carol.take(&invite, "P-Asserted-Identity: \"Carol\" <sip:300@pbx.example>\r\n");
    assert_eq!(outcome(&first), "SIP/2.0 200 OK");
    first.expect_bye();
    second.say(&mine);
    second.hang_up();

    let audio = house.message();
    let recorded = wav_samples(&audio);
    assert_whole(&hers, &recorded);
    assert_whole(&mine, &recorded);
    assert_eq!(field(&audio, "callerid"), "\"Carol\" <300>");
}

#[test]
fn a_transfer_that_fails_leaves_the_call_and_its_recording() {
    let house = House::new("[sip]\npeers = [{ address = '127.0.0.1', trusted = true }]");
    let (alice, carol) = (Phone::new(&house), Phone::new(&house));
    let mut call = alice.call("1000");
    call.skip_to_the_end_of_the_beep();
    let voice = Voice::new(Law::Mu, 2.5, 33);
    call.say(&voice, 0..50);
    assert_eq!(code(&call.request("REFER", &refer_to(carol.address(), "127.0.0.1"), "")), 202);
    let invite = carol.expect("INVITE");
    carol.reply(&invite, "481 Call Does Not Exist", "");
    carol.expect("ACK");
    assert_eq!(outcome(&call), "SIP/2.0 481 Call Does Not Exist");
    call.say(&voice, 50..voice.len());
    call.hang_up();
    assert_whole(&voice, &wav_samples(&house.message()));
}

#[test]
fn nobody_makes_us_call_where_we_should_not() {
    let trusting = House::new("[sip]\npeers = [{ address = '127.0.0.1', trusted = true }]");
    let wary = House::new("[sip]\npeers = [{ address = '127.0.0.1' }]");
    // Elsewhere, a name that leads nowhere, and whom nobody trusts.
    for (house, host) in
        [(&trusting, "127.0.0.2"), (&trusting, "nowhere.invalid"), (&wary, "127.0.0.1")]
    {
        let (alice, carol) = (Phone::new(house), Phone::new(house));
        let mut call = alice.call("1000");
        let refer = refer_to(carol.address(), host);
        assert_eq!(code(&call.request("REFER", &refer, "")), 603, "{host}");
        let plain = format!("Refer-To: <sip:carol@{}>\r\n", carol.address());
        assert_eq!(code(&call.request("REFER", &plain, "")), 603, "{host}");
        call.hang_up();
    }
}

/// What the NOTIFYs of a REFER say in the end.
fn outcome(call: &Call) -> String {
    loop {
        let told = call.expect("NOTIFY");
        call.reply(&told);
        if told.contains("Subscription-State: terminated") {
            return told.lines().last().unwrap().to_owned();
        }
        assert!(told.ends_with("\r\n\r\nSIP/2.0 100 Trying\r\n"), "{told}");
    }
}

fn refer_to(target: SocketAddr, host: &str) -> String {
    let port = target.port();
    format!(
        "Refer-To: <sip:carol@{host}:{port}?Replaces=far%40pbx%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n"
    )
}

#[test]
fn a_call_rings_as_long_as_is_configured() {
    let house = House::new("[sip]\nringing = '180'\nring_seconds = 1");
    let phone = Phone::new(&house);
    let call = phone.call("1000");
    assert!(call.timing.answer >= Duration::from_secs(1), "{:?}", call.timing.answer);
    call.hang_up();

    // With early media the tone is there before the answer.
    let house = House::new("[sip]\nringing = '183'\nring_seconds = 10");
    let phone = Phone::new(&house);
    let began = Instant::now();
    phone.send_invite("1000", &phone.sdp("0", ""));
    received(&phone.rtp, &mut [0; 2048]).expect("no ringing tone");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let answer = phone.answer_to_invite("1000");
    assert!(answer.contains("m=audio"), "{answer}");
    phone.accepted("1000", &answer, began).hang_up();
}

/// Of the description in an answer.
fn version(answer: &str) -> u32 {
    let origin = answer.lines().find_map(|line| line.strip_prefix("o=")).expect(answer);
    origin.split(' ').nth(2).unwrap().parse().unwrap()
}

const EVENTS: &str = "a=rtpmap:101 telephone-event/8000\r\n";
