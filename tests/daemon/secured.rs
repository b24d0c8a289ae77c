//! Protected audio: by keys in the SDP, and by a handshake, from other people's programs.

use std::path::PathBuf;

use crate::authority::Authority;
use crate::clients::{baresip_secured, linphone_secured};
use crate::house::House;
use crate::phone::{Phone, code};
use crate::voice::{Law, Voice, loud_seconds_at, wav, write_wav};

#[test]
fn baresip_leaves_a_message_with_keys_in_its_offer() {
    let (house, _authority) = house("required");
    baresip_secured(&house, "UDP", "srtp", &speech(&house), 3);
    assert_heard(&house, "SDES");
}

#[test]
fn baresip_leaves_a_message_with_keys_that_it_insists_on_by_tls() {
    let (house, _authority) = house("optional");
    baresip_secured(&house, "TLS", "srtp-mand", &speech(&house), 3);
    assert_heard(&house, "SDES");
}

#[test]
fn linphone_leaves_a_message_with_keys_in_its_offer_by_tls() {
    let (house, authority) = house("required");
    linphone_secured(&house, "TLS", Some(&authority.ca()), "srtp", &speech(&house), 3);
    assert_heard(&house, "SDES");
}

#[test]
fn linphone_leaves_a_message_with_a_handshake() {
    let (house, _authority) = house("optional");
    linphone_secured(&house, "UDP", None, "dtls", &speech(&house), 3);
    assert_heard(&house, "DTLS");
}

#[test]
fn what_the_policy_forbids_is_not_acceptable_here() {
    let keys =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    for (policy, secured) in [("off", true), ("required", false)] {
        let (house, _authority) = house(policy);
        let phone = Phone::new(&house);
        let mut sdp = phone.sdp("0", if secured { keys } else { "" });
        if secured {
            sdp = sdp.replace("RTP/AVP", "RTP/SAVP");
        }
        let answer = phone.invite("1000", &sdp);
        assert_eq!(code(&answer), 488, "{policy}: {answer}");
        assert!(!house.log().contains("WVNf"));
    }
}

/// A short greeting of the owner's own, no instructions, TLS, and this policy for all who are here.
fn house(policy: &str) -> (House, Authority) {
    let authority = Authority::new();
    let own = authority.sign("here", &["localhost", "127.0.0.1"]);
    let house = House::new(&format!(
        "[deposit]\ninstructions = false\n[log]\nlevel = 'debug'\n[sip]\ntls = ['127.0.0.1:0']\n\
         tls_certificate = '{}'\ntls_key = '{}'\n[[sip.peers]]\naddress = '127.0.0.1'\n\
         srtp = '{policy}'",
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

fn assert_heard(house: &House, protected: &str) {
    let (rate, recorded) = wav(&house.message());
    let loud = loud_seconds_at(rate, &recorded);
    assert!((2.0..11.0).contains(&loud), "{loud} s were heard\n{}", house.log());
    let told = format!("srtp=\"{protected}\"");
    assert!(!house.log().contains("inline:"), "a key in the log");
    house.until("the call is told to be protected", || house.log().contains(&told));
}
