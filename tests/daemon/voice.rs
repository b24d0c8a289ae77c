//! Audio of which every 20 ms frame is unlike every other, and what became of it in a recording.

use std::collections::{BTreeSet, HashMap};
use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

/// The two laws of G.711.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Law {
    Mu,
    A,
}

/// Something said, as it goes over the wire.
pub struct Voice {
    law: Law,
    pub bytes: Vec<u8>,
}

/// What a recording holds of what was sent. Frames, but for `foreign`.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// Missing before the first frame that is there.
    pub head: usize,
    /// Missing, said twice or out of order between the first and the last.
    pub middle: usize,
    /// Missing after the last.
    pub tail: usize,
    /// Samples between the first and the last that nobody sent.
    pub foreign: usize,
}

impl Voice {
    /// Syllables, about three a second, over a little noise; another `seed`, another voice.
    pub fn new(law: Law, seconds: f64, seed: u64) -> Self {
        let decoded: Vec<i32> = (0..=255).map(|byte| law.decode(byte).into()).collect();
        let nearest = |sample: i32| {
            let byte = (0..=255u8).min_by_key(|byte| (decoded[usize::from(*byte)] - sample).abs());
            byte.unwrap_or(0)
        };
        let mut noise = seed;
        let bytes = (0..frames(seconds) * FRAME).map(|at| {
            let t = f64::from(u32::try_from(at).unwrap()) / RATE;
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            let noise = f64::from(u32::try_from(noise >> 32).unwrap()) / f64::from(u32::MAX) - 0.5;
            let envelope = 0.3 + 0.7 * (TAU * 1.7 * t).sin().abs();
            let pitches = [140.0 + 30.0 * t.sin(), 510.0, 1480.0, 2310.0];
            let tone: f64 =
                pitches.iter().zip(1..).map(|(f, k)| (TAU * f * t).sin() / f64::from(k)).sum();
            #[expect(clippy::cast_possible_truncation, reason = "it is far within")]
            nearest((6000.0 * envelope * tone + 1600.0 * noise) as i32)
        });
        let voice = Self { law, bytes: bytes.collect() };
        assert_eq!(voice.known().len(), voice.len(), "two frames are alike");
        voice
    }

    /// In frames.
    pub fn len(&self) -> usize {
        self.bytes.len() / FRAME
    }

    pub fn samples(&self) -> Vec<i16> {
        self.bytes.iter().map(|byte| self.law.decode(*byte)).collect()
    }

    pub fn kept_in(&self, recording: &[i16]) -> Kept {
        let known = self.known();
        // Frame, and where it stands.
        let mut seen: Vec<(usize, usize)> = vec![];
        let mut at = 0;
        while let Some(piece) = recording.get(at..at + FRAME) {
            if let Some(frame) = known.get(piece) {
                seen.push((*frame, at));
                at += FRAME;
            } else {
                at += 1;
            }
        }
        let (Some((first, from)), Some((last, to))) = (seen.first(), seen.last()) else {
            return Kept { head: self.len(), middle: 0, tail: 0, foreign: recording.len() };
        };
        let heard: BTreeSet<usize> = seen.iter().map(|(frame, _)| *frame).collect();
        let missing = (*first..=*last).filter(|frame| !heard.contains(frame)).count();
        let disordered = seen.windows(2).filter(|pair| pair[0].0 >= pair[1].0).count();
        Kept {
            head: *first,
            middle: missing + disordered,
            tail: self.len() - 1 - last,
            foreign: (to - from) - (seen.len() - 1) * FRAME,
        }
    }

    fn known(&self) -> HashMap<Vec<i16>, usize> {
        self.samples().chunks_exact(FRAME).map(<[i16]>::to_vec).zip(0..).collect()
    }
}

impl Law {
    /// ITU-T G.711, tables 1 and 2.
    pub fn decode(self, byte: u8) -> i16 {
        let byte = if self == Self::Mu { !byte } else { byte ^ 0x55 };
        let (segment, step) = ((byte & 0x70) >> 4, i16::from(byte & 0x0f));
        let size = match (self, segment) {
            (Self::Mu, _) => (((step << 3) + 0x84) << segment) - 0x84,
            (Self::A, 0) => (step << 4) + 8,
            (Self::A, _) => ((step << 4) + 0x108) << (segment - 1),
        };
        // A set bit is negative in µ-law, once inverted, and positive in A-law.
        if (byte & 0x80 != 0) == (self == Self::A) { size } else { -size }
    }
}

/// The samples of a plain WAV file: 44 bytes of header that tell the truth, 16 bits, one channel,
/// 8 kHz.
pub fn wav_samples(path: &Path) -> Vec<i16> {
    let (rate, samples) = wav(path);
    assert_eq!(rate, 8000, "{}", path.display());
    samples
}

/// The same at any rate, which comes first.
pub fn wav(path: &Path) -> (u32, Vec<i16>) {
    let bytes = fs::read(path).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(
        (&bytes[..4], &bytes[8..16]),
        (&b"RIFF"[..], &b"WAVEfmt "[..]),
        "{}",
        path.display()
    );
    assert_eq!((number(20), &bytes[36..40]), (0x1_0001, &b"data"[..]));
    assert_eq!(number(4) as usize + 8, bytes.len(), "the length of {}", path.display());
    assert_eq!(number(40) as usize + 44, bytes.len(), "the data of {}", path.display());
    let samples = bytes[44..].chunks_exact(2);
    (number(24), samples.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

pub fn write_wav(path: &Path, samples: &[i16]) {
    write_wav_at(path, 8000, samples);
}

pub fn write_wav_at(path: &Path, rate: u32, samples: &[i16]) {
    let size = u32::try_from(samples.len() * 2).unwrap();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((size + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend([16, 0, 0, 0, 1, 0, 1, 0]);
    bytes.extend(rate.to_le_bytes());
    bytes.extend((2 * rate).to_le_bytes());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

/// Seconds in which something is heard, a tenth at a time.
pub fn loud_seconds(samples: &[i16]) -> f64 {
    loud_seconds_at(8000, samples)
}

pub fn loud_seconds_at(rate: u32, samples: &[i16]) -> f64 {
    let tenth = rate as usize / 10;
    let loud = |samples: &&[i16]| {
        let sum: u64 = samples.iter().map(|sample| u64::from(sample.unsigned_abs())).sum();
        sum / tenth as u64 > 500
    };
    f64::from(u32::try_from(samples.chunks_exact(tenth).filter(loud).count()).unwrap()) / 10.0
}

pub fn frames(seconds: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds of a test"
    )]
    let frames = (seconds * 50.0).round() as usize;
    frames
}

/// Samples, and bytes, in 20 ms.
pub const FRAME: usize = 160;
const RATE: f64 = 8000.0;

#[test]
fn the_measure_tells_what_is_missing_and_what_is_foreign() {
    let voice = Voice::new(Law::Mu, 0.2, 1);
    let sent = voice.samples();
    let frame = |n: usize| &sent[n * FRAME..][..FRAME];
    let kept = |frames: &[&[i16]]| {
        let Kept { head, middle, tail, foreign } = voice.kept_in(&frames.concat());
        (head, middle, tail, foreign)
    };
    assert_eq!(kept(&[&[7; 33], &sent, &[7; 400]]), (0, 0, 0, 0));
    assert_eq!(kept(&[frame(2), frame(3), frame(5), frame(6)]), (2, 1, 3, 0));
    assert_eq!(kept(&[&sent[..480], &[7; 80], &sent[480..]]), (0, 0, 0, 80));
    assert_eq!(kept(&[&sent[..480], &sent[320..]]), (0, 1, 0, 0), "said twice");
    assert_eq!(kept(&[&sent[..320], frame(3), frame(2), &sent[640..]]), (0, 1, 0, 0), "disorder");
    assert_eq!(kept(&[&[7; 500]]).0, voice.len());
}
