//! What the fuzz targets need of the inside: protected packets and checks.

use std::net::SocketAddr;

use super::ice::{Ice, Lite};
use super::srtp::{MasterKey, Opener, Sealer, Suite, TRAILER};
use super::stun;

/// Packets of anybody, and of whoever has the key: the former are refused and leave nothing behind,
/// the latter come out as they went in, once, and only whole.
pub fn srtp(data: &[u8]) {
    let Some((&choice, packet)) = data.split_first() else { return };
    let suites = [Suite::AesCm80, Suite::AesCm32, Suite::Gcm128, Suite::Gcm256];
    let suite = suites[usize::from(choice) % suites.len()];
    let key = vec![choice; suite.key_length() + suite.salt_length()];
    let key = MasterKey::new(suite, &key).expect("a key");
    let (Some(mut sealer), Some(mut opener)) = (Sealer::new(&key), Opener::new(&key)) else {
        panic!("a key that is none");
    };
    assert_eq!(opener.open(&mut packet.to_vec()), None, "a packet of nobody");
    assert_eq!(opener.open_report(&mut packet.to_vec()), None, "a report of nobody");
    assert_eq!(opener.sources(), 0, "nobody is remembered");
    for is_report in [false, true] {
        let mut room = packet.to_vec();
        room.resize(packet.len() + TRAILER, 0);
        let sealed = if is_report {
            sealer.seal_report(&mut room, packet.len())
        } else {
            sealer.seal(&mut room, packet.len())
        };
        let Some(sealed) = sealed else { continue };
        let sealed = &room[..sealed];
        let mut open = |mut packet: Vec<u8>| {
            let length =
                if is_report { opener.open_report(&mut packet) } else { opener.open(&mut packet) };
            length.map(|length| packet[..length].to_vec())
        };
        let mut damaged = sealed.to_vec();
        damaged[usize::from(choice) % sealed.len()] ^= 1;
        // The tag of four octets is guessed once in four thousand million times.
        assert_eq!(open(damaged), None, "a packet with a bit turned");
        assert_eq!(open(sealed.to_vec()).as_deref(), Some(packet), "our own");
        assert_eq!(open(sealed.to_vec()), None, "our own again");
    }
}

/// Datagrams of anybody, and attributes of anybody in a check that is genuine: no answer to the
/// former, one well-formed answer at most to the latter.
pub fn stun(data: &[u8]) {
    let from: SocketAddr = "192.0.2.1:4000".parse().expect("an address");
    let ice = Ice { ufrag: "us".into(), pwd: "a password".into(), theirs: "them".into() };
    let mut lite = Lite::new(ice);
    assert!(lite.check(data, from).is_none(), "an answer to anybody");
    assert!(!lite.knows(from));
    let whole = data.len() / 4 * 4;
    let genuine = stun::genuine("us:them", &data[..whole], "a password");
    let Some(checked) = lite.check(&genuine, from) else { return };
    let answer = checked.answer.bytes;
    assert_eq!(usize::from(u16::from_be_bytes([answer[2], answer[3]])) + 20, answer.len());
    assert!(answer.len() <= genuine.len() + 100, "an answer that is much longer than its question");
    assert!(answer[0] == 1 && answer[8..20] == genuine[8..20]);
    assert!(lite.knows(from) || !checked.chosen);
}
