//! The WAV container of recordings: written so that it is true at every moment, and made true
//! again after a crash.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::codec;
use super::greeting::Samples;
use super::track::Track;

/// What a WAV file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Samples of one channel.
    pub samples: u64,
    pub rate: u32,
    /// Where the audio begins.
    pub data_offset: u64,
    pub channels: u16,
    pub bits: u16,
    /// The format tag of the WAV header; 0 where there is none.
    pub format: u16,
}

/// The format tag of plain samples.
pub(super) const PCM: u16 = 1;
/// The format tag of GSM 06.10 in the packing of Microsoft ("WAV49", Asterisk's `.WAV`).
pub(super) const GSM: u16 = 0x31;
/// Samples that one of its blocks decodes to.
pub(super) const GSM_SAMPLES: u64 = 320;

impl Info {
    pub fn duration(&self) -> Duration {
        codec::duration(self.samples, self.rate)
    }
}

/// Reads what the file holds, by its length rather than by its header where the two disagree.
pub fn info(path: &Path) -> io::Result<Info> {
    Ok(Layout::read(&File::open(path)?)?.info())
}

/// Makes the header agree with the length of the file, as after a crash in mid-recording.
pub fn repair(path: &Path) -> io::Result<Info> {
    repair_open(&File::options().read(true).write(true).open(path)?)
}

/// The same of a file that is open.
pub fn repair_open(file: &File) -> io::Result<Info> {
    let layout = Layout::read(file)?;
    layout.write(file, layout.info().samples)?;
    Ok(layout.info())
}

/// The samples of a 16-bit file of one channel, as far as they are written.
pub fn samples(path: &Path) -> io::Result<Vec<i16>> {
    let bytes = std::fs::read(path)?;
    let data = info(path).map_or(bytes.len() as u64, |info| info.data_offset);
    let data = bytes.get(usize::try_from(data).unwrap_or(usize::MAX)..).unwrap_or_default();
    Ok(data.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair)).collect())
}

/// Makes what is said in a recording of ours this loud: dB of its RMS below full scale. Written
/// over in its place, so that there is a whole recording at every moment.
pub fn level(path: &Path, target: f32) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let Info { samples: count, rate, data_offset, channels, bits, .. } =
        Layout::read(&file)?.info();
    if (channels, bits) != (1, 16) || codec::duration(count, rate) > super::sound::LONGEST {
        return Err(refused("no recording of ours"));
    }
    let mut samples = Samples { samples: samples(path)?, rate };
    samples.level(target);
    let bytes: Vec<u8> = samples.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    file.write_all_at(&bytes, data_offset)
}

/// A recording that grows. After each `append` the file is a whole WAV file, whose header may not
/// yet know of the last seconds: who finds it after a crash goes by its length (see [`repair`]).
#[derive(Debug)]
pub(super) struct Tape {
    file: File,
    /// As hound writes it, its two lengths made true by us: hound keeps a buffer for each file, and
    /// seeks four times for each piece, between which a crash could come.
    header: [u8; HEADER],
    samples: u64,
    /// So many of them the header knows of.
    told: u64,
    rate: u32,
    /// Whether a piece was written in part, and stands behind the last whole one.
    torn: bool,
}

impl Tape {
    /// Begins a recording in an empty file: 16-bit PCM, mono.
    pub fn create(file: File, rate: u32) -> io::Result<Self> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut header = io::Cursor::new(Vec::with_capacity(HEADER));
        hound::WavWriter::new(&mut header, spec)
            .and_then(hound::WavWriter::finalize)
            .map_err(plain)?;
        let header: [u8; HEADER] =
            header.into_inner().try_into().map_err(|_| refused("another header"))?;
        file.write_all_at(&header, 0)?;
        Ok(Self { file, header, samples: 0, told: 0, rate, torn: false })
    }

    /// Appends a piece, made ready in `desk`, which all recordings of a thread share.
    pub fn append(&mut self, track: &Track, desk: &mut Vec<u8>) -> io::Result<u64> {
        self.torn = true;
        let mut at = HEADER as u64 + self.samples * 2;
        match track {
            Track::Law(law, bytes) => {
                ready(desk, bytes.iter().map(|&byte| law.decoded(byte)));
                self.file.write_all_at(desk, at)?;
            }
            Track::Linear(samples) => {
                ready(desk, samples.iter().copied());
                self.file.write_all_at(desk, at)?;
            }
            Track::Silence(samples) => {
                let end = at + samples * 2;
                while at < end {
                    let step = usize::try_from(end - at).unwrap_or(SILENCE).min(SILENCE);
                    self.file.write_all_at(&[0; SILENCE][..step], at)?;
                    at += step as u64;
                }
            }
        }
        self.samples += track.len();
        self.torn = false;
        if self.samples - self.told >= TELL * u64::from(self.rate) {
            self.tell()?;
        }
        Ok(self.samples)
    }

    /// Makes the header true.
    fn tell(&mut self) -> io::Result<()> {
        let bytes = self.samples * 2;
        let size = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        self.header[4..8].copy_from_slice(&size(bytes + HEADER as u64 - 8));
        self.header[HEADER - 4..].copy_from_slice(&size(bytes));
        self.file.write_all_at(&self.header, 0)?;
        self.told = self.samples;
        Ok(())
    }

    /// Closes the recording with its first `keep` samples, and says how many it has.
    pub fn finish(mut self, keep: u64) -> io::Result<u64> {
        let keep = keep.min(self.samples);
        if self.torn || keep < self.samples {
            self.file.set_len(HEADER as u64 + keep * 2)?;
            self.samples = keep;
            self.tell()?;
        } else if self.told < self.samples {
            self.tell()?;
        }
        Ok(keep)
    }
}

/// How many samples are left in a block of the file after so many of a recording. Whole blocks are
/// written with two thirds of the work of as much at any other place.
pub(super) const fn left_in_block(samples: u64) -> u64 {
    let block = BLOCK as u64;
    block - (samples + HEADER as u64 / 2) % block
}

/// Samples as they stand in the file.
fn ready(desk: &mut Vec<u8>, samples: impl ExactSizeIterator<Item = i16>) {
    desk.resize(samples.len() * 2, 0);
    for (pair, sample) in desk.as_chunks_mut().0.iter_mut().zip(samples) {
        *pair = sample.to_le_bytes();
    }
}

/// Where things stand in a WAV file.
#[derive(Debug)]
struct Layout {
    format: Format,
    data: u64,
    bytes: u64,
    /// Whether other chunks follow the audio: then the header is right about its length.
    followed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    block: u16,
    bits: u16,
}

impl Layout {
    fn read(file: &File) -> io::Result<Self> {
        let mut head = [0; 12];
        read_at(file, &mut head, 0)?;
        if &head[..4] != b"RIFF" || &head[8..] != b"WAVE" {
            return Err(refused("not a WAV file"));
        }
        let mut format = None;
        let mut at = 12;
        for _ in 0..MOST_CHUNKS {
            let mut chunk = [0; 8];
            read_at(file, &mut chunk, at)?;
            let [a, b, c, d, size @ ..] = chunk;
            let (name, size) = ([a, b, c, d], u64::from(u32::from_le_bytes(size)));
            let body = at + 8;
            match &name {
                b"fmt " => format = Some(Format::read(file, body)?),
                b"data" => {
                    let format = format.ok_or_else(|| refused("audio before its format"))?;
                    return Self::of(file, format, body, size);
                }
                _ => {}
            }
            at = body + size + (size & 1);
        }
        Err(refused("no audio chunk"))
    }

    fn of(file: &File, format: Format, data: u64, size: u64) -> io::Result<Self> {
        let there = file.metadata()?.len().saturating_sub(data);
        let followed = size > 0 && is_chunk(file, data + size + (size & 1))?;
        let bytes = if followed { size } else { there };
        let bytes = bytes - bytes % u64::from(format.block);
        Ok(Self { format, data, bytes, followed })
    }

    fn info(&self) -> Info {
        let Format { tag, channels, rate, block, bits } = self.format;
        let blocks = self.bytes / u64::from(block);
        let samples = if tag == GSM { blocks * GSM_SAMPLES } else { blocks };
        Info { samples, rate, data_offset: self.data, channels, bits, format: tag }
    }

    /// Makes the file end after so many samples, and its header say so.
    fn write(&self, file: &File, samples: u64) -> io::Result<()> {
        if self.followed {
            return Ok(());
        }
        let bytes = self.bytes.min(samples * u64::from(self.format.block));
        let size = |size: u64| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
        file.set_len(self.data + bytes)?;
        file.write_all_at(&size(self.data + bytes - 8), 4)?;
        file.write_all_at(&size(bytes), self.data - 4)
    }
}

impl Format {
    fn read(file: &File, at: u64) -> io::Result<Self> {
        let mut body = [0; 16];
        read_at(file, &mut body, at)?;
        let word = |n: usize| u16::from_le_bytes([body[n], body[n + 1]]);
        let format = Self {
            tag: word(0),
            channels: word(2),
            rate: u32::from_le_bytes([body[4], body[5], body[6], body[7]]),
            block: word(12),
            bits: word(14),
        };
        if format.channels == 0 || format.rate == 0 || format.block == 0 {
            return Err(refused("a format of nothing"));
        }
        if format.tag == GSM && (format.block != 65 || format.channels != 1) {
            return Err(refused("GSM in blocks of another size"));
        }
        Ok(format)
    }
}

/// Whether a whole chunk stands at `at`, rather than audio that the header has not heard of.
fn is_chunk(file: &File, at: u64) -> io::Result<bool> {
    let mut chunk = [0; 8];
    let length = file.metadata()?.len();
    if at + 8 > length {
        return Ok(false);
    }
    read_at(file, &mut chunk, at)?;
    let [a, b, c, d, size @ ..] = chunk;
    let named = [a, b, c, d].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    Ok(named && at + 8 + u64::from(u32::from_le_bytes(size)) <= length)
}

fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(into, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => refused("the file ends too soon"),
        _ => error,
    })
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn plain(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other),
    }
}

const MOST_CHUNKS: usize = 64;
/// Seconds after which the header is made true. Each time costs as much as a piece.
const TELL: u64 = 5;
/// Octets before the audio of 16-bit PCM, as hound writes it.
const HEADER: usize = 44;
/// Samples of a block of the file: two pages of memory.
pub(super) const BLOCK: usize = 4096;
/// Bytes of silence that are written at once.
const SILENCE: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::g711::Law;

    fn law(law: Law, bytes: &[u8]) -> Track {
        Track::Law(law, bytes.to_vec())
    }

    fn recording(pieces: &[&[u8]]) -> (tempfile::NamedTempFile, Tape) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tape = Tape::create(file.reopen().unwrap(), 8000).unwrap();
        for piece in pieces {
            tape.append(&law(Law::Mu, piece), &mut vec![]).unwrap();
        }
        (file, tape)
    }

    fn played(path: &Path) -> Vec<i16> {
        hound::WavReader::open(path).unwrap().samples().map(Result::unwrap).collect()
    }

    #[test]
    fn a_recording_is_playable_at_every_moment() {
        let (file, mut tape) = recording(&[]);
        // What there is, and what the header knows of: five seconds at most are missing there.
        let [mut there, mut known] = [vec![], vec![]];
        for n in 0..10 {
            let (track, sample) = match n % 2 {
                0 => (law(Law::Mu, &vec![0x80; 16_000]), 32_124),
                _ => (law(Law::A, &vec![0xd5; 16_000]), 8),
            };
            tape.append(&track, &mut vec![]).unwrap();
            there.extend(vec![sample; 16_000]);
            if n % 3 == 2 {
                known.clone_from(&there);
            }
            assert_eq!(played(file.path()), known);
            assert_eq!(info(file.path()).unwrap().samples, there.len() as u64);
        }
        assert_eq!(tape.finish(u64::MAX).unwrap(), 160_000);
        assert_eq!(played(file.path()), there);
    }

    #[test]
    fn what_does_not_belong_to_a_recording_is_cut_at_its_end() {
        let (file, tape) = recording(&[&[0x80; 8]]);
        assert_eq!(tape.finish(6).unwrap(), 6);
        assert_eq!(played(file.path()).len(), 6);
        assert_eq!(file.as_file().metadata().unwrap().len(), 44 + 12);
    }

    #[test]
    fn after_a_crash_the_header_is_made_true() {
        let (file, tape) = recording(&[&[0x80; 8]]);
        // The next piece was written, half a sample of it torn, and the header was not.
        file.as_file().write_all_at(&[1, 0, 2, 0, 3], 44 + 16).unwrap();
        std::mem::forget(tape);
        assert_eq!(info(file.path()).unwrap().samples, 10);
        let info = repair(file.path()).unwrap();
        assert_eq!((info.samples, info.rate, info.data_offset), (10, 8000, 44));
        assert_eq!(played(file.path())[7..], [32_124, 1, 2]);
        assert_eq!(repair(file.path()).unwrap(), info);
    }

    #[test]
    fn a_header_that_promises_too_much_is_made_true() {
        let (file, tape) = recording(&[&[0x80; 8]]);
        tape.finish(8).unwrap();
        file.as_file().write_all_at(&u32::MAX.to_le_bytes(), 40).unwrap();
        assert_eq!(repair(file.path()).unwrap().samples, 8);
        assert_eq!(played(file.path()).len(), 8);
    }

    #[test]
    fn a_soft_message_is_made_louder_where_it_lies() {
        let (file, mut tape) = recording(&[]);
        // Words of changing loudness, softly.
        for n in 0..100_i16 {
            let loud = [900, 300, 700, 400, 600][usize::try_from(n % 5).unwrap()];
            let loud = if n % 20 < 2 { 20 } else { loud };
            let word = (0..160).map(|at| if at % 8 < 4 { loud } else { -loud });
            tape.append(&Track::Linear(word.collect()), &mut vec![]).unwrap();
        }
        tape.finish(u64::MAX).unwrap();
        let before = Samples { samples: played(file.path()), rate: 8000 }.speech();
        level(file.path(), -20.0).unwrap();
        let after = Samples { samples: played(file.path()), rate: 8000 }.speech();
        assert!(before.level.unwrap() < -30.0, "{before:?}");
        assert!((after.level.unwrap() + 20.0).abs() < 0.5, "{after:?}");
        assert_eq!(info(file.path()).unwrap().samples, 16_000);
        std::fs::write(file.path(), b"no recording").unwrap();
        assert!(level(file.path(), -20.0).is_err());
    }

    #[test]
    fn chunks_of_other_programs_are_left_alone() {
        let (file, tape) = recording(&[&[0x80; 8]]);
        tape.finish(8).unwrap();
        file.as_file().write_all_at(b"LIST\x04\0\0\0INFO", 44 + 16).unwrap();
        assert_eq!(repair(file.path()).unwrap().samples, 8);
        assert_eq!(file.as_file().metadata().unwrap().len(), 44 + 16 + 12);
    }

    #[test]
    fn what_is_no_wav_file_is_refused_and_not_touched() {
        let bad: [&[u8]; 5] = [
            b"",
            b"not a wav file at all, but long enough for one",
            b"RIFF\0\0\0\0WAVE",
            b"RIFF\0\0\0\0WAVEdata\x04\0\0\0aaaa",
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0data\0\0\0\0",
        ];
        for bytes in bad {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().write_all_at(bytes, 0).unwrap();
            assert_eq!(repair(file.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
        }
    }
}
