//! Who has a mailbox: found by number, address or identity; made, edited and removed.
//!
//! The settings lie in the spool's tree, one `mailbox.toml` in each mailbox's directory; this is
//! their one reader and writer. A directory without one holds messages but takes no calls.

mod file;
mod hand;
mod happening;
pub mod import;
mod owner;
mod secret;
mod sound;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tracing::warn;
use uuid::Uuid;

use crate::mailbox::greeting::{Greeting, Recorded};
use crate::mailbox::{Formats, Mailbox, MailboxId, pin, settled};
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
/// Files of one recording are written within this time.
const TOGETHER: Duration = Duration::from_secs(5);

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

    /// Which of the owner's greetings exist.
    pub fn recorded(&self, id: &MailboxId) -> Recorded {
        let has = |greeting| self.recording(id, greeting).is_some();
        Recorded {
            temporary: has(Greeting::Temporary),
            unavailable: has(Greeting::Unavailable),
            busy: has(Greeting::Busy),
            name: has(Greeting::Name),
        }
    }

    /// The recording that is played: the latest, and of several that were made together, as
    /// Asterisk makes them, the one that sounds best.
    pub fn recording(&self, id: &MailboxId, greeting: Greeting) -> Option<PathBuf> {
        let chosen = self.greeting(id, greeting);
        if chosen.parent() != Some(&self.dir(id)) {
            return Some(chosen).filter(|path| path.is_file());
        }
        let dated = self.recordings(id, greeting).into_iter().filter_map(|path| {
            let modified = path.metadata().ok()?.modified().ok()?;
            Some((path, modified))
        });
        let dated: Vec<_> = dated.collect();
        let latest = dated.iter().map(|(_, modified)| *modified).max()?;
        let together = |modified| latest.duration_since(modified).is_ok_and(|past| past < TOGETHER);
        dated.into_iter().find(|(_, modified)| together(*modified)).map(|(path, _)| path)
    }

    /// Every file of a greeting of the owner's, the best first: who removes it removes them all.
    pub fn recordings(&self, id: &MailboxId, greeting: Greeting) -> Vec<PathBuf> {
        let dir = self.dir(id);
        let entries = fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok);
        let formats = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (stem, extension) = name.rsplit_once('.')?;
            Formats::named(extension).filter(|_| stem == greeting.stem())
        });
        let Some(formats) = formats.reduce(Formats::and) else { return vec![] };
        let paths = formats.extensions().map(|e| dir.join(greeting.stem()).with_extension(e));
        paths.filter(|path| path.is_file()).collect()
    }

    /// Where the owner's recording is put, or the sound that the mailbox was given.
    pub fn greeting(&self, id: &MailboxId, greeting: Greeting) -> PathBuf {
        if greeting == Greeting::Unavailable
            && let Some(sound) = self.find(id).and_then(|mailbox| mailbox.greeting)
            && self.sound(id.context(), sound).is_some()
        {
            return self.sound_path(id.context(), sound);
        }
        self.own_greeting(id, greeting)
    }

    fn own_greeting(&self, id: &MailboxId, greeting: Greeting) -> PathBuf {
        self.dir(id).join(greeting.stem()).with_extension("wav")
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
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    async fn directory(dir: &Path) -> Directory {
        let state = State::open(&dir.join("state")).await.unwrap();
        fs::create_dir_all(dir.join("spool")).unwrap();
        let (directory, problems) = Directory::open(&dir.join("spool"), &state).unwrap();
        assert_eq!(problems, Vec::<String>::new());
        directory
    }

    pub fn settings(value: &Value) -> Settings {
        value.as_object().unwrap().clone()
    }

    #[tokio::test]
    async fn a_mailbox_is_made_edited_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path()).await;
        let id: MailboxId = "1000@sales".parse().unwrap();
        let wishes =
            settings(&json!({"name": "Jane", "email": ["j@x.org"], "notify_email": "attach"}));
        let pin = directory.add(&id, &wishes, None, 7).await.unwrap();
        assert_eq!(pin.len(), 6);
        assert!(matches!(directory.add(&id, &wishes, None, 7).await, Err(Error::Exists(_))));
        let edit = settings(&json!({"e164": "+12125550100"}));
        directory.edit(&id, &edit, Some("4821"), 9).unwrap();
        let mailbox = directory.find(&id).unwrap();
        assert_eq!((mailbox.name.as_str(), mailbox.modified), ("Jane", 9));
        let key = directory.0.state.pin_key();
        assert!(key.is_pin(mailbox.uuid, &mailbox.pin, "4821"));
        directory.edit(&id, &settings(&json!({"e164": ""})), None, 9).unwrap();
        assert_eq!(directory.find(&id).unwrap().e164, None);
        let file = || fs::read_to_string(dir.path().join("spool/sales/1000/mailbox.toml")).unwrap();
        let rules = json!([{"greeting": "evening"}]);
        let wishes = json!({"clock": 24, "temporary_until": 5, "greeting_rules": rules});
        directory.edit(&id, &settings(&wishes), None, 9).unwrap();
        assert!(file().contains("clock = 24") && file().contains("evening"), "{}", file());
        let none = json!({"clock": "", "temporary_until": "", "greeting_rules": []});
        directory.edit(&id, &settings(&none), None, 9).unwrap();
        for gone in ["clock", "temporary_until", "evening"] {
            assert!(!file().contains(gone), "{}", file());
        }
        let [to, taken] = ["2000@sales", "3000"].map(|id| id.parse().unwrap());
        directory.add(&taken, &Settings::new(), None, 7).await.unwrap();
        assert!(matches!(directory.renumber(&id, &taken, 10), Err(Error::Exists(_))));
        directory.renumber(&id, &to, 10).unwrap();
        assert!(directory.find(&id).is_none());
        assert_eq!(directory.owned_by(mailbox.id).unwrap().0, to);
        assert_eq!(directory.named(&mailbox.uuid.to_string()).unwrap().1.modified, 10);
        directory.remove(&to).unwrap();
        assert!(directory.find(&to).is_none());
        let grave = dir.path().join("spool/.removed").join(mailbox.uuid.to_string());
        assert!(grave.join("mailbox.toml").is_file());
    }

    /// What was moved is not lost because a full disk takes no new time for it.
    #[tokio::test]
    async fn a_mailbox_whose_settings_cannot_be_written_is_renumbered() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path()).await;
        let [id, to] = ["1000", "2000"].map(|id| id.parse().unwrap());
        directory.add(&id, &settings(&json!({"name": "Jane"})), None, 7).await.unwrap();
        fs::create_dir(directory.dir(&id).join(".mailbox.toml.new")).unwrap();
        directory.renumber(&id, &to, 10).unwrap();
        assert!(directory.find(&id).is_none());
        assert_eq!(directory.find(&to).unwrap().name, "Jane");
    }

    #[tokio::test]
    async fn a_mailbox_that_was_copied_back_is_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path()).await;
        let id: MailboxId = "1000".parse().unwrap();
        directory.add(&id, &Settings::new(), None, 7).await.unwrap();
        let uuid = directory.find(&id).unwrap().uuid;
        directory.remove(&id).unwrap();
        let grave = dir.path().join("spool/.removed");
        fs::create_dir(directory.dir(&id)).unwrap();
        let text = grave.join(uuid.to_string()).join("mailbox.toml");
        fs::copy(text, directory.dir(&id).join("mailbox.toml")).unwrap();
        let (again, _) = Directory::open(&dir.path().join("spool"), &directory.0.state).unwrap();
        again.remove(&id).unwrap();
        for name in [uuid.to_string(), format!("{uuid}.1")] {
            assert!(grave.join(name).join("mailbox.toml").is_file());
        }
    }

    #[tokio::test]
    async fn what_belongs_to_one_mailbox_is_refused_to_another() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path()).await;
        let [first, second] = ["1000", "1000@sales"].map(|id| id.parse().unwrap());
        let hers = json!({"e164": "+12125550100", "sip_address": "jane@example.com"});
        directory.add(&first, &settings(&hers), None, 7).await.unwrap();
        directory.edit(&first, &settings(&hers), None, 8).unwrap();
        for wish in [json!({"e164": "+12125550100"}), json!({"sip_address": "Jane@Example.com"})] {
            let added = directory.add(&second, &settings(&wish), None, 7).await;
            assert!(matches!(added, Err(Error::Taken { .. })), "{wish}: {added:?}");
        }
        directory.add(&second, &Settings::new(), None, 7).await.unwrap();
        assert!(directory.edit(&second, &settings(&hers), None, 8).is_err());
    }

    #[tokio::test]
    async fn settings_survive_and_strangers_keys_stay() {
        let dir = tempfile::tempdir().unwrap();
        let id: MailboxId = "1000".parse().unwrap();
        let state = State::open(&dir.path().join("state")).await.unwrap();
        let root = dir.path().join("spool");
        fs::create_dir_all(&root).unwrap();
        let (directory, _) = Directory::open(&root, &state).unwrap();
        directory.add(&id, &settings(&json!({"name": "Zoë \"Z\""})), None, 7).await.unwrap();
        let path = root.join("default/1000/mailbox.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("portal_skin = 'blue'\n{text}")).unwrap();
        let (directory, problems) = Directory::open(&root, &state).unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        directory.edit(&id, &settings(&json!({"say_duration": true})), None, 8).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("portal_skin = \"blue\"") && text.contains("say_duration = true"));
        let (directory, _) = Directory::open(&root, &state).unwrap();
        assert_eq!(directory.find(&id).unwrap().name, "Zoë \"Z\"");
    }

    #[tokio::test]
    async fn a_broken_file_is_told_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state")).await.unwrap();
        let root = dir.path().join("spool");
        let path = root.join("default/1000/mailbox.toml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "uuid = [").unwrap();
        let (directory, problems) = Directory::open(&root, &state).unwrap();
        assert_eq!(problems.len(), 1);
        let id: MailboxId = "1000".parse().unwrap();
        assert!(directory.find(&id).is_none());
        assert!(directory.add(&id, &Settings::new(), None, 0).await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "uuid = [");
    }

    #[tokio::test]
    async fn what_cannot_be_set_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let directory = directory(dir.path()).await;
        let id: MailboxId = "1000".parse().unwrap();
        for wrong in [
            json!({"uuid": "00000000-0000-0000-0000-000000000000"}),
            json!({"colour": "red"}),
            json!({"notify_email": "sometimes"}),
            json!({"notify_email": "yes"}),
            json!({"email": ["no address"]}),
            json!({"time_zone": "Europe/Atlantis"}),
            json!({"min_seconds": 9, "max_seconds": 3}),
        ] {
            let added = directory.add(&id, &settings(&wrong), None, 0).await;
            assert!(matches!(added, Err(Error::Refused(_))), "{wrong}: {added:?}");
        }
        assert!(directory.add(&id, &Settings::new(), Some("1234"), 0).await.is_err());
        assert!(!dir.path().join("spool/default").exists());
    }
}
