//! Files of any kind to samples, whoever made them: bounded in time and memory, and a decoder that
//! panics is a file that cannot be read.

use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::common::Limit;
use symphonia::core::errors::Error as Failure;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::codec;

/// Why a file is not a sound.
#[derive(Debug, thiserror::Error)]
pub enum SoundError {
    #[error("cannot read the sound: {0}")]
    Io(#[from] io::Error),
    #[error("no audio that we can read: {0}")]
    Unreadable(String),
    #[error("longer than {} s", .0.as_secs())]
    TooLong(Duration),
}

/// Reads a file, channels mixed to one. `sink` gets its rate and samples, scaled to 16 bits.
pub(super) fn decode(
    source: Box<dyn MediaSource>,
    extension: &str,
    longest: Duration,
    mut sink: impl FnMut(u32, &[f32]),
) -> Result<(), SoundError> {
    let source = Box::new(Bounded::new(source));
    // What is half done when a decoder panics is thrown away by whoever gets the error.
    let decoded =
        catch_unwind(AssertUnwindSafe(|| contained(source, extension, longest, &mut sink)));
    decoded.unwrap_or_else(|_| Err(no("its decoder panicked")))
}

fn contained(
    source: Box<dyn MediaSource>,
    extension: &str,
    longest: Duration,
    sink: &mut impl FnMut(u32, &[f32]),
) -> Result<(), SoundError> {
    let deadline = Instant::now() + PATIENCE;
    let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
    let mut hint = Hint::new();
    hint.with_extension(extension);
    // Nobody looks at tags and pictures.
    let metadata = MetadataOptions::default()
        .limit_tag_bytes(Limit::Maximum(TAG))
        .limit_visual_bytes(Limit::Maximum(TAG));
    let mut format = symphonia::default::get_probe()
        .probe(&hint, stream, FormatOptions::default(), metadata)
        .map_err(unreadable)?;
    let track = format.default_track(TrackType::Audio).ok_or_else(|| no("no audio track"))?;
    let id = track.id;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or_else(|| no("no audio codec"))?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(unreadable)?;

    let (mut interleaved, mut mono) = (Vec::<f32>::new(), Vec::new());
    let mut samples = 0_u64;
    while let Some(packet) = next(format.next_packet())? {
        if Instant::now() >= deadline {
            return Err(no("it takes too long to decode"));
        }
        if packet.track_id != id {
            continue;
        }
        let audio = match decoder.decode(&packet) {
            Ok(audio) => audio,
            // A torn frame costs its own length, not the sound.
            Err(Failure::DecodeError(_)) => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let rate = audio.spec().rate();
        let channels = audio.spec().channels().count();
        if !RATES.contains(&rate) || !CHANNELS.contains(&channels) {
            return Err(no("a rate or number of channels that nobody uses"));
        }
        samples += audio.frames() as u64;
        if samples > codec::samples(longest, rate) {
            return Err(SoundError::TooLong(longest));
        }
        audio.copy_to_vec_interleaved(&mut interleaved);
        let scale = SCALE / u16::try_from(channels).map_or(1.0, f32::from);
        mono.clear();
        mono.extend(
            interleaved
                .chunks_exact(channels)
                .map(|frame| finite(frame.iter().sum::<f32>() * scale)),
        );
        sink(rate, &mono);
    }
    Ok(())
}

/// Files of floating numbers may hold any.
fn finite(sample: f32) -> f32 {
    if sample.is_finite() { sample } else { 0.0 }
}

/// A file that ends too soon is a short sound: a recording that is still written looks like that.
fn next<T>(packet: Result<Option<T>, Failure>) -> Result<Option<T>, SoundError> {
    match packet {
        Ok(packet) => Ok(packet),
        Err(Failure::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

fn unreadable(error: Failure) -> SoundError {
    match error {
        Failure::IoError(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            SoundError::Io(error)
        }
        error => SoundError::Unreadable(error.to_string()),
    }
}

fn no(what: &str) -> SoundError {
    SoundError::Unreadable(what.to_owned())
}

/// A file that may be read a few times over and no more: one that sends its reader round in
/// circles ends.
struct Bounded {
    source: Box<dyn MediaSource>,
    left: u64,
}

impl Bounded {
    fn new(source: Box<dyn MediaSource>) -> Self {
        let length = source.byte_len().unwrap_or(0);
        Self { source, left: length.saturating_mul(4).saturating_add(SPARE) }
    }
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file leads in circles"));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let read = self.source.read(&mut into[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}

impl MediaSource for Bounded {
    fn is_seekable(&self) -> bool {
        self.source.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.source.byte_len()
    }
}

/// Decoding an hour of anything takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const TAG: usize = 64 * 1024;
const SPARE: u64 = 1 << 20;
pub(super) const RATES: std::ops::RangeInclusive<u32> = 4000..=384_000;
const CHANNELS: std::ops::RangeInclusive<usize> = 1..=32;
const SCALE: f32 = 32_768.0;
