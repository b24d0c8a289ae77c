//! G.711: µ-law and A-law, decoded by table and encoded by the segment arithmetic of the standard.

/// The two laws.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::media) enum Law {
    Mu,
    A,
}

impl Law {
    /// The byte that plays as silence.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mu => 0xff,
            Self::A => 0xd5,
        }
    }

    /// The sample that an encoded byte stands for.
    pub const fn decoded(self, byte: u8) -> i16 {
        match self {
            Self::Mu => ULAW[byte as usize],
            Self::A => ALAW[byte as usize],
        }
    }

    pub fn encode(self, samples: &[i16], encoded: &mut Vec<u8>) {
        match self {
            Self::Mu => encoded.extend(samples.iter().map(|&sample| ulaw(sample))),
            Self::A => encoded.extend(samples.iter().map(|&sample| alaw(sample))),
        }
    }

    /// How loud a payload is, as [`super::loudness`] has it.
    pub fn loudness(self, payload: &[u8]) -> u16 {
        let loud = match self {
            Self::Mu => &ULAW_LOUDNESS,
            Self::A => &ALAW_LOUDNESS,
        };
        let of = |byte: u8| u64::from(loud[usize::from(byte)]);
        // Four sums, for one would have each addition wait for the one before.
        let (fours, rest) = payload.as_chunks::<4>();
        let mut sums = [0; 4];
        for four in fours {
            sums = std::array::from_fn(|n| sums[n] + of(four[n]));
        }
        let sum = sums.iter().sum::<u64>() + rest.iter().copied().map(of).sum::<u64>();
        u16::try_from(sum / payload.len().max(1) as u64).unwrap_or(u16::MAX)
    }
}

/// Every µ-law byte as a 16-bit sample.
static ULAW: [i16; 256] = ulaw_samples();
/// Every A-law byte as a 16-bit sample.
static ALAW: [i16; 256] = alaw_samples();
static ULAW_LOUDNESS: [u16; 256] = loudness(&ulaw_samples());
static ALAW_LOUDNESS: [u16; 256] = loudness(&alaw_samples());

fn ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    // Clipped so that the bias cannot carry past the eighth segment.
    let magnitude = sample.unsigned_abs().min(32_635) + BIAS;
    let segment = 8 - magnitude.leading_zeros();
    let step = (magnitude >> (segment + 3)) & 0x0f;
    !(sign | low(segment << 4) | low(step.into()))
}

fn alaw(sample: i16) -> u8 {
    // 13 of the 16 bits count; a negative one is complemented, as in the ITU's G.191 tools.
    let (sign, magnitude) = if sample < 0 { (0, !(sample >> 3)) } else { (0x80, sample >> 3) };
    let magnitude = magnitude.unsigned_abs();
    let segment = 11_u32.saturating_sub(magnitude.leading_zeros());
    let step = (magnitude >> segment.max(1)) & 0x0f;
    (sign | low(segment << 4) | low(step.into())) ^ 0x55
}

const BIAS: u16 = 0x84;

/// The low byte; what is above it is zero by construction.
fn low(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

const fn ulaw_samples() -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    let mut code = 0xff_i16;
    while byte < 256 {
        // At most 32,124 + 0x84, which 15 bits hold.
        let magnitude = ((((code & 0x0f) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84;
        table[byte] = if code & 0x80 == 0 { magnitude } else { -magnitude };
        byte += 1;
        code -= 1;
    }
    table
}

const fn alaw_samples() -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    let mut count = 0_i16;
    while byte < 256 {
        let code = count ^ 0x55;
        let (segment, step) = ((code & 0x70) >> 4, (code & 0x0f) << 4);
        let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
        table[byte] = if code & 0x80 == 0 { -magnitude } else { magnitude };
        byte += 1;
        count += 1;
    }
    table
}

const fn loudness(samples: &[i16; 256]) -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = samples[byte].unsigned_abs();
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_not_loud_and_speech_is() {
        for law in [Law::Mu, Law::A] {
            assert!(law.loudness(&[law.silence(); 160]) <= 8);
            let mut shout = Vec::new();
            law.encode(&[9000, -9000], &mut shout);
            assert!((8700..9300).contains(&law.loudness(&shout)));
            assert_eq!(law.loudness(&[]), 0);
        }
    }

    #[test]
    fn known_values_of_the_standard() {
        assert_eq!((ULAW[0x00], ULAW[0x80], ULAW[0xff], ULAW[0x7f]), (-32_124, 32_124, 0, 0));
        assert_eq!((ALAW[0xd5], ALAW[0x55], ALAW[0xaa], ALAW[0x2a]), (8, -8, 32_256, -32_256));
        assert_eq!((ulaw(0), ulaw(i16::MAX), ulaw(i16::MIN)), (0xff, 0x80, 0x00));
        assert_eq!((alaw(0), alaw(-1), alaw(i16::MAX), alaw(i16::MIN)), (0xd5, 0x55, 0xaa, 0x2a));
    }

    #[test]
    fn every_byte_survives_the_round_trip() {
        for byte in 0..=255_u8 {
            assert_eq!(alaw(ALAW[usize::from(byte)]), byte);
            // µ-law has two zeros.
            let expected = if byte == 0x7f { 0xff } else { byte };
            assert_eq!(ulaw(ULAW[usize::from(byte)]), expected);
        }
    }

    #[test]
    fn the_error_is_half_a_step() {
        // A step is a sixteenth of its segment, whose least magnitude the sample has at least.
        for sample in (-32_635..=32_635_i16).step_by(7) {
            let allowed = i32::from(sample.unsigned_abs()) / 32 + 16;
            let error = |of: i16| (i32::from(sample) - i32::from(of)).abs();
            assert!(error(ULAW[usize::from(ulaw(sample))]) <= allowed, "µ-law {sample}");
            assert!(error(ALAW[usize::from(alaw(sample))]) <= allowed, "A-law {sample}");
        }
    }
}
