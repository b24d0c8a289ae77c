//! Who has a mailbox: found by number, address or identity; made, edited and removed.
//!
//! The settings lie in the spool's tree, one `mailbox.toml` in each mailbox's directory; this is
//! their one reader and writer. A directory without one holds messages but takes no calls.

mod file;
mod hand;
mod happening;
pub mod import;
mod owner;
mod recorded;
mod secret;
mod sound;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tracing::warn;
use uuid::Uuid;

use crate::mailbox::{Mailbox, MailboxId, pin, settled};
use crate::state::{self, Counter, State};

pub use crate::state::attempt::{Door, Locked};
pub use happening::Happening;
pub use secret::{Login, NewPin};
pub use sound::Sound;
use table::Table;
pub use table::{Dialled, NotFound};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no mailbox {0}")]
    NoSuchMailbox(MailboxId),
    #[error("mailbox {0} exists already")]
    Exists(MailboxId),
    #[error("{0}")]
    Refused(String),
    #[error("`{}` belongs to mailbox {owner} already", .name.escape_debug())]
    Taken { name: String, owner: MailboxId },
    #[error("{path} cannot be understood: {why}")]
    Unreadable { path: PathBuf, why: String },
    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    State(#[from] state::Error),
}

impl Error {
    /// Whether there is no such file.
    fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What became of a mailbox of another program's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// `false` where there was one.
    pub made: bool,
    /// The PIN that was drawn.
    pub pin: Option<String>,
    /// Its PIN breaks the policy.
    pub weak: bool,
}

/// The names of all settings that a mailbox can have.
pub fn settings() -> Vec<String> {
    let mut keys = file::keys(&Mailbox::new(Uuid::nil(), 0, 0));
    keys.retain(|key| !FIXED.contains(&key.as_str()));
    keys
}

/// Settings by the names that `mailbox.toml` gives them.
pub type Settings = Map<String, Value>;

/// Cheap to clone: everybody holds the same directory.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    root: PathBuf,
    state: State,
    table: RwLock<Table>,
    /// Held while a mailbox is made, changed or removed: two at once must not undo each other.
    turn: Mutex<()>,
    happenings: broadcast::Sender<Happening>,
}

/// Integers that file names and vendors' interfaces use for owners start above this.
const FIRST_OWNER: u64 = 10_000;

impl Directory {
    /// Reads every mailbox's settings below `root`. What cannot be read is told, and takes no
    /// calls until it is mended.
    pub fn open(root: &Path, state: &State) -> Result<(Self, Vec<String>), Error> {
        let mut table = Table::default();
        let (ids, mut problems) = mailboxes(root)?;
        for (id, read) in read_all(root, &ids) {
            match read {
                Ok((mailbox, unknown)) => {
                    problems.extend(told(id, &mailbox, &unknown));
                    table.insert(id.clone(), mailbox);
                }
                Err(error) if error.is_missing() => {}
                Err(error) => problems.push(format!("mailbox {id} takes no calls: {error}")),
            }
        }
        let (root, state) = (root.to_owned(), state.clone());
        let turn = Mutex::default();
        let happenings = happening::channel();
        let inner = Inner { root, state, table: RwLock::new(table), turn, happenings };
        Ok((Self(Arc::new(inner)), problems))
    }

    pub fn find(&self, id: &MailboxId) -> Option<Arc<Mailbox>> {
        self.read(|table| table.get(id))
    }

    /// The mailbox whose integer this is.
    pub fn owned_by(&self, owner: u64) -> Option<(MailboxId, Arc<Mailbox>)> {
        self.read(|table| table.owned_by(owner))
    }

    /// The mailbox with this UUID, SIP address or outside number.
    pub fn named(&self, name: &str) -> Option<(MailboxId, Arc<Mailbox>)> {
        self.read(|table| table.named(name))
    }

    /// The mailboxes of one context by number.
    pub fn within(&self, context: &str) -> Vec<(MailboxId, Arc<Mailbox>)> {
        self.read(|table| table.within(context))
    }

    /// The first free number of this range.
    pub fn free_number(&self, context: &str, (first, last): (u64, u64)) -> Option<MailboxId> {
        self.read(|table| {
            let ids = (first..=last).filter_map(|n| MailboxId::new(context, &n.to_string()).ok());
            ids.into_iter().find(|id| table.get(id).is_none() && !self.dir(id).exists())
        })
    }

    /// Whose mailbox was dialled.
    pub fn resolve(&self, dialled: &Dialled) -> Result<(MailboxId, Arc<Mailbox>), NotFound> {
        self.read(|table| table.resolve(dialled))
    }

    pub fn has_context(&self, context: &str) -> bool {
        self.read(|table| table.has_context(context))
    }

    /// The highest of the owners' integers, as a count from the first.
    pub fn owners(&self) -> u64 {
        let all = self.read(Table::all);
        all.iter().map(|(_, mailbox)| mailbox.id.saturating_sub(FIRST_OWNER)).max().unwrap_or(0)
    }

    /// All mailboxes by context and number.
    pub fn all(&self) -> Vec<(MailboxId, Arc<Mailbox>)> {
        self.read(Table::all)
    }

    /// Mailboxes with this number, in any context.
    pub fn numbered(&self, number: &str) -> Vec<MailboxId> {
        self.read(|table| table.numbered(number))
    }

    /// Makes a mailbox and answers with its PIN, which is told nowhere else.
    pub async fn add(
        &self,
        id: &MailboxId,
        settings: &Settings,
        pin: impl Into<NewPin<'_>>,
        now: i64,
    ) -> Result<String, Error> {
        if self.find(id).is_some() {
            return Err(Error::Exists(id.clone()));
        }
        let owner = FIRST_OWNER + self.0.state.next(Counter::Mailbox).await?;
        let _turn = self.turn();
        if self.find(id).is_some() {
            return Err(Error::Exists(id.clone()));
        }
        let new = Mailbox::new(secret::fresh_uuid(), owner, now);
        let mut mailbox = self.changed(id, new, settings, now)?;
        let pin = self.set_pin(id, &mut mailbox, pin.into())?;
        let dir = self.dir(id);
        state::make_private(&dir)?;
        self.write(id, mailbox)?;
        Ok(pin)
    }

    /// Makes a mailbox with the PIN that it has elsewhere, however weak: its owner is then asked for
    /// a better one. Without a PIN one is drawn, and told only here. One that exists stays as it
    /// is. What a `dry` import answers is not done.
    pub async fn import(
        &self,
        id: &MailboxId,
        (settings, kept): (&Settings, &BTreeMap<String, String>),
        pin: Option<&str>,
        (now, dry): (i64, bool),
    ) -> Result<Imported, Error> {
        if self.find(id).is_some() {
            return Ok(Imported::default());
        }
        let weak = pin.is_some_and(|pin| pin::weakness(pin, id.number()).is_some());
        let mut imported = Imported { made: true, pin: None, weak };
        if dry {
            self.changed(id, Mailbox::new(secret::fresh_uuid(), 0, now), settings, now)?;
            return Ok(imported);
        }
        let wish = pin.map_or(NewPin::Unchanged, NewPin::Given);
        let told = self.add(id, settings, wish, now).await?;
        imported.pin = pin.is_none().then_some(told);
        if pin.is_some() && !weak {
            // Its owner has used it elsewhere.
            self.set_up(id, now)?;
        }
        let _turn = self.turn();
        file::keep(&self.dir(id), kept)?;
        Ok(imported)
    }

    pub fn edit<'p>(
        &self,
        id: &MailboxId,
        settings: &Settings,
        pin: impl Into<NewPin<'p>>,
        now: i64,
    ) -> Result<(), Error> {
        let _turn = self.turn();
        let kept = self.latest(id)?;
        let mut mailbox = self.changed(id, (*kept).clone(), settings, now)?;
        match pin.into() {
            // Also where it has none.
            NewPin::Unchanged => {}
            pin => drop(self.set_pin(id, &mut mailbox, pin)?),
        }
        mailbox.modified = now;
        self.write(id, mailbox)
    }

    /// Gives the mailbox another number: all that it holds goes along in one step.
    pub fn renumber(&self, id: &MailboxId, to: &MailboxId, now: i64) -> Result<(), Error> {
        let _turn = self.turn();
        let kept = self.find(id).ok_or_else(|| Error::NoSuchMailbox(id.clone()))?;
        let (from, there) = (self.dir(id), self.dir(to));
        // A directory without settings holds somebody's messages too.
        if self.find(to).is_some() || there.exists() {
            return Err(Error::Exists(to.clone()));
        }
        if let Some(context) = there.parent() {
            state::make_private(context)?;
        }
        fs::rename(&from, &there).map_err(|source| Error::Io {
            doing: "move",
            path: from,
            source,
        })?;
        let mailbox = Mailbox { modified: now, ..(*kept).clone() };
        self.forget(id, kept);
        // Its settings went along: they lack no more than the time of this change.
        if let Err(error) = file::write(&there, &mailbox) {
            warn!(mailbox = %to, "{error}");
        }
        self.holds(to, mailbox);
        Ok(())
    }

    fn changed(
        &self,
        id: &MailboxId,
        before: Mailbox,
        settings: &Settings,
        now: i64,
    ) -> Result<Mailbox, Error> {
        let rows = before.email.clone();
        let greeted = before.greeting;
        let mut mailbox = apply(before, settings)?;
        mailbox.email = settled(&rows, mailbox.email, now, Uuid::new_v4);
        if mailbox.greeting != greeted
            && let Some(sound) = mailbox.greeting
            && self.sound(id.context(), sound).is_none()
        {
            return Err(Error::Refused(format!("there is no sound {sound}")));
        }
        self.refuse_taken(id, &mailbox)?;
        Ok(mailbox)
    }

    /// Takes the mailbox away with all that it holds: into `.removed/`, not to nothing.
    pub fn remove(&self, id: &MailboxId) -> Result<(), Error> {
        let _turn = self.turn();
        let mailbox = self.find(id).ok_or_else(|| Error::NoSuchMailbox(id.clone()))?;
        let grave = self.0.root.join(".removed");
        state::make_private(&grave)?;
        // One that was copied back, and not moved, may still lie there.
        let names = (0..).map(|n| match n {
            0 => mailbox.uuid.to_string(),
            n => format!("{}.{n}", mailbox.uuid),
        });
        let mut places = names.map(|name| grave.join(name));
        let (from, to) = (self.dir(id), places.find(|place| !place.exists()).unwrap_or(grave));
        fs::rename(&from, &to).map_err(|source| Error::Io {
            doing: "move away",
            path: from,
            source,
        })?;
        self.forget(id, mailbox);
        Ok(())
    }

    /// Calls to a name that two mailboxes share reach neither.
    fn refuse_taken(&self, id: &MailboxId, mailbox: &Mailbox) -> Result<(), Error> {
        match self.read(|table| table.taken(id, mailbox)) {
            Some((name, owner)) => Err(Error::Taken { name, owner }),
            None => Ok(()),
        }
    }

    fn write(&self, id: &MailboxId, mailbox: Mailbox) -> Result<(), Error> {
        file::write(&self.dir(id), &mailbox)?;
        self.holds(id, mailbox);
        Ok(())
    }

    fn holds(&self, id: &MailboxId, mailbox: Mailbox) {
        let was = self.find(id);
        self.0.table.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), mailbox);
        self.tell(Happening::Settings { mailbox: id.clone(), was, is: self.find(id) });
    }

    fn forget(&self, id: &MailboxId, was: Arc<Mailbox>) {
        self.0.table.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.tell(Happening::Settings { mailbox: id.clone(), was: Some(was), is: None });
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dir(&self, id: &MailboxId) -> PathBuf {
        self.0.root.join(id.path())
    }

    fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.0.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keys that say who a mailbox is: nobody sets them.
const FIXED: [&str; 7] = ["uuid", "id", "created", "modified", "pin", "pin_weak", "earlier_pins"];

/// The settings with these changed. Empty text takes an optional one away.
fn apply(mailbox: Mailbox, settings: &Settings) -> Result<Mailbox, Error> {
    let refuse = |why: String| Error::Refused(why);
    let known = file::keys(&mailbox);
    let mut written = serde_json::to_value(mailbox).map_err(|e| refuse(e.to_string()))?;
    for (key, value) in settings {
        if FIXED.contains(&key.as_str()) || !known.contains(key) {
            return Err(refuse(format!("a mailbox has no setting `{}`", key.escape_debug())));
        }
        if let Some(object) = written.as_object_mut() {
            if value.as_str().is_some_and(str::is_empty) && key != "name" {
                object.remove(key);
            } else {
                object.insert(key.clone(), value.clone());
            }
        }
    }
    let mailbox: Mailbox = serde_json::from_value(written).map_err(|e| refuse(e.to_string()))?;
    let mut problems = mailbox.problems();
    if let Some(zone) = &mailbox.time_zone
        && TimeZone::get(zone).is_err()
    {
        problems.push(format!("time_zone `{}` is not like Europe/Berlin", zone.escape_debug()));
    }
    if problems.is_empty() { Ok(mailbox) } else { Err(refuse(problems.join("; "))) }
}

/// What there is to tell people about what they wrote.
fn told(id: &MailboxId, mailbox: &Mailbox, unknown: &[String]) -> Vec<String> {
    let unknown =
        unknown.iter().map(|key| format!("mailbox.toml has a key that means nothing: {key}"));
    unknown.chain(mailbox.problems()).map(|why| format!("mailbox {id}: {why}")).collect()
}

/// Every mailbox's directory, and what is wrong with contexts that cannot be read.
fn mailboxes(root: &Path) -> Result<(Vec<MailboxId>, Vec<String>), Error> {
    let (mut ids, mut problems) = (vec![], vec![]);
    // Every disk of its own has a `lost+found`, which only root may read.
    for context in directories(root)?.iter().filter(|context| *context != "lost+found") {
        match directories(&root.join(context)) {
            Ok(numbers) => {
                let found = numbers.iter().map(|number| MailboxId::new(context, number));
                ids.extend(found.filter_map(Result::ok));
            }
            Err(error) => problems.push(format!(
                "the mailboxes of context {} take no calls until the user that this runs as can \
                 read their directory and it is started again: {error}",
                context.escape_debug()
            )),
        }
    }
    Ok((ids, problems))
}

type Read = Result<(Mailbox, Vec<String>), Error>;

/// Settings of many, on all processors: a start waits for them.
fn read_all<'i>(root: &Path, ids: &'i [MailboxId]) -> Vec<(&'i MailboxId, Read)> {
    let read = |part: &'i [MailboxId]| -> Vec<(&'i MailboxId, Read)> {
        part.iter().map(|id| (id, file::read(&root.join(id.path())))).collect()
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let each = ids.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts = ids.chunks(each).map(|part| (part, scope.spawn(move || read(part))));
        let parts: Vec<_> = parts.collect();
        // A panic is a fault in here, not in a file.
        parts
            .into_iter()
            .flat_map(|(part, thread)| thread.join().unwrap_or_else(|_| read(part)))
            .collect()
    })
}

fn directories(dir: &Path) -> Result<Vec<String>, Error> {
    let io = |source| Error::Io { doing: "read the directory", path: dir.to_owned(), source };
    let mut names = vec![];
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && entry.path().is_dir()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
pub(super) mod tests;
