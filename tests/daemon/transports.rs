//! Phones that call by TCP and TLS, and certificates that change under a running daemon.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::authority::Authority;
use crate::clients::{baresip, linphone};
use crate::house::House;
use crate::voice::{Law, Voice, loud_seconds_at, wav, write_wav};

#[test]
fn baresip_leaves_a_message_by_tcp() {
    let (house, _authority) = quick_house();
    baresip(&house, "TCP", &speech(&house), 3);
    assert_heard(&house);
}

#[test]
fn baresip_leaves_a_message_by_tls() {
    let (house, _authority) = quick_house();
    baresip(&house, "TLS", &speech(&house), 3);
    assert_heard(&house);
}

#[test]
fn linphone_leaves_a_message_by_udp() {
    let (house, _authority) = quick_house();
    linphone(&house, "UDP", None, &speech(&house), 3);
    assert_heard(&house);
}

#[test]
fn linphone_leaves_a_message_by_tcp() {
    let (house, _authority) = quick_house();
    linphone(&house, "TCP", None, &speech(&house), 3);
    assert_heard(&house);
}

#[test]
fn linphone_leaves_a_message_by_tls_and_checks_whom_it_calls() {
    let (house, authority) = quick_house();
    linphone(&house, "TLS", Some(&authority.ca()), &speech(&house), 3);
    assert_heard(&house);
}

#[test]
fn a_hang_up_signal_reads_the_certificates_again() {
    let (mut house, authority) = quick_house();
    house.signal(Signal::SIGHUP);
    house.until("they are read again", || house.log().contains("were read again"));
    let own = authority.sign("here", &["localhost"]);
    fs::write(own.key, "").unwrap();
    house.signal(Signal::SIGHUP);
    house.until("the broken one is told", || house.log().contains("keeps the certificates it had"));
    assert!(house.runs());
}

#[test]
fn a_hang_up_signal_takes_what_was_written_into_a_mailbox_by_hand() {
    let house = House::new("");
    let path = house.mailbox().join("mailbox.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("say_duration = false", "say_duration = true")).unwrap();
    house.signal(Signal::SIGHUP);
    house.until("it is taken", || house.log().contains("changed by hand changed=1"));
}

#[test]
fn a_hang_up_signal_during_the_start_ends_nothing() {
    let mut house = House::empty("");
    house.begin(house.command(&[]));
    house.until("the spool is read", || house.log().contains("the spool holds"));
    house.signal(Signal::SIGHUP);
    house.until_it_serves();
    assert!(house.runs());
}

/// A short greeting of the owner's own, no instructions, and TLS.
fn quick_house() -> (House, Authority) {
    let authority = Authority::new();
    let own = authority.sign("here", &["localhost", "127.0.0.1"]);
    let house = House::new(&format!(
        "[deposit]\ninstructions = false\n[sip]\ntls = ['127.0.0.1:0']\n\
         tls_certificate = '{}'\ntls_key = '{}'",
        own.certificate.display(),
        own.key.display(),
    ));
    write_wav(&house.mailbox().join("unavail.wav"), &Voice::new(Law::Mu, 0.3, 4).samples());
    (house, authority)
}

fn speech(house: &House) -> PathBuf {
    let wav = house.dir.path().join("said.wav");
    write_wav(&wav, &Voice::new(Law::Mu, 6.0, 5).samples().repeat(2));
    wav
}

fn assert_heard(house: &House) {
    let messages = house.messages(1);
    let (rate, recorded) = wav(messages[0]["file"].as_str().unwrap().as_ref());
    let loud = loud_seconds_at(rate, &recorded);
    assert!((2.0..11.0).contains(&loud), "{loud}");
}
