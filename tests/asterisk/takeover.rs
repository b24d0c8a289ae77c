//! The daemon is pointed at an Asterisk spool: everything in it is there, and served.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::house::House;
use crate::spool::{MESSAGES, UNAVAILABLE, contents, make};
use crate::voice::wav_samples;

#[test]
fn every_message_of_an_old_spool_is_there_and_none_is_touched() {
    let house = House::empty("");
    make(&house.spool);
    let before = contents(&house.spool);
    for mailbox in ["1000@default", "1001@default", "111@acme"] {
        house.ok(&["mailbox", "add", mailbox, "--pin", "4711"]);
    }
    let listed = || {
        let mut seen = BTreeSet::new();
        for (mailbox, folder) in MESSAGES.iter().map(|m| (m.0, m.1)).collect::<BTreeSet<_>>() {
            let list = house.ok(&["messages", "list", mailbox, "--folder", folder, "--json"]);
            for line in list.lines() {
                let message: Value = serde_json::from_str(line).unwrap();
                let file = message["file"].as_str().unwrap();
                let (stem, extension) = file.rsplit_once('/').unwrap().1.rsplit_once('.').unwrap();
                let caller = message["caller_name"].as_str().unwrap();
                let seconds = message["seconds"].as_f64().unwrap();
                assert!((2.9..=6.0).contains(&seconds), "{file}: {seconds} s");
                let told = [mailbox, folder, stem, caller, extension].map(str::to_owned);
                assert!(seen.insert((told, message["id"].to_string())), "{message}");
            }
        }
        seen
    };
    // A recording that nobody described is taken for one when it has not changed for a while.
    house.until("the recording without a text is there", || {
        house.ok(&["messages", "list", "1000", "--json"]).contains("msg0007.wav")
    });
    let first = listed();
    let expected: BTreeSet<[String; 5]> =
        MESSAGES.iter().map(|m| [m.0, m.1, m.2, m.3, m.4].map(str::to_owned)).collect();
    let found: BTreeSet<[String; 5]> = first.iter().map(|(told, _)| told.clone()).collect();
    assert_eq!(found, expected);
    assert_eq!(listed(), first, "the same ids at every start");
    assert_eq!(contents(&house.spool), before, "nothing was touched");
}

#[test]
fn an_old_spool_is_served_and_its_greeting_is_heard() {
    let mut house = House::empty("[deposit]\ninstructions = false");
    make(&house.spool);
    house.start();
    house.ok(&["mailbox", "add", "1000", "--pin", "4711"]);
    let heard = house.dir.path().join("heard.wav");
    house.ok(&[
        "call",
        &format!("sip:1000@{}", house.sip("UDP")),
        "--heard",
        heard.to_str().unwrap(),
        "--wait",
        "6",
    ]);
    let samples = wav_samples(&heard);
    assert!(tone_seconds(&samples, UNAVAILABLE) > 1.0, "the greeting of a .WAV file was not heard");
    // What is deleted goes with all its forms; the neighbours stay.
    assert!(house.log().lines().all(|line| !line.contains("panicked")), "{}", house.log());
    let before = fs::read_dir(house.inbox()).unwrap().count();
    assert!(before > 15);
}

/// How long a tone of this frequency sounds, by tenths of a second.
fn tone_seconds(samples: &[i16], hertz: u32) -> f64 {
    let tenth = 800;
    let is_tone = |piece: &&[i16]| {
        let energy: f64 = piece.iter().map(|&s| f64::from(s).powi(2)).sum();
        let turn = std::f64::consts::TAU * f64::from(hertz) / 8000.0;
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &sample) in piece.iter().enumerate() {
            let angle = turn * f64::from(u32::try_from(n).unwrap());
            re += f64::from(sample) * angle.cos();
            im += f64::from(sample) * angle.sin();
        }
        let part = (re * re + im * im) * 2.0 / f64::from(tenth);
        energy > 1e6 * f64::from(tenth) && part > 0.8 * energy
    };
    let tenths = samples.chunks_exact(800).filter(is_tone).count();
    f64::from(u32::try_from(tenths).unwrap()) / 10.0
}
