//! Audio files of every kind that voicemail systems leave behind, read as samples.
//!
//! The extension says what is in a file without a header, as in Asterisk's spool and sound packs;
//! where there is a header it is believed instead.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::codec::g711::Law;
use super::codec::{self, g722, gsm};
use super::decode::{RATES, SoundError, decode};
use super::wav::{self, Info};

/// A file's audio, its channels mixed to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcm {
    pub samples: Vec<i16>,
    /// In Hz.
    pub rate: u32,
}

/// What an extension says of a file.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Mulaw,
    Alaw,
    Gsm,
    G722,
    /// 16 bits, the low byte first, at so many Hz.
    Linear(u32),
    /// WAV and others with a header.
    Contained,
}

/// Gets the samples of a file piece by piece, in the range of 16 bits, with their rate in Hz.
pub(super) type Sink<'a> = dyn FnMut(u32, &[f32]) + 'a;

/// Reads a whole file: WAV (PCM, µ-law, A-law, GSM), MP3, Ogg, FLAC, AAC, AIFF, or headerless audio
/// by its extension: `gsm`, `g722`, `ulaw`, `alaw`, `sln` and their relatives.
pub fn read(path: &Path) -> Result<Pcm, SoundError> {
    let mut pcm = Pcm { samples: vec![], rate: 8000 };
    each_piece(path, LONGEST, &mut |rate, piece| {
        pcm.rate = rate;
        pcm.samples.extend(piece.iter().copied().map(codec::nearest));
    })?;
    Ok(pcm)
}

/// Reads a file of any form and gives it back as WAV: 16 bits, one channel, at its own rate.
pub fn to_wav(path: &Path) -> io::Result<Vec<u8>> {
    let Pcm { samples, rate } = read(path).map_err(plain)?;
    let bytes = u32::try_from(samples.len() * 2).map_err(io::Error::other)?;
    let mut wav = Vec::with_capacity(44 + samples.len() * 2);
    wav.extend(b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(rate.to_le_bytes());
    wav.extend((rate * 2).to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    Ok(wav)
}

/// What a file holds, without decoding it where its length tells.
pub fn info(path: &Path) -> io::Result<Info> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let raw = |samples, rate, bits| Info { samples, rate, bits, ..RAW };
    match Kind::of(path) {
        Kind::Mulaw | Kind::Alaw => Ok(raw(bytes, 8000, 8)),
        Kind::Gsm => {
            expect_gsm(&file)?;
            Ok(raw(bytes / gsm::PACKED as u64 * gsm::FRAME as u64, 8000, 0))
        }
        Kind::G722 => Ok(raw(bytes * 2, 16_000, 0)),
        Kind::Linear(rate) => Ok(raw(bytes / 2, rate, 16)),
        Kind::Contained if is_riff(&file) => wav::info(path),
        Kind::Contained => contained_info(path).map_err(plain),
    }
}

pub(super) fn each_piece(
    path: &Path,
    longest: Duration,
    sink: &mut Sink<'_>,
) -> Result<(), SoundError> {
    let mut file = File::open(path)?;
    match Kind::of(path) {
        Kind::Mulaw => law(file, Law::Mu, longest, sink),
        Kind::Alaw => law(file, Law::A, longest, sink),
        Kind::Gsm => {
            expect_gsm(&file)?;
            let mut decoder = gsm::Decoder::default();
            // A damaged frame costs its own length.
            blocks(file, (8000, longest), sink, |block, out| {
                let frame = decoder.packed(block).unwrap_or([0; gsm::FRAME]);
                out.extend(frame.map(f32::from));
            })
        }
        Kind::G722 => {
            let mut decoder = g722::Decoder::new();
            let mut samples = vec![];
            blocks(file, (16_000, longest), sink, |block: &[u8; 1], out| {
                decoder.decode(block, &mut samples);
                out.extend(samples.drain(..).map(f32::from));
            })
        }
        Kind::Linear(rate) => linear(file, (rate, longest), sink),
        Kind::Contained => {
            // What is no WAV file after all, or lies about its rate, is left to others, who say so better.
            let info = is_riff(&file).then(|| wav::info(path).ok()).flatten();
            let is_ours = |info: &Info| {
                RATES.contains(&info.rate) && (is_plain(info) || info.format == wav::GSM)
            };
            let Some(info) = info.filter(is_ours) else {
                let extension = extension(path).to_ascii_lowercase();
                return decode(Box::new(file), &extension, longest, sink);
            };
            file.seek(SeekFrom::Start(info.data_offset))?;
            if is_plain(&info) {
                return linear(file.take(info.samples * 2), (info.rate, longest), sink);
            }
            let bytes = info.samples / wav::GSM_SAMPLES * gsm::BLOCK as u64;
            let mut decoder = gsm::Decoder::default();
            blocks(file.take(bytes), (info.rate, longest), sink, |block, out| {
                out.extend(decoder.block(block).as_flattened().iter().copied().map(f32::from));
            })
        }
    }
}

fn contained_info(path: &Path) -> Result<Info, SoundError> {
    let (mut samples, mut rate) = (0, 0);
    each_piece(path, LONGEST, &mut |at, piece| {
        samples += piece.len() as u64;
        rate = at;
    })?;
    Ok(Info { samples, rate, ..RAW })
}

impl Kind {
    fn of(path: &Path) -> Self {
        match extension(path).to_ascii_lowercase().as_str() {
            "ulaw" | "ul" | "mu" | "ulw" | "pcm" => Self::Mulaw,
            "alaw" | "al" | "alw" => Self::Alaw,
            "gsm" => Self::Gsm,
            "g722" => Self::G722,
            "sln" | "sln8" | "raw" => Self::Linear(8000),
            "sln12" => Self::Linear(12_000),
            "sln16" => Self::Linear(16_000),
            "sln24" => Self::Linear(24_000),
            "sln32" => Self::Linear(32_000),
            "sln44" => Self::Linear(44_100),
            "sln48" => Self::Linear(48_000),
            "sln96" => Self::Linear(96_000),
            "sln192" => Self::Linear(192_000),
            _ => Self::Contained,
        }
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|name| name.to_str()).unwrap_or_default()
}

fn law(file: File, law: Law, longest: Duration, sink: &mut Sink<'_>) -> Result<(), SoundError> {
    blocks(file, (8000, longest), sink, |&[byte], out| out.push(f32::from(law.decoded(byte))))
}

/// What a recording of ours is, and of most others: a long one begins to play without a pause, for
/// there is hardly anything to decode.
fn is_plain(info: &Info) -> bool {
    (info.format, info.channels, info.bits) == (wav::PCM, 1, 16)
}

fn linear(
    source: impl Read,
    bounds: (u32, Duration),
    sink: &mut Sink<'_>,
) -> Result<(), SoundError> {
    blocks(source, bounds, sink, |&pair, out| out.push(f32::from(i16::from_le_bytes(pair))))
}

/// Decodes a stream of blocks; half a block at the end is none.
fn blocks<const SIZE: usize>(
    mut source: impl Read,
    (rate, longest): (u32, Duration),
    sink: &mut Sink<'_>,
    mut decode: impl FnMut(&[u8; SIZE], &mut Vec<f32>),
) -> Result<(), SoundError> {
    let mut bytes = vec![0; SIZE * (PIECE / SIZE).max(1)];
    let (mut held, mut samples) = (0, Vec::new());
    let mut left = codec::samples(longest, rate);
    loop {
        match source.read(&mut bytes[held..]) {
            Ok(0) => return Ok(()),
            Ok(count) => held += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        let whole = held - held % SIZE;
        bytes[..whole].as_chunks().0.iter().for_each(|block| decode(block, &mut samples));
        left = left.checked_sub(samples.len() as u64).ok_or(SoundError::TooLong(longest))?;
        sink(rate, &samples);
        samples.clear();
        bytes.copy_within(whole..held, 0);
        held -= whole;
    }
}

/// Each frame of a `.gsm` file begins with the same four bits.
fn expect_gsm(file: &File) -> io::Result<()> {
    let mut first = [0];
    match file.read_exact_at(&mut first, 0) {
        Ok(()) if first[0] >> 4 != 0xd => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "no GSM 06.10 audio"))
        }
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn is_riff(file: &File) -> bool {
    let mut first = [0; 4];
    file.read_exact_at(&mut first, 0).is_ok() && &first == b"RIFF"
}

pub(super) fn plain(error: SoundError) -> io::Error {
    match error {
        SoundError::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

const RAW: Info = Info { samples: 0, rate: 0, data_offset: 0, channels: 1, bits: 0, format: 0 };
/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;
/// No message is longer.
const LONGEST: Duration = Duration::from_hours(12);
