//! Somebody listens to a long sound, and his telephone goes on sending.

use super::*;

#[tokio::test]
async fn while_a_sound_plays_keys_are_heard_nothing_is_lost_and_then_every_frame_is_recorded() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let long = Sound::silence(Duration::from_mins(5), Codec::Pcmu);
    port.play(vec![Arc::new(long)]);

    // The kernel keeps from us what nobody needs: one that is not even sent is not missed then.
    let (mut sent, mut lost) = (0, 0);
    caller.talk(&port, 0, 0..2);
    loop {
        caller.talk(&port, sent + 2, 2..5);
        caller.talk(&port, sent + 6, 6..18);
        sent += 16;
        accounted(&port, sent as u64 + 2).await;
        let before = std::mem::replace(&mut lost, port.statistics().lost);
        if lost == before {
            break;
        }
        assert!(sent < 10_000, "nothing is kept from us");
    }
    let mut event = Caller::header(101, u16::try_from(sent).unwrap() + 2, 9);
    event.extend([5, 0x8a, 3, 0x20]);
    caller.socket.send_to(&event, port_address(&port)).unwrap();
    assert!(matches!(port.next().await, Event::Key('5')));

    port.play(vec![Arc::new(Sound::from_samples(&tone(100), 8000, Codec::Pcmu))]);
    expect_played(&mut port).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    caller.talk(&port, sent + 3, 0..40);
    accounted(&port, sent as u64 + 43).await;
    port.stop_recording();
    expect_recorded(&mut port).await;
    let expected: Vec<i16> = (0..40).flat_map(|n| [Caller::sample(n); 160]).collect();
    assert_eq!(samples(file.path()), expected);
    assert_eq!(port.statistics().lost, lost);
}

/// Until so many packets are known to have come or not.
async fn accounted(port: &Port, packets: u64) {
    let told = || port.statistics();
    until("all are accounted for", || told().received + told().lost == packets).await;
}
