//! From what is said to sounds that can be played: sound packs, built-in prompts, greetings.
//!
//! A prompt that is missing falls back from the language to its base and to English, and is left
//! out in the end; it never ends a call.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rust_embed::Embed;
use tracing::warn;

use super::breath::Phrase;
use crate::media::{Codec, Library, Sound};
use crate::say::Clip;

/// The prompts that are part of the program.
#[derive(Embed)]
#[folder = "sounds/"]
#[include = "*/*.wav"]
#[include = "*/*/*.wav"]
struct BuiltIn;

#[derive(Clone)]
pub struct Sounds(Arc<Inner>);

struct Inner {
    packs: Option<PathBuf>,
    /// `None`: looked for in vain.
    prompts: Mutex<HashMap<Name, Option<Phrase>>>,
    /// Told as missing: language and prompt.
    missing: Mutex<HashSet<(String, String)>>,
    greetings: Library,
}

/// Language, prompt and codec.
type Name = (String, String, Codec);

/// Greetings kept in memory: 8,000 bytes a second of sound in G.711, and five times that else.
const GREETINGS: usize = 64 * 1024 * 1024;
const FALLBACK: &str = "en";
/// Names out of other programs' text files are among the prompts: not all are remembered.
const MOST: usize = 10_000;
/// A language that has this sound can be spoken.
const PROOF: &str = "digits/1";
/// What a pack's files may be: Asterisk's own packs come in these.
const FORMATS: [&str; 5] = ["wav", "ulaw", "alaw", "ogg", "flac"];

impl Sounds {
    pub fn new(packs: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            packs,
            prompts: Mutex::default(),
            missing: Mutex::default(),
            greetings: Library::new(GREETINGS),
        }))
    }

    /// The language whose grammar is spoken: one without sounds is spoken in English.
    pub fn grammar<'l>(&self, language: &'l str) -> &'l str {
        let base = language.split(['-', '_']).next().unwrap_or(FALLBACK);
        let speaks = |of: &str| {
            BuiltIn::get(&format!("{of}/{PROOF}.wav")).is_some()
                || self.0.packs.as_ref().is_some_and(|packs| {
                    let stem = packs.join(of).join(PROOF);
                    FORMATS.iter().any(|format| stem.with_extension(format).is_file())
                })
        };
        [language, base].into_iter().find(|of| speaks(of)).unwrap_or(FALLBACK)
    }

    /// The sounds of these clips, without those that cannot be found.
    pub async fn of(&self, clips: &[Clip], language: &str, codec: Codec) -> Vec<Phrase> {
        let mut sounds = Vec::with_capacity(clips.len());
        for clip in clips {
            match clip {
                Clip::Sound { name, parts } if parts.is_empty() => {
                    sounds.extend(self.prompt(name, language, codec).await);
                }
                Clip::Sound { name, parts } => {
                    sounds.extend(self.whole_or_parts(name, parts, (language, codec)).await);
                }
                // Not a sound of a pack: `speech` plays it.
                Clip::Greeting(_)
                | Clip::Name(..)
                | Clip::Caller { .. }
                | Clip::Message { .. }
                | Clip::Take => {}
            }
        }
        sounds
    }

    /// In the nearest language that has the one or the other.
    async fn whole_or_parts(
        &self,
        name: &str,
        parts: &[Clip],
        (language, codec): (&str, Codec),
    ) -> Vec<Phrase> {
        for language in chain(language) {
            if let Some(sound) = self.exact(name, language, codec).await {
                return vec![sound];
            }
            if let Some(sounds) = Box::pin(self.all(parts, (language, codec))).await {
                return sounds;
            }
        }
        self.lacks(name, language);
        vec![]
    }

    /// All of the parts in this very language, or nothing.
    async fn all(&self, parts: &[Clip], (language, codec): (&str, Codec)) -> Option<Vec<Phrase>> {
        let mut sounds = vec![];
        for part in parts {
            let Clip::Sound { name, parts } = part else { return None };
            match self.exact(name, language, codec).await {
                Some(sound) => sounds.push(sound),
                None if parts.is_empty() => return None,
                None => sounds.extend(Box::pin(self.all(parts, (language, codec))).await?),
            }
        }
        (!sounds.is_empty()).then_some(sounds)
    }

    pub(super) async fn warm(&self, names: &[String], codecs: &[Codec]) {
        for name in names {
            for &codec in codecs {
                self.prompt(name, FALLBACK, codec).await;
            }
        }
    }

    /// A prompt in the nearest language that has it.
    async fn prompt(&self, name: &str, language: &str, codec: Codec) -> Option<Phrase> {
        for language in chain(language) {
            if let Some(sound) = self.exact(name, language, codec).await {
                return Some(sound);
            }
        }
        self.lacks(name, language);
        None
    }

    /// Told once of each prompt.
    fn lacks(&self, name: &str, language: &str) {
        let mut missing = self.0.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.len() < MOST && missing.insert((language.to_owned(), name.to_owned())) {
            warn!(name, language, "no sound pack has {name} for {language}: it is left out");
        }
    }

    /// A prompt in this very language.
    async fn exact(&self, name: &str, language: &str, codec: Codec) -> Option<Phrase> {
        let key = (language.to_owned(), name.to_owned(), codec);
        let known =
            self.0.prompts.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return known;
        }
        let sounds = self.clone();
        let (name, language) = (name.to_owned(), language.to_owned());
        let found = tokio::task::spawn_blocking(move || sounds.find(&name, &language, codec));
        let found = found.await.ok().flatten();
        let mut prompts = self.0.prompts.lock().unwrap_or_else(PoisonError::into_inner);
        if prompts.len() < MOST {
            prompts.insert(key, found.clone());
        }
        found
    }

    /// Reads a prompt.
    fn find(&self, name: &str, language: &str, codec: Codec) -> Option<Phrase> {
        // A name out of a message's text file becomes a path here.
        let plain = name.split('/').all(crate::mailbox::is_plain_name);
        if !plain {
            return None;
        }
        if let Some(packs) = &self.0.packs {
            let stem = packs.join(language).join(name);
            for format in FORMATS {
                let path = PathBuf::from(format!("{}.{format}", stem.display()));
                match path.is_file().then(|| Sound::phrase(&path, codec)) {
                    Some(Ok(sound)) => return Some(Phrase::named(name, language, sound)),
                    Some(Err(error)) => {
                        warn!("the prompt {} is left out: {error}", path.display());
                    }
                    None => {}
                }
            }
        }
        let file = BuiltIn::get(&format!("{language}/{name}.wav"))?;
        Sound::phrase_of(file.data, "wav", codec)
            .inspect_err(|error| warn!("the built-in prompt {name} is left out: {error}"))
            .ok()
            .map(|sound| Phrase::named(name, language, sound))
    }

    /// The recorded name of somebody without a mailbox, by number.
    pub(super) async fn contact(
        &self,
        number: &str,
        language: &str,
        codec: Codec,
    ) -> Option<Phrase> {
        let (sounds, language) = (self.clone(), language.to_owned());
        let name = format!("callerids/{number}");
        // Not remembered: there are as many numbers as callers.
        let found = tokio::task::spawn_blocking(move || sounds.find(&name, &language, codec));
        found.await.ok().flatten()
    }

    pub(super) async fn greeting(&self, path: PathBuf, codec: Codec) -> Option<Arc<Sound>> {
        if let Some(sound) = self.0.greetings.cached(&path, codec) {
            return Some(sound);
        }
        let sounds = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            sounds
                .0
                .greetings
                .sound(&path, codec)
                .inspect_err(|error| warn!("the greeting {} is left out: {error}", path.display()))
                .ok()
        });
        read.await.ok().flatten()
    }
}

/// A language, its base, and English.
fn chain(language: &str) -> impl Iterator<Item = &str> {
    let base = language.split(['-', '_']).next().unwrap_or(FALLBACK);
    let others = [base, FALLBACK].into_iter().filter(move |other| *other != language);
    let mut before = "";
    std::iter::once(language)
        .chain(others)
        .filter(move |of| std::mem::replace(&mut before, of) != *of)
}

/// All prompts that the menus use in a language, by the list that its own are made from. Of a
/// language without a list it is the English one.
pub fn names(language: &str) -> impl Iterator<Item = &'static str> {
    texts(language).map(|(name, _)| name).filter(|name| *name != "demo-message")
}

/// The same with what each prompt says.
pub(super) fn texts(language: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let base = language.split(['-', '_']).next().unwrap_or(FALLBACK);
    let (_, list) = LISTS.into_iter().find(|(of, _)| *of == base).unwrap_or(LISTS[0]);
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let mut fields = line.split('\t');
        (fields.next().unwrap_or(""), fields.next().unwrap_or(""))
    })
}

/// Prompts that a pack, or the built-in language, lacks.
pub fn missing(pack: Option<&Path>, language: &str) -> Vec<&'static str> {
    let is_there = |name: &str| match pack {
        Some(pack) => FORMATS.iter().any(|format| pack.join(format!("{name}.{format}")).is_file()),
        None => BuiltIn::get(&format!("{language}/{name}.wav")).is_some(),
    };
    names(language).filter(|name| !is_there(name)).collect()
}

const LISTS: [(&str, &str); 6] = [
    (FALLBACK, include_str!("../../sounds/prompts/en.tsv")),
    ("de", include_str!("../../sounds/prompts/de.tsv")),
    ("es", include_str!("../../sounds/prompts/es.tsv")),
    ("fr", include_str!("../../sounds/prompts/fr.tsv")),
    ("it", include_str!("../../sounds/prompts/it.tsv")),
    ("pt", include_str!("../../sounds/prompts/pt.tsv")),
];
