//! Each fuzz target for a moment: the committed corpus, and damaged versions of it by a fixed
//! seed. `tests/long/fuzz.rs` runs them for as long as you like.

#[path = "long/mutate.rs"]
mod mutate;

use std::time::{Duration, Instant};

use afterbeep::fuzz::TARGETS;

#[test]
fn no_message_breaks_a_promise() {
    run("message", 3_000);
}

/// The answer repeats nearly all of the request, and adds to it.
#[test]
fn an_answer_that_is_longer_than_a_message_may_be_is_none() {
    let request = |name: &str| {
        format!(
            "OPTIONS sip:a@b SIP/3.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKa\r\nFrom: <sip:{name}@x>;tag=1\r\n\
             To: <sip:b@b>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let room = 65_535 - request("").len();
    afterbeep::fuzz::message(request(&"a".repeat(room)).as_bytes());
}

#[test]
fn no_stream_breaks_a_promise() {
    run("stream", 1_500);
}

#[test]
fn no_session_description_breaks_a_promise() {
    run("description", 3_000);
}

#[test]
fn no_calls_break_a_promise() {
    run("dialog", 600);
}

#[test]
fn no_offer_and_no_answer_breaks_a_promise() {
    run("talk", 3_000);
}

#[test]
fn no_sidecar_breaks_a_promise() {
    run("sidecar", 3_000);
}

#[test]
fn no_protected_packet_breaks_a_promise() {
    run("srtp", 3_000);
}

#[test]
fn no_check_breaks_a_promise() {
    run("stun", 3_000);
}

#[test]
fn no_keys_break_a_promise() {
    run("secured", 3_000);
}

#[test]
fn no_rtp_breaks_a_promise() {
    run("rtp", 600);
}

#[test]
fn no_rtcp_breaks_a_promise() {
    run("rtcp", 3_000);
}

#[test]
fn no_key_breaks_a_promise() {
    run("dtmf", 600);
}

#[test]
fn no_wav_file_breaks_a_promise() {
    run("wav", 1_500);
}

#[test]
fn no_packet_of_g722_breaks_a_promise() {
    run("g722", 1_500);
}

#[test]
fn no_packet_of_opus_breaks_a_promise() {
    run("opus", 1_000);
}

#[test]
fn no_comfort_noise_breaks_a_promise() {
    run("noise", 1_500);
}

#[test]
fn no_voicemail_conf_breaks_a_promise() {
    run("voicemail", 1_500);
}

#[test]
fn no_audio_file_breaks_a_promise() {
    run("audio", 1_500);
}

#[test]
fn no_gsm_file_breaks_a_promise() {
    run("gsm", 300);
}

#[test]
fn no_keys_in_the_menus_break_a_promise() {
    run("menus", 3_000);
}

#[test]
fn each_target_has_its_corpus_and_its_file() {
    for (name, _) in TARGETS {
        assert!(mutate::corpus(name).len() >= 3, "{name}");
        let path = format!("{}/tests/fuzz/fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect(name);
        assert!(text.contains(&format!("afterbeep::fuzz::{name}(data)")), "{name}");
    }
}

fn run(name: &str, inputs: usize) {
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).expect("a target");
    let mut supply = mutate::Inputs::new(name, 1);
    let begun = Instant::now();
    for at in 0..inputs {
        // A machine under load shall not fail for it.
        if begun.elapsed() > Duration::from_secs(4) {
            println!("{name}: stopped after {at} inputs");
            return;
        }
        let input = supply.next();
        target(&input);
    }
}
