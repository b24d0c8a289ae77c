//! Comfort noise (RFC 3389): what a caller's room sounds like while he says nothing and his
//! telephone sends nothing.

/// The noise of one pause.
#[derive(Debug, Clone)]
pub(super) struct Noise {
    /// Of the excitation.
    amplitude: f32,
    /// Reflection coefficients, as many as `order`.
    reflections: [f32; ORDER],
    order: usize,
    state: [f32; ORDER + 1],
    dice: u32,
}

impl Noise {
    /// Reads a payload: a level, and a spectrum if it has one. `None` if there is no level.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (&level, spectrum) = payload.split_first()?;
        // §3.1: the level in -dBov; the first bit is reserved.
        let rms = 32_768.0 * 10_f32.powf(-f32::from(level & 0x7f) / 20.0);
        let order = spectrum.len().min(ORDER);
        let mut reflections = [0.0; ORDER];
        let mut power = 1.0;
        for (reflection, &quantized) in reflections.iter_mut().zip(&spectrum[..order]) {
            // §3.2, kept away from where the filter would ring for ever.
            *reflection = (258.0 * (f32::from(quantized) - 127.0) / 32_768.0).clamp(-LIMIT, LIMIT);
            power *= 1.0 - *reflection * *reflection;
        }
        // The filter amplifies what it is excited with by as much as it is coloured; evenly
        // spread numbers have a third of the power of their largest.
        let amplitude = rms * power.sqrt() * 3_f32.sqrt();
        Some(Self { amplitude, reflections, order, state: [0.0; ORDER + 1], dice: SEED })
    }

    /// Appends so many samples.
    pub fn make(&mut self, samples: usize, out: &mut Vec<i16>) {
        out.extend((0..samples).map(|_| self.next()));
    }

    fn next(&mut self) -> i16 {
        self.dice = self.dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let even = f32::from((self.dice >> 16).to_le_bytes()[0]) * 256.0
            + f32::from((self.dice >> 24).to_le_bytes()[0]);
        let mut sample = self.amplitude * (even / 32_767.5 - 1.0);
        // The all-pole lattice of the spectrum.
        for at in (0..self.order).rev() {
            sample -= self.reflections[at] * self.state[at];
            self.state[at + 1] = self.state[at] + self.reflections[at] * sample;
        }
        self.state[0] = sample;
        #[expect(clippy::cast_possible_truncation, reason = "a float is clipped, which is wanted")]
        let sample = sample.round() as i16;
        sample
    }
}

/// The static payload type, at the clock of G.711.
pub(super) const PAYLOAD_TYPE: u8 = 13;
/// Coefficients that are used; senders have ten.
const ORDER: usize = 12;
const LIMIT: f32 = 0.98;
const SEED: u32 = 0x5eed;

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(payload: &[u8]) -> Vec<i16> {
        let mut out = Vec::new();
        Noise::read(payload).unwrap().make(16_000, &mut out);
        out
    }

    #[expect(clippy::cast_precision_loss, reason = "few samples")]
    fn level(samples: &[i16]) -> f64 {
        let sum: f64 = samples.iter().map(|&x| f64::from(x).powi(2)).sum();
        -20.0 * ((sum / samples.len() as f64).sqrt() / 32_768.0).log10()
    }

    #[test]
    fn noise_is_as_loud_as_it_is_told() {
        for told in [30, 50, 65] {
            for spectrum in [&[][..], &[127; 10], &[40, 180, 127, 90], &[200, 60]] {
                let payload = [&[told], spectrum].concat();
                let heard = level(&noise(&payload));
                assert!((heard - f64::from(told)).abs() < 1.5, "{payload:?}: {heard:.1}");
            }
        }
        assert!(noise(&[127]).iter().all(|&sample| sample == 0));
    }

    #[test]
    fn a_spectrum_colours_it() {
        let neighbours = |samples: &[i16]| {
            let cross: f64 =
                samples.windows(2).map(|pair| f64::from(pair[0]) * f64::from(pair[1])).sum();
            cross / samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>()
        };
        assert!(neighbours(&noise(&[40])).abs() < 0.1);
        assert!(neighbours(&noise(&[40, 40])) > 0.5, "low");
        assert!(neighbours(&noise(&[40, 214])) < -0.5, "high");
    }

    #[test]
    fn a_payload_of_nothing_is_none() {
        assert!(Noise::read(&[]).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_payload_makes_noise(
            payload in proptest::collection::vec(proptest::num::u8::ANY, 1..40)
        ) {
            proptest::prop_assert_eq!(noise(&payload).len(), 16_000);
        }
    }
}
