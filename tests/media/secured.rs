//! Calls whose audio is protected, against another implementation of SRTP.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use afterbeep::media::{
    Codec, Fingerprint, Keying, Keys, MasterKey, Port, Role, Rtcp, Security, Sound, Stream, Suite,
};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::{
    Caller, expect_played, expect_recorded, heard, media, port_address, record, samples, settle,
    take, until,
};

/// A caller's side of the keys.
struct Protected {
    seals: Context,
    opens: Context,
}

impl Protected {
    /// A port and a caller who have agreed on keys of these octets.
    fn secure(port: &mut Port, ours: u8, theirs: u8) -> Self {
        let key = |octet| MasterKey::new(Suite::AesCm80, &[octet; 30]).unwrap();
        let keys = Keys { ours: key(ours), theirs: key(theirs) };
        port.secure(&Security { keying: Keying::Sdes(Box::new(keys)), ice: None });
        let context = |octet| {
            let profile = ProtectionProfile::Aes128CmHmacSha1_80;
            Context::new(&[octet; 16], &[octet; 14], profile, None, None).unwrap()
        };
        Self { seals: context(theirs), opens: context(ours) }
    }

    fn packet(&mut self, n: u16) -> Vec<u8> {
        let mut packet = Caller::header(0, n, u32::from(n) * 160);
        packet.extend([Caller::byte(n); 160]);
        self.seals.encrypt_rtp(&packet).unwrap().to_vec()
    }
}

#[tokio::test]
async fn only_what_is_genuine_is_heard_and_only_once() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    let mut protected = Protected::secure(&mut port, 1, 2);
    caller.answered_by(&mut port, Codec::Pcmu);
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    let send = |packet: &[u8]| caller.socket.send_to(packet, port_address(&port)).unwrap();
    for n in 0..10 {
        let packet = protected.packet(n);
        send(&packet);
        send(&packet);
        let mut damaged = packet.clone();
        damaged[50] ^= 1;
        send(&damaged);
        // In the clear.
        caller.send(&port, n, n + 50);
        judged(&port, 4 * (u64::from(n) + 1)).await;
    }
    port.stop_recording();
    expect_recorded(&mut port).await;
    let expected: Vec<i16> = (0..10).flat_map(|n| [Caller::sample(n); 160]).collect();
    assert_eq!(samples(file.path()), expected);
    let told = port.statistics();
    assert_eq!((told.received, told.lost, told.duplicates), (10, 0, 0));
    assert_eq!(told.strangers, 30, "again, damaged, in the clear");
}

#[tokio::test]
async fn what_is_said_and_reported_is_protected_beside_the_audio_and_among_it() {
    let (media, caller, reports) = (media(), Caller::new(), Caller::new());
    for (rtcp, hears) in [(Rtcp::Beside(Some(reports.address())), &reports), (Rtcp::Mux, &caller)] {
        let mut port = media.open().unwrap();
        let mut protected = Protected::secure(&mut port, 3, 4);
        port.connect(Stream { rtcp, ..Stream::new(Some(caller.address()), Codec::Pcmu) });
        port.play(vec![Arc::new(Sound::silence(Duration::from_millis(40), Codec::Pcmu))]);
        expect_played(&mut port).await;
        for n in 0..5 {
            let packet = protected.packet(n);
            caller.socket.send_to(&packet, port_address(&port)).unwrap();
        }
        heard(&port, 5).await;
        for frame in caller.listen(2) {
            assert_eq!(protected.opens.decrypt_rtp(&frame).unwrap().len(), 172);
        }
        drop(port);
        let report = protected.opens.decrypt_rtcp(&hears.listen(1)[0]).unwrap();
        // A sender's report with one block, its name, and the BYE.
        assert_eq!((report[0], report[1], report.len()), (0x81, 200, 28 + 24 + 28 + 8));
        assert_eq!(report[20..24], 2_u32.to_be_bytes(), "two packets were sent");
        assert_eq!(report[28..32], 7_u32.to_be_bytes(), "the caller's source");
        assert_eq!(report[81], 203);
    }
}

#[tokio::test]
async fn another_key_in_mid_call_ends_the_one_before() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    let mut before = Protected::secure(&mut port, 5, 6);
    caller.answered_by(&mut port, Codec::Pcmu);
    let to = port_address(&port);
    let send = |packet: &[u8]| {
        caller.socket.send_to(packet, to).unwrap();
    };
    let sent = Cell::new(0);
    let next = || {
        sent.set(sent.get() + 1);
        sent.get()
    };
    // What comes with a command may be read before it is obeyed.
    let until_heard = async |port: &Port, say: &mut dyn FnMut()| {
        let so_far = port.statistics().received;
        until("something is heard", || {
            say();
            port.statistics().received > so_far
        })
        .await;
    };
    until_heard(&port, &mut || send(&before.packet(next()))).await;
    let mut after = Protected::secure(&mut port, 5, 7);
    until_heard(&port, &mut || send(&after.packet(next()))).await;
    judged(&port, sent.get().into()).await;
    let so_far = port.statistics().received;
    send(&before.packet(next()));
    send(&after.packet(next()));
    judged(&port, sent.get().into()).await;
    assert_eq!(port.statistics().received, so_far + 1);
    // And back into the clear.
    port.secure(&Security::default());
    until_heard(&port, &mut || {
        let n = next();
        caller.send(&port, n, n);
    })
    .await;
}

/// Waits until so many packets were let in or kept out.
async fn judged(port: &Port, packets: u64) {
    let judged = || port.statistics().received + port.statistics().strangers;
    until("the packets are judged", || judged() >= packets).await;
}

#[tokio::test]
async fn before_there_are_keys_nothing_is_said_or_heard() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    let keying = Keying::Dtls { theirs: Fingerprint::Sha256([1; 32]), role: Role::Server };
    port.secure(&Security { keying, ice: None });
    caller.answered_by(&mut port, Codec::Pcmu);
    port.play(vec![Arc::new(Sound::silence(Duration::from_millis(40), Codec::Pcmu))]);
    caller.send(&port, 1, 1);
    // No handshake that anybody could make sense of.
    caller.socket.send_to(&[22; 100], port_address(&port)).unwrap();
    settle().await;
    assert_eq!((port.statistics().received, port.statistics().sent), (0, 0));
    let told = tokio::time::timeout(Duration::from_millis(200), port.next()).await;
    assert!(told.is_err(), "{told:?}");
}
