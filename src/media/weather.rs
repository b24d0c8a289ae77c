//! Recordings through bad networks, for an hour, in virtual time.

use std::time::{Duration, Instant};

use super::codec::{Codec, opus};
use super::recorder::{Bounds, Head, Recorder};
use super::rtp::Packet;

/// What a network and a sender do to a call.
#[derive(Clone, Copy)]
struct Weather {
    codec: Codec,
    seconds: u64,
    /// Of a thousand packets.
    lost: u32,
    twice: u32,
    /// Milliseconds that a packet may be late.
    jitter: u32,
    /// How much too fast the sender's clock is, in millionths.
    drift: i64,
    /// Packets after which the sender goes on with another stream, or at another time.
    switches: Option<u64>,
    jumps: Option<u64>,
}

const FAIR: Weather = Weather {
    codec: Codec::Pcmu,
    seconds: 60,
    lost: 0,
    twice: 0,
    jitter: 0,
    drift: 0,
    switches: None,
    jumps: None,
};

struct Dice(u32);

impl Dice {
    fn below(&mut self, most: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u32::try_from((u64::from(self.0) * u64::from(most)) >> 32).unwrap()
    }
}

/// Microseconds by which the recording is longer than what was said.
fn error(weather: &Weather) -> i64 {
    let Weather { codec, .. } = *weather;
    let mut dice = Dice(7);
    let packets = weather.seconds * 50;
    let payload = match codec {
        Codec::Opus => opus::Encoder::new(16_000, 24_000, true).encode(&[0; 320]).to_vec(),
        _ => vec![0x55; 160],
    };
    let lasts = i64::from(codec.clock() / 50);
    // Sequence numbers and timestamps wrap early.
    let (mut sequence, mut timestamp, mut ssrc) = (65_000_u16, u32::MAX - 90_000, 1);
    let mut arriving = Vec::new();
    for n in 0..packets {
        // The first and the last come, or nobody knows how long the call was.
        let comes = n == 0 || n + 1 == packets || dice.below(1000) >= weather.lost;
        let sent = i64::try_from(n).unwrap() * 20_000 * (1_000_000 - weather.drift) / 1_000_000;
        for _ in 0..if dice.below(1000) < weather.twice { 2 } else { 1 } {
            let late = if n == 0 { 0 } else { dice.below(weather.jitter * 1000 + 1) };
            if comes {
                arriving.push((sent + i64::from(late), sequence, timestamp, ssrc));
            }
        }
        sequence = sequence.wrapping_add(1);
        timestamp = timestamp.wrapping_add(u32::try_from(lasts).unwrap());
        if weather.switches.is_some_and(|switches| n % switches == switches - 1) {
            let number = u16::try_from(dice.below(65_536)).unwrap();
            (sequence, timestamp, ssrc) = (number, dice.below(u32::MAX), ssrc + 1);
        }
        if weather.jumps.is_some_and(|jumps| n % jumps == jumps - 1) {
            timestamp = timestamp.wrapping_add(dice.below(u32::MAX));
        }
    }
    arriving.sort_by_key(|(at, ..)| *at);

    let start = Instant::now();
    let limit = Duration::from_secs(9000);
    let bounds = Bounds { limit, silence: None, level: 256, adapts: true, trims: false };
    let mut recorder = Recorder::start(Head::new(codec), bounds, start);
    let mut now = start;
    let mut recorded = 0;
    for (at, sequence, timestamp, ssrc) in arriving {
        let arrived = start + Duration::from_micros(u64::try_from(at).unwrap());
        while now + Duration::from_millis(100) < arrived {
            now += Duration::from_millis(100);
            recorder.tick(now);
        }
        let packet = Packet { payload_type: 0, sequence, timestamp, ssrc, payload: &payload };
        recorder.push(&packet, true, arrived);
        recorded += std::iter::from_fn(|| recorder.pull()).map(|piece| piece.len()).sum::<u64>();
    }
    let kept = recorder.finish(None, now);
    recorded += std::iter::from_fn(|| recorder.pull()).map(|piece| piece.len()).sum::<u64>();
    assert_eq!(kept, recorded);
    let micros =
        |samples: u64| i64::try_from(samples * 1_000_000 / u64::from(codec.rate())).unwrap();
    micros(recorded) - i64::try_from(packets * 20_000).unwrap()
}

fn is_exact(name: &str, weather: Weather) {
    let error = error(&weather);
    assert!(error.abs() <= 20_000, "{name}: {error} µs");
}

#[test]
fn an_hour_with_losses_and_jitter_is_an_hour() {
    is_exact("an hour", Weather { seconds: 3600, lost: 50, jitter: 40, twice: 10, ..FAIR });
}

#[test]
fn a_clock_that_drifts_for_an_hour_costs_nothing_and_adds_nothing() {
    for drift in [-300, 300] {
        let weather = Weather { seconds: 3600, lost: 10, jitter: 10, drift, ..FAIR };
        is_exact("drift", weather);
    }
}

#[test]
fn every_weather_is_survived_in_every_codec() {
    for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus] {
        let fair = Weather { codec, ..FAIR };
        is_exact("fair", fair);
        is_exact("a fifth is lost", Weather { lost: 200, jitter: 30, ..fair });
        is_exact("twice and out of order", Weather { twice: 300, jitter: 80, ..fair });
    }
}

#[test]
fn streams_that_change_and_clocks_that_jump_are_as_long_as_they_were() {
    let minutes = Weather { seconds: 300, ..FAIR };
    is_exact("other streams", Weather { switches: Some(500), ..minutes });
    is_exact("jumps", Weather { jumps: Some(500), ..minutes });
    is_exact("jumps and losses", Weather { jumps: Some(3000), lost: 50, ..minutes });
}
