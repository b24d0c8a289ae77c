//! Replays the transcripts in `tests/calls/`: `->` is what happens to the call, `<-` what the
//! session asks for. `BLESS=1` rewrites them; read the difference like prose. Beside them, a storm
//! of callers and owners who press anything at any time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "calls/prompts.rs"]
mod prompts;
#[path = "calls/script.rs"]
mod script;
#[path = "calls/sentences.rs"]
mod sentences;
#[path = "calls/storm.rs"]
mod storm;

use std::path::Path;
use std::{env, fs};

use afterbeep::fuzz::line::Seen;

#[test]
fn transcripts() {
    let mut played = 0;
    let mut wrong = vec![];
    for entry in fs::read_dir("tests/calls").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let script = fs::read_to_string(&path).unwrap();
        let replayed = script::replay(&script, name(&path));
        if env::var_os("BLESS").is_some() {
            fs::write(&path, &replayed).unwrap();
        } else if script != replayed {
            wrong.push(format!("{}\n{replayed}", path.display()));
        }
        played += 1;
    }
    assert!(wrong.is_empty(), "these went another way:\n{}", wrong.join("\n"));
    assert!(played >= 60, "only {played} transcripts found");
}

/// The printed card is what the menus do.
#[test]
fn the_card_in_conf_is_that_of_the_menus() {
    let card = afterbeep::ivr::keys::KeyMap::default().card();
    if env::var_os("BLESS").is_some() {
        fs::write("conf/menus.txt", &card).unwrap();
    }
    assert_eq!(fs::read_to_string("conf/menus.txt").unwrap(), card, "BLESS=1 writes it anew");
}

/// However people behave: no recording is lost, an edit that was told is done, nothing is said to
/// a dead line, and a session that is not over always has something to wait for.
#[test]
fn nothing_is_lost_and_nothing_hangs() {
    let sessions = env::var("STORM").map_or(5_000, |many| many.parse().unwrap());
    let seen = (0..sessions).fold(Seen::default(), |seen, seed| storm::storm(seed, seen));
    println!("{seen:?}");
    let Seen { delivered, sent, forwarded, edits, greetings, logins } = seen;
    for (what, many) in [
        ("messages left", delivered),
        ("messages sent", sent),
        ("messages forwarded", forwarded),
        ("edits", edits),
        ("greetings", greetings),
        ("logins", logins),
    ] {
        assert!(many > sessions / 1_000, "the storm hardly ever came to {what}: {many}");
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
