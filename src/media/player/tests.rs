use std::f64::consts::TAU;

use super::*;
use crate::media::codec::g711::Law;
use crate::media::codec::g722;

fn sound(byte: u8, length: usize) -> Arc<Sound> {
    Arc::new(Sound::from_encoded(vec![byte; length], Codec::Pcmu))
}

fn player(sounds: Vec<Arc<Sound>>) -> Player {
    Player::new(sounds.into(), Codec::Pcmu, None)
}

/// A tone, so many seconds.
#[expect(clippy::cast_possible_truncation, reason = "8000 fits")]
fn tone(seconds: u32) -> Arc<Sound> {
    let sample = |n: u32| (f64::from(n) * 0.3).sin() * 8000.0;
    let samples: Vec<i16> = (0..8000 * seconds).map(|n| sample(n) as i16).collect();
    Arc::new(Sound::from_samples(&samples, 8000, Codec::Pcmu))
}

/// What is heard of so many frames.
fn heard(player: &mut Player, frames: usize) -> Vec<i16> {
    let mut all = Vec::new();
    for _ in 0..frames {
        let mut frame = [0xff; 160];
        if player.has_frame() {
            player.fill(&mut frame, 160);
        }
        all.extend(frame.map(|byte| Law::Mu.decoded(byte)));
    }
    all
}

/// The widest step between two samples; a click is wider than the sound's own.
fn widest(samples: &[i16]) -> u16 {
    samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap_or(0)
}

fn millis(player: &Player) -> u128 {
    player.position().at.as_millis()
}

#[test]
fn sounds_are_joined_within_a_frame_and_the_last_is_filled_up() {
    let foreign = Arc::new(Sound::from_encoded(vec![9; 9], Codec::Pcma));
    let mut player = player(vec![sound(1, 3), foreign, sound(2, 4), sound(3, 0)]);
    let mut frame = [0; 4];
    player.fill(&mut frame, 4);
    assert_eq!((frame, player.is_finished()), ([1, 1, 1, 2], false));
    player.fill(&mut frame, 4);
    assert_eq!((frame, player.is_finished()), ([2, 2, 2, 0xff], true));
}

#[test]
fn frames_of_opus_are_sent_as_they_are_kept_and_joined_where_packets_are_longer() {
    let silence = |millis| Arc::new(Sound::silence(Duration::from_millis(millis), Codec::Opus));
    let sounds = vec![silence(30), silence(10)];
    let kept: Vec<Vec<u8>> = sounds
        .iter()
        .flat_map(|sound| (0..9).map_while(|n| sound.frame(n * 320)))
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(kept.len(), 3);
    let mut player = Player::new(sounds.clone().into(), Codec::Opus, None);
    for frame in &kept {
        let mut packet = [0; 300];
        let length = player.fill(&mut packet, 320);
        assert_eq!(&packet[..length], frame);
    }
    assert!(player.is_finished());
    let mut player = Player::new(sounds.into(), Codec::Opus, None);
    let mut packet = [0; 300];
    let length = player.fill(&mut packet, 640);
    assert_eq!(opus::units(&packet[..length]), Some(16));
    let length = player.fill(&mut packet, 640);
    assert_eq!((&packet[..length], player.is_finished()), (&kept[2][..], true));
}

#[test]
fn a_whole_frame_ends_with_the_frame() {
    let mut whole = player(vec![sound(1, 4)]);
    let mut frame = [0; 4];
    whole.fill(&mut frame, 4);
    assert!(whole.is_finished());
    assert!(player(Vec::new()).is_finished());
}

#[test]
fn a_listener_moves_about_and_nothing_clicks() {
    let mut player = player(vec![tone(2), tone(3)]);
    let mut all = heard(&mut player, 50);
    let step = widest(&all);
    for (control, expected) in [
        (Control::Forward(Duration::from_millis(2500)), 3500),
        (Control::Back(Duration::from_millis(1000)), 3500 + 20 - 1000),
        (Control::Back(Duration::from_secs(9)), 0),
        (Control::To(Duration::from_millis(4321)), 4321),
        (Control::To(Duration::ZERO), 0),
    ] {
        player.control(control);
        assert_eq!(millis(&player), expected, "{control:?}");
        all.extend(heard(&mut player, 1));
    }
    all.extend(heard(&mut player, 5));
    assert!(widest(&all) <= step + step / 8, "{} and {step}", widest(&all));
    player.control(Control::Forward(Duration::from_secs(5)));
    assert!(player.is_finished());
}

#[test]
fn a_pause_falls_silent_within_a_frame_and_goes_on_where_it_was() {
    let mut player = player(vec![tone(2)]);
    let mut all = heard(&mut player, 10);
    let step = widest(&all);
    player.control(Control::Pause);
    assert_eq!((millis(&player), player.position().paused), (200, true));
    let pause = heard(&mut player, 3);
    assert!(pause[80..].iter().all(|&sample| sample == 0), "silent after 10 ms");
    assert!(!player.has_frame() && !player.is_finished());
    player.control(Control::Pause);
    player.control(Control::Resume);
    assert_eq!((millis(&player), player.position().paused), (200, false));
    all.extend(pause);
    all.extend(heard(&mut player, 3));
    assert!(widest(&all) <= step + step / 8, "{} and {step}", widest(&all));
    assert_eq!(millis(&player), 260);
}

#[test]
fn what_is_stopped_fades_out_within_a_frame() {
    let mut player = player(vec![tone(1)]);
    let mut all = heard(&mut player, 3);
    let step = widest(&all);
    player.stop();
    assert!(player.has_frame() && !player.is_finished());
    all.extend(heard(&mut player, 1));
    assert!(!player.has_frame() && !player.is_finished());
    assert!(all[560..].iter().all(|&sample| sample == 0));
    assert!(widest(&all) <= step + step / 8);
}

#[test]
fn what_replaces_a_sound_fades_it_over() {
    let mut old = player(vec![tone(1)]);
    let mut all = heard(&mut old, 3);
    let step = widest(&all);
    let mut new = Player::new(vec![tone(1)].into(), Codec::Pcmu, Some(&mut old));
    all.extend(heard(&mut new, 3));
    assert!(widest(&all) <= step + step / 8);
    assert_eq!(millis(&new), 60);
}

#[test]
fn speed_changes_how_long_it_takes_and_comes_back_without_a_click() {
    let mut player = player(vec![tone(10)]);
    let mut all = heard(&mut player, 5);
    let step = widest(&all);
    for (percent, frames, expected) in [(200, 50, 2100), (75, 40, 2700), (100, 15, 3000)] {
        player.control(Control::Speed(Speed::percent(percent)));
        all.extend(heard(&mut player, frames));
        assert!(millis(&player).abs_diff(expected) <= 30, "{percent}: {}", millis(&player));
    }
    assert!(widest(&all) <= step + step / 8, "{} and {step}", widest(&all));
    let playback = Playback { speed: Speed::percent(150), ..vec![tone(3)].into() };
    let mut fast = Player::new(playback, Codec::Pcmu, None);
    let frames = (0..).take_while(|_| !fast.is_finished() && heard(&mut fast, 1).len() == 160);
    assert!((100..=101).contains(&frames.count()));
}

#[test]
fn volume_goes_over_and_never_clips() {
    let mut player = player(vec![tone(5)]);
    let mut all = heard(&mut player, 5);
    let loudest = |samples: &[i16]| samples.iter().map(|s| s.unsigned_abs()).max().unwrap();
    player.control(Control::Volume(Volume::decibels(-6)));
    let quiet = heard(&mut player, 20);
    assert!(loudest(&quiet[800..]).abs_diff(4000) < 200, "{}", loudest(&quiet[800..]));
    player.control(Control::Volume(Volume::decibels(18)));
    let loud = heard(&mut player, 100);
    assert!((30_000..32_200).contains(&loudest(&loud)));
    player.control(Control::Volume(Volume::NORMAL));
    let normal = heard(&mut player, 50);
    assert!(loudest(&normal[4000..]).abs_diff(8000) < 300, "{}", loudest(&normal[4000..]));
    all.extend(quiet);
    assert!(widest(&all) < 2700);
    assert!(player.desk.is_none(), "a plain copy again");
}

#[test]
fn wide_codecs_are_played_faster_and_quieter_at_their_own_pitch() {
    let sample = |n: u32| (f64::from(n) / 16_000.0 * 440.0 * TAU).sin() * 8000.0;
    #[expect(clippy::cast_possible_truncation, reason = "8000 fits")]
    let samples: Vec<i16> = (0..64_000).map(|n| sample(n) as i16).collect();
    for codec in [Codec::G722, Codec::Opus] {
        let sounds = vec![Arc::new(Sound::from_samples(&samples, 16_000, codec))];
        let (speed, volume) = (Speed::percent(150), Volume::decibels(-6));
        let playback = Playback { speed, volume, ..sounds.into() };
        let mut player = Player::new(playback, codec, None);
        let (mut g722, mut opus) = (g722::Decoder::new(), opus::Decoder::new(16_000));
        let (mut heard, mut frames) = (Vec::new(), 0);
        while !player.is_finished() {
            let mut packet = [0; 400];
            let length = player.fill(&mut packet, 320);
            match codec {
                Codec::G722 => g722.decode(&packet[..length], &mut heard),
                _ => opus.decode(&packet[..length], &mut heard),
            }
            frames += 1;
        }
        assert!((132..=136).contains(&frames), "{codec:?}: {frames}");
        let second = &heard[8000..24_000];
        let rises = second.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!(rises.abs_diff(440) <= 4, "{codec:?}: {rises} Hz");
        let loudest = second.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!(loudest.abs_diff(4000) < 600, "{codec:?}: {loudest}");
    }
}

#[test]
fn speed_and_volume_have_bounds() {
    assert_eq!([10, 90, 900].map(|n| Speed::percent(n).as_percent()), [75, 90, 200]);
    assert_eq!([-99, 3, 99].map(|n| Volume::decibels(n).as_decibels()), [-18, 3, 18]);
}

#[test]
fn a_playback_begins_where_it_is_told_to() {
    let from = Duration::from_millis(1500);
    let playback = Playback { from, ..vec![tone(1), tone(1)].into() };
    let player = Player::new(playback, Codec::Pcmu, None);
    assert_eq!(millis(&player), 1500);
    let beyond = Playback { from: Duration::from_secs(9), ..vec![tone(1)].into() };
    assert!(Player::new(beyond, Codec::Pcmu, None).is_finished());
}
