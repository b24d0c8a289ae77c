//! The codecs we speak, as far as a call needs to know them.

pub(super) mod g711;
#[cfg_attr(not(test), expect(dead_code, reason = "no call speaks it yet"))]
pub(super) mod opus;

use std::time::Duration;

/// How audio is carried in RTP. A new codec is a variant here and a file beside `g711.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    Pcmu,
    Pcma,
}

impl Codec {
    /// The static payload type (RFC 3551 §6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// The encoding name, as in `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// The RTP clock rate in Hz.
    pub const fn clock(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8000,
        }
    }

    /// The sampling rate of the audio, which for some codecs is not the RTP clock.
    pub const fn rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8000,
        }
    }

    /// How long a payload of so many bytes plays, in ticks of the RTP clock.
    pub(super) const fn samples(self, bytes: usize) -> u64 {
        match self {
            Self::Pcmu | Self::Pcma => bytes as u64,
        }
    }

    /// The encoded bytes of so many ticks of the RTP clock.
    pub(super) fn bytes(self, samples: u64) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => usize::try_from(samples).unwrap_or(usize::MAX),
        }
    }

    /// The byte that plays as silence.
    pub(super) const fn silence(self) -> u8 {
        match self {
            Self::Pcmu => 0xff,
            Self::Pcma => 0xd5,
        }
    }

    /// The sample that an encoded byte stands for.
    pub(super) const fn decoded(self, byte: u8) -> i16 {
        match self {
            Self::Pcmu => g711::ULAW[byte as usize],
            Self::Pcma => g711::ALAW[byte as usize],
        }
    }

    pub(super) fn encode(self, samples: &[i16], encoded: &mut Vec<u8>) {
        match self {
            Self::Pcmu => encoded.extend(samples.iter().map(|&sample| g711::ulaw(sample))),
            Self::Pcma => encoded.extend(samples.iter().map(|&sample| g711::alaw(sample))),
        }
    }

    /// How loud a payload is: the mean of the absolute samples, which is what Asterisk's
    /// `silencethreshold` is compared with.
    pub(super) fn loudness(self, payload: &[u8]) -> u16 {
        let loud = match self {
            Self::Pcmu => &g711::ULAW_LOUDNESS,
            Self::Pcma => &g711::ALAW_LOUDNESS,
        };
        let sum: u64 = payload.iter().map(|&byte| u64::from(loud[usize::from(byte)])).sum();
        u16::try_from(sum / payload.len().max(1) as u64).unwrap_or(u16::MAX)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_not_loud_and_speech_is() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            assert!(codec.loudness(&[codec.silence(); 160]) <= 8);
            let mut shout = Vec::new();
            codec.encode(&[9000, -9000], &mut shout);
            assert!((8700..9300).contains(&codec.loudness(&shout)));
            assert_eq!(codec.loudness(&[]), 0);
        }
    }

    #[test]
    fn time_and_samples_agree() {
        assert_eq!(duration(12_345, 8000), Duration::from_micros(1_543_125));
        assert_eq!(samples(Duration::from_micros(1_543_125), 8000), 12_345);
        assert_eq!(samples(Duration::MAX, 8000), u64::MAX);
    }
}
