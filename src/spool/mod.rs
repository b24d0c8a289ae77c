//! The spool: a tree of directories that anyone may read, and the verbs that keep it whole.
//!
//! ```text
//! <spool>/<context>/<mailbox>/
//!     mailbox.toml                                       settings (the directory's)
//!     unavail.wav busy.wav greet.wav temp.wav            greetings
//!     INBOX/ Old/ … SENT/ Deleted/                       folders, and any found there
//!         voicemail_<ts>_<call>_<owner>_<caller>_<n>.wav   audio
//!         voicemail_<ts>_<call>_<owner>_<caller>_<n>.txt   sidecar: with it the message exists
//!     tmp/                                               drafts while callers speak
//! ```
//!
//! The law: a recording is never lost. Audio is safe on disk before its sidecar appears, nothing is
//! ever overwritten, and what a crash leaves in `tmp` becomes a message at the next start.

mod draft;
mod index;
mod layout;
mod publish;
mod scan;
pub(crate) mod sidecar;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::Flock;
use tokio::sync::broadcast;
use tracing::warn;

use crate::mailbox::{Change, Counts, Envelope, Folder, MailboxId, Message, MessageId, Stem};
use crate::state::{self, Counter, State};

pub use draft::Draft;
use index::Index;
use layout::Layout;
use publish::{Published, Publisher};
pub use scan::Found;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    State(#[from] state::Error),
    #[error("the spool has stopped")]
    Stopped,
}

impl Error {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// What a WAV file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audio {
    pub rate: u32,
    pub duration: Duration,
    /// Where the samples begin.
    pub data_at: u64,
}

/// How WAV files are read: the spool knows files, not formats.
#[derive(Clone, Copy)]
pub struct Reader {
    pub info: fn(&Path) -> io::Result<Audio>,
    /// Makes the header of a half-written file agree with its length.
    pub repair: fn(&Path) -> io::Result<Audio>,
    /// Whether a file is audio that callers can hear, in whatever format.
    pub playable: fn(&Path) -> io::Result<()>,
}

/// Which messages, in which order. Times are Unix seconds, both inclusive.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub folders: Vec<Folder>,
    pub from: Option<i64>,
    pub to: Option<i64>,
    pub newest_first: bool,
    pub skip: usize,
    pub limit: Option<usize>,
}

/// Cheap to clone: everybody holds the same spool.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

struct Inner {
    layout: Layout,
    index: Index,
    state: State,
    reader: Reader,
    publisher: Publisher,
    changes: broadcast::Sender<Change>,
    /// Recordings that could not be made messages: the disk was full, or failed.
    stuck: Mutex<Vec<Draft>>,
    /// Folders of messages that exist, which could not be synced.
    unsynced: Mutex<BTreeSet<PathBuf>>,
    _lock: Flock<File>,
}

/// Changes that a slow listener may lag behind before it misses some.
const CHANGES: usize = 1024;

impl Spool {
    /// Opens the tree at `root`, finishes what a crash left undone, and reads what is there.
    pub async fn open(root: &Path, state: &State, reader: Reader) -> Result<(Self, Found), Error> {
        state::make_private(root)?;
        let lock = state::lock(&root.join(".lock"))?;
        let spool = Self(Arc::new(Inner {
            layout: Layout::new(root),
            index: Index::default(),
            state: state.clone(),
            reader,
            publisher: Publisher::start().map_err(Error::io("start the publisher of", root))?,
            changes: broadcast::Sender::new(CHANGES),
            stuck: Mutex::default(),
            unsynced: Mutex::default(),
            _lock: lock,
        }));
        let found = scan::scan(&spool).await?;
        Ok((spool, found))
    }

    pub fn root(&self) -> &Path {
        self.0.layout.root()
    }

    /// A recording that is not yet a message. Its files appear when the recorder opens it.
    pub async fn draft(
        &self,
        mailbox: &MailboxId,
        owner: u64,
        envelope: Envelope,
        now_ms: u64,
    ) -> Result<Draft, Error> {
        let call = self.call_digits(envelope.received).await?;
        let id = fresh_id(now_ms)?;
        Ok(Draft::new(&self.0.layout, mailbox, owner, id, Envelope { call, ..envelope }))
    }

    /// Turns a draft into a message in the owner's INBOX. When this returns it survives a power
    /// cut; when it fails the draft stays, to be tried again by [`Spool::retry`] and at the next
    /// start.
    pub async fn deliver(&self, draft: Draft) -> Result<Arc<Message>, Error> {
        let kept = draft.clone();
        let message = self.publish(draft).await.inspect_err(|_| self.keep(kept))?;
        self.tell(message.clone(), |message, counts| Change::Delivered { message, counts });
        Ok(message)
    }

    /// Leaves a draft to [`Spool::retry`]: its recorder may still be writing.
    pub fn keep(&self, draft: Draft) {
        self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner).push(draft);
    }

    /// Tries again what could not be delivered; how many messages came of it.
    pub async fn retry(&self) -> usize {
        let stuck =
            std::mem::take(&mut *self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner));
        self.sync_again().await;
        let mut delivered = 0;
        for mut draft in stuck {
            if draft.is_being_written() {
                self.keep(draft);
                continue;
            }
            match scan::revive(self, draft.clone()).await {
                Ok(Some(message)) => {
                    self.tell(message, |message, counts| Change::Delivered { message, counts });
                    delivered += 1;
                }
                Ok(None) => {}
                Err(error) => {
                    if draft.complain() {
                        warn!("a recording stays in tmp and is tried again: {error}");
                    }
                    self.keep(draft);
                }
            }
        }
        delivered
    }

    async fn publish(&self, draft: Draft) -> Result<Arc<Message>, Error> {
        let number = self.0.state.next(Counter::Message).await?;
        let reader = self.0.reader;
        let prepared = blocking(move || draft.prepare(number, reader)).await??;
        let Published { message, unsynced } = self.0.publisher.publish(prepared).await?;
        if let Some((folder, error)) = unsynced
            && self.unsynced().insert(folder.clone())
        {
            warn!("{} could not be synced, and is tried again: {error}", folder.display());
        }
        Ok(Arc::new(message))
    }

    async fn sync_again(&self) {
        let folders = std::mem::take(&mut *self.unsynced());
        for folder in folders {
            let path = folder.clone();
            let synced = blocking(move || File::open(path)?.sync_all()).await;
            match synced {
                Ok(Ok(())) => {}
                // The folder was taken away, and its messages with it.
                Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Err(_)) | Err(_) => {
                    self.unsynced().insert(folder);
                }
            }
        }
    }

    fn unsynced(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn discard(&self, draft: Draft) -> Result<(), Error> {
        blocking(move || draft.remove()).await?
    }

    pub fn list(&self, mailbox: &MailboxId, query: &Query) -> Vec<Arc<Message>> {
        self.0.index.list(mailbox, query)
    }

    pub fn get(&self, mailbox: &MailboxId, id: MessageId) -> Option<Arc<Message>> {
        self.0.index.get(mailbox, id)
    }

    /// The message whose files have this name.
    pub fn find(
        &self,
        mailbox: &MailboxId,
        folders: &[Folder],
        stem: &Stem,
    ) -> Option<Arc<Message>> {
        self.0.index.find(mailbox, folders, stem)
    }

    pub fn counts(&self, mailbox: &MailboxId) -> Counts {
        self.0.index.counts(mailbox)
    }

    /// Messages that count against the mailbox's limit.
    pub fn kept(&self, mailbox: &MailboxId) -> usize {
        self.0.index.kept(mailbox)
    }

    /// All messages of all mailboxes.
    pub fn len(&self) -> usize {
        self.0.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn open_audio(&self, message: &Message) -> Result<File, Error> {
        let path = self.audio_path(message);
        File::open(&path).map_err(Error::io("open", &path))
    }

    pub fn audio_path(&self, message: &Message) -> PathBuf {
        self.0.layout.audio(&message.mailbox, &message.folder, &message.stem)
    }

    /// The mailbox's directory was taken away.
    pub fn forget(&self, mailbox: &MailboxId) {
        self.0.index.forget(mailbox);
        // Nobody listening is an ordinary state.
        let _ = self.0.changes.send(Change::Removed { mailbox: mailbox.clone() });
    }

    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    fn tell(&self, message: Arc<Message>, change: fn(Arc<Message>, Counts) -> Change) {
        if let Some(counts) = self.0.index.insert(message.clone()) {
            let _ = self.0.changes.send(change(message, counts));
        }
    }

    /// Ten digits of the second and seven of a counter that never goes back.
    async fn call_digits(&self, second: i64) -> Result<String, Error> {
        let counter = self.0.state.next(Counter::Call).await? % 10_000_000;
        Ok(format!("{:010}{counter:07}", second.clamp(0, 9_999_999_999)))
    }
}

fn fresh_id(now_ms: u64) -> Result<MessageId, Error> {
    let mut chance = [0; 16];
    state::seal::chance(&mut chance)?;
    Ok(MessageId::new(now_ms, u128::from_le_bytes(chance)))
}

/// Work on the disk, away from the threads that serve calls.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)
}
