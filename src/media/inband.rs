//! Keys heard as their tones (ITU-T Q.23, Q.24), for callers whose telephone cannot tell them as
//! events.
//!
//! A voice has all those pitches at times. It is told from a key by what a key has not: other
//! pitches beside the two, harmonics above them, and a moment too short.

use std::f32::consts::TAU;
use std::time::Instant;

use super::codec::Codec;
use super::hearing::{Audio, Heard, Hearing};
use super::jitter::Jitter;
use super::rtp::Packet;

/// One stream, listened to for keys.
#[derive(Debug)]
pub(super) struct Inband {
    jitter: Jitter,
    hearing: Hearing,
    tones: Tones,
}

/// A key whose tone has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pressed {
    pub key: char,
    /// The RTP time at which its tone began, at the earliest.
    pub timestamp: u32,
}

impl Inband {
    pub fn new(codec: Codec) -> Self {
        let hearing = Hearing::new(codec, codec.rate());
        let tones = Tones::new(codec.rate());
        Self { jitter: Jitter::new(codec), hearing, tones }
    }

    pub fn push(&mut self, packet: &Packet<'_>, now: Instant) -> Option<Pressed> {
        let Self { jitter, hearing, tones } = self;
        let mut heard: Option<(char, u64)> = None;
        jitter.push(packet, true, now, &mut |stretch| {
            hearing.hear(&stretch, &mut |audio| {
                let (Heard::Said(audio) | Heard::Pause(audio)) = audio;
                if let Some((_, ago)) = &mut heard {
                    *ago += audio.len();
                }
                if let Some(found) = tones.hear(audio) {
                    heard = Some(found);
                }
            });
        });
        let (key, ago) = heard?;
        let codec = hearing.codec();
        let ago = ago * u64::from(codec.clock()) / u64::from(codec.rate());
        let ago = u32::try_from(ago).unwrap_or(u32::MAX);
        Some(Pressed { key, timestamp: jitter.end()?.wrapping_sub(ago) })
    }

    /// Whether a key is held down: what is heard meanwhile is its tone, not speech.
    pub fn sounding(&self) -> bool {
        self.tones.down.is_some()
    }
}

/// Two tones at once, looked for in blocks of 12.75 ms.
#[derive(Debug)]
struct Tones {
    rate: u32,
    size: usize,
    block: Vec<f32>,
    /// For each of the eight pitches, twice the cosine of its step.
    steps: [f32; 8],
    /// What the last block was, how much the blocks in a row that were the same speak for it, and
    /// how many they are.
    last: Option<char>,
    evidence: u8,
    blocks: u8,
    /// The key that is held down.
    down: Option<char>,
    /// Blocks without it since.
    missed: u8,
}

impl Tones {
    fn new(rate: u32) -> Self {
        let size = rate as usize * 102 / 8000;
        let steps = PITCHES.map(|hertz| step(hertz, rate));
        let block = Vec::with_capacity(size);
        Self { rate, size, block, steps, last: None, evidence: 0, blocks: 0, down: None, missed: 0 }
    }

    /// Hears audio; tells a key, and how many samples before the end of the audio its tone began.
    fn hear(&mut self, audio: Audio<'_>) -> Option<(char, u64)> {
        let mut found = None;
        let (mut left, size) = (audio.len(), self.size as u64);
        let mut hear = |sample: i16| {
            left -= 1;
            if let Some(key) = self.sample(sample) {
                // It was seen in so many blocks, and may have begun in the one before.
                found = Some((key, left + (u64::from(self.blocks) + 1) * size));
            }
        };
        match audio {
            Audio::Law(law, bytes) => bytes.iter().for_each(|&byte| hear(law.decoded(byte))),
            Audio::Linear(samples) => samples.iter().for_each(|&sample| hear(sample)),
            Audio::Silence(samples) => {
                (0..samples.min(4 * size)).for_each(|_| hear(0));
            }
        }
        found
    }

    fn sample(&mut self, sample: i16) -> Option<char> {
        self.block.push(f32::from(sample));
        if self.block.len() < self.size {
            return None;
        }
        let (seen, evidence) = self.key().unzip();
        self.block.clear();
        if std::mem::replace(&mut self.last, seen) != seen {
            (self.evidence, self.blocks) = (0, 0);
        }
        self.evidence = self.evidence.saturating_add(evidence.unwrap_or(0));
        self.blocks = self.blocks.saturating_add(1);
        if let Some(down) = self.down {
            // A tone may waver; it has ended once it is gone for longer than that.
            self.missed = if seen == Some(down) { 0 } else { self.missed + 1 };
            if self.missed < RELEASED {
                return None;
            }
            self.down = None;
        }
        if self.evidence < PROOF {
            return None;
        }
        self.missed = 0;
        self.down = seen;
        seen
    }

    /// The key whose tones are all that this block is, and how much it speaks for that.
    fn key(&self) -> Option<(char, u8)> {
        let power: f32 = self.block.iter().map(|sample| sample * sample).sum();
        let count = ratio(self.size);
        if power < QUIETEST * QUIETEST * count {
            return None;
        }
        let powers = self.steps.map(|step| goertzel(&self.block, step));
        let (rows, columns) = powers.split_at(4);
        let (row, low, below) = strongest(rows)?;
        let (column, high, above) = strongest(columns)?;
        // A sine of power p over n samples has a Goertzel power of p·n/2.
        let share = (low + high) * 2.0 / (power * count);
        if share < SHARE || low > high * TWIST || high > low * TWIST {
            return None;
        }
        let harmonic = |hertz: f32| goertzel(&self.block, step(2.0 * hertz, self.rate));
        // The double of some rows lies so near a column that it cannot be told from it.
        let apart = (2.0 * PITCHES[row] - PITCHES[4 + column]).abs() > 100.0;
        let voiced = (apart && harmonic(PITCHES[row]) > low * HARMONIC)
            || harmonic(PITCHES[4 + column]) > high * HARMONIC;
        let evidence = if below.max(above) < CLEARLY_BESIDE { CLEAR } else { UNCLEAR };
        (!voiced).then(|| (char::from(KEYS[row][column]), evidence))
    }
}

/// The strongest of four, if it stands out from the others, and how strong the next is beside it.
fn strongest(powers: &[f32]) -> Option<(usize, f32, f32)> {
    let (at, &most) = powers.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let others = powers.iter().enumerate().filter(|&(n, _)| n != at);
    let beside = others.map(|(_, &other)| other / most).fold(0.0, f32::max);
    (beside < BESIDE).then_some((at, most, beside))
}

fn goertzel(samples: &[f32], step: f32) -> f32 {
    let (mut one, mut two) = (0.0, 0.0);
    for sample in samples {
        (one, two) = (sample + step * one - two, one);
    }
    one * one + two * two - step * one * two
}

fn step(hertz: f32, rate: u32) -> f32 {
    2.0 * (TAU * hertz / ratio(rate as usize)).cos()
}

#[expect(clippy::cast_precision_loss, reason = "rates and blocks are small")]
fn ratio(number: usize) -> f32 {
    number as f32
}

const PITCHES: [f32; 8] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: [[u8; 4]; 4] = [*b"123A", *b"456B", *b"789C", *b"*0#D"];
/// Root mean square below which nothing is a key: -46 dBov, far below what Q.24 asks for.
const QUIETEST: f32 = 160.0;
/// So much of all that is heard are the two tones.
const SHARE: f32 = 0.8;
/// One may be so much stronger than the other: 8 dB.
const TWIST: f32 = 6.3;
/// The others of its group are so much weaker: 9 dB,
const BESIDE: f32 = 0.126;
/// and 11 dB where there is no doubt: a sung vowel comes near to a key, and a key that is off its
/// pitch near to a vowel.
const CLEARLY_BESIDE: f32 = 0.08;
/// Two blocks in a row are a key if one of them is clear, and else three.
const PROOF: u8 = 5;
const CLEAR: u8 = 3;
const UNCLEAR: u8 = 2;
/// A tone's double is so much weaker: 14 dB.
const HARMONIC: f32 = 0.04;
/// Blocks without the tone that end a press: a gap of 10 ms does not.
const RELEASED: u8 = 3;

#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "few samples")]
mod tests {
    use super::*;
    use crate::media::wav;

    /// So many milliseconds of a key's tone; `off` is how far its pitches are off.
    fn tone(key: char, millis: usize, rate: u32, off: f32) -> Vec<i16> {
        let key = u8::try_from(key).unwrap();
        let row = KEYS.iter().position(|row| row.contains(&key)).unwrap();
        let column = KEYS[row].iter().position(|&other| other == key).unwrap();
        let wave = |hertz: f32, n: usize| (TAU * hertz * off * n as f32 / rate as f32).sin();
        let sample =
            |n| (4000.0 * wave(PITCHES[row], n) + 3000.0 * wave(PITCHES[4 + column], n)) as i16;
        (0..millis * rate as usize / 1000).map(sample).collect()
    }

    fn keys(samples: &[i16], rate: u32) -> String {
        let mut tones = Tones::new(rate);
        samples
            .chunks(rate as usize / 50)
            .filter_map(|frame| tones.hear(Audio::Linear(frame)).map(|(key, _)| key))
            .collect()
    }

    #[test]
    fn every_key_is_heard_once_at_either_rate() {
        for rate in [8000, 16_000] {
            let mut said = Vec::new();
            for key in "123A456B789C*0#D11".chars() {
                said.extend(tone(key, 60, rate, 1.0));
                said.extend(vec![0; rate as usize / 20]);
            }
            assert_eq!(keys(&said, rate), "123A456B789C*0#D11");
        }
    }

    #[test]
    fn as_short_and_as_far_off_as_q24_asks_and_no_further() {
        for start in 0..10 {
            let said = |millis, off| {
                let mut said = vec![0; 800 + 17 * start];
                said.extend(tone('5', millis, 8000, off));
                said.resize(said.len() + 800, 0);
                keys(&said, 8000)
            };
            assert_eq!(said(40, 1.0), "5", "40 ms are a key");
            assert_eq!(said(60, 1.015), "5", "1.5 % off");
            assert_eq!(said(60, 0.985), "5", "1.5 % off");
            assert_eq!(said(20, 1.0), "", "20 ms are none");
            assert_eq!(said(100, 1.05), "", "5 % off");
            assert_eq!(said(2000, 1.0), "5", "a long press is one");
        }
    }

    #[test]
    fn a_gap_within_a_press_is_no_second_one() {
        let mut said = tone('9', 60, 8000, 1.0);
        said.extend([0; 80]);
        said.extend(tone('9', 60, 8000, 1.0));
        said.extend([0; 800]);
        assert_eq!(keys(&said, 8000), "9");
    }

    #[test]
    fn no_prompt_in_any_language_says_a_key() {
        let mut minutes = 0.0;
        let mut places = vec![std::path::PathBuf::from("sounds")];
        while let Some(place) = places.pop() {
            if place.is_dir() {
                places
                    .extend(std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
            } else if place.extension().is_some_and(|extension| extension == "wav") {
                let said = wav::samples(&place).unwrap();
                let narrow: Vec<i16> = said.iter().step_by(2).copied().collect();
                assert_eq!(keys(&narrow, 8000), "", "{}", place.display());
                // The same voice deeper and higher, by men and by children.
                for rate in [11_000, 13_500, 16_000, 19_500, 23_000] {
                    minutes += said.len() as f64 / f64::from(rate) / 60.0;
                    assert_eq!(keys(&said, rate), "", "{} at {rate}", place.display());
                }
            }
        }
        assert!(minutes > 3.0, "{minutes:.1} minutes of speech");
    }

    #[test]
    fn a_key_among_speech_is_heard_and_its_place_is_known() {
        let mut inband = Inband::new(Codec::Pcmu);
        let mut said = wav::samples("sounds/en/vm-intro.wav".as_ref()).unwrap();
        said = said.iter().step_by(2).copied().take(8000).collect();
        said.extend(tone('#', 100, 8000, 1.0));
        said.extend([0; 1600]);
        let now = Instant::now();
        let mut pressed = Vec::new();
        let mut sounding = 0;
        for (frame, n) in said.chunks(160).zip(0_u16..) {
            let mut payload = Vec::new();
            crate::media::codec::g711::Law::Mu.encode(frame, &mut payload);
            let timestamp = 7000 + u32::from(n) * 160;
            let packet =
                Packet { payload_type: 0, sequence: n, timestamp, ssrc: 1, payload: &payload };
            pressed.extend(inband.push(&packet, now));
            sounding += usize::from(inband.sounding());
        }
        assert_eq!(pressed.len(), 1);
        assert_eq!(pressed[0].key, '#');
        let early = (7000 + 8000 - i64::from(pressed[0].timestamp)).abs();
        assert!(early <= 204, "{early} samples off");
        assert!((4..=7).contains(&sounding), "{sounding} frames");
    }
}
