//! `afterbeep import asterisk`, on a real configuration with all that it may hold.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::house::{House, names};
use crate::spool::{MESSAGES, contents, make};

const CONF: &str = "\
[base](!)
maxmsg = 50
minsecs = 1
[general](base)
format = wav49|gsm|wav
maxsilence = 10
tz = central
saycid = yes
passwordlocation = voicemail.conf
#include \"vm_extra.conf\"
#tryinclude \"nothing_*.conf\"
#exec /usr/bin/make-mailboxes
[zonemessages]
central = America/Chicago|'vm-received' q 'digits/at' IMp
[default]
1000 => 1000,Alice Example,alice@example.com|a@example.org,,attach=no|callback=from-vm
1001 => -48217,Bob \\; Co ;-- the old one --; ,,5551234@sms.example.net,passwordlocation=spooldir
#include \"box.d/*.conf\"
[acme]
111 => 7383,Pete,pete@acme.example,,tz=mars
";

/// Asterisk's files, its spool among them.
fn asterisk(house: &House) -> (String, String) {
    let etc = house.dir.path().join("etc");
    fs::create_dir_all(etc.join("box.d")).unwrap();
    fs::write(etc.join("voicemail.conf"), CONF).unwrap();
    fs::write(etc.join("vm_extra.conf"), "maxsecs = 300\n").unwrap();
    fs::write(etc.join("box.d/a.conf"), "1002 => 8020,Ann\n").unwrap();
    fs::write(etc.join("box.d/b.conf"), "1003 => ,Nobody\n").unwrap();
    let spool = house.dir.path().join("asterisk");
    make(&spool);
    fs::write(spool.join("default/1001/secret.conf"), "[general]\npassword = 9021\n").unwrap();
    (etc.join("voicemail.conf").display().to_string(), spool.display().to_string())
}

fn import(house: &House, conf: &str, spool: &str, more: &[&str]) -> String {
    house.ok(&[&["import", "asterisk", "--conf", conf, "--messages", spool], more].concat())
}

fn show(house: &House, mailbox: &str) -> String {
    house.ok(&["mailbox", "show", mailbox])
}

#[test]
fn an_asterisk_is_taken_over_while_the_daemon_runs() {
    let mut house = House::empty("");
    let (conf, spool) = asterisk(&house);
    house.start();
    take_over(&house, &conf, &spool);
}

#[test]
fn an_asterisk_is_taken_over_before_the_first_start() {
    let house = House::empty("");
    let (conf, spool) = asterisk(&house);
    take_over(&house, &conf, &spool);
}

fn take_over(house: &House, conf: &str, spool: &str) {
    let before = contents(Path::new(spool));
    let dry = import(house, conf, spool, &["--dry-run"]);
    assert!(dry.contains("5 mailboxes would be made, 0 are there already"), "{dry}");
    let messages = MESSAGES.len();
    assert!(dry.contains(&format!("{messages} messages and 3 greetings would be copied")), "{dry}");
    assert_eq!(house.ok(&["mailbox", "list", "--json"]), "", "nothing is done yet");

    let told = import(house, conf, spool, &[]);
    assert!(told.contains("5 mailboxes made, 0 are there already"), "{told}");
    assert!(told.contains(&format!("{messages} messages and 3 greetings copied")), "{told}");
    assert!(told.contains("1003@default PIN "), "a PIN was drawn: {told}");
    assert!(told.contains("1 PINs are weak"), "{told}");
    assert!(told.contains("deposit.silence_seconds = 10"), "{told}");
    for missing in [
        "#exec is not run: /usr/bin/make-mailboxes",
        "the option callback (1000@default)",
        "a PIN that its owner may not change (1001@default)",
        "no PIN at all: one is drawn (1003@default)",
        "111@acme: no zone mars",
        "msg0008.txt has no audio beside it",
    ] {
        assert!(told.contains(missing), "{missing}\n{told}");
    }
    // As words: the PIN that was drawn may hold the digits of another.
    let tells = |pin: &str| told.split(|c: char| !c.is_ascii_digit()).any(|word| word == pin);
    assert!(!tells("48217") && !tells("9021"), "no PIN of theirs is told: {told}");
    let alice = show(house, "1000");
    for setting in [
        "name = \"Alice Example\"",
        "notify_email = \"yes\"",
        "email = [\"alice@example.com\",\"a@example.org\"]",
        "time_zone = \"America/Chicago\"",
        "say_caller_id = true",
        "max_messages = 50",
        "max_seconds = 300",
        "min_seconds = 1",
        "pin_weak = true",
    ] {
        assert!(alice.contains(setting), "{setting}\n{alice}");
    }
    assert!(show(house, "1001").contains("name = \"Bob ; Co\""), "{}", show(house, "1001"));
    assert!(show(house, "1001").contains("pin_weak = false"), "the one in the spool");
    assert!(show(house, "111@acme").contains("Pete"));
    let kept = fs::read_to_string(house.mailbox().join("mailbox.toml")).unwrap();
    assert!(kept.contains("[asterisk]\ncallback = \"from-vm\""), "{kept}");

    // Every message, each with all its forms.
    for (mailbox, folder, _, caller, best) in MESSAGES {
        let list = house.ok(&["messages", "list", mailbox, "--folder", folder, "--json"]);
        let found = list.lines().any(|line| {
            let message: Value = serde_json::from_str(line).unwrap();
            let file = message["file"].as_str().unwrap();
            message["caller_name"] == caller && file.ends_with(&format!(".{best}"))
        });
        assert!(found, "{mailbox} {folder} {caller}\n{list}");
    }
    let files = names(&house.inbox());
    let forms = |extension: &str| files.iter().filter(|name| name.ends_with(extension)).count();
    assert_eq!((forms(".txt"), forms(".gsm"), forms(".WAV")), (10, 4, 2), "{files:#?}");
    for greeting in ["unavail.gsm", "unavail.WAV", "busy.ulaw", "greet.wav"] {
        assert!(house.mailbox().join(greeting).is_file(), "{greeting}");
    }
    assert_eq!(contents(Path::new(spool)), before, "Asterisk's own files are as they were");

    // Again: nothing is made twice, and what was changed here stays.
    house.ok(&["mailbox", "edit", "1002", "--name", "Ann New"]);
    let again = import(house, conf, spool, &[]);
    assert!(again.contains("0 mailboxes made, 5 are there already"), "{again}");
    let none = format!("0 messages and 0 greetings copied, {messages} messages are there already");
    assert!(again.contains(&none), "{again}");
    assert!(show(house, "1002").contains("Ann New"));
}

#[test]
fn a_realtime_table_is_imported() {
    let house = House::empty("");
    let table = house.dir.path().join("voicemail.csv");
    fs::write(
        &table,
        "uniqueid,context,mailbox,password,fullname,email\n1,default,2000,4821,\"Doe, Jane\",j@x.org\n\
         2,sales,2001,8053,Joe,\n",
    )
    .unwrap();
    let told = house.ok(&["import", "asterisk", "--realtime", table.to_str().unwrap()]);
    assert!(told.contains("2 mailboxes made"), "{told}");
    assert!(show(&house, "2000").contains("name = \"Doe, Jane\""));
    assert!(show(&house, "2001@sales").contains("name = \"Joe\""));
}

#[test]
fn what_is_not_there_is_told() {
    let house = House::empty("");
    let Output { status, stderr, .. } =
        house.run(&["import", "asterisk", "--conf", "/nowhere/voicemail.conf"]);
    let told = String::from_utf8(stderr).unwrap();
    assert!(
        status.code() == Some(1) && told.contains("cannot read /nowhere/voicemail.conf"),
        "{told}"
    );
}
