//! Every language has words for everything that is said, and the sounds of all of them or of none.

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

/// A language is spoken whole or not at all: half a sentence in English helps nobody.
#[test]
fn a_language_that_is_spoken_lacks_no_sound() {
    for language in ALL {
        let code = language.code;
        let spoken = spoken(code);
        if spoken.is_empty() && code != "en" {
            continue;
        }
        let (listed, signals) = (listed(&format!("sounds/prompts/{code}.tsv")), signals(code));
        let missing: Vec<_> = listed.difference(&spoken).collect();
        assert!(missing.is_empty(), "make them with sounds/generator: {code} {missing:#?}");
        let unknown: Vec<_> =
            spoken.difference(&listed).filter(|name| !signals.contains(&name.as_str())).collect();
        assert!(unknown.is_empty(), "nobody says these of {code}: {unknown:#?}");
    }
}

/// Mono PCM16 at 16 kHz behind 44 bytes, and something in it.
#[test]
fn every_sound_is_a_master() {
    for language in ALL {
        for name in spoken(language.code) {
            let path = format!("sounds/{}/{name}.wav", language.code);
            let bytes = fs::read(&path).unwrap();
            let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let (format, rate) = (field(20), field(24));
            assert_eq!((&bytes[..4], &bytes[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]), "{path}");
            assert_eq!((format, rate, field(32)), (0x1_0001, 16_000, 0x10_0002), "{path}");
            assert_eq!(&bytes[36..40], b"data", "{path}");
            assert_eq!(field(40) as usize, bytes.len() - 44, "{path}");
            assert!(bytes.len() > 44 + 3_200, "{path} is shorter than any word");
        }
    }
}

/// The sounds of a language, by name.
fn spoken(code: &str) -> BTreeSet<String> {
    let root = Path::new("sounds").join(code);
    let (mut names, mut places) = (BTreeSet::new(), vec![root.clone()]);
    while let Some(place) = places.pop() {
        let Ok(entries) = fs::read_dir(&place) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                places.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().with_extension("");
                names.insert(name.to_str().unwrap().to_owned());
            }
        }
    }
    names
}

/// Sounds without words: every language has those of English.
fn signals(code: &str) -> &'static [&'static str] {
    if code == "en" { &["beep", "silence/1"] } else { &[] }
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
    prompts.extend("0123456789*#".chars().map(Prompt::Key));
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

pub fn listed(path: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}
