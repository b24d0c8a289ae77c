//! The sounds in use, each read once and shared by all calls.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::codec::Codec;
use super::decode::SoundError;
use super::sound::Sound;

/// A cache of sounds, bounded by their bytes. A file that changes is read again.
#[derive(Debug)]
pub struct Library {
    shelf: Mutex<Shelf>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Shelf {
    places: HashMap<(PathBuf, Codec), Place>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug, Default)]
struct Place {
    volume: Option<Volume>,
    used: u64,
    /// Held while the file is read, so that a hundred calls at once read it once.
    reading: Arc<Mutex<()>>,
}

#[derive(Debug, Clone)]
struct Volume {
    sound: Arc<Sound>,
    edition: Edition,
}

/// What tells one content of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edition {
    modified: SystemTime,
    size: u64,
}

impl Library {
    /// Keeps up to `limit` bytes of encoded sound.
    pub fn new(limit: usize) -> Self {
        Self { shelf: Mutex::default(), limit }
    }

    /// The sound, if it is here and its file has not changed. Costs a `stat`.
    pub fn cached(&self, path: &Path, codec: Codec) -> Option<Arc<Sound>> {
        let edition = Edition::of(path).ok()?;
        self.lock().find(path, codec, edition)
    }

    /// The sound, read from its file if need be: blocks while it does.
    pub fn sound(&self, path: &Path, codec: Codec) -> Result<Arc<Sound>, SoundError> {
        let edition = Edition::of(path)?;
        let reading = {
            let mut here = self.lock();
            if let Some(sound) = here.find(path, codec, edition) {
                return Ok(sound);
            }
            Arc::clone(&here.places.entry((path.to_owned(), codec)).or_default().reading)
        };
        let _reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sound) = self.lock().find(path, codec, edition) {
            return Ok(sound);
        }
        match Sound::read(path, codec) {
            Ok(sound) => {
                let sound = Arc::new(sound);
                self.lock().put(path, codec, Volume { sound: Arc::clone(&sound), edition });
                self.lock().shrink(self.limit);
                Ok(sound)
            }
            Err(error) => {
                self.lock().remove(&(path.to_owned(), codec));
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn find(&mut self, path: &Path, codec: Codec, edition: Edition) -> Option<Arc<Sound>> {
        self.clock += 1;
        let place = self.places.get_mut(&(path.to_owned(), codec))?;
        place.used = self.clock;
        let volume = place.volume.as_ref()?;
        (volume.edition == edition).then(|| Arc::clone(&volume.sound))
    }

    fn put(&mut self, path: &Path, codec: Codec, volume: Volume) {
        self.clock += 1;
        self.bytes += volume.sound.bytes();
        let place = self.places.entry((path.to_owned(), codec)).or_default();
        place.used = self.clock;
        if let Some(old) = place.volume.replace(volume) {
            self.bytes -= old.sound.bytes();
        }
    }

    /// Puts the sounds that were asked for longest ago aside until the rest fits.
    fn shrink(&mut self, limit: usize) {
        while self.bytes > limit {
            let oldest = self.places.iter().filter(|(_, place)| place.volume.is_some());
            let Some((key, _)) = oldest.min_by_key(|(_, place)| place.used) else { return };
            let key = key.clone();
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &(PathBuf, Codec)) {
        if let Some(volume) = self.places.remove(key).and_then(|place| place.volume) {
            self.bytes -= volume.sound.bytes();
        }
    }
}

impl Edition {
    fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { modified: metadata.modified()?, size: metadata.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_sound_is_read_once_and_again_when_its_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "a.ulaw", &[1; 10]);
        let library = Library::new(1000);
        assert!(library.cached(&path, Codec::Pcmu).is_none());
        let first = library.sound(&path, Codec::Pcmu).unwrap();
        assert!(Arc::ptr_eq(&first, &library.sound(&path, Codec::Pcmu).unwrap()));
        assert!(Arc::ptr_eq(&first, &library.cached(&path, Codec::Pcmu).unwrap()));
        assert!(library.cached(&path, Codec::Pcma).is_none());

        file(directory.path(), "a.ulaw", &[2; 20]);
        assert!(library.cached(&path, Codec::Pcmu).is_none());
        assert_eq!(library.sound(&path, Codec::Pcmu).unwrap().encoded(), [2; 20]);
        assert_eq!(library.lock().bytes, 20);
    }

    #[test]
    fn the_sound_unused_for_longest_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b, c] =
            ["a.ulaw", "b.ulaw", "c.ulaw"].map(|name| file(directory.path(), name, &[0; 40]));
        let library = Library::new(100);
        library.sound(&a, Codec::Pcmu).unwrap();
        library.sound(&b, Codec::Pcmu).unwrap();
        library.cached(&a, Codec::Pcmu).unwrap();
        library.sound(&c, Codec::Pcmu).unwrap();
        assert!(library.cached(&b, Codec::Pcmu).is_none());
        assert!(library.cached(&a, Codec::Pcmu).is_some());
        assert_eq!(library.lock().bytes, 80);
    }

    #[test]
    fn a_file_that_is_no_sound_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "a.wav", b"nothing");
        let library = Library::new(100);
        assert!(library.sound(&path, Codec::Pcmu).is_err());
        assert!(library.lock().places.is_empty());
        assert!(library.sound(&directory.path().join("b.wav"), Codec::Pcmu).is_err());
    }
}
