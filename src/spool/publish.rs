//! Making messages exist, in groups.
//!
//! One thread takes whatever waits, so that a thousand hang-ups a second share their syncs: first
//! everything new is made safe, then each audio file and each sidecar is renamed into its folder
//! without ever replacing anything, then the folders are synced. The sidecar's rename is the
//! moment at which a message exists.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::syncfs;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::Error;
use crate::mailbox::{Message, Stem};

/// A recording whose files are written and lie beside their place.
pub(super) struct Prepared {
    pub(super) message: Message,
    pub(super) folder: PathBuf,
    pub(super) audio: (PathBuf, File),
    pub(super) sidecar: (PathBuf, File),
    /// The draft's sidecar, which the new one makes superfluous.
    pub(super) obsolete: PathBuf,
}

/// A message that exists.
pub(super) struct Published {
    pub(super) message: Message,
    /// Its folder, where the disk would not say that the names in it are safe.
    pub(super) unsynced: Option<(PathBuf, io::Error)>,
}

struct Job {
    prepared: Prepared,
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

    pub(super) async fn publish(&self, prepared: Prepared) -> Result<Published, Error> {
        let (reply, told) = oneshot::channel();
        self.0.send(Job { prepared, reply }).await.map_err(|_| Error::Stopped)?;
        told.await.map_err(|_| Error::Stopped)?
    }
}

fn publish(group: Vec<Job>) {
    let written =
        group.iter().flat_map(|Job { prepared: Prepared { audio, sidecar, .. }, .. }| {
            [(audio.0.as_path(), &audio.1), (sidecar.0.as_path(), &sidecar.1)]
        });
    let written: Vec<_> = written.collect();
    // One sync of the whole file system is cheaper for many files, as long as it works.
    let at_once = written.len() >= MANY && syncfs(written[0].1).is_ok();
    let safe = sync_all(&written, |(path, file)| {
        if at_once { Ok(()) } else { file.sync_all().map_err(Error::io("sync", path)) }
    });
    let mut safe = safe.into_iter();
    let mut folders = BTreeSet::new();
    let mut published = Vec::with_capacity(group.len());
    for Job { prepared, reply } in group {
        let (audio, sidecar) = (safe.next(), safe.next());
        let folder = prepared.folder.clone();
        let done = [audio, sidecar].into_iter().flatten().collect::<Result<(), _>>();
        let done = done.and_then(|()| place(prepared));
        if done.is_ok() {
            folders.insert(folder.clone());
        }
        published.push((done, folder, reply));
    }
    let folders: Vec<PathBuf> = folders.into_iter().collect();
    let synced = sync_all(&folders, |folder| File::open(folder).and_then(|dir| dir.sync_all()));
    for (done, folder, reply) in published {
        let failed = folders.binary_search(&folder).ok().and_then(|at| synced[at].as_ref().err());
        let unsynced =
            failed.map(|error| (folder, io::Error::new(error.kind(), error.to_string())));
        let done = done.map(|message| Published { message, unsynced });
        // A caller's task that is gone does not make the message less real: it is on disk.
        let _ = reply.send(done);
    }
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

/// Renames both files into the folder; the sidecar last.
fn place(prepared: Prepared) -> Result<Message, Error> {
    let Prepared { mut message, folder, audio, sidecar, obsolete } = prepared;
    let named = |stem: &Stem, extension: &str| folder.join(format!("{stem}.{extension}"));
    let first = message.stem.clone();
    for attempt in 0..NAMES {
        if attempt > 0
            && let Some(other) = Stem::found(&format!("{first}_{attempt}"))
        {
            message.stem = other;
        }
        let wav = named(&message.stem, "wav");
        match rename_into(&audio.0, &wav) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            done => done.map_err(Error::io("move the recording to", &wav))?,
        }
        let txt = named(&message.stem, "txt");
        match rename_into(&sidecar.0, &txt) {
            Ok(()) => {
                // A draft's sidecar without its audio means nothing; the next start removes it.
                let _ = fs::remove_file(&obsolete);
                return Ok(message);
            }
            Err(error) => {
                // Back beside its sidecar: together they are a draft again.
                rename_into(&wav, &audio.0).map_err(Error::io("move back", &wav))?;
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(Error::io("move the sidecar to", &txt)(error));
                }
            }
        }
    }
    Err(Error::io("find a free name in", &folder)(io::ErrorKind::AlreadyExists.into()))
}

/// Renames without replacing, making the folder where it is missing.
fn rename_into(from: &Path, to: &Path) -> io::Result<()> {
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
