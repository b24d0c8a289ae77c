//! What is spoken of a recording, without the silence at its ends: parts of sentences are joined
//! without a gap between them.

use std::ops::Range;

/// The samples that are spoken, with `edge` milliseconds around them, in which they fade. What is
/// silent throughout is meant to be.
pub(super) fn spoken(samples: &[i16], rate: u32, edge: usize) -> Range<usize> {
    let per_milli = rate as usize / 1000;
    let power = |part: &[i16]| part.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let powers: Vec<f64> = samples.chunks(per_milli * STEP).map(power).collect();
    let loudest = powers.iter().copied().fold(0.0, f64::max);
    let is_heard = |power: &f64| *power > loudest * QUIET;
    let (Some(first), Some(last)) =
        (powers.iter().position(is_heard), powers.iter().rposition(is_heard))
    else {
        return 0..samples.len();
    };
    let start = (first * STEP).saturating_sub(edge) * per_milli;
    let end = ((last + 1) * STEP + edge) * per_milli;
    start..end.min(samples.len())
}

/// Milliseconds of silence that stay at the ends.
pub(super) const SOFT: usize = 5;
/// Milliseconds whose power is measured together.
const STEP: usize = 2;
/// As a ratio of powers: 46 dB below the loudest, where a voice is no more than a breath.
const QUIET: f64 = 2.5e-5;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::media::codec::g711::Law;
    use crate::media::codec::{Codec, g722, opus};
    use crate::media::sound::Sound;
    use crate::media::wav;

    #[test]
    fn silence_around_a_sound_goes_and_silence_alone_stays() {
        let silence = vec![0_i16; 800];
        let tone: Vec<i16> = (0..800).map(|n| if n % 20 < 10 { 8000 } else { -8000 }).collect();
        let all = [&silence[..], &tone, &silence].concat();
        assert_eq!(spoken(&all, 8000, 6), 800 - 48..1600 + 48);
        assert_eq!(spoken(&tone, 8000, 6), 0..800);
        assert_eq!(spoken(&silence, 8000, 6), 0..800);
        assert_eq!(spoken(&[], 8000, 6), 0..0);
    }

    /// Milliseconds before and behind what is louder than 50 dB below the loudest.
    fn silences(samples: &[i16], rate: u32) -> (usize, usize) {
        let per_milli = rate as usize / 1000;
        let power = |part: &[i16]| part.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let powers: Vec<f64> = samples.chunks_exact(per_milli).map(power).collect();
        let loudest = powers.iter().copied().fold(0.0, f64::max);
        let heard = |power: &f64| *power > loudest * 1e-5;
        let first = powers.iter().position(heard).unwrap();
        (first, powers.len() - 1 - powers.iter().rposition(heard).unwrap())
    }

    fn prompts() -> Vec<PathBuf> {
        let (mut prompts, mut places) = (vec![], vec![PathBuf::from("sounds")]);
        while let Some(place) = places.pop() {
            for path in std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()) {
                let is_wav = path.extension().is_some_and(|extension| extension == "wav");
                if path.is_dir() {
                    places.push(path);
                } else if is_wav && !path.ends_with("silence/1.wav") {
                    prompts.push(path);
                }
            }
        }
        prompts
    }

    #[test]
    fn no_two_prompts_leave_a_gap_of_more_than_20_ms() {
        let prompts = prompts();
        assert!(prompts.len() > 300, "{}", prompts.len());
        for path in prompts {
            let samples = wav::samples(&path).unwrap();
            let (first, last) = silences(&samples[spoken(&samples, 16_000, SOFT)], 16_000);
            assert!(first <= 10 && last <= 10, "{}: {first} and {last} ms", path.display());
        }
    }

    /// What is heard of sounds that are joined, and where they are.
    fn heard(codec: Codec, names: &[&str]) -> (Vec<i16>, Vec<usize>) {
        let (mut g722, mut opus) = (g722::Decoder::new(), opus::Decoder::new(codec.rate()));
        let (mut heard, mut joints) = (vec![], vec![]);
        for name in names {
            let sound = Sound::phrase(format!("sounds/en/{name}.wav").as_ref(), codec).unwrap();
            match codec {
                Codec::Pcmu | Codec::Pcma => {
                    heard.extend(sound.encoded().iter().map(|&byte| Law::Mu.decoded(byte)));
                }
                Codec::G722 => g722.decode(sound.encoded(), &mut heard),
                Codec::Opus | Codec::OpusNarrow => {
                    let frames = (0..).step_by(codec.frame()).map_while(|at| sound.frame(at));
                    frames.for_each(|frame| opus.decode(frame, &mut heard));
                }
            }
            joints.push(heard.len());
        }
        joints.pop();
        (heard, joints)
    }

    #[test]
    fn nor_do_they_on_the_line() {
        let names = ["vm-youhave", "digits/22", "counts/new", "vm-and", "digits/21", "counts/old"];
        for codec in [Codec::Pcmu, Codec::G722, Codec::Opus, Codec::OpusNarrow] {
            let (heard, joints) = heard(codec, &names);
            let per_milli = codec.rate() as usize / 1000;
            let power = |part: &[i16]| part.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            let powers: Vec<f64> = heard.chunks_exact(per_milli).map(power).collect();
            let loudest = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
            for joint in joints.into_iter().map(|joint| joint / per_milli) {
                let (left, right) = (&powers[joint - 300..joint], &powers[joint..joint + 300]);
                let quiet = loudest(left).min(loudest(right)) * 1e-5;
                let around = &powers[joint - 30..joint + 30];
                let gaps = around.split(|power| *power > quiet).map(<[f64]>::len);
                let widest = gaps.max().unwrap_or(0);
                assert!(widest <= 20, "{codec:?}: {widest} ms");
            }
        }
    }
}
