//! Recordings in forms that travel: MP3, and Opus in Ogg (RFC 7845).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ogg::{PacketWriteEndInfo, PacketWriter};
use shine_rs::{Mp3Encoder, Mp3EncoderConfig, StereoMode};

use super::codec::{self, opus};
use super::decode::SoundError;
use super::greeting::Samples;
use super::resample::Resampler;
use super::sound::LONGEST;

/// What audio can be made into for mail and browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Plays everywhere: MPEG-2 Layer III, mono, 16 kHz, 64 kbit/s.
    Mp3,
    /// Smallest: Ogg Opus, mono, 24 kbit/s.
    Opus,
}

/// Why a recording could not be made into another form.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Unreadable(#[from] SoundError),
    #[error("the encoder failed: {0}")]
    Encoder(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Form {
    /// Without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Opus => "ogg",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Mp3 => "audio/mpeg",
            Self::Opus => "audio/ogg; codecs=opus",
        }
    }
}

/// Reads a recording and encodes it anew: about 1 % of its duration on one core. Blocks.
pub fn export(path: &Path, form: Form) -> Result<Vec<u8>, ExportError> {
    let Samples { samples, rate } = Samples::read(path, LONGEST)?;
    // Both encoders are young; what they have not thought of must not end a thread of ours.
    let encoded = catch_unwind(AssertUnwindSafe(|| match form {
        Form::Mp3 => mp3(&samples, rate),
        Form::Opus => ogg_opus(&samples, rate),
    }));
    encoded.unwrap_or_else(|_| Err(ExportError::Encoder("it panicked".into())))
}

fn mp3(samples: &[i16], rate: u32) -> Result<Vec<u8>, ExportError> {
    let failed = |error: &dyn std::fmt::Display| ExportError::Encoder(error.to_string());
    let config = Mp3EncoderConfig::new()
        .sample_rate(MP3_RATE)
        .bitrate(MP3_KBITS)
        .channels(1)
        .stereo_mode(StereoMode::Mono);
    let mut encoder = Mp3Encoder::new(config).map_err(|error| failed(&error))?;
    let samples = resampled(samples, rate, MP3_RATE);
    // The library is 1 dB too loud, which would clip what is as loud as can be.
    let samples = samples.iter().map(|&sample| sample - sample / 9);
    // Filters delay what is heard: without silence behind it, the last word would be cut.
    let samples: Vec<i16> = samples.chain([0; MP3_DELAY]).collect();
    let mut encoded = Vec::with_capacity(samples.len() / 3);
    // What it is given at once it copies byte by byte.
    for piece in samples.chunks(PIECE) {
        for frame in encoder.encode_interleaved(piece).map_err(|error| failed(&error))? {
            encoded.extend_from_slice(&frame);
        }
    }
    encoded.extend(encoder.finish().map_err(|error| failed(&error))?);
    Ok(encoded)
}

fn ogg_opus(samples: &[i16], rate: u32) -> Result<Vec<u8>, ExportError> {
    let coded = opus_rate(rate);
    let mut samples = resampled(samples, rate, coded);
    let spoken = samples.len() as u64;
    let mut encoder = opus::Encoder::new(coded, OPUS_BITS, false);

    let frame = coded as usize / 50;
    let scale = u64::from(OPUS_CLOCK / coded);
    let skip = u64::from(opus::PRE_SKIP) / scale;
    let frames = (samples.len() + usize::try_from(skip).unwrap_or(0)).div_ceil(frame).max(1);
    samples.resize(frames * frame, 0);

    let mut writer = PacketWriter::new(Vec::new());
    let mut put =
        |packet: Vec<u8>, end, position| writer.write_packet(packet, SERIAL, end, position);
    put(opus_head(rate), PacketWriteEndInfo::EndPage, 0)?;
    put(opus_tags(), PacketWriteEndInfo::EndPage, 0)?;
    for (n, piece) in samples.chunks(frame).enumerate() {
        let packet = encoder.encode(piece).to_vec();
        let last = n + 1 == frames;
        let end = match n % PAGE {
            _ if last => PacketWriteEndInfo::EndStream,
            at if at + 1 == PAGE => PacketWriteEndInfo::EndPage,
            _ => PacketWriteEndInfo::NormalPacket,
        };
        // RFC 7845 §4.4: the last position says where the padding begins.
        let position = ((n + 1) * frame) as u64;
        let position = if last { position.min(spoken + skip) } else { position };
        put(packet, end, position * scale)?;
    }
    Ok(writer.into_inner())
}

/// RFC 7845 §5.1.
fn opus_head(rate: u32) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend(opus::PRE_SKIP.to_le_bytes());
    head.extend(rate.to_le_bytes());
    // No gain; one channel.
    head.extend([0, 0, 0]);
    head
}

/// RFC 7845 §5.2.
fn opus_tags() -> Vec<u8> {
    let vendor = concat!("Afterbeep ", env!("CARGO_PKG_VERSION")).as_bytes();
    let mut tags = b"OpusTags".to_vec();
    tags.extend(u32::try_from(vendor.len()).unwrap_or_default().to_le_bytes());
    tags.extend(vendor);
    tags.extend([0; 4]);
    tags
}

/// The least rate of Opus that holds the whole band.
fn opus_rate(rate: u32) -> u32 {
    [8000, 16_000, 24_000].into_iter().find(|&coded| rate <= coded).unwrap_or(OPUS_CLOCK)
}

fn resampled(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    let Some(mut resampler) = Resampler::new(from, to) else { return samples.to_vec() };
    let (mut input, mut output) = (Vec::new(), Vec::new());
    for piece in samples.chunks(PIECE) {
        input.clear();
        input.extend(piece.iter().map(|&sample| f32::from(sample)));
        resampler.push(&input, &mut output);
    }
    resampler.finish(&mut output);
    output.into_iter().map(codec::nearest).collect()
}

/// Every decoder takes 16 kHz; MPEG-2.5, which 8 kHz would be, some do not. The library fills frames
/// up with ones, which a decoder reads as values beyond the band, and by a few bits beyond the frame:
/// `ffmpeg` passes over them, and all is right; `symphonia` drops such frames, half of them in a
/// telephone's band. With half the bits, speech of the wide band is 20 dB above what differs, not 30.
const MP3_RATE: u32 = 16_000;
const MP3_KBITS: u32 = 64;
/// Samples: 1057 by encoder and decoder together, and a frame that some decoders drop.
const MP3_DELAY: usize = 1057 + 576;
const OPUS_BITS: i32 = 24_000;
/// Positions count at 48 kHz, whatever is coded.
const OPUS_CLOCK: u32 = 48_000;
/// Packets in a page: a second.
const PAGE: usize = 50;
/// One stream in a file: any number.
const SERIAL: u32 = 0x6162;
const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("sounds/en/vm-intro.wav")
    }

    /// The signal's power over that of what differs, in dB, at the best delay.
    fn likeness(original: &[i16], decoded: &[i16], most: usize) -> (usize, f64) {
        // A quarter of a second tells.
        let at = original.len() / 3;
        let (original, decoded) = (&original[at..][..4000], &decoded[at..]);
        let ratio = |delay: usize| {
            let pairs = || original.iter().zip(&decoded[delay.min(decoded.len())..]);
            let power: f64 = pairs().map(|(&a, _)| f64::from(a).powi(2)).sum();
            let error: f64 = pairs().map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
            10.0 * (power / error.max(1.0)).log10()
        };
        let delays = (0..most).map(|delay| (delay, ratio(delay)));
        delays.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    }

    /// What a listener hears: most play MP3 by this program's library.
    fn played(mp3: &[u8]) -> Vec<i16> {
        let file = tempfile::Builder::new().suffix(".mp3").tempfile().unwrap();
        std::fs::write(file.path(), mp3).unwrap();
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(file.path());
        let said = ffmpeg.args(["-f", "s16le", "-"]).output();
        let said = said.expect("ffmpeg is missing: let tests/run install it");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        said.stdout.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
    }

    #[test]
    fn an_mp3_sounds_like_the_recording() {
        let original = Samples::read(&prompt(), LONGEST).unwrap();
        for rate in [16_000, 8000] {
            let samples =
                Samples { samples: resampled(&original.samples, original.rate, rate), rate };
            let file = tempfile::Builder::new().suffix(".wav").tempfile().unwrap();
            std::fs::write(file.path(), samples.wav().unwrap()).unwrap();
            let encoded = export(file.path(), Form::Mp3).unwrap();
            assert!(encoded.len() * 8 <= samples.samples.len() * 65_000 / rate as usize + 40_000);
            let (wide, played) = (resampled(&samples.samples, rate, MP3_RATE), played(&encoded));
            let (delay, ratio) = likeness(&wide, &played, 2500);
            assert!(ratio > 15.0, "{rate}: {ratio:.1} dB at {delay}");
            // From the first word to the last.
            assert!(played.len() >= wide.len() + delay, "{rate}: {} at {delay}", played.len());
            assert!(played.len() - wide.len() < 3200, "{rate}: {}", played.len());
        }
    }

    #[test]
    fn ogg_opus_has_the_pages_of_the_standard() {
        let original = Samples::read(&prompt(), LONGEST).unwrap();
        let encoded = export(&prompt(), Form::Opus).unwrap();
        let mut reader = ogg::PacketReader::new(io::Cursor::new(&encoded));
        let mut packets = vec![];
        while let Some(packet) = reader.read_packet().unwrap() {
            packets.push((packet.data.clone(), packet.absgp_page(), packet.last_in_stream()));
        }
        assert_eq!(&packets[0].0[..9], b"OpusHead\x01");
        assert_eq!(&packets[1].0[..8], b"OpusTags");
        let (_, position, last) = packets.last().unwrap();
        let spoken = original.samples.len() as u64 * 3 + u64::from(opus::PRE_SKIP);
        assert_eq!((*position, *last), (spoken, true));
        let mut decoder = opus::Decoder::new(16_000);
        let mut decoded = vec![];
        packets[2..].iter().for_each(|(packet, _, _)| decoder.decode(packet, &mut decoded));
        let (delay, _) = likeness(&original.samples, &decoded, 400);
        assert!(delay.abs_diff(usize::from(opus::PRE_SKIP) / 3) <= 4, "{delay}");
        assert!(encoded.len() * 8 < original.samples.len() / 16 * 40, "{} bytes", encoded.len());
    }

    #[test]
    fn what_cannot_be_read_cannot_be_exported() {
        let file = tempfile::Builder::new().suffix(".wav").tempfile().unwrap();
        std::fs::write(file.path(), b"nothing").unwrap();
        assert!(matches!(export(file.path(), Form::Mp3), Err(ExportError::Unreadable(_))));
        let empty = Samples { samples: vec![], rate: 8000 };
        std::fs::write(file.path(), empty.wav().unwrap()).unwrap();
        for form in [Form::Mp3, Form::Opus] {
            assert!(export(file.path(), form).is_ok(), "{form:?}");
        }
    }
}
