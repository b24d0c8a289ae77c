//! Is anybody speaking, and how loud? Speech told from silence, noise and tones by its energy; pure.

use std::time::Duration;

use super::codec;

/// Listens to samples as they come, 20 ms at a time.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    rate: u32,
    /// Of the frame that is not whole yet: the squares' sum, and how many.
    frame: (f64, u32),
    noise: Noise,
    before: f64,
    run: Run,
    speech: Run,
    peak: u16,
}

/// What a recording was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Speech {
    /// How long somebody spoke, pauses left out.
    pub lasted: Duration,
    /// How loud: the speech's RMS in dB below a full-scale square wave, if there is any.
    pub level: Option<f32>,
    /// The largest sample there is.
    pub peak: u16,
}

/// Frames in a row.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    frames: u32,
    power: f64,
    /// Frames unlike the one before.
    lively: u32,
}

/// The noise that a line always has: the least power in the last seconds.
#[derive(Debug, Clone, Copy)]
struct Noise {
    least: [f64; WINDOWS],
    window: usize,
    frames: u32,
    /// The least of all windows, also as the mean of the absolute samples.
    power: f64,
    loudness: u16,
}

impl Meter {
    pub fn new(rate: u32) -> Self {
        Self {
            rate,
            frame: (0.0, 0),
            noise: Noise::new(),
            before: 0.0,
            run: Run::default(),
            speech: Run::default(),
            peak: 0,
        }
    }

    /// Hears a stretch of which only the mean of the absolute samples is known: enough to tell
    /// speech, and not quite for its level.
    pub fn push_loudness(&mut self, loudness: u16, samples: u64) {
        let whole = u64::from(self.rate / FRAMES_PER_SECOND).max(1);
        let power = f64::from(loudness).powi(2) * SINE;
        for _ in 0..(samples / whole).max(1) {
            self.hear(power);
        }
    }

    pub fn push(&mut self, mut samples: &[i16]) {
        let whole = (self.rate / FRAMES_PER_SECOND).max(1);
        while !samples.is_empty() {
            let take = usize::try_from(whole - self.frame.1).unwrap_or(1).min(samples.len());
            let (now, later) = samples.split_at(take);
            let (mut squares, mut peak) = (0_u64, self.peak);
            for &sample in now {
                let size = sample.unsigned_abs();
                squares += u64::from(u32::from(size) * u32::from(size));
                peak = peak.max(size);
            }
            #[expect(clippy::cast_precision_loss, reason = "a power need not be exact")]
            let squares = squares as f64;
            self.peak = peak;
            self.frame.0 += squares;
            self.frame.1 += u32::try_from(take).unwrap_or(whole);
            if self.frame.1 >= whole {
                self.hear(self.frame.0 / f64::from(whole));
                self.frame = (0.0, 0);
            }
            samples = later;
        }
    }

    /// What was heard up to now.
    pub fn speech(&self) -> Speech {
        let mut ended = self.clone();
        ended.end_run();
        let Run { frames, power, .. } = ended.speech;
        let lasted = codec::duration(frames.into(), FRAMES_PER_SECOND);
        #[expect(clippy::cast_possible_truncation, reason = "a level need not be exact")]
        let level = (frames > 0).then(|| {
            let full = f64::from(i16::MAX).powi(2);
            (10.0 * (power / f64::from(frames) / full).log10()) as f32
        });
        Speech { lasted, level, peak: self.peak }
    }

    /// How loud the line's own noise is: the mean of the absolute samples.
    pub fn noise(&self) -> u16 {
        self.noise.loudness
    }

    fn hear(&mut self, power: f64) {
        let noise = self.noise.hear(power);
        if power > (noise * ABOVE_NOISE).max(QUIETEST) {
            let (less, more) = (self.before / LIVELY, self.before * LIVELY);
            self.run.lively += u32::from(power < less || power > more);
            self.run.frames += 1;
            self.run.power += power;
        } else {
            self.end_run();
        }
        self.before = power;
    }

    /// A run of loud frames is speech if it lasts for a syllable and changes as speech does: tones
    /// and hum do not, and a click is over too soon.
    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.frames >= SYLLABLE && run.lively * 5 >= run.frames {
            self.speech.frames += run.frames;
            self.speech.power += run.power;
        }
    }
}

impl Noise {
    fn new() -> Self {
        let least = [f64::INFINITY; WINDOWS];
        Self { least, window: 0, frames: 0, power: f64::INFINITY, loudness: 0 }
    }

    fn hear(&mut self, power: f64) -> f64 {
        let turns = self.frames == WINDOW;
        if turns {
            self.frames = 0;
            self.window = (self.window + 1) % WINDOWS;
            self.least[self.window] = power;
        }
        self.frames += 1;
        let least = &mut self.least[self.window];
        *least = least.min(power);
        // Few frames change it, and a root costs as much as the rest of a frame.
        if turns || power < self.power {
            self.power = self.least.iter().copied().fold(f64::INFINITY, f64::min);
            self.loudness = loudness(self.power);
        }
        self.power
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is clipped, which is wanted"
)]
fn loudness(power: f64) -> u16 {
    (power / SINE).sqrt() as u16
}

const FRAMES_PER_SECOND: u32 = 50;
/// Frames of a window, and windows that are remembered: 3.2 s, in which any speaker pauses.
const WINDOW: u32 = 20;
const WINDOWS: usize = 8;
/// Speech is 6 dB above the noise at least,
const ABOVE_NOISE: f64 = 4.0;
/// and never below -50 dB.
const QUIETEST: f64 = 104.0 * 104.0;
/// Two frames differ when their powers do by 2 dB.
const LIVELY: f64 = 1.585;
/// The power of a sine whose mean absolute sample is 1.
const SINE: f64 = 1.2337;
/// Frames of the shortest syllable.
const SYLLABLE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(samples: &[i16]) -> Speech {
        let mut meter = Meter::new(8000);
        samples.chunks(333).for_each(|piece| meter.push(piece));
        meter.speech()
    }

    #[expect(clippy::cast_possible_truncation, reason = "fits")]
    fn tones(hertz: &[f64], amplitude: f64, samples: u32) -> Vec<i16> {
        let sample = |n: u32| -> f64 {
            let t = f64::from(n) / 8000.0 * std::f64::consts::TAU;
            hertz.iter().map(|hertz| (t * hertz).sin() * amplitude).sum()
        };
        (0..samples).map(|n| sample(n) as i16).collect()
    }

    fn noise(amplitude: i32, samples: usize) -> Vec<i16> {
        let mut state = 1_u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let sample = i32::try_from(state >> 16).unwrap() - 32_768;
            i16::try_from(sample * amplitude / 32_768).unwrap()
        };
        std::iter::repeat_with(next).take(samples).collect()
    }

    fn seconds(samples: &[i16]) -> f64 {
        codec::duration(samples.len() as u64, 8000).as_secs_f64()
    }

    /// A prompt of ours, at 8 kHz.
    fn prompt(name: &str) -> Vec<i16> {
        let path = format!("{}/sounds/en/{name}.wav", env!("CARGO_MANIFEST_DIR"));
        let mut reader = hound::WavReader::open(path).unwrap();
        let step = reader.spec().sample_rate as usize / 8000;
        reader.samples::<i16>().step_by(step).map(Result::unwrap).collect()
    }

    #[test]
    fn speech_is_heard_and_measured() {
        for name in ["vm-intro", "vm-goodbye", "vm-theperson"] {
            let samples = prompt(name);
            let speech = measured(&samples);
            let share = speech.lasted.as_secs_f64() / seconds(&samples);
            assert!((0.4..=1.0).contains(&share), "{name}: {share}");
            let level = speech.level.unwrap();
            assert!((-26.0..-14.0).contains(&level), "{name}: {level}");
        }
    }

    #[test]
    fn speech_in_a_noisy_place_is_heard_too() {
        let speech = prompt("vm-intro");
        let mut samples = noise(600, speech.len() + 32_000);
        samples.iter_mut().skip(16_000).zip(&speech).for_each(|(noise, said)| *noise += said / 2);
        let (clean, noisy) = (measured(&speech), measured(&samples));
        let share = noisy.lasted.as_secs_f64() / clean.lasted.as_secs_f64();
        assert!((0.3..1.2).contains(&share), "{share}");
    }

    #[test]
    fn what_nobody_says_is_no_speech() {
        let silence = vec![0; 40_000];
        let busy: Vec<i16> = (0..8)
            .flat_map(|_| [tones(&[480.0, 620.0], 5000.0, 4000), vec![0; 4000]].concat())
            .collect();
        let ringing = [tones(&[440.0, 480.0], 5000.0, 16_000), vec![0; 32_000]].concat();
        let hum = tones(&[50.0], 3000.0, 40_000);
        let mut click = vec![0; 16_000];
        click[8000..8300].fill(9000);
        for (name, samples) in [
            ("silence", silence),
            ("noise", noise(3000, 80_000)),
            ("busy", busy),
            ("ringing", ringing),
            ("hum", hum),
            ("beep", tones(&[1000.0], 8000.0, 4000)),
            ("click", click),
        ] {
            let speech = measured(&samples);
            assert!(speech.lasted < Duration::from_millis(100), "{name}: {speech:?}");
        }
    }

    #[test]
    fn loudness_alone_tells_speech_and_noise() {
        let mut meter = Meter::new(8000);
        let said = prompt("vm-intro");
        for frame in said.chunks(160) {
            meter.push_loudness(codec::loudness(frame), frame.len() as u64);
        }
        let (told, measured) = (meter.speech().lasted, measured(&said).lasted);
        assert!(told.abs_diff(measured) < measured / 5, "{told:?} {measured:?}");
        let mut meter = Meter::new(8000);
        (0..200).for_each(|_| meter.push_loudness(500, 160));
        assert_eq!((meter.noise(), meter.speech().lasted), (500, Duration::ZERO));
    }

    #[test]
    fn the_level_is_that_of_the_speech_alone() {
        let said = prompt("vm-intro");
        let padded = [vec![0; 20_000], said.clone(), vec![0; 20_000]].concat();
        let (alone, padded) = (measured(&said).level.unwrap(), measured(&padded).level.unwrap());
        assert!((alone - padded).abs() < 0.5, "{alone} {padded}");
        let quiet: Vec<i16> = said.iter().map(|sample| sample / 4).collect();
        assert!((measured(&quiet).level.unwrap() - alone + 12.0).abs() < 1.0);
    }
}
