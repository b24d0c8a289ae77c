//! Sentences that callers hear, made of prompts, in every language: until each prompt is in one.
//!
//! `sounds/generator/check.py` joins the prompts as the server does, and has them read back.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;
use std::{env, fs};

use afterbeep::mailbox::{CallerId, Folder};
use afterbeep::say::lang::{ALL, Clock};
use afterbeep::say::{Clip, Kind, Prompt, Shelf, Voice};

const FILE: &str = "sounds/prompts/sentences.tsv";
const HEAD: &str =
    "# Language, and the prompts of a sentence; `BLESS=1 cargo test --test calls sentences`.";

#[test]
fn the_sentences_that_are_checked_are_those_of_the_server() {
    let mut written = format!("{HEAD}\n");
    for language in ALL {
        let words = super::prompts::listed(&format!("sounds/prompts/{}.tsv", language.code));
        let mut left = words.clone();
        for sentence in sentences(language.code, &words) {
            if sentence.len() > 1 && sentence.iter().any(|name| left.contains(name)) {
                left.retain(|name| !sentence.contains(name));
                writeln!(written, "{}\t{}", language.code, sentence.join(" ")).unwrap();
            }
        }
    }
    if env::var_os("BLESS").is_some() {
        fs::write(FILE, &written).unwrap();
    }
    let same = fs::read_to_string(FILE).unwrap() == written;
    assert!(same, "{FILE} is not what the server says: BLESS=1 writes it anew");
}

/// Each as the names of its prompts.
fn sentences(code: &str, words: &BTreeSet<String>) -> Vec<Vec<String>> {
    let mut all = vec![];
    for (clock, prompts) in said() {
        let voice = Voice { clock, ..Voice::new(code, NOW) };
        let mut names = vec![];
        for clip in voice.clips(&prompts) {
            spoken(&clip, words, &mut names);
        }
        all.push(names);
    }
    all
}

/// Every letter and sign is in one.
const CALLERS: [&str; 9] =
    ["2001", "+4930123456", "anna", "weber", "xylo", "d-j.q_z@v", "figs", "mckp", "tuh"];

/// A Thursday's noon.
const NOW: i64 = 1_795_694_400;

fn said() -> Vec<(Option<Clock>, Vec<Prompt>)> {
    let mut said = vec![];
    let mut say = |prompts: Vec<Prompt>| said.push((None, prompts));
    for n in 0..=100 {
        say(vec![Prompt::Sound("vm-youhave"), Prompt::Count(n, Kind::New)]);
    }
    for n in [0, 1, 2, 250, 340, 530, 720, 910, 1_460, 5_670, 7_890] {
        for kind in [Kind::Old, Kind::Urgent, Kind::Any] {
            let and = [Prompt::Sound("vm-and"), Prompt::Count(2, Kind::Old)];
            say([&[Prompt::Sound("vm-youhave"), Prompt::Count(n, kind)], &and[..]].concat());
        }
    }
    for n in 2..10 {
        say(vec![Prompt::Sound("position/message"), Prompt::Number(n)]);
        say(vec![Prompt::Sound("position/urgent"), Prompt::Number(n)]);
        say(vec![Prompt::Number(n), Prompt::Sound("vm-recipients")]);
    }
    for shelf in shelves() {
        let saved = [Prompt::Sound("position/message"), Prompt::Number(4)];
        let to = [Prompt::Sound("vm-savedto"), Prompt::Shelf(shelf.clone())];
        say([saved, to].concat());
        say(vec![Prompt::Sound("vm-emptyfolder"), Prompt::Shelf(shelf.clone())]);
        say(vec![Prompt::Sound("vm-onefor"), Prompt::Shelf(shelf)]);
    }
    for seconds in [1, 2, 60, 61, 135, 1_281] {
        say(vec![Prompt::Lasts(Duration::from_secs(seconds))]);
    }
    for number in CALLERS {
        let number = number.into();
        say(vec![Prompt::Caller(CallerId { number, ..CallerId::default() })]);
    }
    for number in ["1234", "5678", "9026", "6262", "3975", "4201", "17", "800"] {
        for gone in ["vm-isunavail", "vm-isonphone"] {
            let digits = Prompt::Digits(number.into());
            say(vec![Prompt::Sound("vm-theperson"), digits, Prompt::Sound(gone)]);
        }
    }
    for number in ["7803", "2128560149", "0176445", "06659"] {
        for lead in ["vm-num-i-have", "vm-extension"] {
            say(vec![Prompt::Sound(lead), Prompt::Digits(number.into())]);
        }
    }
    say(["vm-enter-num-to-call", "vm-then-pound"].map(Prompt::Sound).into());
    for (menu, key) in menus().iter().zip("1234567890*#".chars().cycle()) {
        say(vec![Prompt::Sound(menu), Prompt::Key(key)]);
    }
    for hours in 0..400 * 24 / 23 {
        let then = NOW - hours * 23 * 3_600 - hours * 61;
        for clock in [Clock::TwentyFour, Clock::Twelve] {
            said.push((Some(clock), vec![Prompt::DateTime(then)]));
        }
    }
    said
}

fn shelves() -> Vec<Shelf> {
    use Folder::{Deleted, Family, Friends, Other, Sent, Work};
    let mut folders = vec![Work, Family, Friends, Deleted, Sent, Other("shelf".into())];
    folders.extend((1..=5).map(|n| Other(format!("Cust{n}").into())));
    [Shelf::New, Shelf::Old].into_iter().chain(folders.into_iter().map(Shelf::Filed)).collect()
}

/// What comes before a key.
fn menus() -> Vec<&'static str> {
    let listed = super::prompts::listed("sounds/prompts/en.tsv").into_iter();
    listed.filter(|name| name.starts_with("menu/")).map(|name| &*name.leak()).collect()
}

fn spoken(clip: &Clip, words: &BTreeSet<String>, names: &mut Vec<String>) {
    match clip {
        Clip::Sound { name, .. } if words.contains(name) => names.push(name.clone()),
        Clip::Sound { parts, .. } => {
            for part in parts {
                spoken(part, words, names);
            }
        }
        Clip::Caller { number, extension, stranger, .. } => {
            let of = if number.len() < 6 { extension } else { stranger };
            for part in of {
                spoken(part, words, names);
            }
        }
        Clip::Greeting(_) | Clip::Name(..) | Clip::Message { .. } | Clip::Take => {}
    }
}
