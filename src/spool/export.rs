//! A tree of `msgNNNN` files for programs that know no other names, made from the spool and kept
//! like it.
//!
//! Numbers are dense and the oldest message has the first, as in Asterisk. The tree says of each
//! message which one of the spool it is (`exported_from`), so that whatever a crash left is put
//! right by the next pass; files of other programs are never touched. Audio comes before its text
//! and goes after it: a program that looks for `msg*.txt` finds whole messages.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::Flock;

use super::Error;
use super::scan::{Lying, listing};
use super::sidecar::{LARGEST, Sidecar};
use crate::mailbox::Folder;
use crate::state;

/// Reads audio of any form and gives it back as a WAV file.
pub type ToWav = fn(&Path) -> io::Result<Vec<u8>>;

pub struct Export {
    from: PathBuf,
    to: PathBuf,
    to_wav: ToWav,
    /// When each folder was changed last, as far as it has been followed.
    seen: HashMap<PathBuf, SystemTime>,
    /// Modes of what is made: as the tree's own root has them.
    mode: u32,
    _lock: Flock<File>,
}

/// What a pass has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub messages: usize,
    pub written: usize,
    pub renumbered: usize,
    pub removed: usize,
    /// What could not be exported, and why.
    pub problems: Vec<String>,
}

/// A message of the spool, in the order of the tree.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    received: i64,
    number: u64,
    stem: String,
    audio: PathBuf,
    text: String,
}

/// What an existing export has to become.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moves {
    /// From slot to slot, in an order in which each target is free.
    moved: Vec<(usize, usize)>,
    gone: Vec<usize>,
}

/// Folders change within the precision of their time; a change so recent may not be the last.
const SETTLED: Duration = Duration::from_secs(2);
/// A recording without a sidecar may still be growing.
const GROWN: Duration = Duration::from_secs(10);
/// `msg%04d`.
const MOST: usize = 10_000;
const MARK: &str = "exported_from";

impl Export {
    /// `to` is made where it is missing, for its owner alone; what is made in it is as open as it is.
    pub fn open(from: &Path, to: &Path, to_wav: ToWav) -> Result<Self, Error> {
        state::make_private(to)?;
        let meta = to.metadata().map_err(Error::io("read", to))?;
        let lock = state::lock(&to.join(".lock"))?;
        let (from, to, mode) = (from.to_owned(), to.to_owned(), meta.mode());
        if to.starts_with(&from) || from.starts_with(&to) {
            let why =
                io::Error::new(io::ErrorKind::InvalidInput, "it and the spool must lie apart");
            return Err(Error::io("export to", &to)(why));
        }
        Ok(Self { from, to, to_wav, seen: HashMap::new(), mode, _lock: lock })
    }

    /// Brings the tree up to date where the spool has changed.
    pub fn follow(&mut self) -> Result<Done, Error> {
        let mut done = Done::default();
        let mut there = HashSet::new();
        for folder in folders(&self.from)? {
            let path = self.from.join(&folder);
            let Ok(modified) = path.metadata().and_then(|meta| meta.modified()) else { continue };
            if self.seen.get(&folder) != Some(&modified) {
                self.folder(&folder, &mut done)?;
                // What changed just now may change again without the time telling.
                let age = SystemTime::now().duration_since(modified).unwrap_or_default();
                if age > SETTLED {
                    self.seen.insert(folder.clone(), modified);
                }
            }
            there.insert(folder);
        }
        for folder in folders(&self.to)? {
            if !there.contains(&folder) {
                self.seen.remove(&folder);
                self.folder(&folder, &mut done)?;
            }
        }
        Ok(done)
    }

    fn folder(&self, folder: &Path, done: &mut Done) -> Result<(), Error> {
        let (from, to) = (self.from.join(folder), self.to.join(folder));
        let mut wanted = wanted(&from, done)?;
        done.messages += wanted.len();
        if wanted.len() > MOST {
            let more = wanted.len() - MOST;
            done.problems.push(format!("{}: the oldest {more} have no number", from.display()));
            wanted.drain(..more);
        }
        if wanted.is_empty() && !to.exists() {
            return Ok(());
        }
        let taken = taken(&to)?;
        if let Some(stranger) = taken.strangers.first() {
            done.problems.push(format!("{stranger} is not ours: its folder is left alone"));
            return Ok(());
        }
        let places: HashMap<&str, usize> = wanted
            .iter()
            .enumerate()
            .map(|(slot, message)| (message.stem.as_str(), slot))
            .collect();
        let kept =
            taken.ours.iter().map(|(slot, stem)| (*slot, places.get(stem.as_str()).copied()));
        let Moves { moved, gone } = moves(kept);
        for slot in &gone {
            remove(&to, *slot)?;
        }
        for (a, b) in &moved {
            for extension in ["wav", "txt"] {
                let (a, b) = (name(&to, *a, extension), name(&to, *b, extension));
                fs::rename(&a, &b).map_err(Error::io("renumber", &a))?;
            }
        }
        done.removed += gone.len();
        done.renumbered += moved.len();
        for orphan in &taken.orphans {
            discard(orphan)?;
        }
        for (slot, message) in wanted.iter().enumerate() {
            match self.write(&to, slot, message) {
                Ok(written) => done.written += usize::from(written),
                // A message that was moved away meanwhile is put right by the next pass.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && !message.audio.exists() => {}
                Err(error) => done.problems.push(format!("{}: {error}", message.audio.display())),
            }
        }
        Ok(())
    }

    /// Writes what of a message is missing or has changed; whether anything was.
    fn write(&self, to: &Path, slot: usize, message: &Wanted) -> io::Result<bool> {
        let (wav, txt) = (name(to, slot, "wav"), name(to, slot, "txt"));
        let text = fs::read(&txt).ok();
        let is_new = !wav.is_file();
        if !is_new && text.as_deref() == Some(message.text.as_bytes()) {
            return Ok(false);
        }
        DirBuilder::new().recursive(true).mode(self.mode & 0o7777).create(to)?;
        if is_new {
            let is_wav = message.audio.extension().is_some_and(|extension| extension == "wav");
            let audio =
                if is_wav { fs::read(&message.audio)? } else { (self.to_wav)(&message.audio)? };
            self.put(&wav, &audio)?;
        }
        self.put(&txt, message.text.as_bytes())?;
        Ok(true)
    }

    /// Beside, then over: no reader sees half a file.
    fn put(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let hidden = path.with_file_name(format!(
            ".{}.new",
            path.file_name().unwrap_or_default().to_string_lossy()
        ));
        let mode = self.mode & 0o666;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&hidden)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        fs::rename(&hidden, path)
    }
}

/// Every `context/mailbox/folder` below a root.
fn folders(root: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let mut found = BTreeSet::new();
    for context in directories(root)? {
        for mailbox in directories(&root.join(&context))? {
            let mailbox = Path::new(&context).join(mailbox);
            for folder in directories(&root.join(&mailbox))? {
                if Folder::named(&folder).is_some() {
                    found.insert(mailbox.join(folder));
                }
            }
        }
    }
    Ok(found)
}

fn directories(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(Error::io("read the directory", dir))?,
    };
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let names = entries.filter_map(Result::ok).filter(is_dir);
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

/// The files in a directory.
fn files(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(Error::io("read the directory", dir))?,
    };
    Ok(entries.filter_map(Result::ok).filter_map(|e| e.file_name().into_string().ok()).collect())
}

/// The messages of a folder, oldest first.
fn wanted(from: &Path, done: &mut Done) -> Result<Vec<Wanted>, Error> {
    let mut wanted = vec![];
    for (stem, Lying { sidecar: has_sidecar, formats }) in listing(&files(from)?) {
        let (stem, Some(formats)) = (stem.as_str(), formats) else { continue };
        let audio = from.join(format!("{stem}.{}", formats.best()));
        match described(stem, audio, has_sidecar) {
            Ok(message) => wanted.extend(message),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => done.problems.push(format!("{}/{stem}: {error}", from.display())),
        }
    }
    wanted.sort();
    Ok(wanted)
}

fn described(stem: &str, audio: PathBuf, has_sidecar: bool) -> io::Result<Option<Wanted>> {
    let meta = audio.metadata()?;
    let modified = meta.modified()?;
    let mut fields = Sidecar::default();
    if has_sidecar {
        let path = audio.with_file_name(format!("{stem}.txt"));
        if path.metadata()?.len() > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too large for a sidecar"));
        }
        fields = Sidecar::parse(&fs::read(path)?);
    } else if SystemTime::now().duration_since(modified).is_ok_and(|age| age < GROWN) {
        return Ok(None);
    }
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let received = fields.text_of("origtime").parse().unwrap_or(i64::try_from(since).unwrap_or(0));
    if fields.text_of("origtime").is_empty() {
        fields.set("origtime", &received.to_string());
    }
    fields.set(MARK, stem);
    let number = fields.number().unwrap_or(0);
    Ok(Some(Wanted { received, number, stem: stem.to_owned(), audio, text: fields.text() }))
}

/// What lies in a folder of the tree.
#[derive(Default)]
struct Taken {
    /// Slot and stem of whole messages.
    ours: BTreeMap<usize, String>,
    /// Halves of messages that a crash left.
    orphans: Vec<PathBuf>,
    /// Messages that somebody else put there.
    strangers: Vec<String>,
}

fn taken(to: &Path) -> Result<Taken, Error> {
    let mut taken = Taken::default();
    let names: HashSet<String> = files(to)?.into_iter().collect();
    for name in &names {
        let path = to.join(name);
        if name.strip_prefix(".msg").is_some_and(|rest| rest.strip_suffix(".new").is_some()) {
            taken.orphans.push(path);
            continue;
        }
        let slot = name.strip_prefix("msg").and_then(|rest| rest.split_once('.'));
        let Some((Ok(slot), extension)) = slot.map(|(n, e)| (n.parse::<usize>(), e)) else {
            continue;
        };
        let has = |extension: &str| names.contains(&format!("msg{slot:04}.{extension}"));
        match extension {
            "txt" => {
                let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
                let stem = Sidecar::parse(&bytes).text_of(MARK).to_owned();
                match (stem.is_empty(), has("wav")) {
                    (true, _) => taken.strangers.push(path.display().to_string()),
                    (false, true) => drop(taken.ours.insert(slot, stem)),
                    (false, false) => taken.orphans.push(path),
                }
            }
            "wav" if !has("txt") => taken.orphans.push(path),
            _ => {}
        }
    }
    Ok(taken)
}

/// From each slot to where its message belongs; `None` where there is no such message any more.
fn moves(kept: impl Iterator<Item = (usize, Option<usize>)>) -> Moves {
    let mut moves = Moves::default();
    let mut stay: Vec<(usize, usize)> = vec![];
    let mut highest = None;
    for (slot, place) in kept {
        match place {
            // Out of order with those before it: made anew.
            Some(place) if highest.is_none_or(|highest| place > highest) => {
                highest = Some(place);
                stay.push((slot, place));
            }
            Some(_) | None => moves.gone.push(slot),
        }
    }
    // Those that move down free the place of the next; those that move up, of the one before.
    moves.moved.extend(stay.iter().filter(|(slot, place)| place < slot));
    moves.moved.extend(stay.iter().rev().filter(|(slot, place)| place > slot));
    moves
}

fn remove(to: &Path, slot: usize) -> Result<(), Error> {
    discard(&name(to, slot, "txt"))?;
    discard(&name(to, slot, "wav"))
}

fn discard(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn name(dir: &Path, slot: usize, extension: &str) -> PathBuf {
    dir.join(format!("msg{slot:04}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is gone and whatever has come between, no move takes another's place.
        #[test]
        fn each_move_finds_its_place_free(places in proptest::collection::vec(any::<Option<u8>>(), 0..40)) {
            let mut seen = HashSet::new();
            let kept: Vec<(usize, Option<usize>)> = places
                .into_iter()
                .map(|place| place.map(usize::from).filter(|place| seen.insert(*place)))
                .enumerate()
                .collect();
            let mut slots: BTreeMap<usize, Option<usize>> = kept.iter().copied().collect();
            let Moves { moved, gone } = moves(kept.into_iter());
            for slot in gone {
                slots.remove(&slot);
            }
            for (from, to) in moved {
                let message = slots.remove(&from).expect("a message to move");
                prop_assert_eq!(slots.insert(to, message), None, "{} is taken", to);
            }
            for (slot, place) in slots {
                prop_assert_eq!(Some(slot), place);
            }
        }
    }
}
