//! Sounds: read from any file once, and kept encoded.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::codec::g711::Law;
use super::codec::{self, Codec, Coder, opus};
use super::decode::{SoundError, decode};
use super::file;
use super::phrase;
use super::resample::Resampler;

/// Audio encoded for one codec, ready to be sent. Calls share it.
#[derive(Debug)]
pub struct Sound {
    codec: Codec,
    encoded: Arc<[u8]>,
    /// Where each frame ends, if it has any.
    frames: Box<[u32]>,
    /// The samples again, where they cannot be told from any byte alone: for who wants them louder
    /// or faster.
    linear: Box<[i16]>,
}

impl Sound {
    /// Reads a file, as [`file::read`] does.
    pub fn read(path: &Path, codec: Codec) -> Result<Self, SoundError> {
        let extension = path.extension().and_then(|name| name.to_str()).unwrap_or_default();
        let law = match extension.to_ascii_lowercase().as_str() {
            "ulaw" | "ul" | "mu" | "ulw" | "pcm" => Some(Law::Mu),
            "alaw" | "al" | "alw" => Some(Law::A),
            _ => None,
        };
        if law.is_some() && law == codec.law() {
            // As it is sent: nothing to decode.
            return Ok(Self::from_encoded(bounded(path, samples_of_longest(8000))?, codec));
        }
        Ok(encoder(codec, |sink| file::each_piece(path, LONGEST, sink))?.finish())
    }

    /// Reads a file of which nothing is kept but what is spoken: joined to another it leaves no
    /// gap.
    pub fn phrase(path: &Path, codec: Codec) -> Result<Self, SoundError> {
        Ok(encoder(codec, |sink| file::each_piece(path, LONGEST, sink))?.spoken().finish())
    }

    /// The same of what a file with this extension would hold, if it has a header.
    pub fn phrase_of(
        bytes: Cow<'static, [u8]>,
        extension: &str,
        codec: Codec,
    ) -> Result<Self, SoundError> {
        let source = Box::new(Cursor::new(bytes));
        let encoder = encoder(codec, |sink| decode(source, extension, LONGEST, sink))?;
        Ok(encoder.spoken().finish())
    }

    pub fn from_samples(samples: &[i16], rate: u32, codec: Codec) -> Self {
        let mut encoder = Encoder::new(rate, codec);
        encoder.push(samples.iter().map(|&sample| f32::from(sample)));
        encoder.finish()
    }

    pub fn silence(lasts: Duration, codec: Codec) -> Self {
        let samples = codec::samples(lasts.min(LONGEST), codec.rate());
        let samples = vec![0; usize::try_from(samples).unwrap_or_default()];
        Self::from_samples(&samples, codec.rate(), codec)
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    pub fn duration(&self) -> Duration {
        codec::duration(self.samples(), self.codec.rate())
    }

    /// Samples at the codec's rate.
    pub(super) fn samples(&self) -> u64 {
        if self.linear.is_empty() { self.encoded.len() as u64 } else { self.linear.len() as u64 }
    }

    /// Decodes from a sample on; there must be so many.
    pub(super) fn decode_from(&self, at: u64, into: &mut [i16]) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(law) = self.codec.law() {
            let encoded = self.encoded.get(at..).unwrap_or_default();
            into.iter_mut().zip(encoded).for_each(|(sample, &byte)| *sample = law.decoded(byte));
        } else {
            let linear = self.linear.get(at..).unwrap_or_default();
            into.iter_mut().zip(linear).for_each(|(sample, &heard)| *sample = heard);
        }
    }

    /// G.711 as it is.
    pub(super) fn from_encoded(encoded: Vec<u8>, codec: Codec) -> Self {
        let (frames, linear) = Default::default();
        Self { codec, encoded: encoded.into(), frames, linear }
    }

    /// As it is sent.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    pub(super) fn shared(&self) -> Arc<[u8]> {
        Arc::clone(&self.encoded)
    }

    /// The frame of 20 ms that begins with a sample.
    pub(super) fn frame(&self, at: u64) -> Option<&[u8]> {
        let at = usize::try_from(at).ok()? / self.codec.frame();
        let end = |at: usize| self.frames.get(at).map(|&end| end as usize);
        let start = at.checked_sub(1).map_or(Some(0), end)?;
        self.encoded.get(start..end(at)?)
    }

    /// What it takes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.encoded.len() + 4 * self.frames.len() + 2 * self.linear.len()
    }
}

/// Feeds all that is read to an encoder.
fn encoder(
    codec: Codec,
    read: impl FnOnce(&mut file::Sink<'_>) -> Result<(), SoundError>,
) -> Result<Encoder, SoundError> {
    let mut encoder = None;
    read(&mut |rate, mono| {
        encoder.get_or_insert_with(|| Encoder::new(rate, codec)).push(mono.iter().copied());
    })?;
    Ok(encoder.unwrap_or_else(|| Encoder::new(codec.rate(), codec)))
}

fn samples_of_longest(rate: u32) -> usize {
    usize::try_from(codec::samples(LONGEST, rate)).unwrap_or(usize::MAX)
}

fn bounded(path: &Path, most: usize) -> Result<Vec<u8>, SoundError> {
    if std::fs::metadata(path)?.len() > most as u64 {
        return Err(SoundError::TooLong(LONGEST));
    }
    Ok(std::fs::read(path)?)
}

/// Samples of any rate to a codec's bytes. Samples are scaled to 16 bits.
struct Encoder {
    codec: Codec,
    resampler: Option<Resampler>,
    input: Vec<f32>,
    /// Not yet encoded: the end may have to be faded.
    output: Vec<f32>,
    samples: Vec<i16>,
    /// Samples of a fade.
    edge: usize,
    begun: bool,
    /// Only what is spoken is kept.
    spoken: bool,
}

impl Encoder {
    fn new(rate: u32, codec: Codec) -> Self {
        let resampler = Resampler::new(rate, codec.rate());
        let (input, output, samples) = (Vec::new(), Vec::new(), Vec::new());
        let edge = usize::try_from(codec::samples(EDGE, codec.rate())).unwrap_or_default();
        Self { codec, resampler, input, output, samples, edge, begun: false, spoken: false }
    }

    fn spoken(self) -> Self {
        Self { spoken: true, ..self }
    }

    fn push(&mut self, samples: impl Iterator<Item = f32>) {
        match &mut self.resampler {
            Some(resampler) => {
                self.input.clear();
                self.input.extend(samples);
                resampler.push(&self.input, &mut self.output);
            }
            None => self.output.extend(samples),
        }
        if self.output.len() > 2 * self.edge {
            self.begin();
            self.settle(self.output.len() - self.edge);
        }
    }

    fn finish(mut self) -> Sound {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut self.output);
        }
        // What is shorter than its two edges is no sound to be joined.
        if self.begun || self.output.len() > 2 * self.edge {
            self.begin();
            let end = self.output.len() - self.edge;
            fade(self.output[end..].iter_mut().rev());
        }
        self.settle(self.output.len());
        if self.spoken {
            // Frames that cannot be cut leave a part of the last one silent.
            let edge = if self.codec.is_framed() { 1 } else { phrase::SOFT };
            let spoken = phrase::spoken(&self.samples, self.codec.rate(), edge);
            self.samples.truncate(spoken.end);
            self.samples.drain(..spoken.start);
        }
        self.encoded()
    }

    fn encoded(self) -> Sound {
        let Self { codec, spoken, samples: mut linear, .. } = self;
        let mut coder = Coder::new(codec);
        let mut encoded = Vec::new();
        if let Coder::Law(_) = coder {
            coder.encode(&linear, &mut encoded);
            return Sound::from_encoded(encoded, codec);
        }
        let frame = codec.frame();
        let whole = if codec.is_framed() && !linear.is_empty() {
            // What a decoder says lags behind.
            let lag = usize::from(opus::PRE_SKIP) * frame / 960;
            let whole = (linear.len() + lag).next_multiple_of(frame);
            // The end of a breath is worth no frame that others must wait for.
            let waits = spoken && whole - linear.len() > frame * 5 / 8;
            if waits { whole - frame } else { whole }
        } else {
            // A byte of G.722 is two samples.
            linear.len().next_multiple_of(2)
        };
        linear.resize(whole, 0);
        let mut frames = Vec::new();
        for frame in linear.chunks(frame) {
            coder.encode(frame, &mut encoded);
            if codec.is_framed() {
                frames.push(u32::try_from(encoded.len()).unwrap_or(u32::MAX));
            }
        }
        let (encoded, frames, linear) = (encoded.into(), frames.into(), linear.into());
        Sound { codec, encoded, frames, linear }
    }

    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            fade(self.output.iter_mut().take(self.edge));
        }
    }

    fn settle(&mut self, count: usize) {
        self.samples.extend(self.output.drain(..count).map(codec::nearest));
    }
}

/// Lets an edge rise from silence, if it would click.
#[expect(clippy::cast_precision_loss, reason = "an edge has few samples")]
fn fade<'s>(edge: impl ExactSizeIterator<Item = &'s mut f32>) {
    let count = edge.len() as f32;
    let mut clicks = None;
    for (sample, n) in edge.zip(0_u16..) {
        if *clicks.get_or_insert(sample.abs() > CLICK) {
            *sample *= f32::from(n) / count;
        }
    }
}

/// Where a sound that does not begin or end in silence is faded, so that it can be joined to any.
const EDGE: Duration = Duration::from_millis(4);
/// A step of so much, from silence, is heard: -42 dB.
const CLICK: f32 = 256.0;
/// No sound is longer: no message is recorded for more than an hour, and none has an introduction
/// that is longer when it is forwarded.
pub(super) const LONGEST: Duration = Duration::from_hours(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(spec: hound::WavSpec, samples: impl Iterator<Item = i32>) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new().suffix(".wav").tempfile().unwrap();
        let mut writer = hound::WavWriter::create(file.path(), spec).unwrap();
        samples.for_each(|sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
        file
    }

    fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16) -> hound::WavSpec {
        let sample_format = hound::SampleFormat::Int;
        hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format }
    }

    #[test]
    fn a_recording_plays_back_as_it_was_heard() {
        let heard: Vec<u8> = (0..=255).filter(|&byte| byte != 0x7f).collect();
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let silence = vec![codec.law().unwrap().silence(); 40];
            let heard = [&silence[..], &heard, &silence].concat();
            let samples = heard.iter().map(|&byte| i32::from(codec.law().unwrap().decoded(byte)));
            let file = wav(spec(1, 8000, 16), samples);
            assert_eq!(Sound::read(file.path(), codec).unwrap().encoded(), heard, "{codec:?}");
        }
    }

    #[test]
    fn a_recording_that_broke_off_plays_as_far_as_it_goes() {
        let file = wav(spec(1, 8000, 16), (0..1600).map(|_| 0x1234));
        let whole = Sound::read(file.path(), Codec::Pcmu).unwrap();
        let mut bytes = std::fs::read(file.path()).unwrap();
        // Its header knows of nothing yet.
        bytes[4..8].fill(0);
        bytes[40..44].fill(0);
        bytes.push(0x34);
        std::fs::write(file.path(), bytes).unwrap();
        assert_eq!(Sound::read(file.path(), Codec::Pcmu).unwrap().encoded(), whole.encoded());
    }

    #[test]
    fn edges_that_would_click_are_faded_and_no_others() {
        let loud = Sound::from_samples(&[9000; 800], 8000, Codec::Pcmu);
        let heard: Vec<i16> = loud.encoded().iter().map(|&byte| Law::Mu.decoded(byte)).collect();
        assert_eq!((heard[0], heard[799]), (0, 0));
        let widest = heard.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
        assert!(widest < 600, "{widest}");
        assert!(heard[32..768].iter().all(|&sample| sample == heard[400]));
        let soft = Sound::from_samples(&[200; 800], 8000, Codec::Pcmu);
        assert_eq!(soft.encoded(), [soft.encoded()[400]; 800]);
    }

    #[test]
    fn widths_rates_and_channels_come_to_the_same() {
        let table = [(1, 8000, 8), (2, 8000, 16), (1, 8000, 24), (1, 16_000, 16), (2, 44_100, 16)];
        for (channels, rate, bits) in table {
            let half = 1 << (bits - 2);
            let samples = (0..rate * u32::from(channels)).map(|_| half);
            let sound = Sound::read(wav(spec(channels, rate, bits), samples).path(), Codec::Pcmu);
            let sound = sound.unwrap();
            let millis = sound.duration().as_millis();
            assert!(millis.abs_diff(1000) <= 1, "{channels} {rate} {bits}: {millis} ms");
            let middle = Law::Mu.decoded(sound.encoded()[4000]);
            assert!((16_000..17_000).contains(&middle), "{channels} {rate} {bits}: {middle}");
        }
    }

    #[test]
    fn headerless_files_of_asterisk_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("beep.ulaw");
        std::fs::write(&path, [0x80, 0xff]).unwrap();
        assert_eq!(Sound::read(&path, Codec::Pcmu).unwrap().encoded(), [0x80, 0xff]);
        assert_eq!(Sound::read(&path, Codec::Pcma).unwrap().encoded(), [0xaa, 0xd5]);
        let path = directory.path().join("beep.sln");
        std::fs::write(&path, [0, 0, 0xff, 0x7f, 9]).unwrap();
        assert_eq!(Sound::read(&path, Codec::Pcmu).unwrap().encoded(), [0xff, 0x80]);
    }

    #[test]
    fn a_prompt_in_a_wide_codec_is_what_it_was() {
        let path = Path::new("sounds/en/vm-intro.wav");
        let said = super::super::wav::samples(path).unwrap();
        let power =
            |samples: &[i16]| -> f64 { samples.iter().map(|&x| f64::from(x).powi(2)).sum() };
        for codec in [Codec::G722, Codec::Opus, Codec::OpusNarrow] {
            let sound = Sound::read(path, codec).unwrap();
            let lasts = said.len() as u64 * u64::from(codec.rate()) / 16_000;
            assert!((lasts..lasts + 700).contains(&sound.samples()), "{codec:?}");
            let mut heard = Vec::new();
            if codec == Codec::G722 {
                codec::g722::Decoder::new().decode(sound.encoded(), &mut heard);
            } else {
                let mut decoder = opus::Decoder::new(codec.rate());
                let mut at = 0;
                while let Some(frame) = sound.frame(at) {
                    decoder.decode(frame, &mut heard);
                    at += codec.frame() as u64;
                }
            }
            assert_eq!(heard.len() as u64, sound.samples(), "{codec:?}");
            let scale = 16_000.0 / f64::from(codec.rate());
            let loss = 10.0 * (power(&heard) * scale / power(&said)).log10();
            assert!(loss.abs() < 1.5, "{codec:?}: {loss:.1} dB");
        }
    }

    #[test]
    fn a_header_that_lies_about_rate_or_blocks_does_no_harm() {
        let file = wav(spec(1, 8000, 16), (0..4000).map(|_| 0x1234));
        let whole = std::fs::read(file.path()).unwrap();
        for (at, lie) in [(24, [1, 0, 0, 0]), (24, [0xff; 4]), (24, [0; 4]), (32, [1, 0, 16, 0])] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&lie);
            std::fs::write(file.path(), bytes).unwrap();
            let lasts = Sound::read(file.path(), Codec::Pcmu).map(|sound| sound.duration());
            assert!(
                lasts.as_ref().is_ok_and(|lasts| *lasts < LONGEST) || lasts.is_err(),
                "{lie:?}"
            );
        }
    }

    #[test]
    fn what_is_no_sound_is_refused() {
        let file = tempfile::Builder::new().suffix(".wav").tempfile().unwrap();
        std::fs::write(file.path(), b"RIFFnothing of that kind").unwrap();
        assert!(matches!(Sound::read(file.path(), Codec::Pcmu), Err(SoundError::Unreadable(_))));
        let missing = Sound::read(Path::new("/nowhere/at/all.wav"), Codec::Pcmu);
        assert!(matches!(missing, Err(SoundError::Io(_))));
    }

    #[test]
    fn silence_lasts_and_is_silent() {
        let sound = Sound::silence(Duration::from_millis(250), Codec::Pcma);
        assert_eq!(sound.encoded(), [0xd5; 2000]);
        assert_eq!(sound.duration(), Duration::from_millis(250));
        let sound = Sound::silence(Duration::from_millis(260), Codec::G722);
        assert_eq!((sound.encoded().len(), sound.samples()), (2080, 4160));
    }
}
