//! Hearing a beep: a steady tone, such as asks a caller to speak; pure.

#![expect(clippy::cast_precision_loss, reason = "a frame has few samples")]

/// Where the first steady tone of at least 160 ms ends, in samples, if it has ended.
///
/// A frame is a tone when one sine explains nearly all of its energy, and steady when the pitch
/// stays. A sung vowel comes near, but not for so long, and not above [`LOWEST`].
pub fn end_of_beep(samples: &[i16], rate: u32) -> Option<usize> {
    let frame = rate as usize / 50;
    if frame < 16 {
        return None;
    }
    let (mut run, mut pitch) = (0, 0.0);
    for (at, samples) in samples.chunks_exact(frame).enumerate() {
        match tone(samples, f64::from(rate)) {
            Some(hertz) if run == 0 || (hertz - pitch).abs() < DRIFT => {
                (run, pitch) = (run + 1, hertz);
            }
            _ if run >= FRAMES => return Some(at * frame),
            Some(hertz) => (run, pitch) = (1, hertz),
            None => run = 0,
        }
    }
    None
}

const FRAMES: usize = 8;
/// Samples quieter than this are silence.
const QUIET: f64 = 300.0;
/// Hertz below which voices have their strongest partials.
const LOWEST: f64 = 400.0;
/// Hertz by which a steady pitch may seem to move from frame to frame.
const DRIFT: f64 = 15.0;

/// The pitch in hertz, if the frame is one tone.
fn tone(samples: &[i16], rate: f64) -> Option<f64> {
    let samples: Vec<f64> = samples.iter().map(|&sample| f64::from(sample)).collect();
    let energy: f64 = samples.iter().map(|x| x * x).sum();
    if energy < QUIET * QUIET * samples.len() as f64 {
        return None;
    }
    // A sine obeys x[n] + x[n-2] = 2 cos(w) x[n-1]: the w that fits best.
    let (mut cross, mut square) = (0.0, 0.0);
    for window in samples.windows(3) {
        cross += (window[0] + window[2]) * window[1];
        square += window[1] * window[1];
    }
    let w = (cross / (2.0 * square)).clamp(-1.0, 1.0).acos();
    let hertz = w * rate / std::f64::consts::TAU;
    // How much of the energy the sine of that w has, by least squares.
    let (mut ss, mut sc, mut cc, mut xs, mut xc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, x) in samples.iter().enumerate() {
        let (s, c) = (w * n as f64).sin_cos();
        ss += s * s;
        sc += s * c;
        cc += c * c;
        xs += x * s;
        xc += x * c;
    }
    let explained =
        (xs * xs * cc - 2.0 * xs * xc * sc + xc * xc * ss) / (ss * cc - sc * sc).max(1e-9);
    (hertz > LOWEST && hertz < rate / 2.2 && explained > 0.97 * energy).then_some(hertz)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "8000 fits")]
    fn sine(hertz: f64, samples: usize) -> impl Iterator<Item = i16> {
        (0..samples).map(move |n| {
            (8000.0 * (n as f64 * hertz / 8000.0 * std::f64::consts::TAU).sin()) as i16
        })
    }

    #[test]
    fn the_end_of_a_beep_is_found_within_a_frame() {
        let mut call: Vec<i16> = vec![0; 4000];
        call.extend(sine(1000.0, 3200));
        call.extend([0; 800]);
        let end = end_of_beep(&call, 8000).unwrap();
        assert!((7200..=7360).contains(&end), "{end}");
        assert_eq!(end_of_beep(&call[..7000], 8000), None, "it still sounds");
    }

    #[test]
    fn no_prompt_is_a_beep_but_the_beep() {
        for name in ["vm-theperson", "digits/0", "digits/1", "digits/2", "vm-isunavail", "vm-intro"]
        {
            let path = format!("sounds/en/{name}.wav");
            let prompt = super::super::wav::samples(path.as_ref()).unwrap();
            assert_eq!(end_of_beep(&prompt, 16_000), None, "{name}");
        }
        let mut beep = super::super::wav::samples("sounds/en/beep.wav".as_ref()).unwrap();
        beep.extend([0; 640]);
        assert!(end_of_beep(&beep, 16_000).is_some());
    }

    #[test]
    fn noise_and_short_clicks_are_no_beep() {
        let mut dice = 1u32;
        let noise: Vec<i16> = (0..16_000)
            .map(|_| {
                dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (dice >> 18) as i16 - 8000
            })
            .collect();
        assert_eq!(end_of_beep(&noise, 8000), None);
        let click: Vec<i16> = sine(1000.0, 400).chain([0; 800]).collect();
        assert_eq!(end_of_beep(&click, 8000), None);
    }
}
