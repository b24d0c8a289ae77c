//! What is asked of a recording, and what came of it.

use std::fmt;
use std::fs::File;
use std::io;
use std::time::Duration;

use super::codec;

/// A recording to be made: 16-bit WAV at the codec's rate.
pub struct Take {
    /// Opens the file. Runs on a writer; recording begins in memory at once.
    pub open: Box<dyn FnOnce() -> io::Result<File> + Send>,
    pub limit: Duration,
    /// Ends the recording after so much silence.
    pub silence: Option<Duration>,
    /// Silence is what is less loud in the mean of the absolute samples: 256 in Asterisk.
    pub silence_level: u16,
    /// Whether noise that the line always has raises the level: what is less loud than twice the
    /// noise is silence too.
    pub adapts: bool,
    /// Whether silence at the end is cut off whatever ends the recording, but for 200 ms.
    pub trims: bool,
}

#[derive(Debug)]
pub struct Recording {
    /// So many samples are in the file.
    pub samples: u64,
    pub rate: u32,
    /// For so long somebody spoke; what is much less than a word is none.
    pub spoke: Duration,
    pub ended: Ended,
}

/// What ended a recording.
#[derive(Debug)]
pub enum Ended {
    Stopped,
    Silence,
    Limit,
    /// The file could not be opened or written further.
    Failed(io::Error),
}

impl fmt::Debug for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Take")
            .field("limit", &self.limit)
            .field("silence", &self.silence)
            .field("silence_level", &self.silence_level)
            .field("adapts", &self.adapts)
            .field("trims", &self.trims)
            .finish_non_exhaustive()
    }
}

impl Take {
    /// A recording as long as it may be, which silence does not end.
    pub fn new(open: Box<dyn FnOnce() -> io::Result<File> + Send>) -> Self {
        let limit = Duration::from_hours(1);
        Self { open, limit, silence: None, silence_level: 256, adapts: false, trims: false }
    }
}

impl Recording {
    /// Whether nobody said anything.
    pub fn is_empty(&self) -> bool {
        self.spoke < WORD
    }

    pub fn duration(&self) -> Duration {
        codec::duration(self.samples, self.rate)
    }
}

/// The shortest word.
const WORD: Duration = Duration::from_millis(160);
