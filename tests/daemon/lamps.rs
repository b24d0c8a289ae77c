//! The message lamp: by subscription, without one, and by Asterisk's program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use crate::clients::sipp;
use crate::hook::Sink;
use crate::house::House;
use crate::notices::{leave, waiting, webhook};
use crate::phone::{Phone, code};
use crate::voice::{Law, Voice, write_wav};

const TRUSTED: &str = "[sip]\npeers = [{ address = '127.0.0.1', trusted = true }]";

#[test]
fn sipp_subscribes_and_sees_a_message_come_and_go() {
    let house = quick(TRUSTED);
    thread::scope(|scope| {
        let subscriber = scope.spawn(|| sipp(&house, "subscriber.xml", "UDP"));
        // The scenario says so.
        house.until("it has subscribed", || house.dir.path().join("subscribed").exists());
        leave(&house);
        house.until("it is told", || house.dir.path().join("told").exists());
        file_away(&house);
        subscriber.join().unwrap();
    });
}

#[test]
fn strangers_and_unknown_mailboxes_have_no_lamp() {
    let ask = |house: &House, who: &str| {
        let more = "Event: message-summary\r\nExpires: 3600\r\n";
        code(&Phone::new(house).request_to("SUBSCRIBE", who, more))
    };
    assert_eq!(ask(&quick(""), "1000"), 403);
    let house = quick(TRUSTED);
    assert_eq!(ask(&house, "1999"), 404);
    assert_eq!(ask(&house, "1000"), 200);
}

#[test]
fn a_lamp_that_nobody_subscribed_for_follows_the_mailbox() {
    let house = quick("");
    let lamp = Phone::new(&house);
    let shows = |expected: &str| {
        let notify = lamp.expect("NOTIFY");
        lamp.reply(&notify, "200 OK", "");
        assert!(notify.contains(&format!("\r\nVoice-Message: {expected}\r\n")), "{notify}");
        notify
    };
    house.ok(&["mailbox", "edit", "1000", "--mwi", &format!("sip:1000@{}", lamp.address())]);
    let first = shows("0/0 (0/0)");
    for line in ["Event: message-summary", "Subscription-State: terminated", "Messages-Waiting: no"]
    {
        assert!(first.contains(line), "{line} is missing in {first}");
    }
    leave(&house);
    assert!(shows("1/0 (0/0)").contains("Messages-Waiting: yes"));
    let urgent = house.message().with_extension("txt");
    let text = fs::read_to_string(&urgent).unwrap();
    let is_plain = text.lines().any(|line| line == "flag=");
    let text = if is_plain {
        text.replace("\nflag=\n", "\nflag=Urgent\n")
    } else {
        text + "flag=Urgent\n"
    };
    fs::write(&urgent, text).unwrap();
    shows("1/0 (1/0)");
    file_away(&house);
    shows("0/1 (0/1)");
    for name in crate::house::names(&house.mailbox().join("Old")) {
        fs::remove_file(house.mailbox().join("Old").join(name)).unwrap();
    }
    shows("0/0 (0/0)");
}

#[test]
fn a_program_is_told_the_counts_as_asterisk_tells_them_and_hooks_inside_must_be_allowed() {
    let sink = Sink::start();
    let place = tempfile::tempdir().unwrap();
    let [program, told] = ["notify", "told"].map(|name| place.path().join(name));
    fs::write(&program, format!("#!/bin/sh\necho \"$#: $*\" >> '{}'\n", told.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let forbidden = format!("[[notices.webhooks]]\nurl = 'http://localhost:{}/'\n", sink.port);
    let house = quick(&format!(
        "[notices]\nextern_notify = ['{}', 'a b; exit']\n{}{forbidden}",
        program.display(),
        webhook(&sink)
    ));
    leave(&house);
    let lines = || fs::read_to_string(&told).unwrap_or_default();
    house.until("the program is told", || lines() == "6: a b; exit default 1000 1 0 0\n");
    house.until("the hook is told", || sink.count("new") == 1);
    let event = &sink.had()[0];
    let message = &event.said["data"]["message"];
    assert!(event.key.starts_with(message["id"].as_str().unwrap()), "{event:?}");
    assert_eq!(message["caller"]["name"], "Grace Hopper");
    assert_eq!(event.said["data"]["counts"]["new"], 1);
    house.until("the other is not", || {
        waiting(&house).iter().any(|l| l.contains("private network"))
    });
    file_away(&house);
    house.until("the program is told", || lines().ends_with("6: a b; exit default 1000 0 1 0\n"));
    assert_eq!(sink.had().len(), 1);
}

/// A daemon where a call is short.
fn quick(more: &str) -> House {
    let house = House::new(&format!("[deposit]\ninstructions = false\nmin_seconds = 0\n{more}"));
    write_wav(&house.mailbox().join("unavail.wav"), &Voice::new(Law::Mu, 0.3, 4).samples());
    house
}

/// Another program moves the one message to Old.
fn file_away(house: &House) {
    let audio = house.message();
    let old = house.mailbox().join("Old");
    fs::create_dir_all(&old).unwrap();
    for file in [audio.with_extension("txt"), audio] {
        fs::rename(&file, old.join(file.file_name().unwrap())).unwrap();
    }
}
