//! What an operator types, with a daemon and without one.

use std::fs;
use std::process::Command;

use afterbeep::state::State;
use afterbeep::state::attempt::Door;
use serde_json::Value;

use crate::house::{House, PROGRAM, names};
use crate::phone::{Phone, code};
use crate::voice::{Kept, Law, Voice, loud_seconds, wav_samples, write_wav};

#[test]
fn mailboxes_are_made_changed_and_removed_while_the_daemon_runs() {
    let house = House::new("");
    manage_mailboxes(&house, |to, expected| {
        let phone = Phone::new(&house);
        if expected == 200 {
            return phone.call(to).hang_up();
        }
        let answer = phone.invite(to, &phone.sdp("0", ""));
        assert_eq!(code(&answer), expected, "a call to {to}");
    });
}

#[test]
fn a_mailbox_is_not_removed_under_a_caller() {
    let house = House::new("");
    let remove = || house.run(&["mailbox", "remove", "1000", "--yes"]);
    let phone = Phone::new(&house);
    let call = phone.call("1000");
    let refused = remove();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && told.contains("try again"), "{told}");
    call.hang_up();
    house.until("it can be removed", || remove().status.success());
}

#[test]
fn mailboxes_are_made_changed_and_removed_without_a_daemon() {
    manage_mailboxes(&House::empty(""), |_, _| {});
}

/// `called`: a call is answered so.
fn manage_mailboxes(house: &House, called: impl Fn(&str, u16)) {
    called("2001", 404);
    let told = house.ok(&["mailbox", "add", "2000-2002@default", "--language", "en"]);
    for number in ["2000", "2001", "2002"] {
        assert!(told.contains(number), "{told}");
    }
    called("2001", 200);
    house.ok(&["mailbox", "edit", "2001", "--name", "Alan Turing", "--enabled", "false"]);
    called("2001", 480);
    let shown = house.ok(&["mailbox", "show", "2001"]);
    assert!(shown.contains("Alan Turing") && shown.contains("false"), "{shown}");
    house.ok(&["mailbox", "edit", "2001", "--enabled", "true", "--max-messages", "7"]);
    assert!(house.ok(&["mailbox", "show", "2001"]).contains("max_messages = 7"));
    house.ok(&["mailbox", "edit", "2001", "--max-messages", "", "--name", ""]);
    let shown = house.ok(&["mailbox", "show", "2001"]);
    assert!(!shown.contains("max_messages") && !shown.contains("Alan Turing"), "{shown}");
    called("2001", 200);
    let remove = || house.run(&["mailbox", "remove", "2001", "--yes"]);
    house.until("the last caller is gone", || remove().status.success());
    called("2001", 404);
    let list = house.ok(&["mailbox", "list", "--json"]);
    let listed: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<&str> =
        listed.iter().map(|mailbox| mailbox["mailbox"].as_str().unwrap()).collect();
    assert!(numbers.iter().any(|number| number.starts_with("2000")), "{list}");
    assert!(!numbers.iter().any(|number| number.starts_with("2001")), "{list}");
    assert!(!house.run(&["mailbox", "add", "2000"]).status.success(), "it is there already");
    assert!(!house.run(&["mailbox", "show", "2001"]).status.success(), "it is gone");
}

#[test]
fn who_is_shut_out_is_shown_and_let_in_with_a_daemon_and_without_one() {
    let mut house = House::empty("");
    house.ok(&["mailbox", "add", "1000"]);
    let list = |house: &House| -> Vec<String> {
        let list = house.ok(&["lock", "list"]);
        let who = |line: &str| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        list.lines().map(who).collect()
    };
    assert_eq!(house.ok(&["lock", "list"]), "nobody is shut out\n");
    guess(&house, &["192.0.2.1", "\u{1b}[31mred", "198.51.100.7", "o'brien by 192.0.2.1"]);
    let red = "api \\u{1b}[31mred";
    let owner = "phone mailbox 1000@default";
    assert_eq!(
        list(&house),
        [owner, red, "api 192.0.2.1", "api 198.51.100.7", "api o\\'brien by 192.0.2.1"]
    );
    house.ok(&["lock", "open", "198.51.100.7"]);
    house.ok(&["lock", "open", "o\\'brien by 192.0.2.1"]);
    house.start();
    house.ok(&["lock", "open", "192.0.2.1"]);
    assert_eq!(list(&house), [owner, red]);
    let refused = house.run(&["lock", "open", "192.0.2.1"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("mailbox unlock"), "{told}");
    house.ok(&["mailbox", "unlock", "1000"]);
    house.kill();
    assert_eq!(list(&house), [red]);
}

/// Wrong PINs for the mailbox, and wrong passwords of each source, until they are shut out.
fn guess(house: &House, sources: &[&str]) {
    let owner = fs::read_to_string(house.mailbox().join("mailbox.toml")).unwrap();
    let uuid = owner.lines().find_map(|line| line.strip_prefix("uuid = ")).unwrap();
    let mailbox = uuid.trim_matches('"').parse().ok();
    // So that no lock is over before the test is.
    let now = jiff::Timestamp::now().as_second() + 3600;
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let state = State::open(&house.dir.path().join("state")).await.unwrap();
        while let Ok(attempt) = state.attempt(mailbox, "home", Door::Phone, now) {
            attempt.wrong().await.unwrap();
        }
        for source in sources {
            while let Ok(attempt) = state.attempt(None, source, Door::Api, now) {
                attempt.wrong().await.unwrap();
            }
        }
        state.close().await;
    });
}

#[test]
fn our_own_caller_leaves_a_message_that_can_be_listed_and_exported() {
    let mut house = House::new("[deposit]\ninstructions = false");
    let voice = Voice::new(Law::Mu, 3.0, 30);
    let wav = house.dir.path().join("said.wav");
    let heard = house.dir.path().join("heard.wav");
    write_wav(&wav, &voice.samples());
    let told = house.ok(&[
        "call",
        &format!("sip:1000@{}", house.sip("UDP")),
        "--wav",
        wav.to_str().unwrap(),
        "--from",
        "2125550143",
        "--keys",
        "#",
        "--heard",
        heard.to_str().unwrap(),
    ]);
    assert!(told.contains("answered after") && told.contains("spoke for 3.0 s"), "{told}");
    assert!(loud_seconds(&wav_samples(&heard)) > 0.2);

    let audio = house.message();
    // Our caller plays as we do: the edges of a sound are faded, which changes its outermost frames.
    let Kept { head, middle, tail, .. } = voice.kept_in(&wav_samples(&audio));
    assert!(head <= 1 && middle == 0 && tail <= 1, "{head} {middle} {tail}");
    let listed = house.ok(&["messages", "list", "1000"]);
    assert!(listed.contains("2125550143") && listed.contains("3.0 s"), "{listed}");
    let export = |house: &House, name: &str| {
        let to = house.dir.path().join(name);
        house.ok(&["messages", "export", "1000", "--to", to.to_str().unwrap()]);
        assert_eq!(names(&to), names(&house.inbox()));
        let copy = to.join(audio.file_name().unwrap());
        assert_eq!(fs::read(copy).unwrap(), fs::read(&audio).unwrap());
    };
    export(&house, "with");

    house.kill();
    assert_eq!(house.ok(&["messages", "list", "1000"]), listed);
    export(&house, "without");
}

#[test]
fn a_broken_configuration_is_told_with_line_and_suggestion() {
    let house = House::empty("");
    let file = house.dir.path().join("broken.toml");
    fs::write(&file, "[sip]\nmax_cals = 3\n[deposit]\nmax_seconds = 'long'\n").unwrap();
    let done = Command::new(PROGRAM)
        .args(["--config", file.to_str().unwrap(), "check-config"])
        .output()
        .unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.contains("line 2: unknown option sip.max_cals; did you mean sip.max_calls?"));
    assert!(told.contains("line 4: deposit.max_seconds"), "{told}");
    house.ok(&["check-config"]);
    fs::write(&file, "[log]\nlevel = 'a=b=c'\n").unwrap();
    let done =
        Command::new(PROGRAM).args(["--config", file.to_str().unwrap(), "check-config"]).output();
    let told = String::from_utf8(done.unwrap().stderr).unwrap();
    assert!(told.contains("log.level: `a=b=c` is no level or filter"), "{told}");
}

#[test]
fn keys_that_cannot_work_are_told_and_nothing_starts_with_them() {
    let told = |config: &str| {
        let house = House::empty(config);
        let [check, serve] = ["check-config", "serve"].map(|what| house.run(&[what]));
        assert_eq!((check.status.code(), serve.status.code()), (Some(1), Some(1)), "{config}");
        let [check, serve] = [check, serve].map(|done| String::from_utf8(done.stderr).unwrap());
        (check, serve)
    };
    let (check, serve) = told("[menus.keys]\nmessage = { '#' = 'next' }\nmain = { '5' = 'fly' }\n");
    for why in ["main: `fly` means nothing there", "message: no key is left for exit"] {
        assert!(check.contains(&format!("menus.keys: {why}")), "{check}");
        assert!(serve.contains(why), "{serve}");
    }
    let person = "[deposit]\nscreen = true\noperator = '0'\n\
                  [menus.keys]\nscreen = { '0' = 'leave-message' }\n\
                  [sip]\ncalls_to = 'sip:{number}@pbx.example.com'\n";
    let (check, _) = told(person);
    assert!(check.contains("screen: 0 does something else while the greeting plays"), "{check}");
    House::empty(&person.replace("screen = true\n", "")).ok(&["check-config"]);
}

#[test]
fn the_log_as_json_says_what_happened_in_words() {
    let house = House::new("[log]\nformat = 'json'");
    let voice = Voice::new(Law::Mu, 2.2, 31);
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    call.say(&voice, 0..voice.len());
    call.hang_up();
    house.message();
    let stored = "\"stored a message of 2.2 s for 1000@default\"";
    house.until("it is told", || house.log().contains(stored));
    let log = house.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let said: Vec<String> = lines.map(|line| line["fields"]["message"].to_string()).collect();
    assert!(said.contains(&stored.to_owned()), "{said:#?}");
    // Whose number it was is nobody's business.
    assert!(!log.contains("2125550142"), "{log}");
}
