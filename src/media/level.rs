//! How loud samples are, and louder or quieter without clipping; pure.

/// Turns samples up or down, and holds peaks below full scale: where they would not fit, the gain
/// gives way for a moment instead of the wave's form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limiter {
    wanted: f32,
    now: Option<f32>,
}

impl Limiter {
    /// Begins with this gain.
    pub fn new(decibels: f32) -> Self {
        Self { wanted: factor(decibels), now: None }
    }

    /// Begins without a gain, and goes over to what is set.
    pub fn at_rest() -> Self {
        Self { wanted: 1.0, now: Some(1.0) }
    }

    /// Changes the gain; what sounds goes over to it within milliseconds.
    pub fn set(&mut self, decibels: f32) {
        self.wanted = factor(decibels);
    }

    /// Whether it changes nothing.
    pub fn is_at_rest(&self) -> bool {
        self.now.is_none_or(|now| (now - 1.0).abs() < 1e-6) && (self.wanted - 1.0).abs() < 1e-6
    }

    /// Works on stretches of some milliseconds: the gain at both ends of each lets its peak pass.
    pub fn apply(&mut self, samples: &mut [i16], rate: u32) {
        let step = (rate as usize / 200).max(1);
        for piece in samples.chunks_mut(step) {
            let fits = self.fits(piece);
            let from = self.now.unwrap_or(fits);
            let to = fits.min(from * RECOVERY);
            self.now = Some(to);
            let count = u16::try_from(piece.len()).map_or(1.0, f32::from);
            for (sample, n) in piece.iter_mut().zip(0_u16..) {
                let gain = from + (to - from) * (f32::from(n) + 1.0) / count;
                #[expect(clippy::cast_possible_truncation, reason = "held within the range")]
                let louder = (f32::from(*sample) * gain).clamp(-CEILING, CEILING) as i16;
                *sample = louder;
            }
        }
    }

    /// The gain wanted, or the one at which these samples just fit.
    fn fits(&self, samples: &[i16]) -> f32 {
        let peak = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
        self.wanted.min(CEILING / f32::from(peak.max(1)))
    }
}

/// A gain as a factor.
pub(super) fn factor(decibels: f32) -> f32 {
    10_f32.powf(decibels / 20.0)
}

/// Peaks stay below 0.2 dB under full scale.
const CEILING: f32 = 32_000.0;
/// How fast the gain comes back: 26 dB a second.
const RECOVERY: f32 = 1.015;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "fits")]
    fn tone(amplitude: f64, samples: u32) -> Vec<i16> {
        let sample = |n: u32| (f64::from(n) * 0.31).sin() * amplitude;
        (0..samples).map(|n| sample(n) as i16).collect()
    }

    fn peak(samples: &[i16]) -> u16 {
        samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap()
    }

    #[test]
    fn louder_and_quieter_by_so_much() {
        for (decibels, expected) in [(6.0, 1995), (-6.0, 501), (0.0, 1000)] {
            let mut samples = tone(1000.0, 1600);
            Limiter::new(decibels).apply(&mut samples, 8000);
            assert!(peak(&samples).abs_diff(expected) <= 5, "{decibels}: {}", peak(&samples));
        }
    }

    #[test]
    fn what_would_not_fit_keeps_its_form() {
        let mut samples = tone(20_000.0, 8000);
        let original = samples.clone();
        Limiter::new(12.0).apply(&mut samples, 8000);
        assert!(peak(&samples) <= 32_000);
        // A sine still: not flattened at its top, where clipping leaves half of all samples.
        let flat = samples.iter().filter(|sample| sample.unsigned_abs() > 31_900).count();
        assert!(flat < samples.len() / 10, "{flat}");
        let ratio = |n: usize| f32::from(samples[n]) / f32::from(original[n]);
        let steady = (4000..5000).filter(|&n| original[n].unsigned_abs() > 2000);
        assert!(steady.clone().all(|n| (ratio(n) - 1.6).abs() < 0.08));
    }

    #[test]
    fn a_gain_comes_and_goes_without_a_step() {
        let mut limiter = Limiter::at_rest();
        let mut samples = vec![1000; 800];
        limiter.apply(&mut samples[..160], 8000);
        limiter.set(-12.0);
        limiter.apply(&mut samples[160..480], 8000);
        limiter.set(0.0);
        limiter.apply(&mut samples[480..], 8000);
        let steepest = samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
        assert!(steepest < 40, "{steepest}");
        assert_eq!(samples[479], 251);
    }
}
