//! What is off unless a site wants it: a key that tells people from robots, extensions dialled in
//! the greeting, menus for those who know them.

use crate::house::House;
use crate::menus::{MENUS, leave, logged_in};
use crate::phone::{Call, Phone, is_in};
use crate::voice::{Law, Voice, frames, write_wav};

/// A daemon whose mailbox 1000 has a greeting of four seconds.
fn house(config: &str) -> (House, Voice) {
    let house = House::new(config);
    let greeting = Voice::new(Law::Mu, 4.0, 61);
    write_wav(&house.mailbox().join("unavail.wav"), &greeting.samples());
    (house, greeting)
}

/// Says something, and hears that it was kept.
fn leaves_a_message(call: &mut Call<'_>, seed: u64) {
    call.hears_the_beep();
    call.say(&Voice::new(Law::Mu, 2.5, seed), 0..frames(2.5));
    call.press('#');
    call.hears("vm-msgsaved");
}

#[test]
fn a_robot_that_presses_no_key_leaves_nothing() {
    let (house, greeting) =
        house("[deposit]\nscreen = true\n[menus]\nrounds = 1\npatience_seconds = 1\n");
    let phone = Phone::new(&house);
    let mut robot = phone.call("1000");
    robot.hears_bytes(&greeting.bytes[8_000..9_000]);
    // It speaks at once, and into every pause.
    robot.say(&Voice::new(Law::Mu, 3.0, 62), 0..frames(3.0));
    robot.hears("menu/leave-message");
    robot.hears("vm-goodbye");
    robot.expect_bye();
    assert!(house.drafts().is_empty());
    house.messages(0);
}

#[test]
fn a_person_who_presses_one_leaves_a_message() {
    let (house, greeting) = house("[deposit]\nscreen = true\n");
    // In the midst of the greeting; and asked, after a key that means nothing.
    for (seed, keys) in [(63, "1"), (64, "#51")] {
        let phone = Phone::new(&house);
        let mut call = phone.call("1000");
        call.hears_bytes(&greeting.bytes[4_000..5_000]);
        for key in keys.chars() {
            call.press(key);
            if key != '1' {
                call.hears("menu/leave-message");
            }
        }
        leaves_a_message(&mut call, seed);
        phone.expect("BYE");
    }
    house.messages(2);
}

#[test]
fn an_extension_dialled_in_the_greeting_is_called_or_a_message_left() {
    let (house, greeting) = house(
        "[deposit]\nextensions = true\ninstructions = false\n\
         [sip]\ncalls_to = 'sip:{number}@pbx.example.com'\n",
    );
    for answer in ["202 Accepted", "404 Not Found"] {
        let phone = Phone::new(&house);
        let mut call = phone.call("1000");
        call.hears_bytes(&greeting.bytes[4_000..5_000]);
        call.dial("2001#");
        let refer = phone.expect("REFER");
        assert!(refer.contains("Refer-To: <sip:2001@pbx.example.com>"), "{refer}");
        phone.reply(&refer, answer, "");
        if answer.starts_with("404") {
            call.hears("vm-nocall");
            leaves_a_message(&mut call, 65);
        }
        phone.expect("BYE");
    }
    house.messages(1);
}

#[test]
fn an_owner_calls_whom_the_site_allows_and_as_often() {
    let house = House::new(&format!(
        "{MENUS}calls_to = 'sip:{{number}}@pbx.example.com'\n\
         [menus]\ndial_out = ['2???']\ncalls_per_day = 1\n"
    ));
    let phone = Phone::new(&house);
    let mut call = logged_in(&phone);
    call.dial("34");
    call.hears("vm-enter-num-to-call");
    // Mistyped, taken back, and not allowed.
    call.dial("2001*");
    call.hears("vm-enter-num-to-call");
    call.dial("3001#");
    assert!(!is_in(&call.hears("vm-nocall"), "vm-dialout"), "it was to be connected");
    call.dial("34");
    call.hears("vm-enter-num-to-call");
    call.dial("2001#");
    call.hears("vm-dialout");
    let refer = phone.expect("REFER");
    assert!(refer.contains("Refer-To: <sip:2001@pbx.example.com>"), "{refer}");
    phone.reply(&refer, "202 Accepted", "");
    call.expect_bye();
    let phone = Phone::new(&house);
    let mut call = logged_in(&phone);
    call.dial("34");
    call.hears("vm-enter-num-to-call");
    call.dial("2001#");
    call.hears("vm-nocall");
    call.hang_up();
}

#[test]
fn short_menus_tell_their_keys_to_who_asks() {
    let house = House::new(&format!("[menus]\nstyle = 'short'\n{MENUS}"));
    leave(&house, &Voice::new(Law::Mu, 2.5, 66), 2.5);
    let phone = Phone::new(&house);
    let mut call = phone.call("*981000");
    call.hears("vm-password");
    call.dial("4711#");
    let heard = [call.hears("vm-youhave"), call.listen_until_silence()].concat();
    assert!(is_in(&heard, "counts/new-one"));
    assert!(!is_in(&heard, "vm-onefor"), "the keys were told");
    call.press('*');
    call.hears("vm-onefor");
    call.dial("35");
    // An entry is asked for all the same.
    call.press('1');
    call.hears("vm-recipient");
    call.dial("*0");
    call.press('6');
    let heard = [call.hears("vm-whichgreeting"), call.listen_until_silence()].concat();
    assert!(!is_in(&heard, "menu/of-busy"));
    call.hang_up();
    // Also the owner's, who was nobody before the PIN.
    let told = "a call to 1000@default is over";
    house.until("both calls are told", || house.log().matches(told).count() == 2);
}
