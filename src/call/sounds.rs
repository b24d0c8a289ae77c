//! From what is said to sounds that can be played: sound packs, built-in prompts, greetings.
//!
//! A prompt that is missing falls back from the language to its base and to English, and is left
//! out in the end; it never ends a call.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rust_embed::Embed;
use tracing::warn;

use crate::directory::Directory;
use crate::mailbox::MailboxId;
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
    /// `None`: looked for in vain, and said so.
    prompts: Mutex<HashMap<Name, Option<Arc<Sound>>>>,
    greetings: Library,
}

/// Language, prompt and codec.
type Name = (String, String, Codec);

/// Encoded greetings kept in memory: 8,000 bytes a second of sound.
const GREETINGS: usize = 64 * 1024 * 1024;
const FALLBACK: &str = "en";
/// What a pack's files may be: Asterisk's own packs come in these.
const FORMATS: [&str; 5] = ["wav", "ulaw", "alaw", "ogg", "flac"];

impl Sounds {
    pub fn new(packs: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            packs,
            prompts: Mutex::default(),
            greetings: Library::new(GREETINGS),
        }))
    }

    /// The sounds of these clips, without those that cannot be found.
    pub async fn of(
        &self,
        clips: Vec<Clip>,
        (directory, mailbox): (&Directory, &MailboxId),
        language: &str,
        codec: Codec,
    ) -> Vec<Arc<Sound>> {
        let mut sounds = Vec::with_capacity(clips.len());
        for clip in clips {
            let sound = match clip {
                Clip::Sound(name) => self.prompt(&name, language, codec).await,
                Clip::Greeting(greeting) => {
                    self.greeting(directory.greeting(mailbox, greeting), codec).await
                }
            };
            sounds.extend(sound);
        }
        sounds
    }

    pub(super) async fn warm(&self, names: &[String]) {
        for name in names {
            for codec in [Codec::Pcmu, Codec::Pcma] {
                self.prompt(name, FALLBACK, codec).await;
            }
        }
    }

    async fn prompt(&self, name: &str, language: &str, codec: Codec) -> Option<Arc<Sound>> {
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
        self.0.prompts.lock().unwrap_or_else(PoisonError::into_inner).insert(key, found.clone());
        found
    }

    /// Reads a prompt, in the nearest language that has it.
    fn find(&self, name: &str, language: &str, codec: Codec) -> Option<Arc<Sound>> {
        let base = language.split(['-', '_']).next().unwrap_or(FALLBACK);
        for language in [language, base, FALLBACK] {
            if let Some(packs) = &self.0.packs {
                let stem = packs.join(language).join(name);
                for format in FORMATS {
                    let path = PathBuf::from(format!("{}.{format}", stem.display()));
                    match path.is_file().then(|| Sound::read(&path, codec)) {
                        Some(Ok(sound)) => return Some(Arc::new(sound)),
                        Some(Err(error)) => {
                            warn!("the prompt {} is left out: {error}", path.display());
                        }
                        None => {}
                    }
                }
            }
            if let Some(file) = BuiltIn::get(&format!("{language}/{name}.wav")) {
                match Sound::decode(file.data, "wav", codec) {
                    Ok(sound) => return Some(Arc::new(sound)),
                    Err(error) => warn!("the built-in prompt {name} is left out: {error}"),
                }
            }
        }
        warn!(name, language, "no sound pack has {name} for {language}: it is left out");
        None
    }

    async fn greeting(&self, path: PathBuf, codec: Codec) -> Option<Arc<Sound>> {
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
