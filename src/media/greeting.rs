//! Greetings that somebody uploads: any kind of file to our own WAV, as loud as the prompts.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use super::codec;
use super::decode::{SoundError, decode};
use super::file;
use super::level::Limiter;
use super::meter::{Meter, Speech};
use super::resample::Resampler;

/// Audio in the form of our own WAV files: 16 bits, one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    pub samples: Vec<i16>,
    pub rate: u32,
}

impl Samples {
    /// Reads MP3, Ogg Vorbis, FLAC, M4A (AAC), WAV or AIFF: whatever the file is in truth, and
    /// whoever made it. Bounded in time and memory; blocks meanwhile. What has more than a
    /// telephone's band becomes 16 kHz, and all else 8 kHz.
    pub fn decode(
        bytes: Cow<'static, [u8]>,
        extension: &str,
        longest: Duration,
    ) -> Result<Self, SoundError> {
        Self::from_source(Box::new(Cursor::new(bytes)), extension, longest)
    }

    pub fn read(path: &Path, longest: Duration) -> Result<Self, SoundError> {
        Self::taken_in(|sink| file::each_piece(path, longest, sink))
    }

    fn from_source(
        source: Box<dyn symphonia::core::io::MediaSource>,
        extension: &str,
        longest: Duration,
    ) -> Result<Self, SoundError> {
        Self::taken_in(|sink| decode(source, extension, longest, sink))
    }

    fn taken_in(
        read: impl FnOnce(&mut file::Sink<'_>) -> Result<(), SoundError>,
    ) -> Result<Self, SoundError> {
        let mut intake = None;
        read(&mut |rate, mono| {
            intake.get_or_insert_with(|| Intake::new(rate)).push(mono);
        })?;
        let samples = intake.map_or(Self { samples: Vec::new(), rate: NARROW }, Intake::finish);
        Ok(samples)
    }

    pub fn duration(&self) -> Duration {
        codec::duration(self.samples.len() as u64, self.rate)
    }

    /// What is said in it, and how loud.
    pub fn speech(&self) -> Speech {
        let mut meter = Meter::new(self.rate);
        meter.push(&self.samples);
        meter.speech()
    }

    /// Makes what is said this loud: the speech's RMS in dB below full scale. Peaks are held, not
    /// clipped; what holds no speech is left as it is.
    pub fn level(&mut self, target: f32) {
        let Some(level) = self.speech().level else { return };
        let gain = (target - level).clamp(-MOST_GAIN, MOST_GAIN);
        Limiter::new(gain).apply(&mut self.samples, self.rate);
    }

    /// As a WAV file.
    pub fn wav(&self) -> std::io::Result<Vec<u8>> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: self.rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut file = Cursor::new(Vec::with_capacity(44 + self.samples.len() * 2));
        let written = hound::WavWriter::new(&mut file, spec).and_then(|mut writer| {
            let count = u32::try_from(self.samples.len()).unwrap_or(u32::MAX);
            let mut samples = writer.get_i16_writer(count);
            self.samples.iter().for_each(|&sample| samples.write_sample(sample));
            samples.flush()?;
            writer.finalize()
        });
        written.map_err(std::io::Error::other)?;
        Ok(file.into_inner())
    }
}

/// A greeting from a file that somebody uploads: at most `longest`, and as loud as our prompts.
pub fn greeting(
    bytes: Cow<'static, [u8]>,
    extension: &str,
    longest: Duration,
) -> Result<Samples, SoundError> {
    let mut samples = Samples::decode(bytes, extension, longest)?;
    if samples.samples.is_empty() {
        return Err(SoundError::Unreadable("it holds no audio".to_owned()));
    }
    samples.level(LOUDNESS);
    Ok(samples)
}

struct Intake {
    rate: u32,
    resampler: Option<Resampler>,
    output: Vec<f32>,
    samples: Vec<i16>,
}

impl Intake {
    fn new(from: u32) -> Self {
        let rate = if from < WIDE { NARROW } else { WIDE };
        let resampler = Resampler::new(from, rate);
        Self { rate, resampler, output: Vec::new(), samples: Vec::new() }
    }

    fn push(&mut self, mono: &[f32]) {
        match &mut self.resampler {
            Some(resampler) => resampler.push(mono, &mut self.output),
            None => self.output.extend_from_slice(mono),
        }
        self.keep();
    }

    fn finish(mut self) -> Samples {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut self.output);
        }
        self.keep();
        Samples { samples: self.samples, rate: self.rate }
    }

    fn keep(&mut self) {
        self.samples.extend(self.output.drain(..).map(codec::nearest));
    }
}

/// What our prompts have, and Asterisk's about: -20 dB of active speech.
pub const LOUDNESS: f32 = -20.0;
/// What is softer still is left softer: it would be mostly noise.
const MOST_GAIN: f32 = 30.0;
const NARROW: u32 = 8000;
const WIDE: u32 = 16_000;

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Seek, SeekFrom};

    use symphonia::core::io::MediaSource;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    fn upload(name: &str) -> Vec<u8> {
        let directory = if name.ends_with("wav") { "sounds/en" } else { "tests/media" };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory).join(name);
        std::fs::read(path).unwrap()
    }

    const UPLOADS: [&str; 5] =
        ["vm-goodbye.wav", "goodbye.mp3", "goodbye.ogg", "goodbye.flac", "goodbye.m4a"];

    #[test]
    fn a_greeting_of_any_kind_becomes_ours_and_as_loud_as_the_prompts() {
        for name in UPLOADS {
            // What it is called does not matter.
            for extension in [name.rsplit_once('.').unwrap().1, "wav"] {
                let greeting = greeting(upload(name).into(), extension, LONGEST).unwrap();
                let millis = greeting.duration().as_millis();
                assert!((620..800).contains(&millis), "{name}: {millis} ms");
                assert_eq!(greeting.rate, 16_000, "{name}");
                let level = greeting.speech().level.unwrap();
                assert!((level - LOUDNESS).abs() < 1.0, "{name}: {level}");
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), greeting.wav().unwrap()).unwrap();
                assert_eq!(Samples::read(file.path(), LONGEST).unwrap(), greeting, "{name}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused_however_small_it_is() {
        let bomb = upload("two-minutes.flac");
        let refused = greeting(bomb.clone().into(), "flac", LONGEST);
        assert!(matches!(refused, Err(SoundError::TooLong(LONGEST))), "{refused:?}");
        assert!(Samples::decode(bomb.into(), "flac", LONGEST * 2).is_ok());
    }

    #[test]
    fn a_loud_greeting_becomes_softer_and_silence_stays_silence() {
        let mut loud = Samples::decode(upload("vm-goodbye.wav").into(), "wav", LONGEST).unwrap();
        loud.level(-12.0);
        let greeting = greeting(loud.wav().unwrap().into(), "wav", LONGEST).unwrap();
        assert!((greeting.speech().level.unwrap() - LOUDNESS).abs() < 1.0);
        let mut silence = Samples { samples: vec![3; 8000], rate: 8000 };
        silence.level(LOUDNESS);
        assert_eq!(silence.samples, [3; 8000]);
    }

    #[test]
    fn broken_and_hostile_files_are_refused_or_read_and_nothing_worse() {
        for name in UPLOADS {
            let (whole, extension) = (upload(name), name.rsplit_once('.').unwrap().1);
            for part in 0..8 {
                let cut = whole[..whole.len() * part / 8].to_vec();
                let _ = greeting(cut.into(), extension, LONGEST);
            }
            let mut state = 7_usize;
            for _ in 0..60 {
                let mut torn = whole.clone();
                for _ in 0..8 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Most in the head, where the lengths are.
                    let at = (state >> 33) % if state.is_multiple_of(3) { torn.len() } else { 200 };
                    torn[at] = state.to_le_bytes()[5];
                }
                let _ = greeting(torn.into(), extension, LONGEST);
            }
        }
        // A header that promises 4 GB, of 65,535 channels, at a rate of nothing.
        for (at, bytes) in [(4, [0xff; 4]), (40, [0xff; 4]), (22, [0xff; 4]), (24, [0; 4])] {
            let mut wav = upload("vm-goodbye.wav");
            wav[at..at + 4].copy_from_slice(&bytes);
            let _ = greeting(wav.into(), "wav", LONGEST);
        }
        assert!(greeting(Vec::new().into(), "mp3", LONGEST).is_err());
        assert!(greeting(vec![0; 1 << 20].into(), "mp3", LONGEST).is_err());
    }

    /// A file that never ends, or that ends the thread.
    struct Trap {
        panics: bool,
    }

    impl Read for Trap {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            assert!(!self.panics, "a decoder has not thought of this");
            into.fill(0x55);
            Ok(into.len())
        }
    }

    impl Seek for Trap {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }

    impl MediaSource for Trap {
        fn is_seekable(&self) -> bool {
            false
        }

        fn byte_len(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn a_file_without_an_end_and_a_decoder_that_panics_are_contained() {
        for panics in [false, true] {
            let read = Samples::from_source(Box::new(Trap { panics }), "mp3", LONGEST);
            assert!(read.is_err(), "{panics}");
        }
    }
}
