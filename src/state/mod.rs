//! What is not in the spool's tree: counters that never go back, who may ask, wrong attempts, the
//! audit trail, and the key of the PINs.
//!
//! `<state>/state.db` and `<state>/pin.key`, both readable by their owner alone. One
//! process at a time: a lock on `<state>/lock` says whose turn it is.

pub mod attempt;
pub mod audit;
pub mod credential;
mod fact;
mod foreign;
pub mod organization;
pub mod outbox;
pub mod seal;
pub mod session;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use attempt::Attempts;
use audit::Trail;
use organization::Organization;
use seal::PinKey;
use tokio::sync::Notify;
use tracing::warn;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{0} is in use by another afterbeep: stop it first, or talk to it through its control socket"
    )]
    InUse(PathBuf),
    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the state database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// Whether the disk has no room.
    pub fn says_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Database(sqlx::Error::Database(error)) => error.code().as_deref() == Some("13"),
            Self::Database(_) | Self::InUse(_) | Self::Refused(_) => false,
        }
    }
}

/// Cheap to clone: everybody holds the same state.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    /// One at a time.
    snapshot: tokio::sync::Mutex<()>,
    pool: SqlitePool,
    pin_key: PinKey,
    leases: [Mutex<Lease>; 3],
    /// Who leases numbers: one at a time, however many wait for them.
    leasing: tokio::sync::Mutex<()>,
    /// Counts changes of the credentials; what was known before one is not known after it.
    credentials_version: AtomicU64,
    /// What passwords are checked in: as much as is checked at one time.
    memory: credential::Memory,
    attempts: Attempts,
    trail: Trail,
    /// Somebody wants what waits to be tried at once.
    retried: Notify,
    organizations: Mutex<HashMap<String, Organization>>,
    _lock: Flock<File>,
}

/// Numbers that are drawn one by one and never given twice, not even after a crash: the database
/// holds how far a block reaches before its first number is used.
#[derive(Clone, Copy, Debug)]
pub enum Counter {
    Call,
    Message,
    Mailbox,
}

impl Counter {
    fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Message => "message",
            Self::Mailbox => "mailbox",
        }
    }

    /// How many numbers are leased at once; what a crash leaves of a block is never used.
    fn block(self) -> u64 {
        match self {
            Self::Call | Self::Message => 10_000,
            Self::Mailbox => 1,
        }
    }
}

/// Numbers that may be given without asking the database.
#[derive(Default)]
struct Lease {
    now: Range<u64>,
    ahead: Option<Range<u64>>,
    asked: bool,
}

enum Drawn {
    Number(u64),
    /// More should be leased now.
    NearlyLast(u64),
    UsedUp,
}

impl Lease {
    fn draw(&mut self, block: u64) -> Drawn {
        if self.now.is_empty() {
            (self.now, self.asked) = (self.ahead.take().unwrap_or_default(), false);
        }
        let Some(number) = self.now.next() else { return Drawn::UsedUp };
        let left = self.now.end - self.now.start;
        if left > 0 && left < block / 2 && !self.asked && self.ahead.is_none() {
            self.asked = true;
            return Drawn::NearlyLast(number);
        }
        Drawn::Number(number)
    }

    /// There is no block after this one.
    fn is_last(&self) -> bool {
        self.ahead.is_none()
    }

    fn is_used_up(&self) -> bool {
        self.now.is_empty() && self.ahead.is_none()
    }

    /// Every number up to this one was given, or is never given.
    fn has_passed(&self, number: u64) -> bool {
        number < self.now.start
    }
}

/// A disk may hang for so long before what is written counts as failed.
const BUSY: Duration = Duration::from_secs(30);
/// No number is larger: JSON's numbers are whole up to here.
pub const HIGHEST: u64 = 1 << 53;
/// A tree that claims a larger one is not followed there: numbers to come need room.
const FARTHEST: u64 = HIGHEST / 2;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, high_water INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS credential (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
    context TEXT, mailbox TEXT, allow TEXT NOT NULL, expires INTEGER, note TEXT NOT NULL,
    hash TEXT NOT NULL, created INTEGER NOT NULL, UNIQUE (kind, name)) STRICT;
CREATE TABLE IF NOT EXISTS session (
    hash TEXT PRIMARY KEY, door TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    expires INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS attempt (
    subject TEXT NOT NULL, door TEXT NOT NULL, failures INTEGER NOT NULL, last INTEGER NOT NULL,
    until INTEGER NOT NULL, PRIMARY KEY (subject, door)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, door TEXT NOT NULL,
    source TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL,
    before TEXT NOT NULL, mark TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS organization (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, account INTEGER NOT NULL,
    context TEXT NOT NULL UNIQUE, name TEXT NOT NULL, created INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
-- Ids of messages whose sidecar has none: another program's.
CREATE TABLE IF NOT EXISTS foreign_message (
    mailbox TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (mailbox, key)) STRICT, WITHOUT ROWID;
";

/// A counter that was driven to its end begins anew, after what is known here; the tree tells
/// the rest.
const MEND: &str = "
DELETE FROM foreign_message WHERE number > 9007199254740992;
UPDATE counter SET high_water = (SELECT coalesce(max(number), 0) + 1 FROM foreign_message)
    WHERE high_water > 9007199254740992;
";

impl State {
    /// Opens the state in `dir`, making it where there is none.
    pub async fn open(dir: &Path) -> Result<Self, Error> {
        make_private(dir)?;
        let lock = lock(&dir.join("lock"))?;
        let pin_key = PinKey::load(&dir.join("pin.key"))?;
        let database = dir.join("state.db");
        // SQLite would make the file with the process's umask.
        private_file(&database).map_err(|source| Error::Io {
            doing: "make",
            path: database.clone(),
            source,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(&database)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        sqlx::raw_sql(outbox::SCHEMA).execute(&pool).await?;
        sqlx::raw_sql(MEND).execute(&pool).await?;
        attempt::prune(&pool, now()).await?;
        let attempts = Attempts::load(&pool).await?;
        let trail = Trail::new(pin_key.derived("audit"));
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            snapshot: tokio::sync::Mutex::default(),
            pool,
            pin_key,
            leases: Default::default(),
            leasing: tokio::sync::Mutex::default(),
            credentials_version: AtomicU64::new(0),
            memory: credential::Memory::default(),
            attempts,
            trail,
            retried: Notify::new(),
            organizations: Mutex::default(),
            _lock: lock,
        })))
    }

    pub fn pin_key(&self) -> &PinKey {
        &self.0.pin_key
    }

    /// The next number of `counter`, from 1. A new block is leased before the old one is used up:
    /// a caller waits for the disk only where numbers go faster than it.
    pub async fn next(&self, counter: Counter) -> Result<u64, Error> {
        loop {
            let drawn = self.lease(counter).draw(counter.block());
            match drawn {
                Drawn::Number(number) => return Ok(number),
                Drawn::NearlyLast(number) => {
                    let state = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = state.extend(counter, Lease::is_last).await {
                            warn!("no numbers could be leased in advance: {error}");
                        }
                    });
                    return Ok(number);
                }
                Drawn::UsedUp => self.extend(counter, Lease::is_used_up).await?,
            }
        }
    }

    /// Leases another block where the lease needs one, unless somebody has done so meanwhile.
    async fn extend(&self, counter: Counter, needs: fn(&Lease) -> bool) -> Result<(), Error> {
        let _turn = self.0.leasing.lock().await;
        if !needs(&self.lease(counter)) {
            return Ok(());
        }
        let block = counter.block();
        let end: i64 = sqlx::query_scalar(
            "INSERT INTO counter (name, high_water) VALUES (?1, ?2 + 1)
             ON CONFLICT (name) DO UPDATE SET high_water = min(high_water, ?3) + ?2
             RETURNING high_water",
        )
        .bind(counter.name())
        .bind(i64::try_from(block).unwrap_or(i64::MAX))
        .bind(i64::try_from(HIGHEST).unwrap_or(i64::MAX))
        .fetch_one(&self.0.pool)
        .await?;
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        self.lease(counter).ahead = Some(end - block..end);
        Ok(())
    }

    /// Numbers up to this one were given before: the tree holds one that the database has forgotten.
    pub async fn given(&self, counter: Counter, number: u64) -> Result<(), Error> {
        let number = number.min(FARTHEST);
        if self.lease(counter).has_passed(number) {
            return Ok(());
        }
        let next = i64::try_from(number + 1).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO counter (name, high_water) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET high_water = max(high_water, ?2)",
        )
        .bind(counter.name())
        .bind(next)
        .execute(&self.0.pool)
        .await?;
        // The rest of the blocks may lie below: give them up.
        *self.lease(counter) = Lease::default();
        Ok(())
    }

    fn lease(&self, counter: Counter) -> MutexGuard<'_, Lease> {
        self.0.leases[counter as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it lies: other databases lie beside it.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// A copy of the database as it is now, in a file that nobody else has; it replaces the one that
    /// was made before. Calls go on meanwhile.
    pub async fn snapshot(&self) -> Result<PathBuf, Error> {
        let _turn = self.0.snapshot.lock().await;
        let path = self.0.dir.join("snapshot.db");
        let io = |doing| {
            let path = path.clone();
            move |source| Error::Io { doing, path, source }
        };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io("remove")(error));
            }
            Ok(()) | Err(_) => {}
        }
        // SQLite fills an empty file, which is private already.
        private_file(&path).map_err(io("make"))?;
        let name = path.to_string_lossy().into_owned();
        sqlx::query("VACUUM INTO ?1").bind(name).execute(&self.0.pool).await?;
        Ok(path)
    }

    /// Writes everything out: the last thing before the process ends.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }
}

/// Unix seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A directory for its owner alone, with its parents.
pub fn make_private(dir: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| Error::Io {
        doing: "make the directory",
        path: dir.to_owned(),
        source,
    })
}

/// Claims `path` for this process until it ends.
pub fn lock(path: &Path) -> Result<Flock<File>, Error> {
    let file = private_file(path).map_err(|source| Error::Io {
        doing: "open",
        path: path.to_owned(),
        source,
    })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => Error::InUse(path.parent().unwrap_or(path).to_owned()),
        errno => Error::Io { doing: "lock", path: path.to_owned(), source: errno.into() },
    })
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Reads a whole file, or makes it with `content` where there is none.
fn read_or_make(path: &Path, content: &[u8]) -> io::Result<Vec<u8>> {
    use std::io::Write;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            file.write_all(content)?;
            file.sync_all()?;
            if let Some(dir) = path.parent() {
                File::open(dir)?.sync_all()?;
            }
            Ok(content.to_vec())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::read(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_number_is_never_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let first = state.next(Counter::Message).await.unwrap();
        let second = state.next(Counter::Message).await.unwrap();
        assert_eq!((first, second), (1, 2));
        assert_eq!(state.next(Counter::Mailbox).await.unwrap(), 1);
        assert_eq!(state.next(Counter::Mailbox).await.unwrap(), 2);
        drop(state); // as a crash would: the rest of the block is given up
        let state = State::open(dir.path()).await.unwrap();
        assert!(state.next(Counter::Message).await.unwrap() > second);
        assert_eq!(state.next(Counter::Mailbox).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_new_block_is_leased_before_the_old_one_is_used_up() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        for wanted in 1..=25_000 {
            assert_eq!(state.next(Counter::Call).await.unwrap(), wanted);
            if wanted % 10_000 == 6_000 {
                while state.lease(Counter::Call).ahead.is_none() {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    #[tokio::test]
    async fn however_many_wait_for_the_first_number_one_block_is_leased() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let state = state.clone();
            callers.spawn(async move { state.next(Counter::Message).await.unwrap() });
        }
        let mut numbers = callers.join_all().await;
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn numbers_found_in_the_tree_are_not_given_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        assert_eq!(state.next(Counter::Message).await.unwrap(), 1);
        state.given(Counter::Message, 816).await.unwrap();
        assert!(state.next(Counter::Message).await.unwrap() > 816);
        state.given(Counter::Message, 3).await.unwrap();
        assert!(state.next(Counter::Message).await.unwrap() > 816);
    }

    #[tokio::test]
    async fn no_claim_drives_a_counter_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        state.given(Counter::Message, u64::MAX).await.unwrap();
        assert_eq!(state.next(Counter::Message).await.unwrap(), FARTHEST + 1);
        sqlx::raw_sql("UPDATE counter SET high_water = 9223372036854775807")
            .execute(&state.0.pool)
            .await
            .unwrap();
        state.extend(Counter::Message, |_| true).await.unwrap();
        drop(state);
        let state = State::open(dir.path()).await.unwrap();
        assert_eq!(state.next(Counter::Message).await.unwrap(), 1, "healed");
    }

    #[tokio::test]
    async fn two_daemons_do_not_share_a_state() {
        let dir = tempfile::tempdir().unwrap();
        let _first = State::open(dir.path()).await.unwrap();
        assert!(matches!(State::open(dir.path()).await, Err(Error::InUse(_))));
    }
}
