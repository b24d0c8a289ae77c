//! Owners who hear, file and answer their messages, and callers who review theirs: keys by RFC 4733
//! and by INFO, and what is heard compared with the prompts.

use serde_json::Value;
use std::fs;
use std::path::Path;

use crate::clients::sipp_with;
use crate::house::{House, names};
use crate::phone::{Call, Phone};
use crate::voice::{Law, Voice, frames, wav_samples, write_wav};

pub const MENUS: &str =
    "[deposit]\ninstructions = false\n[sip]\nprefixes = { '*98' = 'messages' }\n";

/// Leaves a message of so many seconds for 1000.
pub fn leave(house: &House, voice: &Voice, seconds: f64) {
    let phone = Phone::new(house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    call.say(voice, 0..frames(seconds));
    call.press('#');
    call.hears("vm-msgsaved");
    call.request("BYE", "", "");
}

fn messages(house: &House) -> Vec<Value> {
    let list = house.ok(&["messages", "list", "1000", "--json"]);
    list.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The folders of mailbox 1000 that hold messages, once for each.
pub fn folders(house: &House) -> Vec<String> {
    let mut folders = vec![];
    for folder in ["Deleted", "INBOX", "Old", "SENT", "Work"] {
        let files = names(&house.mailbox().join(folder));
        let is_sidecar = |name: &&String| Path::new(name).extension().is_some_and(|e| e == "txt");
        let messages = files.iter().filter(is_sidecar);
        folders.extend(messages.map(|_| folder.to_owned()));
    }
    folders
}

/// Until the first menu.
pub fn logged_in(phone: &Phone) -> Call<'_> {
    let mut call = phone.call("*981000");
    call.hears("vm-password");
    call.dial("4711#");
    call.hears("vm-youhave");
    call
}

#[test]
fn an_owner_hears_a_message_deletes_it_and_takes_it_back() {
    let house = House::new(MENUS);
    let voice = Voice::new(Law::Mu, 4.0, 1);
    leave(&house, &voice, 4.0);
    leave(&house, &Voice::new(Law::Mu, 3.0, 2), 3.0);
    let phone = Phone::new(&house);
    let mut call = logged_in(&phone);
    call.hears("counts/new");
    call.press('1');
    call.hears("position/first");
    call.hears("vm-received");
    call.press('1');
    let heard = call.hears_bytes(&voice.bytes[8_000..12_000]);
    assert!(heard.len() > 8_000);
    house.until("the message is heard", || messages(&house)[0]["heard"] == true);
    call.press('7');
    call.hears("vm-deleted");
    assert_eq!(folders(&house), ["Deleted", "INBOX"]);
    call.press('7');
    call.hears("vm-undeleted");
    call.press('9');
    call.hears("vm-savefolder");
    call.press('2');
    call.hears("vm-savedto");
    call.hears("shelf/work");
    assert_eq!(folders(&house), ["INBOX", "Work"]);
    call.press('6');
    call.hears("position/last");
    call.press('#');
    call.hears("vm-goodbye");
    phone.expect("BYE");
}

#[test]
fn a_message_that_cannot_be_played_is_told_and_stays_new() {
    let house = House::new(MENUS);
    leave(&house, &Voice::new(Law::Mu, 3.0, 4), 3.0);
    fs::write(house.message(), "no sound at all").unwrap();
    let phone = Phone::new(&house);
    let mut call = logged_in(&phone);
    call.hears("counts/new-one");
    call.press('1');
    call.hears("vm-received");
    call.press('1');
    call.hears("vm-notdone");
    call.request("BYE", "", "");
    assert_eq!(messages(&house)[0]["heard"], false);
    assert_eq!(house.log().matches("cannot be played").count(), 1);
}

#[test]
fn a_list_takes_a_message_for_all_who_have_room() {
    let lists = "[menus]\nlists = { '600' = ['9999', '1000', '1001', '1002', '1003'] }\n";
    let house = House::new(&format!("{lists}{MENUS}"));
    for number in ["1001", "1002", "1003"] {
        house.ok(&["mailbox", "add", number]);
    }
    house.ok(&["mailbox", "edit", "1001", "--enabled", "false"]);
    let voice = Voice::new(Law::Mu, 2.5, 41);
    leave(&house, &voice, 2.5);
    house.ok(&["mailbox", "edit", "1000", "--max-messages", "1"]);

    let phone = Phone::new(&house);
    let mut call = phone.call("600");
    // Mailbox 9999 is not there: 1000 greets, though it is full itself.
    call.hears("digits/mid-1");
    call.skip_to_the_end_of_the_beep();
    call.say(&voice, 0..frames(2.5));
    call.press('#');
    call.hears("vm-msgsaved");
    call.request("BYE", "", "");
    let of = |number: &str| house.ok(&["messages", "list", number, "--json"]).lines().count();
    assert_eq!(["1000", "1001", "1002", "1003"].map(of), [1, 0, 1, 1]);
}

/// In those that are built in: `tests/calls/prompts.rs` tells which of them are whole.
#[test]
fn a_mailbox_greets_in_its_own_language() {
    let house = House::new("");
    let sounds = format!("{}/sounds", env!("CARGO_MANIFEST_DIR"));
    let languages = ["en", "de", "es", "fr", "it", "pt"].into_iter();
    let spoken = languages.filter(|code| Path::new(&sounds).join(code).is_dir());
    for (number, language) in (2000..).zip(spoken) {
        let number = number.to_string();
        house.ok(&["mailbox", "add", &number, "--language", language]);
        let phone = Phone::new(&house);
        let mut call = phone.call(&number);
        call.hears_in(language, "vm-theperson");
        call.hears_in(language, "vm-isunavail");
        call.request("BYE", "", "");
    }
}

#[test]
fn wrong_pins_and_unknown_mailboxes_sound_alike_and_end_the_call() {
    let house = House::new(MENUS);
    let phone = Phone::new(&house);
    let mut call = phone.call("*98");
    call.hears("vm-login");
    for (number, told) in [
        ("1000#", "vm-incorrect-mailbox"),
        ("9999#", "vm-incorrect-mailbox"),
        ("1000#", "vm-incorrect"),
    ] {
        call.dial(number);
        call.hears("vm-password");
        call.dial("0000#");
        call.hears(told);
    }
    phone.expect("BYE");
    assert!(house.log().contains("a wrong PIN or mailbox"));
    assert!(!house.log().contains("0000#"));
    house.until("the call is told", || house.log().contains(" is over: "));
    assert!(house.log().contains("a call to *98 is over"), "{}", house.log());
}

#[test]
fn a_greeting_that_was_recorded_by_telephone_greets_the_next_caller() {
    let house = House::new(MENUS);
    let voice = Voice::new(Law::Mu, 3.0, 3);
    let phone = Phone::new(&house);
    let mut call = logged_in(&phone);
    call.press('0');
    call.hears("menu/unavailable");
    call.press('1');
    call.hears("vm-rec-unv");
    call.hears_the_beep();
    call.say(&voice, 0..voice.len());
    call.press('#');
    call.hears("menu/accept");
    call.press('2');
    call.hears_bytes(&voice.bytes[8_000..12_000]);
    call.press('1');
    call.hears("vm-greetingsaved");
    call.request("BYE", "", "");
    let kept = wav_samples(&house.mailbox().join("unavail.wav"));
    assert!((20_000..32_000).contains(&kept.len()), "{}", kept.len());
    let hidden = names(&house.mailbox());
    assert!(!hidden.iter().any(|name| name.starts_with(".greeting")), "{hidden:?}");

    let caller = Phone::new(&house);
    let call = caller.call("1000");
    call.hears_bytes(&voice.bytes[8_000..12_000]);
}

#[test]
fn an_owner_hears_the_own_greeting_and_not_one_for_some_callers() {
    let mut house = House::new(&MENUS.replace("[sip]", "star_login = 'everybody'\n[sip]"));
    house.kill();
    let rule = "\n[[greeting_rules]]\ngreeting = 'party'\n";
    let settings = house.mailbox().join("mailbox.toml");
    let before = fs::read_to_string(&settings).unwrap();
    let [own, party] = [21, 22].map(|seed| Voice::new(Law::Mu, 2.0, seed));
    write_wav(&house.mailbox().join("unavail.wav"), &own.samples());
    write_wav(&house.mailbox().join("greeting-party.wav"), &party.samples());
    fs::write(&settings, before + rule).unwrap();
    house.start();
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.hears_bytes(&party.bytes[8_000..9_000]);
    call.press('*');
    call.hears("vm-password");
    call.dial("4711#");
    call.hears("vm-youhave");
    call.dial("061");
    call.hears("menu/record");
    call.press('3');
    call.hears_bytes(&own.bytes[8_000..9_000]);
    call.request("BYE", "", "");
}

#[test]
fn a_message_is_forwarded_with_a_word_before_it_and_the_sender_keeps_a_copy() {
    let house = House::new(MENUS);
    house.ok(&["mailbox", "add", "1001", "--pin", "4822", "--name", "Grace Hopper"]);
    leave(&house, &Voice::new(Law::Mu, 3.0, 4), 3.0);
    let phone = Phone::new(&house);
    let mut call = logged_in(&phone);
    call.press('1');
    call.hears("position/first");
    call.press('8');
    call.hears("menu/by-number");
    call.press('1');
    call.hears("vm-recipient");
    call.dial("1001#");
    call.hears("vm-extension");
    call.press('1');
    call.hears("vm-record-prepend");
    call.hears_the_beep();
    call.say(&Voice::new(Law::Mu, 2.0, 5), 0..frames(2.0));
    call.press('5');
    call.hears("vm-msgforwarded");
    let theirs = house.ok(&["messages", "list", "1001", "--json"]);
    let theirs: Value = serde_json::from_str(theirs.lines().next().unwrap()).unwrap();
    let file = theirs["file"].as_str().unwrap();
    let seconds = wav_samples(file.as_ref()).len() / 8_000;
    assert!((4..=5).contains(&seconds), "{seconds}");
    assert_eq!(folders(&house), ["INBOX", "SENT"]);
    // The sender's copy is what was sent, with the word before it.
    let sent = house.mailbox().join("SENT");
    let mut files = names(&sent).into_iter().map(|name| sent.join(name));
    let audio = files.find(|file| file.extension().is_some_and(|e| e == "wav"));
    assert_eq!(fs::read(audio.unwrap()).unwrap(), fs::read(file).unwrap());
}

#[test]
fn a_caller_reviews_marks_and_sends_the_message() {
    let house = House::new("[deposit]\ninstructions = false\nreview = true\n");
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    call.say(&Voice::new(Law::Mu, 3.0, 6), 0..frames(3.0));
    call.press('#');
    call.hears("menu/accept");
    call.press('4');
    call.hears("vm-marked-urgent");
    call.press('1');
    call.hears("vm-msgsaved");
    let audio = house.message();
    assert_eq!(crate::house::field(&audio, "flag"), "Urgent");
}

#[test]
fn a_caller_who_wants_the_operator_is_referred_there() {
    let house =
        House::new("[deposit]\noperator = '0'\n[sip]\ncalls_to = 'sip:{number}@pbx.example.com'\n");
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.press('0');
    let refer = phone.expect("REFER");
    assert!(refer.contains("Refer-To: <sip:0@pbx.example.com>"), "{refer}");
    phone.reply(&refer, "202 Accepted", "");
    phone.expect("BYE");
    assert_eq!(messages(&house).len(), 0);
}

#[test]
fn the_next_visit_goes_on_where_the_last_one_broke_off() {
    let house = House::new(MENUS);
    let voice = Voice::new(Law::Mu, 9.0, 7);
    leave(&house, &voice, 9.0);
    let phone = Phone::new(&house);
    let mut call = logged_in(&phone);
    call.dial("11");
    call.hears_bytes(&voice.bytes[40_000..41_000]);
    call.request("BYE", "", "");
    house.until("the call is over", || house.log().contains("is over: the caller hung up"));
    let phone = Phone::new(&house);
    let mut call = logged_in(&phone);
    // It is heard now, and so among the old ones.
    call.press('1');
    call.press('1');
    let heard = call.hears_bytes(&voice.bytes[64_000..65_000]);
    let starts: Vec<u8> =
        voice.bytes[8_000..9_000].iter().map(|&b| if b == 0x7f { 0xff } else { b }).collect();
    assert!(!heard.windows(1_000).any(|window| window == starts), "it began anew");
}

#[test]
fn sipp_logs_in_by_info_and_deletes_a_message() {
    let house = House::new(MENUS);
    leave(&house, &Voice::new(Law::Mu, 3.0, 8), 3.0);
    sipp_with(&house, "menus-info.xml", "UDP", &["-s", "*981000"]);
    house.until("it is deleted", || folders(&house) == ["Deleted"]);
}
