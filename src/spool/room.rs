//! Where the spool's disk is full or fails: room that was kept for that day, and another folder
//! for what callers say meanwhile.
//!
//! A recording is begun in the spool. Where the spool cannot take it, it is made in the fall-back
//! folder, best on another disk, and comes home as a draft when the spool takes it again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use tracing::{error, info, warn};

use super::Error;

/// What a disk has left, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) left: u64,
    pub(super) total: u64,
    /// Whether it can take one more file.
    pub(super) files: bool,
}

impl Free {
    pub(super) fn on(path: &Path) -> io::Result<Self> {
        let disk = statvfs(path)?;
        Ok(Self {
            left: disk.blocks_available().saturating_mul(disk.fragment_size()),
            total: disk.blocks().saturating_mul(disk.fragment_size()),
            // Some file systems do not count them.
            files: disk.files() == 0 || disk.files_available() >= FILES,
        })
    }

    /// Whether new recordings may begin where `wanted` bytes shall stay free. A small disk is not
    /// asked for more than it can have.
    fn is_enough(self, wanted: u64) -> bool {
        self.files && self.left >= wanted.min(self.total / 20)
    }

    /// How much is kept for a day on which nothing else is left.
    fn reserve(self) -> u64 {
        let part = (self.total / 50).min(RESERVE) / PIECE * PIECE;
        if part < SMALLEST { 0 } else { part }
    }
}

pub(super) struct Room {
    root: PathBuf,
    fallback: PathBuf,
    /// Bytes that shall stay free.
    wanted: u64,
    seen: Mutex<Option<(Instant, bool)>>,
}

impl Room {
    pub(super) fn new(root: &Path, fallback: PathBuf, wanted: u64) -> Self {
        Self { root: root.to_owned(), fallback, wanted, seen: Mutex::default() }
    }

    /// Whether new recordings may begin. The operator is told when that changes.
    pub(super) fn is_there(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, enough)) = *seen
            && when.elapsed() < FRESH
        {
            return enough;
        }
        // A disk that does not even tell is found out by who writes to it.
        let (enough, left) = match Free::on(&self.root) {
            Ok(free) => (free.is_enough(self.wanted), free.left),
            Err(_) => (true, 0),
        };
        let before = seen.replace((Instant::now(), enough)).is_none_or(|(_, enough)| enough);
        let root = self.root.display();
        match (before, enough) {
            (true, false) => error!(
                bytes_left = left,
                "the disk of {root} is nearly full ({} MB left): callers hear that mailboxes are \
                 full until more than messages.min_free_megabytes are free",
                left / MEGA
            ),
            (false, true) => info!("the disk of {root} has room again: messages are taken"),
            (true, true) | (false, false) => {}
        }
        enough
    }

    fn reserve(&self) -> PathBuf {
        self.root.join(".reserve")
    }

    /// Keeps some of the disk for the day on which nothing else is left, where there is enough.
    pub(super) fn keep_reserve(&self) {
        let path = self.reserve();
        let Ok(free) = Free::on(&self.root) else { return };
        let size = free.reserve();
        if size == 0 || path.exists() || !free.is_enough(self.wanted) || free.left < size * 4 {
            return;
        }
        if let Err(error) = allocate(&path, size) {
            let _ = fs::remove_file(&path);
            warn!("no room could be kept in {}: {error}", path.display());
        }
    }

    /// Lets go what was kept; false where nothing was.
    pub(super) fn release(&self) -> bool {
        let path = self.reserve();
        let released = fs::remove_file(&path).is_ok();
        if released {
            error!(
                "the disk of {} is full: the room kept in {} is used to store what is being said; \
                 make room",
                self.root.display(),
                path.display()
            );
        }
        released
    }

    /// Names of a recording that the spool cannot take; the folder is made where it is missing.
    pub(super) fn elsewhere(&self, call: &str) -> io::Result<PathBuf> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.fallback)?;
        Ok(self.fallback.join(format!("{call}.wav")))
    }

    /// Recordings that wait in the fall-back folder.
    pub(super) fn strays(&self) -> Result<Vec<PathBuf>, Error> {
        let names = super::scan::names(&self.fallback)?;
        let paths = names.iter().map(|name| self.fallback.join(name));
        Ok(paths.filter(|path| path.extension().is_some_and(|it| it == "wav")).collect())
    }
}

/// Whether there is too little left for a recording to begin: its first pieces would find out.
pub(super) fn is_full(dir: &Path) -> bool {
    Free::on(dir).is_ok_and(|free| !free.files || free.left < LEAST)
}

/// Whether somebody has to make room.
pub(super) fn says_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the disk itself fails, so that what lies on it may soon be gone.
pub(super) fn says_broken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ReadOnlyFilesystem
        || error.raw_os_error() == Some(Errno::EIO as i32)
}

/// A file that is on its disk when this returns, under its name only when it is whole.
pub(super) fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    let part = to.with_extension("part");
    let copied = (|| {
        let mut source = File::open(from)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        io::copy(&mut source, &mut file)?;
        file.sync_all()?;
        fs::rename(&part, to)?;
        to.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    })();
    if copied.is_err() {
        let _ = fs::remove_file(&part);
    }
    copied
}

fn allocate(path: &Path, size: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let length = i64::try_from(size).unwrap_or(i64::MAX);
    if nix::fcntl::posix_fallocate(&file, 0, length).is_ok() {
        return Ok(());
    }
    let zeros = vec![0; usize::try_from(PIECE).unwrap_or(0)];
    for _ in 0..size / PIECE {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}

/// How long a look at the disk is good for.
const FRESH: Duration = Duration::from_secs(1);
const MEGA: u64 = 1_000_000;
const PIECE: u64 = 4096;
const RESERVE: u64 = 4 << 20;
/// A smaller reserve would not help a single message.
const SMALLEST: u64 = 8 * PIECE;
/// Two seconds of a recording, and its text file.
const LEAST: u64 = 40_000;
/// Files that one message needs, and their folders.
const FILES: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_not_asked_for_more_than_it_has() {
        let disk = |left, total| Free { left, total, files: true };
        assert!(disk(101 * MEGA, 8000 * MEGA).is_enough(100 * MEGA));
        assert!(!disk(99 * MEGA, 8000 * MEGA).is_enough(100 * MEGA));
        assert!(disk(MEGA, 16 * MEGA).is_enough(100 * MEGA), "a twentieth of it");
        assert!(!disk(MEGA, 21 * MEGA).is_enough(100 * MEGA));
        assert!(disk(0, 8000 * MEGA).is_enough(0));
        assert!(!Free { files: false, ..disk(100 * MEGA, 8000 * MEGA) }.is_enough(0));
        assert_eq!(disk(0, 8000 * MEGA).reserve(), RESERVE);
        assert_eq!(disk(0, 4 * MEGA).reserve(), 19 * PIECE);
        assert_eq!(disk(0, 128 * 1024).reserve(), 0);
    }

    #[test]
    fn a_reserve_is_kept_once_and_let_go_once() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::new(dir.path(), dir.path().join("away"), 0);
        assert!(!room.release());
        room.keep_reserve();
        let size = fs::metadata(dir.path().join(".reserve")).unwrap().len();
        assert_eq!(size, Free::on(dir.path()).unwrap().reserve());
        assert!(room.is_there() && room.release() && !room.release());
    }
}
