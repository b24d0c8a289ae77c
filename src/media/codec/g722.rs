//! G.722 at 64 kbit/s: 16 kHz, and an RTP clock of 8 kHz by an old mistake (RFC 3551 §4.5.2).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use audio_codec::g722::{G722Decoder, G722Encoder};
use audio_codec::{Decoder as _, Encoder as _};

/// Octets of one stream to samples, two for each.
pub(in crate::media) struct Decoder {
    library: G722Decoder,
}

/// Samples to octets, one for two.
pub(in crate::media) struct Encoder {
    library: G722Encoder,
}

impl Decoder {
    pub fn new() -> Self {
        Self { library: G722Decoder::new() }
    }

    /// Appends two samples for each octet.
    pub fn decode(&mut self, octets: &[u8], out: &mut Vec<i16>) {
        let start = out.len();
        let end = start + 2 * octets.len();
        out.resize(end, 0);
        let Self { library } = self;
        let decode = || library.decode_into(octets, &mut out[start..]);
        // A fault of the library costs a packet, never a thread.
        if catch_unwind(AssertUnwindSafe(decode)).is_err() {
            self.library = G722Decoder::new();
            out[start..].fill(0);
        }
    }
}

impl Encoder {
    pub fn new() -> Self {
        Self { library: G722Encoder::new() }
    }

    /// Appends an octet for each two samples; an odd one at the end is left out.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + samples.len() / 2, 0);
        let samples = &samples[..samples.len() & !1];
        if self.library.encode_into(samples, &mut out[start..]).is_err() {
            out[start..].fill(0xff);
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_comes_out_as_it_went_in() {
        let said = super::super::super::wav::samples("sounds/en/vm-intro.wav".as_ref()).unwrap();
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let (mut wire, mut heard) = (Vec::new(), Vec::new());
        for frame in said.chunks(320) {
            encoder.encode(frame, &mut wire);
        }
        assert_eq!(wire.len(), said.len() / 2);
        for packet in wire.chunks(160) {
            decoder.decode(packet, &mut heard);
        }
        // Both filters delay by 11 samples each.
        let pairs = || said.iter().zip(&heard[22..]).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let signal: f64 = pairs().map(|(a, _)| a * a).sum();
        let error: f64 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
        let ratio = 10.0 * (signal / error).log10();
        assert!(ratio > 20.0, "{ratio:.1} dB");
    }

    #[test]
    fn silence_is_silent_from_the_start_and_after_speech() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let loud: Vec<i16> = (0..3200).map(|n| if n % 20 < 10 { 8000 } else { -8000 }).collect();
        let (mut wire, mut heard) = (Vec::new(), Vec::new());
        encoder.encode(&[0; 320], &mut wire);
        decoder.decode(&wire, &mut heard);
        assert!(heard.iter().all(|sample| sample.unsigned_abs() < 16), "{heard:?}");
        wire.clear();
        encoder.encode(&loud, &mut wire);
        encoder.encode(&[0; 1600], &mut wire);
        heard.clear();
        decoder.decode(&wire, &mut heard);
        assert!(heard[4200..].iter().all(|sample| sample.unsigned_abs() < 64));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_two_samples_each(
            octets in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)
        ) {
            let mut heard = Vec::new();
            Decoder::new().decode(&octets, &mut heard);
            proptest::prop_assert_eq!(heard.len(), 2 * octets.len());
        }
    }
}
