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

mod check;
mod closed;
mod copy;
mod deliver;
mod draft;
mod edit;
mod export;
mod fill;
mod gauge;
mod herald;
mod import;
mod index;
mod layout;
mod look;
mod mend;
mod probe;
mod publish;
mod query;
mod read;
mod renditions;
mod room;
mod scan;
pub(crate) mod sidecar;
mod sweep;
mod turns;
mod verbs;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use nix::fcntl::Flock;
use tokio::sync::broadcast;

use crate::mailbox::edit::{Refused, Rules};
use crate::mailbox::{Change, Level, MailboxId, Message, MessageId};
use crate::state::{self, State};

pub use check::{Flaw, What, check};
pub use copy::CopyAs;
pub use draft::{Draft, Marks};
pub use export::{Done, Export, ToWav};
use fill::Ceilings;
pub use gauge::{Gauge, Progress};
pub use herald::Herald;
pub use import::{Imported, mailboxes_in};
use index::Index;
pub use index::Usage;
use layout::Layout;
pub use probe::Probe;
use publish::Publisher;
pub use query::{Glance, Order, Query};
pub use read::Recording;
pub use renditions::{Form, Renditions};
use room::Room;
pub use scan::Found;
pub use sweep::Swept;
use turns::{Ours, TURNS};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("there is no message {0}")]
    NoSuchMessage(MessageId),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    State(#[from] state::Error),
    #[error(transparent)]
    Index(#[from] index::Error),
    #[error("the spool has stopped")]
    Stopped,
}

impl Error {
    /// Whether somebody has to make room on the disk.
    pub fn says_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => room::says_full(source),
            Self::State(error) => error.says_full(),
            Self::NoSuchMessage(_) | Self::Refused(_) | Self::Index(_) | Self::Stopped => false,
        }
    }

    /// Whether the disk itself fails, or takes nothing any more.
    fn says_broken(&self) -> bool {
        matches!(self, Self::Io { source, .. } if room::says_broken(source))
    }

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
    pub repair: fn(&File) -> io::Result<Audio>,
    /// Whether a file is audio that callers can hear, in whatever format.
    pub playable: fn(&Path) -> io::Result<()>,
    /// Makes a WAV file of several, one after the other.
    pub join: fn(&[&Path], &Path) -> io::Result<Audio>,
}

/// How the house wants its spool.
#[derive(Clone, Debug)]
pub struct Options {
    pub rules: Rules,
    /// Ready as soon as the index is, where it was left whole: [`Spool::watch`] compares it with
    /// the tree.
    pub at_once: bool,
    /// A recording without sidecar is complete when it has not changed for so long.
    pub settle: Duration,
    /// Audio that is purged is written over first.
    pub shred: bool,
    /// Where recordings go that the spool cannot take; `None`: a folder beside the state.
    pub fallback: Option<PathBuf>,
    /// Bytes that new recordings leave free on the spool's disk.
    pub min_free: u64,
    /// Read every message anew, whatever the index knows.
    pub anew: bool,
    /// Told how far a reading of the whole tree is.
    pub gauge: Gauge,
    pub probe: Probe,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            at_once: false,
            settle: Duration::from_secs(10),
            shred: false,
            fallback: None,
            min_free: 0,
            anew: false,
            gauge: Gauge::default(),
            probe: Probe::default(),
        }
    }
}

/// Cheap to clone: everybody holds the same spool.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

struct Inner {
    layout: Layout,
    index: Arc<Index>,
    state: State,
    reader: Reader,
    publisher: Publisher,
    options: Options,
    room: Arc<Room>,
    /// Held while a message is edited: two edits of one message come one after the other.
    turns: [tokio::sync::Mutex<()>; TURNS],
    /// Held by all who change a mailbox, and alone by whoever makes what was seen in it true.
    mailboxes: [tokio::sync::RwLock<()>; TURNS],
    looks: [tokio::sync::Mutex<()>; TURNS],
    /// What our own work does to which names, so that nobody takes it for another program's.
    ours: Mutex<Ours>,
    ceiling: OnceLock<Box<Ceilings>>,
    /// Mailboxes that are nearly full, or full.
    levels: Mutex<HashMap<MailboxId, Level>>,
    changes: broadcast::Sender<Change>,
    herald: OnceLock<Herald>,
    /// Recordings that could not be made messages: the disk was full, or failed.
    stuck: Mutex<Vec<Draft>>,
    /// Folders of messages that exist, which could not be synced.
    unsynced: Mutex<BTreeSet<PathBuf>>,
    /// What could not be read, and was told of.
    closed: Mutex<BTreeSet<String>>,
    _lock: Flock<File>,
}

/// Changes that a slow listener may lag behind before it misses some.
const CHANGES: usize = 1024;

impl Spool {
    /// Opens the tree at `root`, finishes what a crash left undone, and reads what is there.
    pub async fn open(root: &Path, state: &State, reader: Reader) -> Result<(Self, Found), Error> {
        Self::open_with(root, state, reader, Options::default()).await
    }

    pub async fn open_with(
        root: &Path,
        state: &State,
        reader: Reader,
        options: Options,
    ) -> Result<(Self, Found), Error> {
        state::make_private(root)?;
        let lock = state::lock(&root.join(".lock"))?;
        let known = state.dir().join("index.db");
        if options.anew {
            Index::forget_all(&known).map_err(Error::io("remove", &known))?;
        }
        let (index, clean) = Index::open(&known, &place(root)?).await?;
        let at_once = options.at_once && clean;
        let fallback = options.fallback.clone().unwrap_or_else(|| state.dir().join("stranded"));
        let room = Arc::new(Room::new(root, fallback, options.min_free));
        let spool = Self(Arc::new(Inner {
            layout: Layout::new(root),
            index,
            state: state.clone(),
            reader,
            publisher: Publisher::start().map_err(Error::io("start the publisher of", root))?,
            options,
            room,
            turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            mailboxes: std::array::from_fn(|_| tokio::sync::RwLock::default()),
            looks: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            ours: Mutex::default(),
            ceiling: OnceLock::new(),
            levels: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES),
            herald: OnceLock::new(),
            stuck: Mutex::default(),
            unsynced: Mutex::default(),
            closed: Mutex::default(),
            _lock: lock,
        }));
        let found = scan::start(&spool, at_once).await?;
        spool.keep_reserve().await;
        Ok((spool, found))
    }

    pub fn root(&self) -> &Path {
        self.0.layout.root()
    }

    fn exists(&self, message: &Message) -> bool {
        is_there(&self.audio_path(message))
    }

    /// A number for a message of ours whose own number another one has.
    async fn own_number(&self, owner: &str, id: MessageId) -> Result<u64, Error> {
        let key = [(format!("number of {id}"), id.to_string())];
        let known = self.0.state.foreign_ids(owner, &key).await?;
        Ok(known.first().map_or(0, |(_, number)| *number))
    }

    /// The mailbox's directory will have another name in a moment.
    pub async fn will_rename(&self, from: &MailboxId, to: &MailboxId) -> Result<(), Error> {
        Ok(self.0.state.will_rename_mailbox(&from.to_string(), &to.to_string()).await?)
    }

    /// The mailbox's directory has another name now: what it holds is the same.
    pub async fn rename(&self, from: &MailboxId, to: &MailboxId) -> Result<(), Error> {
        self.0.state.rename_mailbox(&from.to_string(), &to.to_string()).await?;
        self.0.index.rename(from, to);
        self.tell(Change::Renamed { from: from.clone(), to: to.clone() });
        Ok(())
    }

    /// Reads every file of every mailbox again; how many messages there are, and how many differ
    /// from what the index knew.
    pub async fn reindex(&self, gauge: &Gauge) -> Result<(usize, usize), Error> {
        let looking = self.clone();
        let all = blocking(move || scan::all_mailboxes(&looking)).await??;
        let mut progress = Progress { of: all.len(), ..Progress::default() };
        let mut differ = 0;
        gauge.shows(progress);
        let mut each = pin!(
            stream::iter(all)
                .map(async |mailbox| {
                    let looked = look::look(self, &mailbox, look::Depth::Anew).await;
                    let looked = scan::or_without(self, &mailbox, looked)?;
                    let differ = looked.found + looked.changed + looked.removed;
                    Ok::<_, Error>((differ, self.0.index.held(&mailbox)))
                })
                .buffer_unordered(scan::READERS)
        );
        while let Some(looked) = each.next().await {
            let (differs, messages) = looked?;
            differ += differs;
            progress.mailboxes += 1;
            progress.messages += messages;
            gauge.shows(progress);
        }
        Ok((self.len(), differ))
    }

    /// Waits until all that is known stands in the index on disk too.
    pub async fn write_out(&self) -> Result<(), Error> {
        Ok(self.0.index.write_out().await?)
    }

    /// Writes everything out: the last thing before the state is closed.
    pub async fn close(&self) {
        self.0.index.close().await;
    }

    /// The mailbox's directory was taken away.
    pub fn forget(&self, mailbox: &MailboxId) {
        self.0.index.forget(mailbox);
        self.tell(Change::Closed { mailbox: mailbox.clone() });
    }

    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    fn tell(&self, change: Change) {
        let mailbox = change.mailbox().clone();
        let came = match &change {
            Change::Delivered { message, .. } | Change::Copied { message, .. } => {
                Some(message.clone())
            }
            _ => None,
        };
        // Nobody listening is an ordinary state.
        let _ = self.0.changes.send(change);
        if let Some(level) = self.has_risen(&mailbox, came.as_deref()) {
            let _ = self.0.changes.send(Change::Filled { mailbox, level });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.index.abandon();
    }
}

/// What tells this tree from any other that the same state may be used with.
fn place(root: &Path) -> Result<String, Error> {
    let meta = std::fs::metadata(root).map_err(Error::io("read", root))?;
    Ok(format!("{} {}", meta.ino(), root.display()))
}

/// Whether a file is there, for all that is known.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or_else(|error| error.kind() != io::ErrorKind::NotADirectory)
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
