//! Phones that speak more than a telephone's band.

use std::f64::consts::TAU;

use crate::clients::baresip_in;
use crate::house::House;
use crate::voice::{Law, Voice, loud_seconds_at, wav, write_wav, write_wav_at};

#[test]
fn baresip_leaves_a_message_in_g722() {
    leaves_a_message("g722", 16_000);
}

#[test]
fn baresip_leaves_a_message_in_opus() {
    leaves_a_message("opus", 48_000);
}

/// Two tones half a second each, one of them above what a telephone carries; both are heard in
/// the recording, as loud as they were and as long.
fn leaves_a_message(codec: &str, rate: u32) {
    let house = House::new("[deposit]\ninstructions = false");
    // A short greeting of the owner's own.
    write_wav(&house.mailbox().join("unavail.wav"), &Voice::new(Law::Mu, 0.3, 4).samples());
    let said = house.dir.path().join("said.wav");
    write_wav_at(&said, rate, &tones(rate, 12));
    baresip_in(codec, &house, "UDP", &said, 3);

    let (rate, recorded) = wav(&house.message());
    assert_eq!(rate, 16_000);
    let loud = loud_seconds_at(rate, &recorded);
    let lasts = f64::from(u32::try_from(recorded.len()).unwrap()) / f64::from(rate);
    assert!((3.0..11.0).contains(&lasts) && loud > lasts - 0.3, "{loud} of {lasts} s");
    for hertz in [LOW, HIGH] {
        // Each sounds half of the time.
        let share = loudness(&recorded, rate, hertz) / (AMPLITUDE * AMPLITUDE / 4.0);
        assert!((0.5..1.6).contains(&share), "{hertz} Hz: {share:.2} of what was said");
    }
}

fn tones(rate: u32, seconds: u32) -> Vec<i16> {
    let sample = |n: u32| {
        let hertz = if (n / (rate / 2)).is_multiple_of(2) { LOW } else { HIGH };
        #[expect(clippy::cast_possible_truncation, reason = "it is far within")]
        let sample = (AMPLITUDE * (TAU * hertz * f64::from(n) / f64::from(rate)).sin()) as i16;
        sample
    };
    (0..rate * seconds).map(sample).collect()
}

/// The mean power of a tone, a fiftieth of a second at a time.
fn loudness(samples: &[i16], rate: u32, hertz: f64) -> f64 {
    let step = TAU * hertz / f64::from(rate);
    let powers = samples.chunks_exact(rate as usize / 50).map(|frame| {
        let (mut real, mut imaginary) = (0.0, 0.0);
        for (sample, n) in frame.iter().zip(0_u16..) {
            let phase = step * f64::from(n);
            real += f64::from(*sample) * phase.cos();
            imaginary += f64::from(*sample) * phase.sin();
        }
        let count = f64::from(rate) / 50.0;
        2.0 * (real * real + imaginary * imaginary) / (count * count)
    });
    let powers: Vec<f64> = powers.collect();
    powers.iter().sum::<f64>() / f64::from(u32::try_from(powers.len()).unwrap())
}

const LOW: f64 = 1000.0;
const HIGH: f64 = 5000.0;
const AMPLITUDE: f64 = 8000.0;
