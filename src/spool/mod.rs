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
mod copy;
mod draft;
mod edit;
mod export;
mod herald;
mod import;
mod index;
mod layout;
mod look;
mod mend;
mod probe;
mod publish;
mod query;
mod renditions;
mod scan;
pub(crate) mod sidecar;
mod sweep;
mod watch;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::Flock;
use tokio::sync::broadcast;
use tracing::warn;

use crate::mailbox::edit::{Outcome, Refused, Rules};
use crate::mailbox::retention::Ceiling;
use crate::mailbox::{
    By, Change, Counts, Edit, Envelope, Folder, Level, MailboxId, Message, MessageId, Stem,
};
use crate::state::{self, Counter, State};

pub use check::{Flaw, Progress, What, check};
pub use copy::CopyAs;
use copy::Target;
pub use draft::{Draft, Marks};
pub use export::{Done, Export, ToWav};
pub use herald::Herald;
pub use import::{Imported, mailboxes_in};
pub use index::Usage;
use index::{Index, Scope, Seen};
use layout::Layout;
pub use probe::Probe;
use publish::{Published, Publisher, Work};
pub use query::{Order, Query};
pub use renditions::{Form, Renditions};
pub use scan::Found;
pub use sweep::Swept;

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
    pub probe: Probe,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            at_once: false,
            settle: Duration::from_secs(10),
            shred: false,
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
    _lock: Flock<File>,
}

const TURNS: usize = 64;
/// How long our own work is remembered, at least.
const OURS: Duration = Duration::from_secs(2);
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
        let (index, clean) = Index::open(&state.dir().join("index.db"), &place(root)?).await?;
        let at_once = options.at_once && clean;
        let spool = Self(Arc::new(Inner {
            layout: Layout::new(root),
            index,
            state: state.clone(),
            reader,
            publisher: Publisher::start().map_err(Error::io("start the publisher of", root))?,
            options,
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
            _lock: lock,
        }));
        let found = scan::start(&spool, at_once).await?;
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
        let (message, counts) = self.publish(draft).await.inspect_err(|_| self.keep(kept))?;
        self.tell(Change::Delivered { message: message.clone(), counts });
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
                Ok(Some((message, counts))) => {
                    self.tell(Change::Delivered { message, counts });
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

    async fn publish(&self, draft: Draft) -> Result<(Arc<Message>, Counts), Error> {
        let number = self.0.state.next(Counter::Message).await?;
        let (reader, probe) = (self.0.reader, self.0.options.probe.clone());
        let (id, received) = draft.about();
        let work = blocking(move || {
            let finished = draft.finish(number, reader)?;
            let names = (finished.0.mailbox.clone(), finished.0.stem.clone());
            Ok::<_, Error>((names, draft.prepare(finished, &probe)?))
        });
        let ((mailbox, stem), work) = work.await??;
        self.intend(&mailbox, id, received).await;
        let _shared = self.turn_of(&mailbox).read().await;
        self.is_ours_now(&stem, false);
        let (message, seen) = self.act(work).await?;
        let counts = self.0.index.insert(&message, seen);
        Ok((message, counts))
    }

    async fn act(&self, work: Work) -> Result<(Arc<Message>, Seen), Error> {
        let Published { message, seen, unsynced } = self.0.publisher.publish(work).await?;
        if let Some((folder, error)) = unsynced
            && self.unsynced().insert(folder.clone())
        {
            warn!("{} could not be synced, and is tried again: {error}", folder.display());
        }
        self.is_ours_now(&message.stem, false);
        Ok((Arc::new(message), seen))
    }

    /// Does what somebody asks of a message. When this returns it survives a power cut; the
    /// message as it is then, or `None` where it was purged.
    pub async fn edit(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
        edit: &Edit,
        by: &By,
    ) -> Result<Option<Arc<Message>>, Error> {
        let (spool, mailbox, edit, by) = (self.clone(), mailbox.clone(), edit.clone(), by.clone());
        // Whoever asked may go away; what is begun is finished.
        let task = tokio::spawn(async move { spool.edit_in_turn(&mailbox, id, &edit, &by).await });
        task.await.map_err(|_| Error::Stopped)?
    }

    async fn edit_in_turn(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
        edit: &Edit,
        by: &By,
    ) -> Result<Option<Arc<Message>>, Error> {
        let _turn = self.turn(id).lock().await;
        let _shared = self.turn_of(mailbox).read().await;
        let was = self.get(mailbox, id).await?.ok_or(Error::NoSuchMessage(id))?;
        self.is_ours_now(&was.stem, false);
        self.is_ours_now(&was.stem, true);
        let Options { rules, shred, probe, .. } = self.0.options.clone();
        let (layout, message) = (self.0.layout.clone(), was.clone());
        match edit.apply(&was, by, rules)? {
            Outcome::Unchanged => Ok(Some(was)),
            Outcome::Changed(edited) => {
                let work = blocking(move || edit::change(&layout, &message, *edited, &probe));
                let (message, seen) = self.act(work.await??).await?;
                if let Some(counts) = self.0.index.replace(&was, &message, seen) {
                    let told = message.clone();
                    self.tell(if was.folder == message.folder {
                        Change::Edited { was, message: told, counts }
                    } else {
                        Change::Moved { was, message: told, counts }
                    });
                }
                Ok(Some(message))
            }
            Outcome::Gone => {
                self.act(edit::purge(&layout, &message, shred, &probe)).await?;
                if let Some(counts) = self.0.index.remove(&message) {
                    self.tell(Change::Removed { message, counts });
                }
                Ok(None)
            }
        }
    }

    /// Makes another message of the same audio, in the mailbox `to` whose owner's integer is
    /// `owner`. A private message is not sent on.
    pub async fn copy(
        &self,
        source: &Message,
        (to, owner): (&MailboxId, u64),
        how: CopyAs,
        by: &By,
    ) -> Result<Arc<Message>, Error> {
        if let (CopyAs::Forward { .. }, true) = (&how, source.private) {
            return Err(Refused::Private.into());
        }
        let (spool, source, to, at) = (self.clone(), source.clone(), to.clone(), by.at);
        let task =
            tokio::spawn(async move { spool.copy_whole(source, (to, owner), how, at).await });
        task.await.map_err(|_| Error::Stopped)?
    }

    async fn copy_whole(
        &self,
        source: Message,
        (mailbox, owner): (MailboxId, u64),
        how: CopyAs,
        at: i64,
    ) -> Result<Arc<Message>, Error> {
        let _turn = self.turn(source.id).lock().await;
        // Where it lies now, which may be elsewhere than the caller has read.
        let source =
            self.get(&source.mailbox, source.id).await?.ok_or(Error::NoSuchMessage(source.id))?;
        let number = self.0.state.next(Counter::Message).await?;
        let call = self.call_digits(at).await?;
        let id = fresh_id(u64::try_from(at).unwrap_or(0).saturating_mul(1000))?;
        let target = Target { mailbox, owner, id, number, call, at };
        let (layout, reader) = (self.0.layout.clone(), self.0.reader);
        let probe = self.0.options.probe.clone();
        let kind = how.clone();
        let there = target.mailbox.clone();
        let work = blocking(move || copy::copy(&layout, &source, (target, &how), reader, &probe))
            .await??;
        if matches!(kind, CopyAs::Also | CopyAs::Forward { .. }) {
            self.intend(&there, id, at).await;
        }
        let _shared = self.turn_of(&there).read().await;
        let (message, seen) = self.act(work).await?;
        let counts = self.0.index.insert(&message, seen);
        let told = message.clone();
        self.tell(match kind {
            CopyAs::Also | CopyAs::Forward { .. } => Change::Delivered { message: told, counts },
            CopyAs::Sent | CopyAs::Within(_) => Change::Copied { message: told, counts },
        });
        Ok(message)
    }

    /// Whoever changes a mailbox's files holds this, shared with others.
    fn turn_of(&self, mailbox: &MailboxId) -> &tokio::sync::RwLock<()> {
        &self.0.mailboxes[shard(mailbox)]
    }

    fn looks(&self, mailbox: &MailboxId) -> &tokio::sync::Mutex<()> {
        &self.0.looks[shard(mailbox)]
    }

    /// Files of this name come by our own work, or go.
    fn is_ours_now(&self, stem: &Stem, goes: bool) {
        let mut ours = self.0.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if ours.since.is_none_or(|since| now.duration_since(since) > OURS) {
            ours.since = Some(now);
            ours.before = std::mem::take(&mut ours.now);
        }
        ours.now.insert((stem.to_string(), goes));
    }

    /// Whether a file came, or went, by our own work a moment ago.
    fn is_ours(&self, path: &Path, goes: bool) -> bool {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let ours = self.0.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = ours.since.is_some_and(|since| since.elapsed() < OURS * 2);
        let key = (stem.to_owned(), goes);
        fresh && (ours.now.contains(&key) || ours.before.contains(&key))
    }

    fn exists(&self, message: &Message) -> bool {
        self.audio_path(message).exists()
    }

    /// A number for a message of ours whose own number another one has.
    async fn own_number(&self, owner: &str, id: MessageId) -> Result<u64, Error> {
        let key = [(format!("number of {id}"), id.to_string())];
        let known = self.0.state.foreign_ids(owner, &key).await?;
        Ok(known.first().map_or(0, |(_, number)| *number))
    }

    fn turn(&self, id: MessageId) -> &tokio::sync::Mutex<()> {
        &self.0.turns[usize::from(id.bytes()[15]) % TURNS]
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

    pub async fn list(
        &self,
        mailbox: &MailboxId,
        query: &Query,
    ) -> Result<Vec<Arc<Message>>, Error> {
        Ok(self.0.index.list(Scope::Mailbox(mailbox), query).await?)
    }

    /// How many messages a query finds, whatever page it asks for.
    pub async fn total(&self, mailbox: &MailboxId, query: &Query) -> Result<usize, Error> {
        Ok(self.0.index.total(Scope::Mailbox(mailbox), query).await?)
    }

    /// Messages of all mailboxes of a context, as one list.
    pub async fn list_all(&self, context: &str, query: &Query) -> Result<Vec<Arc<Message>>, Error> {
        Ok(self.0.index.list(Scope::Organization(context), query).await?)
    }

    pub async fn total_of_all(&self, context: &str, query: &Query) -> Result<usize, Error> {
        Ok(self.0.index.total(Scope::Organization(context), query).await?)
    }

    pub async fn get(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
    ) -> Result<Option<Arc<Message>>, Error> {
        Ok(self.0.index.get(mailbox, id).await?)
    }

    /// The message of this number, wherever it lies.
    pub async fn numbered(&self, number: u64) -> Result<Option<Arc<Message>>, Error> {
        Ok(self.0.index.numbered(number).await?)
    }

    /// The message whose files have this name, in one of the folders.
    pub async fn find(
        &self,
        mailbox: &MailboxId,
        folders: &[Folder],
        stem: &Stem,
    ) -> Result<Option<Arc<Message>>, Error> {
        Ok(self.0.index.find(mailbox, folders, stem).await?)
    }

    pub fn counts(&self, mailbox: &MailboxId) -> Counts {
        self.0.index.counts(mailbox)
    }

    /// Messages that count against the mailbox's limit.
    pub fn kept(&self, mailbox: &MailboxId) -> usize {
        self.usage(mailbox).messages
    }

    /// How much of the mailbox's limits is used.
    pub fn usage(&self, mailbox: &MailboxId) -> Usage {
        self.0.index.usage(mailbox)
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

    /// The file to listen to. It may have been moved since the message was read: [`Spool::audio`]
    /// finds it then.
    pub fn audio_path(&self, message: &Message) -> PathBuf {
        let Message { mailbox, folder, stem, formats, .. } = message;
        self.0.layout.folder(mailbox, folder).join(format!("{stem}.{}", formats.best()))
    }

    /// A message's audio as it lies on disk, to be read in pieces.
    pub async fn audio(&self, mailbox: &MailboxId, id: MessageId) -> Result<Recording, Error> {
        let mut tried = None;
        loop {
            let message = self.get(mailbox, id).await?.ok_or(Error::NoSuchMessage(id))?;
            let path = self.audio_path(&message);
            let opening = path.clone();
            match blocking(move || Recording::open(&opening)).await? {
                // Moved between the look and the opening.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && tried != Some(path.clone()) =>
                {
                    tried = Some(path);
                }
                done => return done.map_err(Error::io("open", &path)),
            }
        }
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
    pub async fn reindex(&self) -> Result<(usize, usize), Error> {
        let root = self.root().to_owned();
        let mut differ = 0;
        for mailbox in blocking(move || scan::mailboxes(&root)).await?? {
            let looked = look::look(self, &mailbox, look::Depth::Anew).await?;
            differ += looked.found + looked.changed + looked.removed;
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

    /// What each mailbox may hold: told once, when it is known.
    pub fn limit(&self, ceiling: impl Fn(&MailboxId) -> Ceiling + Send + Sync + 'static) {
        let _ = self.0.ceiling.set(Box::new(ceiling));
    }

    /// How full a mailbox is.
    pub fn level(&self, mailbox: &MailboxId) -> Level {
        level(&self.ceiling(mailbox), self.usage(mailbox))
    }

    fn ceiling(&self, mailbox: &MailboxId) -> Ceiling {
        self.0.ceiling.get().map_or_else(Ceiling::default, |ceiling| ceiling(mailbox))
    }

    /// The level of a mailbox, where it has just come to be fuller than before.
    fn has_risen(&self, mailbox: &MailboxId, came: Option<&Message>) -> Option<Level> {
        let (ceiling, usage) = (self.ceiling(mailbox), self.usage(mailbox));
        let now = level(&ceiling, usage);
        let mut levels = self.0.levels.lock().unwrap_or_else(PoisonError::into_inner);
        // What it was before this run is known by taking away what has just come.
        let before = levels.get(mailbox).copied().unwrap_or_else(|| {
            let millis = came.map_or(0, |m| u64::try_from(m.duration.as_millis()).unwrap_or(0));
            level(
                &ceiling,
                Usage {
                    messages: usage.messages.saturating_sub(usize::from(came.is_some())),
                    millis: usage.millis.saturating_sub(millis),
                    bytes: usage.bytes.saturating_sub(came.map_or(0, |m| m.bytes)),
                },
            )
        });
        if now == Level::Room {
            levels.remove(mailbox);
        } else {
            levels.insert(mailbox.clone(), now);
        }
        (now > before).then_some(now)
    }

    /// Nobody else changes the mailbox while this is held.
    pub async fn alone(&self, mailbox: &MailboxId) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.turn_of(mailbox).write().await
    }

    /// Ten digits of the second and seven of a counter that never goes back.
    async fn call_digits(&self, second: i64) -> Result<String, Error> {
        let counter = self.0.state.next(Counter::Call).await? % 10_000_000;
        Ok(format!("{:010}{counter:07}", second.clamp(0, 9_999_999_999)))
    }
}

type Ceilings = dyn Fn(&MailboxId) -> Ceiling + Send + Sync;

/// Stems, and whether their files go.
#[derive(Default)]
struct Ours {
    since: Option<Instant>,
    now: HashSet<(String, bool)>,
    before: HashSet<(String, bool)>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.index.abandon();
    }
}

fn level(ceiling: &Ceiling, usage: Usage) -> Level {
    ceiling.level(usage.messages as u64, usage.millis / 1000, usage.bytes)
}

/// What tells this tree from any other that the same state may be used with.
fn place(root: &Path) -> Result<String, Error> {
    let meta = std::fs::metadata(root).map_err(Error::io("read", root))?;
    Ok(format!("{} {}", meta.ino(), root.display()))
}

fn shard(mailbox: &MailboxId) -> usize {
    let name = mailbox.number().bytes().chain(mailbox.context().bytes());
    name.fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % TURNS
}

/// An open audio file. It stays readable whatever becomes of its message.
#[derive(Debug)]
pub struct Recording {
    file: File,
    bytes: u64,
    modified: SystemTime,
    path: PathBuf,
}

impl Recording {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let modified = meta.modified()?;
        Ok(Self { file, bytes: meta.len(), modified, path: path.to_owned() })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Its extension tells what it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Up to `most` bytes from `from` on; none at the end.
    pub fn read(&self, from: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.bytes.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(most)];
        let mut read = 0;
        while read < piece.len() {
            match self.file.read_at(&mut piece[read..], from + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        piece.truncate(read);
        Ok(piece)
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
