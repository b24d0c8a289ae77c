//! From one sampling rate to another: a polyphase filter with a windowed sinc.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates, taps and phases are small whole numbers"
)]

use std::f64::consts::PI;

/// Turns a stream of samples at one rate into a stream at another.
#[derive(Debug)]
pub(super) struct Resampler {
    /// Every `up` output samples span `down` input samples.
    up: usize,
    down: usize,
    /// For each phase the weights of the input samples around an output sample.
    phases: Vec<Vec<f32>>,
    /// Input not yet done with, led by what the filter looks back upon.
    input: Vec<f32>,
    /// Place of the next output: whole samples into `input`, and the phase.
    at: usize,
    phase: usize,
}

impl Resampler {
    /// `None` if the rates are equal and nothing is to do.
    pub fn new(from: u32, to: u32) -> Option<Self> {
        let (from, to) = (from as usize, to as usize);
        if from == to || from == 0 || to == 0 {
            return None;
        }
        let common = gcd(from, to);
        let (up, down) = (to / common, from / common);
        // The band of the lower rate is kept, and the filter is as long as that asks.
        let cutoff = BAND * (up as f64 / down as f64).min(1.0);
        let half = (ZEROS / cutoff).ceil() as usize;
        let count = up.min(MOST_PHASES);
        let weights = |phase: usize| weights(phase as f64 / count as f64, cutoff, half);
        let phases = (0..count).map(weights).collect();
        Some(Self { up, down, phases, input: vec![0.0; half - 1], at: 0, phase: 0 })
    }

    /// Takes input and appends what can be said of the output.
    pub fn push(&mut self, input: &[f32], output: &mut Vec<f32>) {
        self.input.extend_from_slice(input);
        let taps = self.phases.first().map_or(0, Vec::len);
        while self.at + taps <= self.input.len() {
            let weights = &self.phases[self.phase * self.phases.len() / self.up];
            let window = &self.input[self.at..self.at + taps];
            output.push(window.iter().zip(weights).map(|(sample, weight)| sample * weight).sum());
            self.phase += self.down;
            self.at += self.phase / self.up;
            self.phase %= self.up;
        }
        let done = self.at.min(self.input.len());
        self.input.drain(..done);
        self.at -= done;
    }

    /// Appends the output that still waits for input.
    pub fn finish(&mut self, output: &mut Vec<f32>) {
        let taps = self.phases.first().map_or(0, Vec::len);
        self.push(&vec![0.0; taps / 2], output);
    }
}

/// The weights for an output sample that lies `fraction` after an input sample, with `half` input
/// samples on either side.
fn weights(fraction: f64, cutoff: f64, half: usize) -> Vec<f32> {
    let span = half as f64;
    let raw = (0..2 * half).map(|tap| {
        let distance = tap as f64 - (span - 1.0) - fraction;
        sinc(cutoff * distance) * blackman(distance / span)
    });
    let raw: Vec<f64> = raw.collect();
    // Each phase has the same gain for a constant, or a steady tone would warble.
    let sum: f64 = raw.iter().sum();
    raw.into_iter().map(|weight| (weight / sum) as f32).collect()
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

fn blackman(x: f64) -> f64 {
    if x.abs() >= 1.0 { 0.0 } else { 0.42 + 0.5 * (PI * x).cos() + 0.08 * (2.0 * PI * x).cos() }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How much of the lower rate's band is kept.
const BAND: f64 = 0.92;
/// Zero crossings of the sinc on either side.
const ZEROS: f64 = 24.0;
/// Odd ratios of rates make do with the nearest of so many phases.
const MOST_PHASES: usize = 640;

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: u32, samples: usize) -> Vec<f32> {
        let step = 2.0 * PI * hz / f64::from(rate);
        (0..samples).map(|n| (n as f64 * step).sin() as f32).collect()
    }

    fn resampled(input: &[f32], from: u32, to: u32) -> Vec<f32> {
        let mut resampler = Resampler::new(from, to).unwrap();
        let mut output = Vec::new();
        for piece in input.chunks(377) {
            resampler.push(piece, &mut output);
        }
        resampler.finish(&mut output);
        output
    }

    fn power(samples: &[f32]) -> f64 {
        let sum: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
        sum / samples.len() as f64
    }

    #[test]
    fn a_tone_in_the_band_comes_out_as_that_tone() {
        for (from, to) in
            [(16_000, 8000), (8000, 16_000), (44_100, 8000), (48_000, 8000), (11_025, 8000)]
        {
            let length = from as usize / 2;
            let output = resampled(&tone(1000.0, from, length), from, to);
            let expected = tone(1000.0, to, to as usize / 2);
            assert!(output.len().abs_diff(expected.len()) <= 2, "{from}: {}", output.len());
            let steady = 400..3600;
            let error: Vec<f32> = steady.clone().map(|n| output[n] - expected[n]).collect();
            let ratio = 10.0 * (power(&error) / power(&expected[steady])).log10();
            assert!(ratio < -50.0, "{from} to {to}: {ratio:.1} dB");
        }
    }

    #[test]
    fn a_tone_above_the_band_is_gone() {
        for from in [16_000, 44_100, 48_000] {
            let output = resampled(&tone(5000.0, from, from as usize / 2), from, 8000);
            assert!(10.0 * power(&output[400..3600]).log10() < -60.0, "{from}");
        }
    }

    #[test]
    fn equal_rates_need_nothing() {
        assert!(Resampler::new(8000, 8000).is_none());
        assert!(Resampler::new(0, 8000).is_none());
    }
}
