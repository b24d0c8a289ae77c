//! Where a speaker takes breath: between sentences, and not within one.
//!
//! Prompts are parts of sentences, and joined without a gap. Which of them end a sentence, and
//! which begin one, is told by the texts that they were made from; a pack's recording is taken for
//! what the prompt of this name says in its language.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::sounds::texts;
use crate::media::{Codec, Sound};

/// A sound, and what it is in a sentence.
#[derive(Clone, Debug)]
pub struct Phrase {
    pub sound: Arc<Sound>,
    place: Place,
}

/// What comes before and after it: another sentence, or the rest of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    begins: bool,
    ends: bool,
}

impl Phrase {
    pub fn named(name: &str, language: &str, sound: Sound) -> Self {
        let base = language.split(['-', '_']).next().unwrap_or(language);
        let of = |language: &str| PLACES.get(language).and_then(|places| places.get(name));
        let place = of(base).or_else(|| of("en")).copied().unwrap_or_default();
        Self { sound: Arc::new(sound), place }
    }

    /// What somebody has recorded: it speaks for itself.
    pub fn whole(sound: Arc<Sound>) -> Self {
        Self { sound, place: Place { begins: true, ends: true } }
    }

    /// A recorded name, in the middle of a sentence or at its end.
    pub fn part(sound: Arc<Sound>) -> Self {
        Self { sound, place: Place { begins: false, ends: true } }
    }
}

/// One after another, with a rest between sentences.
pub fn joined(phrases: impl IntoIterator<Item = Phrase>, codec: Codec) -> Vec<Arc<Sound>> {
    let (mut sounds, mut rest, mut ended) = (vec![], None, false);
    for Phrase { sound, place } in phrases {
        if ended && place.begins {
            let rest = rest.get_or_insert_with(|| Arc::new(Sound::silence(REST, codec)));
            sounds.push(Arc::clone(rest));
        }
        ended = place.ends;
        sounds.push(sound);
    }
    sounds
}

fn place(name: &str, text: &str) -> Place {
    let first = text.chars().find(|c| c.is_alphabetic());
    // Alone, a word with a capital letter may be a noun; a letter or a number may be more words.
    let is_sentence = match name.split_once('/') {
        Some(("position", _)) => true,
        Some(("letters" | "digits", _)) => false,
        _ => text.contains(' '),
    };
    Place {
        begins: is_sentence && first.is_some_and(char::is_uppercase),
        ends: text.ends_with(['.', '!', '?']),
    }
}

static PLACES: LazyLock<HashMap<&str, HashMap<&str, Place>>> = LazyLock::new(|| {
    let places = |language| texts(language).map(|(name, text)| (name, place(name, text)));
    let languages = crate::say::lang::ALL.iter().map(|language| language.code);
    languages.map(|language| (language, places(language).collect())).collect()
});

/// Frames of 20 ms that are a short breath.
const REST: Duration = Duration::from_millis(160);

#[cfg(test)]
mod tests {
    use super::*;

    /// The prompts, with `|` where breath is taken.
    fn spoken(language: &str, names: &str) -> String {
        let mut spoken = String::new();
        let mut ended = false;
        for name in names.split(' ') {
            let place = PLACES[language][name];
            spoken += if ended && place.begins { " | " } else { " " };
            spoken += name;
            ended = place.ends;
        }
        spoken.trim().to_owned()
    }

    #[test]
    fn breath_is_taken_between_sentences() {
        for (language, told) in [
            (
                "en",
                "vm-youhave digits/2 counts/urgent vm-and digits/1 counts/new-one | vm-onefor \
                 shelf/new | menu/folders digits/2 | menu/exit digits/pound",
            ),
            ("en", "vm-deleted | position/message digits/2 vm-received digits/today"),
            ("en", "vm-theperson digits/mid-1 digits/mid-0 digits/0 vm-isunavail | vm-intro"),
            ("en", "vm-incorrect | vm-password"),
            ("en", "letters/a digits/1 digits/2"),
            ("es", "letters/x letters/y letters/underscore letters/z"),
            ("pt", "letters/plus digits/pound digits/2"),
            ("de", "letters/u letters/v letters/w digits/2"),
            ("de", "vm-youhave digits/2 counts/new | vm-onefor shelf/new | menu/exit keys/pound"),
            ("de", "vm-duration digits/2 vm-minutes"),
            ("es", "vm-youhave digits/2 counts/new | vm-onefor shelf/new | menu/exit digits/pound"),
        ] {
            assert_eq!(spoken(language, &told.replace("| ", "")), told);
        }
    }

    #[test]
    fn a_rest_is_silent_and_only_where_two_sentences_meet() {
        let sound = || Sound::from_samples(&[1000; 160], 8000, Codec::Pcmu);
        let phrases = |names: &[&str]| -> Vec<Phrase> {
            names.iter().map(|name| Phrase::named(name, "en-GB", sound())).collect()
        };
        let lengths = |phrases| -> Vec<u128> {
            joined(phrases, Codec::Pcmu).iter().map(|sound| sound.duration().as_millis()).collect()
        };
        assert_eq!(lengths(phrases(&["vm-youhave", "digits/2", "counts/new"])), [20; 3]);
        assert_eq!(lengths(phrases(&["vm-deleted", "vm-nomore"])), [20, 160, 20]);
        let mut with_name = phrases(&["vm-from"]);
        with_name.push(Phrase::part(Arc::new(sound())));
        assert_eq!(lengths(with_name), [20; 2]);
        let greeting = Phrase::whole(Arc::new(sound()));
        assert_eq!(lengths([vec![greeting], phrases(&["vm-intro"])].concat()), [20, 160, 20]);
        assert_eq!(lengths(phrases(&["of-a-strange-pack", "vm-intro"])), [20; 2]);
    }
}
