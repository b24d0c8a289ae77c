//! Audio on its way to the disk: as it came where that is G.711, else in samples.

use super::codec::g711::Law;
use super::codec::loudness;
use super::hearing::Audio;

/// A stretch of audio of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Track {
    Law(Law, Vec<u8>),
    Linear(Vec<i16>),
    /// So many samples.
    Silence(u64),
}

impl Track {
    /// A piece that begins with this audio, and has room for more.
    pub fn with(audio: Audio<'_>, room: usize) -> Self {
        Self::on(Vec::new(), audio, room)
    }

    /// The same; where it is G.711, on a sheet that was used before.
    pub fn on(mut sheet: Vec<u8>, audio: Audio<'_>, room: usize) -> Self {
        let mut track = match audio {
            Audio::Law(law, _) => {
                sheet.clear();
                sheet.reserve_exact(room);
                Self::Law(law, sheet)
            }
            Audio::Linear(_) => Self::Linear(Vec::with_capacity(room)),
            Audio::Silence(_) => Self::Silence(0),
        };
        let _fits = track.push(audio);
        track
    }

    /// In samples.
    pub fn len(&self) -> u64 {
        match self {
            Self::Law(_, bytes) => bytes.len() as u64,
            Self::Linear(samples) => samples.len() as u64,
            Self::Silence(samples) => *samples,
        }
    }

    /// What it takes of memory, full or not.
    pub fn memory(&self) -> usize {
        match self {
            Self::Law(_, bytes) => bytes.capacity(),
            Self::Linear(samples) => samples.capacity() * 2,
            Self::Silence(_) => 0,
        }
    }

    /// Appends audio of the same kind; false if it is of another.
    pub fn push(&mut self, audio: Audio<'_>) -> bool {
        match (self, audio) {
            (Self::Law(law, bytes), Audio::Law(other, more)) if *law == other => {
                bytes.extend_from_slice(more);
            }
            (Self::Linear(samples), Audio::Linear(more)) => samples.extend_from_slice(more),
            (Self::Silence(samples), Audio::Silence(more)) => *samples += more,
            _ => return false,
        }
        true
    }

    pub fn audio(&self) -> Audio<'_> {
        match self {
            Self::Law(law, bytes) => Audio::Law(*law, bytes),
            Self::Linear(samples) => Audio::Linear(samples),
            Self::Silence(samples) => Audio::Silence(*samples),
        }
    }
}

impl Audio<'_> {
    /// In samples.
    pub fn len(&self) -> u64 {
        match self {
            Self::Law(_, bytes) => bytes.len() as u64,
            Self::Linear(samples) => samples.len() as u64,
            Self::Silence(samples) => *samples,
        }
    }

    /// The first so many samples.
    pub fn first(self, samples: u64) -> Self {
        let count = usize::try_from(samples).unwrap_or(usize::MAX);
        match self {
            Self::Law(law, bytes) => Self::Law(law, &bytes[..bytes.len().min(count)]),
            Self::Linear(all) => Self::Linear(&all[..all.len().min(count)]),
            Self::Silence(all) => Self::Silence(all.min(samples)),
        }
    }

    /// The last so many samples.
    pub fn last(self, samples: u64) -> Self {
        let count = usize::try_from(samples).unwrap_or(usize::MAX);
        match self {
            Self::Law(law, bytes) => Self::Law(law, &bytes[bytes.len().saturating_sub(count)..]),
            Self::Linear(all) => Self::Linear(&all[all.len().saturating_sub(count)..]),
            Self::Silence(all) => Self::Silence(all.min(samples)),
        }
    }

    /// The mean of the absolute samples.
    pub fn loudness(self) -> u16 {
        match self {
            Self::Law(law, bytes) => law.loudness(bytes),
            Self::Linear(samples) => loudness(samples),
            Self::Silence(_) => 0,
        }
    }
}
