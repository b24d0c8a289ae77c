//! What changes the tree, done in groups.
//!
//! One thread takes whatever waits, so that a thousand hang-ups a second share their syncs: first
//! everything new is made safe, then each piece of work renames its files into place without ever
//! replacing another's, then the folders are synced. A sidecar's rename is the moment at which a
//! message exists, and its caller hears of it then: the folder is safe a moment later.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::syncfs;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::index::Seen;
use super::{Error, Probe};
use crate::mailbox::{Message, Stem};

/// One change of the tree.
pub(super) struct Work {
    /// What must be safe before any name changes.
    pub(super) written: Vec<(PathBuf, File)>,
    /// Changes the names.
    pub(super) act: Box<dyn FnOnce() -> Result<Acted, Error> + Send>,
}

/// What work came to.
pub(super) struct Acted {
    pub(super) message: Message,
    /// How its files look now.
    pub(super) seen: Seen,
    /// Folders whose names have changed.
    pub(super) folders: Vec<PathBuf>,
}

/// A message that is as it shall be.
pub(super) struct Published {
    pub(super) message: Message,
    pub(super) seen: Seen,
    pub(super) synced: Synced,
}

/// Told when the names are safe too, or with a folder of which the disk would not say so.
pub(super) type Synced = oneshot::Receiver<Option<(PathBuf, io::Error)>>;

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Published, Error>>,
}

pub(super) struct Publisher(mpsc::Sender<Job>);

/// Jobs that may wait; further callers wait for a place.
const WAITING: usize = 1024;
/// So many files are synced with their whole file system.
const MANY: usize = 16;
/// Files that one thread syncs before another helps.
const FEW: usize = 4;
const MOST_THREADS: usize = 16;
/// Names that are tried for one message before something must be wrong.
const NAMES: u32 = 100;

impl Publisher {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, mut jobs) = mpsc::channel(WAITING);
        thread::Builder::new().name("publisher".into()).spawn(move || {
            let mut group = Vec::new();
            while jobs.blocking_recv_many(&mut group, WAITING) > 0 {
                let group = std::mem::take(&mut group);
                // The jobs of a group that panics are answered by their dropped replies; the next
                // group must still find somebody here.
                if catch_unwind(AssertUnwindSafe(|| publish(group))).is_err() {
                    error!("a group of messages was not published; they are tried again");
                }
            }
        })?;
        Ok(Self(sender))
    }

    pub(super) async fn publish(&self, work: Work) -> Result<Published, Error> {
        let (reply, told) = oneshot::channel();
        self.0.send(Job { work, reply }).await.map_err(|_| Error::Stopped)?;
        told.await.map_err(|_| Error::Stopped)?
    }
}

fn publish(group: Vec<Job>) {
    let written: Vec<&(PathBuf, File)> = group.iter().flat_map(|job| &job.work.written).collect();
    // One sync of the whole file system is cheaper for many files, as long as it works.
    let at_once = written.len() >= MANY
        && sync_file_systems(&written, |(_, file)| file.metadata(), |(_, file)| syncfs(file))
            .is_ok();
    let safe = if at_once {
        written.iter().map(|_| Ok(())).collect()
    } else {
        sync_all(&written, |(path, file)| file.sync_all().map_err(Error::io("sync", path)))
    };
    let mut safe = safe.into_iter();
    let mut folders = BTreeSet::new();
    let mut waiting = Vec::with_capacity(group.len());
    for Job { work: Work { written, act }, reply } in group {
        let safe: Vec<_> = safe.by_ref().take(written.len()).collect();
        let done = safe.into_iter().collect::<Result<(), _>>().and_then(|()| act());
        let done = done.map(|Acted { message, seen, folders: touched }| {
            let (tell, synced) = oneshot::channel();
            folders.extend(touched.iter().cloned());
            waiting.push((touched, tell));
            Published { message, seen, synced }
        });
        // A caller's task that is gone does not make the message less real: it is on disk.
        let _ = reply.send(done);
    }
    let folders: Vec<PathBuf> = folders.into_iter().collect();
    let at_once = folders.len() >= MANY
        && sync_file_systems(&folders, |dir| fs::metadata(dir), |dir| sync_around(dir)).is_ok();
    let synced = if at_once {
        folders.iter().map(|_| Ok(())).collect()
    } else {
        sync_all(&folders, |folder| File::open(folder).and_then(|dir| dir.sync_all()))
    };
    for (touched, tell) in waiting {
        let failed = touched.into_iter().find_map(|folder| {
            let at = folders.binary_search(&folder).ok()?;
            let error = synced[at].as_ref().err()?;
            Some((folder, io::Error::new(error.kind(), error.to_string())))
        });
        let _nobody_may_wait_for_it = tell.send(failed);
    }
}

/// Syncs every file system that one of these lies on: a part of the spool may be mounted.
fn sync_file_systems<T, E: Into<io::Error>>(
    all: &[T],
    about: impl Fn(&T) -> io::Result<Metadata>,
    sync: impl Fn(&T) -> Result<(), E>,
) -> io::Result<()> {
    let mut synced = BTreeSet::new();
    for one in all {
        if synced.insert(about(one)?.dev()) {
            sync(one).map_err(Into::into)?;
        }
    }
    Ok(())
}

fn sync_around(dir: &Path) -> io::Result<()> {
    Ok(syncfs(File::open(dir)?)?)
}

/// Syncs many at once: a file system's journal commits together what waits together, and unlike a
/// sync of the whole file system this does not wait for what other programs have written.
fn sync_all<T: Sync, R: Send>(all: &[T], sync: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = (all.len() / FEW).clamp(1, MOST_THREADS);
    if threads == 1 {
        return all.iter().map(sync).collect();
    }
    let sync = &sync;
    thread::scope(|scope| {
        let each = all.len().div_ceil(threads);
        let helped = all.chunks(each).map(|part| {
            let work = move || part.iter().map(sync).collect::<Vec<_>>();
            // Where the system gives no further thread, this one does the work.
            (thread::Builder::new().spawn_scoped(scope, work).ok(), part)
        });
        let helped: Vec<_> = helped.collect();
        helped
            .into_iter()
            .flat_map(|(helper, part)| match helper.map(thread::ScopedJoinHandle::join) {
                Some(Ok(done)) => done,
                Some(Err(panic)) => resume_unwind(panic),
                None => part.iter().map(sync).collect(),
            })
            .collect()
    })
}

/// A message whose files lie beside their place.
pub(super) struct Arrival {
    pub(super) message: Message,
    pub(super) folder: PathBuf,
    /// Each audio file and its extension; the one that tells of the message last.
    pub(super) audio: Vec<(PathBuf, &'static str)>,
    pub(super) sidecar: PathBuf,
    pub(super) probe: Probe,
}

impl Arrival {
    /// Renames all into the folder; the sidecar last.
    pub(super) fn place(self) -> Result<Message, Error> {
        let Self { mut message, folder, audio, sidecar, probe } = self;
        let named = |stem: &Stem, extension: &str| folder.join(format!("{stem}.{extension}"));
        let first = message.stem.clone();
        for attempt in 0..NAMES {
            if attempt > 0
                && let Some(other) = Stem::found(&format!("{first}_{attempt}"))
            {
                message.stem = other;
            }
            let txt = named(&message.stem, "txt");
            let mut moved: Vec<(&Path, PathBuf)> = vec![];
            let mut done = Ok(());
            for (from, extension) in &audio {
                let to = named(&message.stem, extension);
                done = rename_into(from, &to)
                    .and_then(|()| {
                        moved.push((from, to.clone()));
                        probe.after("audio moved")
                    })
                    .map_err(|error| (to, error));
                if done.is_err() {
                    break;
                }
            }
            let done = done
                .and_then(|()| rename_into(&sidecar, &txt).map_err(|error| (txt.clone(), error)));
            let Err((path, error)) = done else {
                probe.reached("sidecar moved");
                return Ok(message);
            };
            // Back beside the sidecar: together they are what they were before.
            for (from, to) in moved.iter().rev() {
                rename_into(to, from).map_err(Error::io("move back", to))?;
            }
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(Error::io("move to", &path)(error));
            }
        }
        Err(Error::io("find a free name in", &folder)(io::ErrorKind::AlreadyExists.into()))
    }
}

/// Renames without replacing, making the folder where it is missing.
pub(super) fn rename_into(from: &Path, to: &Path) -> io::Result<()> {
    match rename_new(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(folder) = to.parent() else { return Err(error) };
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // The new folder's own name must survive too.
            if let Some(mailbox) = folder.parent() {
                File::open(mailbox)?.sync_all()?;
            }
            rename_new(from, to)
        }
        done => done,
    }
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // A file system that cannot: a hard link does not replace either.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        done => done.map_err(io::Error::from),
    }
}
