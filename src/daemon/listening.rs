//! What the HTTP interfaces may have done with audio.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{FORMS, WAV};
use crate::http;
use crate::media::{self, Samples};
use crate::spool::Renditions;

/// The longest recording that is taken or drawn.
const LONGEST: Duration = Duration::from_hours(1);
/// A greeting is heard before every message.
const LONGEST_GREETING: Duration = Duration::from_mins(5);

/// Renditions are kept beside the state, in so many bytes at most.
pub fn media_for_http(state: &Path, renditions: u64) -> io::Result<http::Media> {
    let renditions = Renditions::open(state.join("renditions"), renditions, FORMS)?;
    Ok(http::Media { playable: WAV.playable, wav, greeting, whole, peaks, renditions })
}

fn wav(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let samples = Samples::decode(bytes.into(), "", LONGEST).map_err(io::Error::other)?;
    if samples.samples.is_empty() {
        return Err(io::Error::other("it holds no audio"));
    }
    samples.wav()
}

fn greeting(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    media::greeting(bytes.into(), "", LONGEST_GREETING).map_err(io::Error::other)?.wav()
}

pub fn whole(path: &Path) -> io::Result<Vec<u8>> {
    Samples::read(path, LONGEST).map_err(io::Error::other)?.wav()
}

/// The loudest sample of each column, 0 to 255.
fn peaks(path: &Path, columns: usize) -> io::Result<Vec<u8>> {
    let Samples { samples, .. } = Samples::read(path, LONGEST).map_err(io::Error::other)?;
    let each = samples.len().div_ceil(columns.max(1)).max(1);
    let loudest = |piece: &[i16]| piece.iter().map(|sample| sample.unsigned_abs()).max();
    let mut peaks: Vec<u8> = samples
        .chunks(each)
        .map(|piece| u8::try_from(loudest(piece).unwrap_or(0) >> 7).unwrap_or(u8::MAX))
        .collect();
    peaks.resize(columns, 0);
    Ok(peaks)
}
