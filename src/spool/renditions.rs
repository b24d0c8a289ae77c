//! Messages in other forms, such as MP3: made when somebody first asks, and kept for the next one.
//!
//! A rendition is named by the hash of the audio that it was made of, so it is never stale, and a
//! message that is moved or forwarded needs no other. What was asked for longest ago is removed
//! when all together grow too large; losing one costs only the work of making it again.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// A form that audio can be made into: the spool knows files, not formats.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Names the form, and its files.
    pub extension: &'static str,
    pub media_type: &'static str,
    pub make: fn(&Path) -> io::Result<Vec<u8>>,
}

/// The renditions kept in one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Renditions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    limit: u64,
    forms: &'static [Form],
    shelf: Mutex<Shelf>,
    /// Making one takes a core for a while.
    makers: Semaphore,
}

#[derive(Debug, Default)]
struct Shelf {
    kept: HashMap<String, Kept>,
    bytes: u64,
    clock: u64,
    /// Being made now: who comes second waits for the first.
    making: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    bytes: u64,
    used: u64,
}

impl Renditions {
    /// Keeps at most `limit` bytes in `dir`, which is made if need be; what is there already is
    /// used again.
    pub fn open(dir: PathBuf, limit: u64, forms: &'static [Form]) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut shelf = Shelf::default();
        let mut found = vec![];
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = entry.metadata()?;
            if is_name(&name, forms) {
                found.push((metadata.modified().ok(), name, metadata.len()));
            } else if name.ends_with(BESIDE) {
                // Half written when the daemon was killed.
                let _ = fs::remove_file(entry.path());
            }
        }
        found.sort();
        for (_, name, bytes) in found {
            shelf.put(name, bytes);
        }
        let shelf = Mutex::new(shelf);
        let this =
            Self(Arc::new(Inner { dir, limit, forms, shelf, makers: Semaphore::new(MAKERS) }));
        this.shrink();
        Ok(this)
    }

    /// The form with this extension.
    pub fn form(&self, extension: &str) -> Option<Form> {
        self.0.forms.iter().find(|form| form.extension == extension).copied()
    }

    /// The rendition of a message's audio, whose SHA-256 is `sha256`.
    pub async fn of(&self, sha256: &str, audio: &Path, form: Form) -> io::Result<Vec<u8>> {
        // From a sidecar, and so from anybody.
        let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hash {
            return self.make(audio, form).await;
        }
        let name = format!("{}.{}", sha256.to_ascii_lowercase(), form.extension);
        if let Some(bytes) = self.kept(&name).await {
            return Ok(bytes);
        }
        let making = Arc::clone(self.lock().making.entry(name.clone()).or_default());
        let turn = making.lock().await;
        let made = match self.kept(&name).await {
            Some(bytes) => Ok(bytes),
            None => self.make_and_keep(&name, audio, form).await,
        };
        drop(turn);
        let mut shelf = self.lock();
        // One count is here, one in the table.
        if Arc::strong_count(&making) <= 2 {
            shelf.making.remove(&name);
        }
        made
    }

    async fn kept(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().touch(name)?;
        let path = self.0.dir.join(name);
        let read = tokio::task::spawn_blocking(move || fs::read(path)).await.ok()?;
        if read.is_err() {
            // Somebody cleared the directory.
            self.lock().remove(name);
        }
        read.ok()
    }

    async fn make_and_keep(&self, name: &str, audio: &Path, form: Form) -> io::Result<Vec<u8>> {
        let bytes = self.make(audio, form).await?;
        let (path, whole) = (self.0.dir.join(name), bytes.clone());
        let kept = tokio::task::spawn_blocking(move || keep(&path, &whole)).await;
        // A full disk costs the next one the same work, and this one nothing.
        if matches!(kept, Ok(Ok(()))) {
            self.lock().put(name.to_owned(), bytes.len() as u64);
            self.shrink();
        }
        Ok(bytes)
    }

    async fn make(&self, audio: &Path, form: Form) -> io::Result<Vec<u8>> {
        let _maker = self.0.makers.acquire().await.map_err(io::Error::other)?;
        let audio = audio.to_owned();
        tokio::task::spawn_blocking(move || (form.make)(&audio)).await.map_err(io::Error::other)?
    }

    fn shrink(&self) {
        let mut shelf = self.lock();
        while shelf.bytes > self.0.limit {
            let oldest = shelf.kept.iter().min_by_key(|(_, kept)| kept.used);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { return };
            shelf.remove(&name);
            let _ = fs::remove_file(self.0.dir.join(name));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn put(&mut self, name: String, bytes: u64) {
        self.clock += 1;
        self.bytes += bytes;
        if let Some(old) = self.kept.insert(name, Kept { bytes, used: self.clock }) {
            self.bytes -= old.bytes;
        }
    }

    fn touch(&mut self, name: &str) -> Option<()> {
        self.clock += 1;
        self.kept.get_mut(name)?.used = self.clock;
        Some(())
    }

    fn remove(&mut self, name: &str) {
        if let Some(old) = self.kept.remove(name) {
            self.bytes -= old.bytes;
        }
    }
}

fn is_name(name: &str, forms: &[Form]) -> bool {
    name.split_once('.').is_some_and(|(hash, extension)| {
        hash.len() == 64
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            && forms.iter().any(|form| form.extension == extension)
    })
}

/// Writes beside and renames: a file with a rendition's name is whole.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(BESIDE);
    let beside = PathBuf::from(beside);
    let mut file: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes).and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

const BESIDE: &str = ".new";
/// So many are made at once; more wait.
const MAKERS: usize = 2;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static MADE: AtomicUsize = AtomicUsize::new(0);

    const FORMS: &[Form] = &[
        Form { extension: "mp3", media_type: "audio/mpeg", make: copy },
        Form {
            extension: "ogg",
            media_type: "audio/ogg",
            make: |audio| {
                MADE.fetch_add(1, Ordering::Relaxed);
                fs::read(audio)
            },
        },
        Form { extension: "bad", media_type: "-", make: |_| Err(io::Error::other("no")) },
    ];

    fn copy(audio: &Path) -> io::Result<Vec<u8>> {
        fs::read(audio)
    }

    fn hash(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn audio(dir: &Path, bytes: usize) -> PathBuf {
        let path = dir.join("audio.wav");
        fs::write(&path, vec![7; bytes]).unwrap();
        path
    }

    #[tokio::test]
    async fn a_rendition_is_made_once_for_all_who_ask() {
        let dir = tempfile::tempdir().unwrap();
        let audio = audio(dir.path(), 40);
        let kept = dir.path().join("renditions");
        let renditions = Renditions::open(kept.clone(), 1000, FORMS).unwrap();
        let ogg = renditions.form("ogg").unwrap();
        let (hash, audio) = (hash('a'), audio.as_path());
        let ask = || renditions.of(&hash, audio, ogg);
        let (one, two, three) = tokio::join!(ask(), ask(), ask());
        assert!([one, two, three].into_iter().all(|made| made.unwrap() == [7; 40]));
        assert_eq!(MADE.load(Ordering::Relaxed), 1);
        assert_eq!(names(&kept), [format!("{hash}.ogg")]);
        assert!(renditions.lock().making.is_empty());

        // The next daemon has it, without the audio.
        fs::write(kept.join("half.ogg.new"), b"x").unwrap();
        fs::remove_file(audio).unwrap();
        let next = Renditions::open(kept.clone(), 1000, FORMS).unwrap();
        assert_eq!(next.of(&hash, audio, ogg).await.unwrap(), [7; 40]);
        assert_eq!(names(&kept), [format!("{hash}.ogg")]);
        // And makes it anew when somebody has cleared the directory.
        fs::remove_file(kept.join(format!("{hash}.ogg"))).unwrap();
        assert!(next.of(&hash, audio, ogg).await.is_err());
        assert_eq!(next.lock().bytes, 0);
    }

    #[tokio::test]
    async fn what_was_asked_for_longest_ago_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let audio = audio(dir.path(), 40);
        let kept = dir.path().join("renditions");
        let renditions = Renditions::open(kept.clone(), 100, FORMS).unwrap();
        let mp3 = renditions.form("mp3").unwrap();
        for digit in ['a', 'b', 'a', 'c'] {
            renditions.of(&hash(digit), &audio, mp3).await.unwrap();
        }
        assert_eq!(names(&kept), ['a', 'c'].map(|digit| format!("{}.mp3", hash(digit))));
        assert_eq!(renditions.lock().bytes, 80);
        Renditions::open(kept.clone(), 50, FORMS).unwrap();
        assert_eq!(names(&kept).len(), 1, "a smaller limit holds at once");
    }

    #[tokio::test]
    async fn no_name_leads_out_of_the_directory_and_a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let audio = audio(dir.path(), 40);
        let kept = dir.path().join("renditions");
        let renditions = Renditions::open(kept.clone(), 100, FORMS).unwrap();
        let mp3 = renditions.form("mp3").unwrap();
        assert_eq!(renditions.of("../../x", &audio, mp3).await.unwrap(), [7; 40]);
        let bad = renditions.form("bad").unwrap();
        assert!(renditions.of(&hash('a'), &audio, bad).await.is_err());
        assert!(names(&kept).is_empty() && renditions.form("exe").is_none());
    }
}
