//! Whatever a caller calls himself, every carrier tells it, and nothing but it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use afterbeep::mailbox::{Counts, MailboxId};
use afterbeep::notice::errand::{Hook, Shape, Wishes};
use afterbeep::notice::mwi::summary;
use afterbeep::notice::rounds::Rounds;
use afterbeep::pii::Secret;
use proptest::prelude::any;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::clients::installed;
use crate::desk::{Desk, id};
use crate::hook::{SECRET, Sink};
use crate::house::soon;
use crate::mail::Liar;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_of_a_caller_writes_anything_but_itself() {
    let names = names();
    let (desk, liar, sink) = (Desk::new().await, Liar::start(), Sink::start());
    let settings = json!({"notify_pager": true, "pager": "pager@example.com"});
    desk.directory.edit(&id(), settings.as_object().unwrap(), None, 0).unwrap();
    let (program, told) = (desk.dir.path().join("notify"), desk.dir.path().join("told"));
    fs::write(&program, format!("#!/bin/sh\nprintf '%s|' \"$@\" >> '{}'\n", told.display()))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let url = format!("http://127.0.0.1:{}/", sink.port);
    let mut office = desk.office(liar.port);
    office.rounds = Rounds::default();
    office.extern_notify = vec![program.display().to_string()];
    let hook =
        Hook { url: url.clone(), shape: Shape::CloudEvents, events: vec![], contexts: vec![] };
    office.wishes = Wishes { hooks: vec![hook], ..office.wishes };
    office.hooks = HashMap::from([(url, (Some(Secret::new(SECRET)), true))]);
    let (stop, stopped) = watch::channel(false);
    let runs = tokio::spawn(office.run(stopped));
    let mut left = HashMap::new();
    for name in &names {
        let message = desk.leave(name, 1_700_000_000).await;
        left.insert(message.id.to_string(), name.as_str());
    }
    let all = names.len();
    let came = || (liar.had().len(), sink.had().len());
    assert!(soon(|| came() == (2 * all, all)), "{:?} letters and events", came());

    for event in sink.had() {
        let message = &event.said["data"]["message"];
        let name = left[message["id"].as_str().unwrap()];
        assert_eq!(message["caller"]["name"], name, "JSON keeps it as it is");
    }
    let (mut mails, mut pages) = (0, 0);
    for letter in read(desk.dir.path(), &liar.texts()) {
        let head = &letter["headers"];
        let about = head["message-id"].as_str().unwrap();
        let shown = shown(left[about[1..].split('.').next().unwrap()]);
        assert_eq!(letter["defects"], json!([]), "{letter:#}");
        let body = &letter["body"];
        if head["to"].as_str().unwrap().contains("pager") {
            pages += 1;
            let text = body["text"].as_str().unwrap().replace("\r\n", "\n");
            assert!(text.trim().chars().count() <= 160 && clean(&text), "{text:?}");
            assert_eq!(fields(head), fields_of(&["content-type", "content-transfer-encoding"]));
            continue;
        }
        mails += 1;
        assert_eq!(fields(head), fields_of(&["content-type"]), "{head}");
        let subject = head["subject"].as_str().unwrap();
        assert!(clean(subject) && subject.contains(&shown), "{subject:?} lacks {shown:?}");
        let texts = ["text/plain", "text/html"].into_iter().zip(body["parts"].as_array().unwrap());
        for (kind, part) in texts {
            assert_eq!(part["type"], kind);
            let text = part["text"].as_str().unwrap().replace("\r\n", "\n");
            assert!(clean(&text), "{text:?}");
            let obeys = text.contains("<script") || text.contains("<img");
            assert!(kind == "text/plain" || !obeys, "{text:?}");
            if kind == "text/plain" {
                assert!(text.contains(&shown), "{text:?} lacks {shown:?}");
                assert_eq!(text.trim().lines().count(), 5, "{text:?}");
            }
        }
    }
    assert_eq!((mails, pages), (all, all));
    let done = format!("default|1000|{all}|0|0|");
    // It may not have begun to write.
    let lines = || fs::read_to_string(&told).unwrap_or_default();
    assert!(soon(|| lines().ends_with(&done)), "{}", lines());
    let told = fs::read_to_string(&told).unwrap();
    assert!(told.bytes().all(|b| b"default|0123456789".contains(&b)), "{told}");
    stop.send(true).unwrap();
    runs.await.unwrap();
}

#[test]
fn a_lamp_is_told_three_lines_whatever_mailboxes_are_called() {
    proptest::proptest!(|(context in ".*", number in ".*", new in any::<u32>(), old in any::<u32>())| {
        // What cannot be a mailbox's name never comes as far.
        let Ok(mailbox) = MailboxId::new(&context, &number) else { return Ok(()) };
        check(&mailbox, Counts { new, old, ..Counts::default() });
    });
    proptest::proptest!(|(number in "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", new in any::<u32>())| {
        let counts = Counts { new, urgent_new: new, ..Counts::default() };
        check(&MailboxId::new("default", &number).unwrap(), counts);
    });
}

fn check(mailbox: &MailboxId, counts: Counts) {
    let account = format!("sip:{}@127.0.0.1:5060", mailbox.number());
    let body = summary(&account, counts);
    let lines: Vec<&str> = body.split("\r\n").collect();
    let Counts { new, old, urgent_new, urgent_old } = counts;
    let waiting = if new > 0 { "yes" } else { "no" };
    assert_eq!(
        lines,
        [
            format!("Messages-Waiting: {waiting}"),
            format!("Message-Account: {account}"),
            format!("Voice-Message: {new}/{old} ({urgent_new}/{urgent_old})"),
            String::new(),
        ]
    );
    assert!(body.is_ascii() && !body.replace("\r\n", "").contains(['\r', '\n']));
}

/// Names that have done harm elsewhere, and some of every kind.
fn names() -> Vec<String> {
    let known = [
        "Eve\r\nBcc: all@example.com\r\n\r\nhello",
        "\r\n.\r\nRCPT TO:<all@example.com>",
        "=?utf-8?Q?=0D=0ABcc:_all@example.com?=",
        "\"; rm -rf / #",
        "$(reboot)`reboot`",
        "<script>alert(1)</script>",
        "{{ 7 * 7 }}{% for x in y %}${VM_NAME}",
        "\u{202e}gnp.exe\u{2066}",
        "\0\u{1b}[2J\u{7}\u{85}\u{2028}\u{2029}\u{feff}",
        "Zoë Ünlü 😀 👩‍👩‍👧 ﷽ \u{10ffff}\u{e000}",
        "'\"><img src=x onerror=alert(1)>",
        "%s%n%00",
        "",
    ];
    let mut names: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
    names.push("ä ".repeat(2_000));
    let mut runner = TestRunner::deterministic();
    let any_text = proptest::collection::vec(any::<char>(), 0..60);
    for _ in 0..60 {
        let text = any_text.new_tree(&mut runner).unwrap().current();
        names.push(text.into_iter().collect());
    }
    names
}

/// As much of a name as must be seen.
fn shown(name: &str) -> String {
    let known = name.chars().map(|c| if clean(&c.to_string()) && c != '\n' { c } else { ' ' });
    let known: String = known.collect();
    let words: Vec<&str> = known.split_whitespace().collect();
    let start: String = words.join(" ").chars().take(100).collect();
    start.trim_end().to_owned()
}

/// Nothing that a terminal or a mail program would obey.
fn clean(text: &str) -> bool {
    text.chars().all(|c| {
        let obeyed = c.is_control() && c != '\n';
        !obeyed
            && !('\u{2028}'..='\u{202e}').contains(&c)
            && !('\u{2066}'..='\u{2069}').contains(&c)
    })
}

fn fields(head: &Value) -> BTreeSet<&str> {
    head.as_object().unwrap().keys().map(String::as_str).collect()
}

fn fields_of(more: &[&'static str]) -> BTreeSet<&'static str> {
    let always = ["from", "to", "subject", "date", "message-id", "mime-version"];
    let ours = ["auto-submitted", "x-auto-response-suppress"];
    always.into_iter().chain(ours).chain(more.iter().copied()).collect()
}

/// The letters as Python's mail programs read them.
fn read(dir: &Path, texts: &[String]) -> Vec<Value> {
    let place = dir.join("letters");
    fs::create_dir(&place).unwrap();
    for (n, text) in texts.iter().enumerate() {
        fs::write(place.join(n.to_string()), text).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/mail.py");
    let done = installed("python3", "python3").arg(script).arg(place).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told = String::from_utf8(done.stdout).unwrap();
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
