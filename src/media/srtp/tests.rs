//! Vectors, another implementation, and everything that could go wrong between two ends.

use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::*;

const ALL: [(Suite, ProtectionProfile); 4] = [
    (Suite::AesCm80, ProtectionProfile::Aes128CmHmacSha1_80),
    (Suite::AesCm32, ProtectionProfile::Aes128CmHmacSha1_32),
    (Suite::Gcm128, ProtectionProfile::AeadAes128Gcm),
    (Suite::Gcm256, ProtectionProfile::AeadAes256Gcm),
];

fn master(suite: Suite) -> MasterKey {
    let bytes: Vec<u8> = (0..46).map(|n| n * 5 + 3).collect();
    MasterKey::new(suite, &bytes[..suite.key_length() + suite.salt_length()]).unwrap()
}

fn theirs(suite: Suite, profile: ProtectionProfile) -> Context {
    let key = master(suite);
    let (key, salt) = key.parts();
    Context::new(key, salt, profile, None, None).unwrap()
}

fn packet(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 160]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160).map(|n| u8::try_from(n).unwrap() ^ sequence.to_be_bytes()[1]));
    packet
}

/// A report with a second packet, as all reports have.
fn report(ssrc: u32) -> Vec<u8> {
    let mut report = vec![0x80, 201, 0, 1];
    report.extend(ssrc.to_be_bytes());
    report.extend([0x81, 202, 0, 2]);
    report.extend(ssrc.to_be_bytes());
    report.extend([1, 1, b'x', 0]);
    report
}

fn seal(sealer: &mut Sealer, packet: &[u8]) -> Vec<u8> {
    let mut room = packet.to_vec();
    room.resize(packet.len() + TRAILER, 0);
    let length = sealer.seal(&mut room, packet.len()).unwrap();
    room.truncate(length);
    room
}

fn open(opener: &mut Opener, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
    let length = opener.open(&mut sealed)?;
    sealed.truncate(length);
    Some(sealed)
}

fn ends(suite: Suite) -> (Sealer, Opener) {
    (Sealer::new(&master(suite)).unwrap(), Opener::new(&master(suite)).unwrap())
}

#[test]
fn the_other_implementation_reads_us_and_we_read_it() {
    for (suite, profile) in ALL {
        let (mut sealer, mut opener) = ends(suite);
        let (mut reads, mut writes) = (theirs(suite, profile), theirs(suite, profile));
        // Over a wrap of the sequence number.
        for n in 0..2000_u16 {
            let mut plain = packet(n.wrapping_add(64_000), 0xdead_beef);
            if n % 3 == 0 {
                // With an extension of one word.
                plain[0] |= 0x10;
                plain.splice(12..12, [0xbe, 0xde, 0, 1, 0x12, 2, 3, 4]);
            }
            let sealed = seal(&mut sealer, &plain);
            assert_eq!(reads.decrypt_rtp(&sealed).unwrap(), plain, "{suite:?} {n}");
            let sealed = writes.encrypt_rtp(&plain).unwrap();
            assert_eq!(open(&mut opener, sealed.to_vec()), Some(plain), "{suite:?} {n}");
        }
        for _ in 0..5 {
            let plain = report(0xdead_beef);
            let mut sealed = plain.clone();
            sealed.resize(plain.len() + TRAILER, 0);
            let length = sealer.seal_report(&mut sealed, plain.len()).unwrap();
            assert_eq!(reads.decrypt_rtcp(&sealed[..length]).unwrap(), plain, "{suite:?}");
            let mut sealed = writes.encrypt_rtcp(&plain).unwrap().to_vec();
            let length = opener.open_report(&mut sealed).unwrap();
            assert_eq!(sealed[..length], plain, "{suite:?}");
        }
    }
}

#[test]
fn keys_are_derived_as_in_rfc_3711_b3() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|n| u8::from_str_radix(&text[n..n + 2], 16).unwrap())
            .collect()
    };
    let bytes = hex("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6");
    let key = MasterKey::new(Suite::AesCm80, &bytes).unwrap();
    for (label, expected) in [
        (0, "C61E7A93744F39EE10734AFE3FF7A087"),
        (1, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"),
        (2, "30CBBC08863D8C85D49DB34A9AE1"),
    ] {
        let mut out = vec![0; expected.len() / 2];
        cipher::derive(&key, label, &mut out);
        assert_eq!(out, hex(expected), "label {label}");
    }
}

#[test]
fn whatever_bit_is_turned_it_is_refused_and_what_was_genuine_still_comes() {
    for (suite, _) in ALL {
        let (mut sealer, mut opener) = ends(suite);
        let sealed = seal(&mut sealer, &packet(7, 9));
        for at in 0..sealed.len() * 8 {
            let mut turned = sealed.clone();
            turned[at / 8] ^= 1 << (at % 8);
            assert_eq!(open(&mut opener, turned), None, "{suite:?} bit {at}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open(&mut opener, sealed[..length].to_vec()), None);
        }
        assert!(opener.sources[0].is_empty(), "nobody has proved anything");
        assert_eq!(open(&mut opener, sealed), Some(packet(7, 9)));
    }
}

#[test]
fn nothing_comes_twice_however_late() {
    let (mut sealer, mut opener) = ends(Suite::AesCm80);
    let sealed: Vec<_> =
        (0..400).map(|n| seal(&mut sealer, &packet(65_300_u16.wrapping_add(n), 1))).collect();
    // Every second one, then the rest in disorder.
    for n in (0..400).step_by(2) {
        assert!(open(&mut opener, sealed[n].clone()).is_some(), "{n}");
    }
    for n in [399, 397, 393, 395, 391, 301] {
        assert!(open(&mut opener, sealed[n].clone()).is_some(), "{n}");
    }
    for n in (0..400).step_by(2).chain([399, 397, 393, 395, 391, 301]) {
        assert!(open(&mut opener, sealed[n].clone()).is_none(), "{n} again");
    }
    // So late that nobody knows any more.
    assert!(open(&mut opener, sealed[101].clone()).is_none());
}

#[test]
fn reports_come_once() {
    for (suite, _) in ALL {
        let (mut sealer, mut opener) = ends(suite);
        let mut sealed = report(1);
        sealed.resize(sealed.len() + TRAILER, 0);
        let length = sealer.seal_report(&mut sealed, report(1).len()).unwrap();
        sealed.truncate(length);
        let mut unencrypted = sealed.clone();
        let word = if suite.salt_length() == 12 { length - 4 } else { length - 14 };
        unencrypted[word] &= 0x7f;
        assert!(opener.open_report(&mut unencrypted).is_none());
        assert!(opener.open_report(&mut sealed.clone()).is_some());
        assert!(opener.open_report(&mut sealed.clone()).is_none(), "{suite:?}");
    }
}

#[test]
fn only_so_many_sources_are_known() {
    let (mut sealer, mut opener) = ends(Suite::Gcm128);
    let mut opened = 0;
    for ssrc in 0..200 {
        sealer.last = None;
        opened += usize::from(open(&mut opener, seal(&mut sealer, &packet(1, ssrc))).is_some());
    }
    assert_eq!((opened, opener.sources[0].len()), (SOURCES, SOURCES));
}

#[test]
fn a_key_is_as_long_as_its_suite_wants_and_is_never_shown() {
    assert!(MasterKey::new(Suite::AesCm80, &[1; 30]).is_some());
    assert!(MasterKey::new(Suite::AesCm80, &[1; 31]).is_none());
    assert!(MasterKey::new(Suite::Gcm128, &[1; 30]).is_none());
    assert_eq!(format!("{:?}", master(Suite::Gcm128)), "Gcm128 ***");
}
