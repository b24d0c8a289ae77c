//! Every language has words for everything that is said; English has the sounds as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use afterbeep::mailbox::CallerId;
use afterbeep::say::lang::{ALL, Clock};
use afterbeep::say::{Clip, Kind, Prompt, Voice};

#[test]
fn no_language_lacks_a_word() {
    for language in ALL {
        let code = language.code;
        let written = listed(&format!("sounds/prompts/{code}.tsv"));
        let mut missing: BTreeSet<String> =
            fixed().into_iter().filter(|name| !written.contains(name)).collect();
        for clip in everything(code) {
            lacking(&clip, &written, &mut missing);
        }
        assert!(missing.is_empty(), "{code}.tsv lacks {missing:#?}");
    }
}

#[test]
fn every_english_word_was_spoken() {
    let missing: Vec<String> = listed("sounds/prompts/en.tsv")
        .into_iter()
        .filter(|name| !Path::new(&format!("sounds/en/{name}.wav")).is_file())
        .collect();
    assert!(missing.is_empty(), "make them with sounds/generator: {missing:#?}");
}

/// The sounds that the menus name.
fn fixed() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut places = vec![Path::new("src/ivr").to_owned()];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&place).unwrap();
        let only_menus = place.ends_with("words.rs");
        for word in text.split('"').skip(1).step_by(2) {
            let families = ["vm-", "dir-", "pbx-", "menu/", "position/"];
            let is_name = families.iter().any(|family| word.starts_with(family))
                && !word.contains([' ', '{']);
            // The sentences of Asterisk's packs, of which ours are the parts.
            let is_whole = only_menus && !word.starts_with("menu/")
                || ["vm-first", "vm-last", "vm-message", "vm-Urgent"].contains(&word);
            if is_name && !is_whole {
                names.insert(word.to_owned());
            }
        }
    }
    assert!(names.len() > 120, "only {} names found", names.len());
    names
}

/// What depends on grammar: numbers, counts, dates, lengths, callers.
fn everything(language: &str) -> Vec<Clip> {
    let now = 1_795_651_200;
    let mut prompts: Vec<Prompt> =
        (0..=120).chain([200, 999, 1_000, 2_026]).map(Prompt::Number).collect();
    for kind in [Kind::New, Kind::Urgent, Kind::Old, Kind::Any] {
        prompts.extend((0..100).map(|n| Prompt::Count(n, kind)));
    }
    prompts.extend((-1..400).map(|days| Prompt::DateTime(now - days * 86_400)));
    prompts.extend((0..1_440).map(|minutes| Prompt::DateTime(now + minutes * 60)));
    prompts.extend((1..200).map(|seconds| Prompt::Lasts(Duration::from_secs(seconds))));
    prompts.push(Prompt::Digits("0123456789*#abcdefghijklmnopqrstuvwxyz-+._@0".into()));
    for number in ["", "2001"] {
        let caller = CallerId { number: number.into(), ..CallerId::default() };
        prompts.push(Prompt::Caller(caller));
    }
    let clocks = [None, Some(Clock::Twelve), Some(Clock::TwentyFour)];
    let voices = clocks.map(|clock| Voice { clock, ..Voice::new(language, now) });
    voices.iter().flat_map(|voice| voice.clips(&prompts)).collect()
}

fn lacking(clip: &Clip, written: &BTreeSet<String>, missing: &mut BTreeSet<String>) {
    match clip {
        Clip::Sound { name, parts } => {
            let mut of_parts = BTreeSet::new();
            for part in parts {
                lacking(part, written, &mut of_parts);
            }
            if !written.contains(name) && (parts.is_empty() || !of_parts.is_empty()) {
                missing.insert(name.clone());
            }
        }
        Clip::Caller { known, extension, stranger, .. } => {
            for clip in known.iter().chain(extension).chain(stranger) {
                lacking(clip, written, missing);
            }
        }
        Clip::Greeting(_) | Clip::Name(..) | Clip::Message { .. } | Clip::Take => {}
    }
}

fn listed(path: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}
