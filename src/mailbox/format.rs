//! What a message's audio files are: ours is one WAV, Asterisk keeps a message in several formats.

use std::fmt;

/// Extensions of audio files, as Asterisk gives them: the best to listen to comes first. Case
/// matters: `wav` is 16-bit PCM, `WAV` is GSM in a WAV file.
const EXTENSIONS: [&str; 24] = [
    "wav", "wav16", "sln16", "g722", "flac", "sln", "raw", "ogg", "opus", "mp3", "ulaw", "ul",
    "pcm", "mu", "ulw", "alaw", "al", "alw", "WAV", "gsm", "g726", "ilbc", "g729", "g723",
];

/// Which audio files a message has, by their extensions; at least one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Formats(u32);

impl Formats {
    pub const WAV: Self = Self(1);
    pub const ALL: Self = Self((1 << EXTENSIONS.len()) - 1);

    /// `None` for an extension that no audio file has.
    pub fn named(extension: &str) -> Option<Self> {
        let at = EXTENSIONS.iter().position(|known| *known == extension)?;
        Some(Self(1 << at))
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The extension of the file to listen to.
    pub fn best(self) -> &'static str {
        self.extensions().next().unwrap_or("wav")
    }

    /// Best first.
    pub fn extensions(self) -> impl DoubleEndedIterator<Item = &'static str> {
        EXTENSIONS.iter().enumerate().filter(move |(at, _)| self.0 & 1 << at != 0).map(|(_, e)| *e)
    }

    pub fn bits(self) -> u32 {
        self.0
    }

    /// `None` where no known extension is among the bits.
    pub fn from_bits(bits: u32) -> Option<Self> {
        let known = bits & Self::ALL.0;
        (known != 0).then_some(Self(known))
    }
}

impl fmt::Debug for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.extensions()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_several_is_listened_to() {
        let all = ["gsm", "WAV", "wav"].map(|e| Formats::named(e).unwrap());
        let [gsm, wav49, wav] = all;
        assert_eq!(gsm.and(wav49).best(), "WAV");
        assert_eq!(gsm.and(wav).and(wav49).extensions().collect::<Vec<_>>(), ["wav", "WAV", "gsm"]);
        assert_eq!((wav, Formats::named("txt")), (Formats::WAV, None));
        assert_eq!(Formats::from_bits(gsm.bits()), Some(gsm));
        assert_eq!(Formats::from_bits(1 << 31), None);
    }
}
