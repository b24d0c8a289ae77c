//! Calls over loopback: real sockets, real files.

#![expect(clippy::unwrap_used, reason = "a test stops where anything fails")]

#[path = "media/caller.rs"]
mod caller;
#[path = "media/listening.rs"]
mod listening;
#[path = "media/secured.rs"]
mod secured;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use afterbeep::media::{
    Codec, Config, Control, Direction, Ended, Event, Library, Media, OpenError, Port, Position,
    Rtcp, Sound, Speed, Stream, Take, wav,
};
use tokio::time::MissedTickBehavior;

use caller::{
    Caller, PATIENCE, are_joined, config, expect_played, expect_position, expect_recorded, heard,
    media, port_address, record, samples, settle, take, tone, ulaw, undisturbed, until,
};

#[tokio::test]
async fn a_caller_who_speaks_at_once_is_recorded_bit_by_bit() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let beep = Sound::from_samples(&tone(400), 8000, Codec::Pcmu);
    port.play(vec![Arc::new(beep)]);

    // Who talks into the beep is not recorded; who talks after it is, before we are asked to.
    caller.listen(20);
    caller.talk(&port, 0, 0..1);
    expect_played(&mut port).await;
    caller.talk(&port, 1, 1..6);
    heard(&port, 6).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    // All at once it is more than what comes before a recording may be.
    record(&mut port, take(file.path())).await;
    caller.talk(&port, 6, 6..40);
    port.stop_recording();
    let recording = expect_recorded(&mut port).await;

    assert!(matches!(recording.ended, Ended::Stopped), "{:?}", recording.ended);
    let expected: Vec<i16> = (1..40).flat_map(|n| [Caller::sample(n); 160]).collect();
    let recorded = samples(file.path());
    // The first frame may have come while the last one of the beep was under way.
    let recorded = recorded.strip_prefix(&[Caller::sample(0); 160]).unwrap_or(&recorded);
    assert_eq!(recorded, expected);
    assert_eq!(recording.samples, samples(file.path()).len() as u64);
    assert_eq!(wav::info(file.path()).unwrap().samples, recording.samples);
}

#[tokio::test]
async fn a_beep_is_sent_at_once_and_in_time_without_a_packet_from_the_caller() {
    let media = media();
    undisturbed(async || {
        let caller = Caller::new();
        let mut port = media.open().unwrap();
        caller.answered_by(&mut port, Codec::Pcma);
        let samples = tone(400);
        let sound = |part: &[i16]| Arc::new(Sound::from_samples(part, 8000, Codec::Pcma));
        let asked = Instant::now();
        port.play(vec![sound(&samples[..1000]), sound(&samples[1000..])]);
        let frames = caller.listen(20);
        let lasted = asked.elapsed();
        expect_played(&mut port).await;

        let mut whole = Vec::new();
        for frame in &frames {
            assert_eq!(frame.len(), 172);
            whole.push((frame[1] & 0x7f, u16::from_be_bytes([frame[2], frame[3]])));
        }
        assert_eq!(frames[0][1], 0x88, "the marker begins the talk spurt");
        for pair in whole.windows(2) {
            assert_eq!(pair[1], (8, pair[0].1.wrapping_add(1)));
        }
        assert_eq!(frames.iter().map(|frame| frame[12..].len()).sum::<usize>(), samples.len());
        assert_eq!(port.statistics().sent, 20);
        assert!(lasted > Duration::from_millis(340), "{lasted:?}");
        let in_time = lasted < Duration::from_millis(600) && are_joined(&frames, 160);
        in_time.then_some(()).ok_or(format!("a beep of 400 ms took {lasted:?}"))
    })
    .await;
}

#[tokio::test]
async fn disorder_is_put_in_order_and_losses_take_their_time() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    for n in [0, 1, 3, 2, 2, 4, 6, 7, 8, 9, 9, 10] {
        caller.send(&port, n, n);
    }
    port.stop_recording();
    expect_recorded(&mut port).await;
    let mut recorded = samples(file.path());
    // What stands there is made up of what is around it.
    recorded.splice(5 * 160..6 * 160, [0; 160]);
    let expected: Vec<i16> =
        (0..11).flat_map(|n| [if n == 5 { 0 } else { Caller::sample(n) }; 160]).collect();
    assert_eq!(recorded, expected);
    let told = port.statistics();
    assert_eq!((told.received, told.lost, told.duplicates, told.late), (12, 1, 2, 0));
}

#[tokio::test]
async fn strangers_are_neither_heard_nor_answered() {
    let (media, caller, stranger) = (media(), Caller::new(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    stranger.send(&port, 50, 50);
    caller.send(&port, 0, 0);
    caller.socket.send_to(b"\x80\x00", port_address(&port)).unwrap();
    stranger.talk(&port, 51, 51..60);
    caller.talk(&port, 1, 1..10);
    port.stop_recording();
    expect_recorded(&mut port).await;
    let expected: Vec<i16> = (0..10).flat_map(|n| [Caller::sample(n); 160]).collect();
    assert_eq!(samples(file.path()), expected);
    assert_eq!(port.statistics().malformed, 1);
}

#[tokio::test]
async fn what_strangers_sent_before_the_caller_was_known_stays_theirs() {
    let (media, caller, stranger) = (media(), Caller::new(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    // Never two in sequence, which would prove a source; keys among them; the caller's own SSRC.
    let shout = |numbers: std::ops::Range<u16>| {
        for n in numbers {
            stranger.send(&port, 4 * n, 99);
            let mut key = Caller::header(101, 4 * n + 2, 160 * u32::from(n));
            key.extend([5, 0x8a, 3, 32]);
            stranger.socket.send_to(&key, port_address(&port)).unwrap();
        }
    };
    shout(0..20);
    caller.send(&port, 0, 0);
    shout(20..60);
    caller.talk(&port, 1, 1..10);
    port.stop_recording();
    // Another event, a key, would come before it.
    expect_recorded(&mut port).await;
    let expected: Vec<i16> = (0..10).flat_map(|n| [Caller::sample(n); 160]).collect();
    assert_eq!(samples(file.path()), expected);
}

#[tokio::test]
async fn a_flood_on_one_port_does_not_starve_another() {
    let (media, caller, other, flood) = (media(), Caller::new(), Caller::new(), Caller::new());
    let (mut port, mut flooded) = (media.open().unwrap(), media.open().unwrap());
    caller.answered_by(&mut port, Codec::Pcmu);
    other.answered_by(&mut flooded, Codec::Pcmu);
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    let mut clock = tokio::time::interval(Duration::from_millis(10));
    for n in 0..50 {
        clock.tick().await;
        caller.send(&port, n, n);
        for _ in 0..200 {
            flood.socket.send_to(&[0x80; 700], port_address(&flooded)).unwrap();
        }
    }
    port.stop_recording();
    expect_recorded(&mut port).await;
    let expected: Vec<i16> = (0..50).flat_map(|n| [Caller::sample(n); 160]).collect();
    assert_eq!(samples(file.path()), expected);
    assert!(flooded.statistics().received == 0);
}

#[tokio::test]
async fn a_flood_of_nonsense_from_the_caller_himself_is_counted_and_harms_nothing() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    let to = port_address(&port);
    let nonsense: [Vec<u8>; 6] = [
        // Version 1; a header too short; an extension and padding that lie; a type that was not
        // agreed; another stream that claims to be ours.
        vec![0x40; 172],
        vec![0x80, 0, 0, 1],
        [&Caller::header(0, 7, 7)[..], &[0xbe, 0xde, 0xff, 0xff]].concat(),
        [&Caller::header(0, 7, 7)[..], &[9; 160], &[250]].concat(),
        [&Caller::header(77, 7, 7)[..], &[9; 160]].concat(),
        [&Caller::header(0, 9000, 7)[..8], &[6; 4], &[9; 160]].concat(),
    ];
    let flags = [0x40, 0x80, 0x90, 0xa0, 0x80, 0x80];
    let counted = |port: &Port| {
        let told = port.statistics();
        told.malformed + told.unknown + told.strangers
    };
    let mut sent = 0;
    for n in 0..50 {
        caller.send(&port, n, n);
        for (at, flags) in (0..100_usize).zip(flags.iter().cycle()) {
            let mut datagram = nonsense[at % nonsense.len()].clone();
            datagram[0] = *flags;
            caller.socket.send_to(&datagram, to).unwrap();
            sent += 1;
        }
        // As fast as it is taken: what no socket can hold, nobody can count.
        until("all is counted", || counted(&port) == sent).await;
    }
    port.stop_recording();
    expect_recorded(&mut port).await;
    let expected: Vec<i16> = (0..50).flat_map(|n| [Caller::sample(n); 160]).collect();
    assert_eq!(samples(file.path()), expected);
    assert_eq!((port.statistics().received, counted(&port)), (50, sent));
}

#[tokio::test]
async fn a_steady_flood_from_the_callers_own_source_takes_no_frame_of_the_recording() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    let taken = |port: &Port| port.statistics().received + port.statistics().malformed;
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for n in 0..75 {
        clock.tick().await;
        caller.send(&port, n, n);
        for _ in 0..50 {
            caller.socket.send_to(&[0x40; 172], port_address(&port)).unwrap();
        }
        // Who is in no hurry looks every 60 ms. A machine that stands still for longer is waited
        // for: what its socket cannot hold is lost.
        let sent = 51 * (u64::from(n) + 1);
        until("the flood is taken", || taken(&port) + 4 * 51 >= sent).await;
    }
    port.stop_recording();
    expect_recorded(&mut port).await;
    let expected: Vec<i16> = (0..75).flat_map(|n| [Caller::sample(n); 160]).collect();
    assert_eq!(samples(file.path()), expected);
    assert_eq!((port.statistics().received, port.statistics().malformed), (75, 3750));
}

#[tokio::test]
async fn packets_are_as_long_as_the_caller_likes() {
    for millis in [10_u64, 20, 30, 40, 60] {
        let media = media();
        undisturbed(async || {
            let caller = Caller::new();
            let mut port = media.open().unwrap();
            let mut stream = Stream::new(Some(caller.address()), Codec::Pcmu);
            stream.ptime = Duration::from_millis(millis);
            port.connect(stream);
            let asked = Instant::now();
            port.play(vec![Arc::new(Sound::silence(Duration::from_millis(240), Codec::Pcmu))]);
            let frames = caller.listen(usize::try_from(240 / millis).unwrap());
            assert!(asked.elapsed() > Duration::from_millis(240 - 3 * millis.max(20)), "{millis}");
            let length = usize::try_from(8 * millis).unwrap();
            assert!(frames.iter().all(|frame| frame.len() == 12 + length), "{millis}");
            expect_played(&mut port).await;
            let joined = are_joined(&frames, u32::try_from(length).unwrap());
            joined.then_some(()).ok_or(format!("packets of {millis} ms are not joined"))
        })
        .await;
    }
}

#[tokio::test]
async fn a_dual_stack_port_serves_an_ipv4_caller() {
    let bind = std::net::Ipv6Addr::UNSPECIFIED.into();
    let media = Media::start(Config { bind, ..config(23_200..=23_299) }).unwrap();
    let caller = Caller::new();
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let sound = Arc::new(Sound::silence(Duration::from_millis(20), Codec::Pcmu));
    port.play(vec![Arc::clone(&sound)]);
    assert_eq!(caller.listen(1).len(), 1);
    expect_played(&mut port).await;
    caller.talk(&port, 0, 0..3);
    heard(&port, 3).await;
    assert_eq!((port.statistics().received, port.statistics().strangers), (3, 0));
    port.play(vec![sound]);
    assert_eq!(caller.listen(1).len(), 1, "also once connected");
}

#[tokio::test]
async fn after_a_silence_the_caller_may_come_back_from_another_port() {
    let (media, caller, rebound) = (media(), Caller::new(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let sound = Arc::new(Sound::silence(Duration::from_millis(20), Codec::Pcmu));
    port.play(vec![Arc::clone(&sound)]);
    expect_played(&mut port).await;
    caller.talk(&port, 0, 0..3);
    heard(&port, 3).await;
    // Somebody is forgotten after a second, by a thread that may be slow.
    tokio::time::sleep(Duration::from_secs(3)).await;
    rebound.talk(&port, 3, 3..8);
    heard(&port, 3 + 4).await;
    assert_eq!(port.statistics().received, 3 + 4, "one packet proves the new source");
    port.play(vec![sound]);
    assert_eq!(rebound.listen(1).len(), 1);
}

#[tokio::test]
async fn a_key_ends_a_recording_without_dead_air() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    caller.talk(&port, 0, 0..10);
    for n in 10..15_u16 {
        let mut packet = Caller::header(101, n, 1600);
        let end = if n > 12 { 0x80 } else { 0 };
        packet.extend([11, end | 0x0a, 0, 160]);
        caller.socket.send_to(&packet, port_address(&port)).unwrap();
    }
    match port.next().await {
        Event::Key(key) => assert_eq!(key, '#'),
        other => panic!("{other:?}"),
    }
    port.stop_recording();
    assert_eq!(expect_recorded(&mut port).await.samples, 1600);
}

#[tokio::test]
async fn a_key_heard_as_its_tone_ends_a_recording_without_it() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    port.connect(Stream::new(Some(caller.address()), Codec::Pcmu));
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&mut port, take(file.path())).await;
    caller.talk(&port, 0, 0..20);
    let wave = |hertz: f64, n: u16| (std::f64::consts::TAU * hertz * f64::from(n) / 8000.0).sin();
    for frame in 0..7_u16 {
        let mut packet = Caller::header(0, 20 + frame, u32::from(20 + frame) * 160);
        let samples = frame * 160..(frame + 1) * 160;
        packet.extend(samples.map(|n| ulaw(5000.0 * (wave(770.0, n) + wave(1336.0, n)))));
        caller.socket.send_to(&packet, port_address(&port)).unwrap();
    }
    match port.next().await {
        Event::Key(key) => assert_eq!(key, '5'),
        other => panic!("{other:?}"),
    }
    port.stop_recording();
    let recorded = expect_recorded(&mut port).await.samples;
    // What was said is there but for a block, 12.75 ms, in which the tone may have begun.
    assert!((20 * 160 - 204..=20 * 160).contains(&recorded), "{recorded}");
}

#[tokio::test]
async fn a_port_that_closes_says_goodbye_beside_the_audio_or_among_it() {
    let (media, caller, reports) = (media(), Caller::new(), Caller::new());
    for (rtcp, hears) in [(Rtcp::Beside(Some(reports.address())), &reports), (Rtcp::Mux, &caller)] {
        let mut port = media.open().unwrap();
        port.connect(Stream { rtcp, ..Stream::new(Some(caller.address()), Codec::Pcmu) });
        port.play(vec![Arc::new(Sound::silence(Duration::from_millis(20), Codec::Pcmu))]);
        expect_played(&mut port).await;
        caller.talk(&port, 0, 0..5);
        heard(&port, 5).await;
        assert_eq!(caller.listen(1)[0].len(), 172);
        drop(port);
        let report = &hears.listen(1)[0];
        // A sender's report with one block, its name, and the BYE.
        assert_eq!((report[0], report[1], report.len()), (0x81, 200, 28 + 24 + 28 + 8));
        assert_eq!(report[20..24], 1_u32.to_be_bytes(), "one packet was sent");
        assert_eq!(report[28..32], 7_u32.to_be_bytes(), "the caller's source");
        assert_eq!(report[32..36], [0; 4], "nothing was lost");
        assert_eq!(report[81], 203);
    }
}

#[tokio::test]
async fn a_recording_always_tells_its_end() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);

    let refuse = || Err(std::io::Error::other("no disk"));
    port.record(Take { open: Box::new(refuse), ..take(Path::new("")) });
    let recording = expect_recorded(&mut port).await;
    assert!(matches!(recording.ended, Ended::Failed(_)));
    assert_eq!(recording.samples, 0);

    let full = || std::fs::File::options().write(true).open("/dev/full");
    port.record(Take { open: Box::new(full), ..take(Path::new("")) });
    assert!(matches!(expect_recorded(&mut port).await.ended, Ended::Failed(_)));

    let file = tempfile::NamedTempFile::new().unwrap();
    let limit = Duration::from_millis(50);
    record(&mut port, Take { limit, ..take(file.path()) }).await;
    caller.talk(&port, 0, 0..5);
    let recording = expect_recorded(&mut port).await;
    assert!(matches!(recording.ended, Ended::Limit));
    assert_eq!(recording.duration(), Duration::from_millis(50));
}

#[tokio::test]
async fn at_every_moment_all_but_half_a_second_is_on_disk() {
    let media = media();
    undisturbed(async || {
        let caller = Caller::new();
        let mut port = media.open().unwrap();
        caller.answered_by(&mut port, Codec::Pcmu);
        let file = tempfile::NamedTempFile::new().unwrap();
        record(&mut port, take(file.path())).await;
        let (mut said, mut late) = (Vec::new(), 0);
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for n in 0..75 {
            clock.tick().await;
            caller.send(&port, n, n);
            said.push(Instant::now());
            let long_ago = |said: &&Instant| said.elapsed() > Duration::from_millis(500);
            let owed = said.iter().filter(long_ago).count();
            let there = wav::info(file.path()).map_or(0, |info| info.samples);
            late += usize::from(there < owed as u64 * 160);
        }
        let all = || wav::info(file.path()).is_ok_and(|info| info.samples == 75 * 160);
        until("all is on disk", all).await;
        // The port goes without a word; its file is closed all the same.
        drop(port);
        settle().await;
        assert_eq!(samples(file.path()).len(), 75 * 160);
        (late < 15).then_some(()).ok_or(format!("late {late} times of 75"))
    })
    .await;
}

#[tokio::test]
async fn a_playback_that_was_stopped_does_not_tell_its_end() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let long = Arc::new(Sound::silence(Duration::from_mins(1), Codec::Pcmu));
    let short = Arc::new(Sound::silence(Duration::from_millis(40), Codec::Pcmu));
    port.play(vec![Arc::clone(&short)]);
    settle().await;
    port.stop_playing();
    port.play(vec![long]);
    caller.listen(5);
    let asked = Instant::now();
    port.play(vec![short]);
    expect_played(&mut port).await;
    assert!(asked.elapsed() < Duration::from_secs(30), "the end of the long one was told");
    let told = tokio::time::timeout(Duration::from_millis(100), port.next()).await;
    assert!(told.is_err(), "{told:?}");
}

#[tokio::test]
async fn a_listener_pauses_skips_and_hears_faster() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    caller.answered_by(&mut port, Codec::Pcmu);
    let sound = Arc::new(Sound::from_samples(&tone(10_000), 8000, Codec::Pcmu));
    port.play(vec![sound]);
    caller.listen(5);

    port.control(Control::Pause);
    let paused = expect_position(&mut port).await;
    assert!(paused.paused && paused.length == Duration::from_secs(10), "{paused:?}");
    let mut quiet = false;
    for _ in 0..50 {
        caller.drain();
        tokio::time::sleep(Duration::from_millis(200)).await;
        quiet = caller.drain() == 0;
        if quiet {
            break;
        }
    }
    assert!(quiet, "nothing is sent in a pause");

    port.control(Control::Resume);
    port.control(Control::Forward(Duration::from_secs(8)));
    assert_eq!(expect_position(&mut port).await, Position { paused: false, ..paused });
    let forward = expect_position(&mut port).await;
    // It may have gone on for some frames in between.
    let skipped = forward.at.abs_diff(paused.at);
    assert!((8000..9500).contains(&skipped.as_millis()), "{skipped:?}");
    port.control(Control::Speed(Speed::FASTEST));
    let fast = expect_position(&mut port).await;
    let before = port.statistics().sent;
    expect_played(&mut port).await;
    let left = fast.length.abs_diff(fast.at).as_millis() / 20;
    let sent = u128::from(port.statistics().sent - before);
    assert!(sent <= left * 3 / 4, "twice as fast: {sent} frames for {left}");
}

#[tokio::test]
async fn a_key_silences_what_plays_within_two_frames() {
    let media = media();
    undisturbed(async || {
        let caller = Caller::new();
        let mut port = media.open().unwrap();
        caller.answered_by(&mut port, Codec::Pcmu);
        let sound = Arc::new(Sound::from_samples(&tone(10_000), 8000, Codec::Pcmu));
        port.play(vec![sound]);
        caller.listen(5);
        port.stop_playing();
        settle().await;
        settle().await;
        // One that was under way, and one that fades out in its first half.
        let last = caller.rest();
        let Some(end) = last.last().filter(|_| last.len() <= 2) else {
            return Err(format!("{} frames", last.len()));
        };
        let is_silent = end[12 + 80..].iter().all(|&byte| byte | 0x80 == 0xff);
        is_silent.then_some(()).ok_or(format!("{end:?}"))
    })
    .await;
}

#[tokio::test]
async fn nothing_is_sent_on_hold_but_the_sounds_go_on() {
    let (media, caller) = (media(), Caller::new());
    let mut port = media.open().unwrap();
    let direction = Direction::ReceiveOnly;
    port.connect(Stream { direction, ..Stream::new(Some(caller.address()), Codec::Pcmu) });
    port.play(vec![Arc::new(Sound::silence(Duration::from_millis(60), Codec::Pcmu))]);
    expect_played(&mut port).await;
    assert_eq!(port.statistics().sent, 0);
}

#[tokio::test]
async fn a_silent_caller_is_told_once() {
    let rtp_timeout = Duration::from_millis(150);
    let media = Media::start(Config { rtp_timeout, ..config(23_000..=23_099) }).unwrap();
    let mut port = media.open().unwrap();
    Caller::new().answered_by(&mut port, Codec::Pcmu);
    assert!(matches!(port.next().await, Event::Silent));
    let told = tokio::time::timeout(Duration::from_millis(400), port.next()).await;
    assert!(told.is_err(), "{told:?}");
}

#[tokio::test]
async fn ports_run_out_and_come_back_after_a_rest() {
    let media = Media::start(config(23_100..=23_103)).unwrap();
    assert_eq!(media.capacity(), 2);
    let ports = [media.open().unwrap(), media.open().unwrap()];
    assert!(ports.iter().all(|port| port.number() % 2 == 0));
    assert!(matches!(media.open(), Err(OpenError::NoPorts)));
    let given_back = Instant::now();
    drop(ports);
    let port = loop {
        match media.open() {
            Ok(port) => break port,
            Err(OpenError::NoPorts) => settle().await,
            Err(other) => panic!("{other}"),
        }
        assert!(given_back.elapsed() < PATIENCE, "they come back");
    };
    assert!(given_back.elapsed() >= Duration::from_millis(1500), "they rest");
    assert_eq!(port.number() % 2, 0);
    until("the other one is free", || media.in_use() == 1).await;
}

#[test]
fn a_library_is_shared_by_threads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.ulaw");
    std::fs::write(&path, [1; 100]).unwrap();
    let library = Library::new(1000);
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| library.sound(&path, Codec::Pcmu).unwrap())).collect();
        let sounds: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(sounds.iter().all(|sound| Arc::ptr_eq(sound, &sounds[0])));
    });
}
