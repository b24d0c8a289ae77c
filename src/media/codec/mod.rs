//! The codecs we speak, as far as a call needs to know them.

pub(super) mod g711;
pub(super) mod g722;
pub(super) mod gsm;
pub(super) mod opus;

use std::time::Duration;

use g711::Law;

/// How audio is carried in RTP. A new codec is a variant here and a file beside `g711.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    Pcmu,
    Pcma,
    G722,
    Opus,
    /// Opus with somebody who has no more than a telephone's band (RFC 7587 §6.1).
    OpusNarrow,
}

impl Codec {
    /// The static payload type (RFC 3551 §6); for Opus, which has none, the one that we offer.
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
            Self::Opus | Self::OpusNarrow => 107,
        }
    }

    /// The encoding name, as in `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus | Self::OpusNarrow => "opus",
        }
    }

    /// The RTP clock rate in Hz.
    pub const fn clock(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8000,
            Self::Opus | Self::OpusNarrow => 48_000,
        }
    }

    /// The sampling rate of the audio, which for some codecs is not the RTP clock.
    pub const fn rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::OpusNarrow => 8000,
            Self::G722 | Self::Opus => 16_000,
        }
    }

    /// The channels of `a=rtpmap`: Opus says two there, whatever it carries (RFC 7587 §7).
    pub const fn channels(self) -> u8 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 1,
            Self::Opus | Self::OpusNarrow => 2,
        }
    }

    /// How long a payload plays, in ticks of the RTP clock.
    pub(super) fn ticks(self, payload: &[u8]) -> u64 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => payload.len() as u64,
            Self::Opus | Self::OpusNarrow => opus::units(payload)
                .map_or(0, |units| u64::from(units) * u64::from(self.clock()) / 400),
        }
    }

    /// So many ticks of the RTP clock, as samples.
    pub(super) fn samples_in(self, ticks: u64) -> u64 {
        match self {
            Self::Pcmu | Self::Pcma => ticks,
            Self::G722 => ticks * 2,
            Self::Opus => ticks / 3,
            Self::OpusNarrow => ticks / 6,
        }
    }

    /// The encoded bytes of so many samples, where each byte stands for as many.
    pub(super) fn bytes(self, samples: u64) -> usize {
        let samples = usize::try_from(samples).unwrap_or(usize::MAX);
        match self {
            Self::G722 => samples / 2,
            Self::Pcmu | Self::Pcma | Self::Opus | Self::OpusNarrow => samples,
        }
    }

    /// The samples that so many encoded bytes stand for, where each stands for as many.
    pub(super) fn samples_of(self, bytes: usize) -> u64 {
        match self {
            Self::G722 => bytes as u64 * 2,
            Self::Pcmu | Self::Pcma | Self::Opus | Self::OpusNarrow => bytes as u64,
        }
    }

    /// Whether audio is packed in frames of 20 ms that cannot be cut.
    pub(super) const fn is_framed(self) -> bool {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => false,
            Self::Opus | Self::OpusNarrow => true,
        }
    }

    /// Samples of 20 ms.
    pub(super) const fn frame(self) -> usize {
        self.rate() as usize / 50
    }

    /// The law of G.711, if it is that.
    pub(super) const fn law(self) -> Option<Law> {
        match self {
            Self::Pcmu => Some(Law::Mu),
            Self::Pcma => Some(Law::A),
            Self::G722 | Self::Opus | Self::OpusNarrow => None,
        }
    }
}

/// What encodes one stream.
pub(super) enum Coder {
    Law(Law),
    G722(Box<g722::Encoder>),
    Opus(Box<opus::Encoder>),
}

impl Coder {
    pub fn new(codec: Codec) -> Self {
        let opus = |bitrate| Self::Opus(Box::new(opus::Encoder::new(codec.rate(), bitrate, true)));
        match codec {
            Codec::Pcmu => Self::Law(Law::Mu),
            Codec::Pcma => Self::Law(Law::A),
            Codec::G722 => Self::G722(Box::new(g722::Encoder::new())),
            Codec::Opus => opus(BITRATE),
            Codec::OpusNarrow => opus(NARROW_BITRATE),
        }
    }

    /// Appends what encodes these samples: of Opus, a frame.
    pub fn encode(&mut self, samples: &[i16], encoded: &mut Vec<u8>) {
        match self {
            Self::Law(law) => law.encode(samples, encoded),
            Self::G722(encoder) => encoder.encode(samples, encoded),
            Self::Opus(encoder) => encoded.extend_from_slice(encoder.encode(samples)),
        }
    }
}

impl std::fmt::Debug for Coder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coder").finish_non_exhaustive()
    }
}

/// Bits a second of what we say in Opus: clear speech, with room for a coarse copy.
const BITRATE: i32 = 32_000;
const NARROW_BITRATE: i32 = 18_000;

/// So many samples at `rate`, as time.
pub(super) fn duration(samples: u64, rate: u32) -> Duration {
    let rate = u64::from(rate.max(1));
    Duration::from_secs(samples / rate)
        + Duration::from_nanos(samples % rate * 1_000_000_000 / rate)
}

/// So much time, as ticks of a clock that is short of wrapping: quicker than [`samples`], which
/// takes any time.
pub(super) fn ticks(time: Duration, clock: u32) -> u64 {
    let clock = u64::from(clock);
    let part = u64::from(time.subsec_nanos()) * clock / 1_000_000_000;
    time.as_secs().wrapping_mul(clock).wrapping_add(part)
}

/// So much time, as samples at `rate`.
pub(super) fn samples(time: Duration, rate: u32) -> u64 {
    let samples = time.as_nanos() * u128::from(rate) / 1_000_000_000;
    u64::try_from(samples).unwrap_or(u64::MAX)
}

/// Rounds half away from zero, as [`f32::round`] does, which is a call for each sample on
/// processors of 2003.
#[expect(clippy::cast_possible_truncation, reason = "a float is clipped, which is wanted")]
pub(super) fn nearest(sample: f32) -> i16 {
    (sample + 0.5_f32.copysign(sample)) as i16
}

/// How loud audio is: the mean of the absolute samples, which is what Asterisk's
/// `silencethreshold` is compared with.
pub(super) fn loudness(samples: &[i16]) -> u16 {
    let sum: u64 = samples.iter().map(|sample| u64::from(sample.unsigned_abs())).sum();
    u16::try_from(sum / samples.len().max(1) as u64).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "a float is clipped, which is wanted")]
    fn a_float_goes_to_the_nearest_sample() {
        for sample in i16::MIN..=i16::MAX {
            let sample = f32::from(sample);
            assert_eq!(
                [-0.5, -0.25, 0.0, 0.25, 0.5].map(|more| nearest(sample + more)),
                [-0.5, -0.25, 0.0, 0.25, 0.5].map(|more| (sample + more).round() as i16)
            );
        }
        assert_eq!([-32_769.0, 32_767.5, f32::NAN].map(nearest), [i16::MIN, i16::MAX, 0]);
    }

    #[test]
    fn time_and_samples_agree() {
        assert_eq!(duration(12_345, 8000), Duration::from_micros(1_543_125));
        assert_eq!(samples(Duration::from_micros(1_543_125), 8000), 12_345);
        assert_eq!(samples(Duration::MAX, 8000), u64::MAX);
    }

    #[test]
    fn a_payload_of_20_ms_is_that_in_every_codec() {
        let table: [(Codec, &[u8]); 5] = [
            (Codec::Pcmu, &[0; 160]),
            (Codec::Pcma, &[0; 160]),
            (Codec::G722, &[0; 160]),
            (Codec::Opus, &[0x48, 0]),
            (Codec::OpusNarrow, &[0x48, 0]),
        ];
        for (codec, payload) in table {
            let ticks = codec.ticks(payload);
            assert_eq!(ticks, u64::from(codec.clock()) / 50, "{codec:?}");
            assert_eq!(codec.samples_in(ticks), u64::from(codec.rate()) / 50, "{codec:?}");
        }
        assert_eq!(Codec::Opus.ticks(&[]), 0);
    }
}
