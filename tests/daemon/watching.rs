//! What an operator sees of calls: the wire as it is, and what stays in the log.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::house::House;
use crate::phone::{Phone, code};

/// `afterbeep trace --json`, until it is dropped.
pub struct Watching {
    child: Child,
    shown: PathBuf,
}

impl Watching {
    pub fn new(house: &House, arguments: &[&str]) -> Self {
        let [shown, told] = ["shown", "told"].map(|name| house.dir.path().join(name));
        let child = house
            .command(&[&["trace", "--json"], arguments].concat())
            .stdout(File::create(&shown).unwrap())
            .stderr(File::create(&told).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        house.until("it watches", || fs::read_to_string(&told).unwrap().contains("watching"));
        Self { child, shown }
    }

    pub fn messages(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.shown).unwrap();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `in INVITE`, `out 200`: each message of a call, in order. One that was sent again is one.
    pub fn ladder(&self) -> Vec<String> {
        let rung = |message: &Value| {
            let summary = message["summary"].as_str().unwrap();
            let first = summary.split(' ').next().unwrap();
            format!("{} {first}", message["direction"].as_str().unwrap())
        };
        let mut rungs: Vec<String> = self.messages().iter().map(rung).collect();
        rungs.dedup();
        rungs
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_calls_of_one_mailbox_are_watched_and_no_secret_is_shown() {
    let house = House::new("[sip]\nprefixes = { '*' = 'deposit' }");
    house.ok(&["mailbox", "add", "1001"]);
    let (mine, all) = (Watching::new(&house, &["--mailbox", "1000@default"]), house.dir.path());
    // Whom it is for is known only when the prefix is taken off.
    let (first, second) = (Phone::new(&house), Phone::new(&house));
    let secret = "Authorization: Digest username=\"a\", response=\"0123456789abcdef\"\r\n";
    let answer = first.invite_with("*1000", secret, &first.sdp("0", ""));
    let mut call = first.accepted("*1000", &answer, std::time::Instant::now());
    second.call("1001").hang_up();
    let key = "Content-Type: application/dtmf-relay\r\n";
    assert_eq!(code(&call.info(key, "Signal=7\r\n")), 200);
    call.hang_up();
    house.until("the end is shown", || mine.ladder().last().is_some_and(|last| last == "out 200"));
    let expected =
        ["in INVITE", "out 100", "out 200", "in ACK", "in INFO", "out 200", "in BYE", "out 200"];
    house.until("all is shown", || mine.ladder().len() == expected.len());
    assert_eq!(mine.ladder(), expected);
    let text = fs::read_to_string(all.join("shown")).unwrap();
    assert!(text.contains("Authorization: Digest ***"), "{text}");
    assert!(!text.contains("0123456789abcdef") && !text.contains("Signal"), "{text}");
    drop(mine);

    // By caller, and by the beginning of the Call-ID.
    let phone = Phone::new(&house);
    let id = phone.id();
    let by_caller = Watching::new(&house, &["--caller", "12125550142", "--call", &id]);
    Phone::new(&house).call("1000").hang_up();
    phone.call("1000").hang_up();
    house.until("the call is shown", || by_caller.ladder().len() == 6);
    assert!(by_caller.messages().iter().all(|m| m["call_id"].as_str().unwrap().starts_with(&id)));
}

#[test]
fn without_a_daemon_there_is_nothing_to_watch() {
    let house = House::empty("");
    let done = house.run(&["trace"]);
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(1) && told.contains("a daemon that runs"), "{told}");
}

#[test]
fn every_call_leaves_one_line_whatever_became_of_it() {
    let house = House::new("[log]\nformat = 'json'");
    Phone::new(&house).call("1000").hang_up();
    let refused = |to: &str, more: &str| {
        let phone = Phone::new(&house);
        code(&phone.invite_with(to, more, &phone.sdp("0", "")))
    };
    assert_eq!(refused("4444", ""), 404);
    // Before anybody looks whom it is for.
    assert_eq!(refused("1000", "Require: time-travel\r\n"), 420);
    let records = || -> Vec<Value> {
        let log = house.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| line["fields"].clone()).filter(|line| line["record"] == "call").collect()
    };
    house.until("all are told", || records().len() == 3);
    let records = records();
    let by = |end: &str, status: u16| {
        let found = records.iter().filter(|record| {
            record["end"] == end && record["status"].as_u64().unwrap_or(0) == u64::from(status)
        });
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), 1, "{end} {status}: {records:#?}");
        found[0].clone()
    };
    let done = by("the caller hung up", 0);
    for (key, value) in [("mailbox", "1000@default"), ("codec", "PCMU"), ("caller", "***142")] {
        assert_eq!(done[key], value, "{done}");
    }
    for key in ["at", "seconds", "received", "lost", "jitter_ms", "sent"] {
        assert!(done[key].is_number(), "{key}: {done}");
    }
    assert_eq!(by("refused", 404)["dialled"], "***444");
    assert!(by("refused", 420)["source"].as_str().unwrap().starts_with("127.0.0.1:"));
}
