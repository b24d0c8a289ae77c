//! GSM 06.10 full rate (RPE-LTP), the decoder: 160 samples at 8 kHz from 260 bits.
//!
//! Bit-exact: the arithmetic is that of ETSI EN 300 961 §5.1, sixteen bits that saturate, and each
//! step bears the number of its paragraph. Two ways of packing the bits are in use:
//!
//! - `.gsm`: 33 bytes a frame, a signature of four bits first, the highest bit of a value first;
//! - WAV49 (format 0x31, Asterisk's `.WAV`): 65 bytes for two frames, no signature, the lowest bit
//!   of a value first.

/// Samples that one frame decodes to.
pub(crate) const FRAME: usize = 160;
/// Bytes of a frame in a `.gsm` file.
pub(crate) const PACKED: usize = 33;
/// Bytes of two frames in a WAV49 file.
pub(crate) const BLOCK: usize = 65;

/// The filters' memory: a stream needs a decoder of its own.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    /// The last three subframes of the short-term residual, the latest at the end.
    residual: [i16; HISTORY],
    lag: usize,
    /// The log-area ratios of the frame before.
    ratios: [i16; ORDER],
    lattice: [i16; ORDER + 1],
    deemphasis: i16,
}

const HISTORY: usize = 120;
const ORDER: usize = 8;
const SUBFRAME: usize = 40;

/// The parameters of one frame, as table 1.1 lists them.
struct Frame {
    ratios: [i16; ORDER],
    subframes: [Subframe; 4],
}

#[derive(Default)]
struct Subframe {
    lag: i16,
    gain: usize,
    grid: usize,
    block_maximum: i16,
    pulses: [i16; 13],
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            residual: [0; HISTORY],
            lag: 40,
            ratios: [0; ORDER],
            lattice: [0; ORDER + 1],
            deemphasis: 0,
        }
    }
}

impl Decoder {
    /// Decodes a frame of a `.gsm` file; `None` where its signature is missing.
    pub(crate) fn packed(&mut self, bytes: &[u8; PACKED]) -> Option<[i16; FRAME]> {
        let mut bits = Bits { bytes, at: 0, highest_first: true };
        (bits.take(4) == SIGNATURE).then(|| self.frame(&bits.frame()))
    }

    /// Decodes the two frames of a WAV49 block.
    pub(crate) fn block(&mut self, bytes: &[u8; BLOCK]) -> [[i16; FRAME]; 2] {
        let mut bits = Bits { bytes, at: 0, highest_first: false };
        [bits.frame(), bits.frame()].map(|frame| self.frame(&frame))
    }

    fn frame(&mut self, frame: &Frame) -> [i16; FRAME] {
        let mut samples = [0; FRAME];
        for (subframe, part) in frame.subframes.iter().zip(samples.as_chunks_mut().0) {
            *part = self.long_term(subframe);
        }
        self.short_term(&frame.ratios, &mut samples);
        self.deemphasize(&mut samples);
        samples
    }

    /// §5.3.2: the residual, from its own past and the pulses.
    fn long_term(&mut self, subframe: &Subframe) -> [i16; SUBFRAME] {
        let mut residual = subframe.excitation();
        if let Ok(lag @ 40..=120) = usize::try_from(subframe.lag) {
            self.lag = lag;
        }
        let past = &self.residual[HISTORY - self.lag..][..SUBFRAME];
        for (sample, past) in residual.iter_mut().zip(past) {
            *sample = sample.saturating_add(product(GAINS[subframe.gain], *past));
        }
        self.residual.copy_within(SUBFRAME.., 0);
        self.residual[HISTORY - SUBFRAME..].copy_from_slice(&residual);
        residual
    }

    /// §5.3.3: the lattice filter, its ratios interpolated at the beginning of the frame.
    fn short_term(&mut self, coded: &[i16; ORDER], samples: &mut [i16; FRAME]) {
        let mut new = [0; ORDER];
        for (at, ratio) in new.iter_mut().enumerate() {
            *ratio = decoded_ratio(at, coded[at]);
        }
        let old = std::mem::replace(&mut self.ratios, new);
        let (quarter, half) = (|ratio: i16| ratio >> 2, |ratio: i16| ratio >> 1);
        let mix = |part: usize, at: usize| {
            let (old, new) = (old[at], new[at]);
            match part {
                0 => quarter(old).saturating_add(quarter(new)).saturating_add(half(old)),
                1 => half(old).saturating_add(half(new)),
                2 => quarter(old).saturating_add(quarter(new)).saturating_add(half(new)),
                _ => new,
            }
        };
        // Table 5.3: samples 0 to 12, 13 to 26, 27 to 39, and the rest.
        let mut rest = samples.as_mut_slice();
        for (part, length) in [13, 14, 13, 120].into_iter().enumerate() {
            let (these, after) = rest.split_at_mut(length);
            rest = after;
            let mut reflections = [0; ORDER];
            for (at, reflection) in reflections.iter_mut().enumerate() {
                *reflection = reflection_of(mix(part, at));
            }
            for sample in these {
                *sample = self.filtered(&reflections, *sample);
            }
        }
    }

    fn filtered(&mut self, reflections: &[i16; ORDER], residual: i16) -> i16 {
        let mut sample = residual;
        for at in (0..ORDER).rev() {
            let kept = self.lattice[at];
            sample = sample.saturating_sub(product(reflections[at], kept));
            self.lattice[at + 1] = kept.saturating_add(product(reflections[at], sample));
        }
        self.lattice[0] = sample;
        sample
    }

    /// §5.3.5 to §5.3.7: de-emphasis, upscaling, and 13 bits of the 16.
    fn deemphasize(&mut self, samples: &mut [i16; FRAME]) {
        for sample in samples {
            self.deemphasis = sample.saturating_add(product(self.deemphasis, EMPHASIS));
            *sample = self.deemphasis.saturating_add(self.deemphasis) & !7;
        }
    }
}

impl Subframe {
    /// §5.3.1: thirteen pulses, scaled and put on their grid.
    fn excitation(&self) -> [i16; SUBFRAME] {
        let (exponent, mantissa) = scale(self.block_maximum);
        let shift = 6 - exponent;
        let round = if shift > 0 { 1 << (shift - 1) } else { 0 };
        let mut samples = [0; SUBFRAME];
        for (at, pulse) in self.pulses.iter().enumerate() {
            let pulse = product(MANTISSAS[mantissa], (2 * pulse - 7) << 12);
            samples[self.grid + 3 * at] = pulse.saturating_add(round) >> shift;
        }
        samples
    }
}

/// §4.2.15: the exponent and the mantissa of a block's maximum.
fn scale(coded: i16) -> (i16, usize) {
    let mut exponent = if coded > 15 { (coded >> 3) - 1 } else { 0 };
    let mut mantissa = coded - (exponent << 3);
    if mantissa == 0 {
        return (-4, 7);
    }
    while mantissa <= 7 {
        mantissa = (mantissa << 1) | 1;
        exponent -= 1;
    }
    (exponent, usize::try_from(mantissa - 8).unwrap_or(0))
}

/// §5.3.3 and §4.2.8: a log-area ratio as it was before it was coded.
fn decoded_ratio(at: usize, coded: i16) -> i16 {
    let (least, offset, slope) = RATIOS[at];
    let ratio = ((coded + least) << 10).saturating_sub(offset << 1);
    let ratio = product(slope, ratio);
    ratio.saturating_add(ratio)
}

/// §4.2.9.2: the reflection coefficient that a log-area ratio stands for.
fn reflection_of(ratio: i16) -> i16 {
    let magnitude = ratio.saturating_abs();
    let reflection = match magnitude {
        0..11_059 => magnitude << 1,
        11_059..20_070 => magnitude + 11_059,
        _ => (magnitude >> 2).saturating_add(26_112),
    };
    if ratio < 0 { -reflection } else { reflection }
}

/// The rounded product of two fractions.
fn product(a: i16, b: i16) -> i16 {
    let product = (i32::from(a) * i32::from(b) + 0x4000) >> 15;
    // Only -1 times -1 does not fit.
    i16::try_from(product).unwrap_or(i16::MAX)
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    highest_first: bool,
}

impl Bits<'_> {
    fn take(&mut self, width: usize) -> i16 {
        let mut value = 0;
        for n in 0..width {
            let (byte, bit) = (self.bytes[self.at / 8], self.at % 8);
            self.at += 1;
            if self.highest_first {
                value = (value << 1) | i16::from(byte >> (7 - bit) & 1);
            } else {
                value |= i16::from(byte >> bit & 1) << n;
            }
        }
        value
    }

    fn small(&mut self, width: usize) -> usize {
        usize::try_from(self.take(width)).unwrap_or(0)
    }

    fn frame(&mut self) -> Frame {
        let ratios = [6, 6, 5, 5, 4, 4, 3, 3].map(|width| self.take(width));
        let subframes = std::array::from_fn(|_| Subframe {
            lag: self.take(7),
            gain: self.small(2),
            grid: self.small(2),
            block_maximum: self.take(6),
            pulses: std::array::from_fn(|_| self.take(3)),
        });
        Frame { ratios, subframes }
    }
}

const SIGNATURE: i16 = 0xd;
/// 0.86 as a fraction.
const EMPHASIS: i16 = 28_180;
/// Table 5.1: what is added to each coded ratio, the offset, and the inverse of the slope.
const RATIOS: [(i16, i16, i16); ORDER] = [
    (-32, 0, 13_107),
    (-32, 0, 13_107),
    (-16, 2048, 13_107),
    (-16, -2560, 13_107),
    (-8, 94, 19_223),
    (-8, -1792, 17_476),
    (-4, -341, 31_454),
    (-4, -1144, 29_708),
];
/// Table 5.3b: the gains of the long-term predictor.
const GAINS: [i16; 4] = [3277, 11_469, 21_299, 32_767];
/// Table 5.6: the mantissas of the block maximum.
const MANTISSAS: [i16; 8] = [18_431, 20_479, 22_527, 24_575, 26_623, 28_671, 30_719, 32_767];
