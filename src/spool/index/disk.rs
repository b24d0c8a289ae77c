//! The index's durable half: `<state>/index.db`, which may be thrown away at any time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use futures_util::TryStreamExt;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::run::Entry;
use crate::mailbox::{Folder, MailboxId};

pub(super) struct Disk {
    path: PathBuf,
    /// Another one once the database is filled.
    pool: RwLock<SqlitePool>,
}

/// What an earlier run has left.
#[derive(Default)]
pub(super) struct Loaded {
    /// The last run told that it had written everything.
    pub(super) clean: bool,
    /// There was none.
    pub(super) is_new: bool,
    pub(super) mailboxes: Vec<(u32, MailboxId)>,
    pub(super) folders: Vec<(u16, Folder)>,
    pub(super) stamps: Vec<(u32, u16, i64)>,
    pub(super) entries: Vec<(u32, Vec<Entry>)>,
}

/// A database of another version is made anew.
const VERSION: i64 = 2;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mailbox (
    id INTEGER PRIMARY KEY, context TEXT NOT NULL, number TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS folder (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
-- When a folder was last read: its time of modification then; 0 where that may be too early.
CREATE TABLE IF NOT EXISTS stamp (
    mailbox INTEGER NOT NULL, folder INTEGER NOT NULL, modified INTEGER NOT NULL,
    PRIMARY KEY (mailbox, folder)) STRICT, WITHOUT ROWID;
-- What memory holds of each message, small, so that a start reads little.
CREATE TABLE IF NOT EXISTS place (
    mailbox INTEGER NOT NULL, number INTEGER NOT NULL, entry BLOB NOT NULL,
    PRIMARY KEY (mailbox, number)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY, id_hash INTEGER NOT NULL, stem_hash INTEGER NOT NULL,
    seen BLOB NOT NULL, record BLOB NOT NULL) STRICT;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    mailbox, name, number, transcript, content='', contentless_delete=1, detail='column',
    tokenize='unicode61 remove_diacritics 2');
";

/// What finds single messages. Made last where a whole tree is read: sorted once is cheaper than
/// inserted a million times in no order.
const WAYS: &str = "
CREATE INDEX IF NOT EXISTS message_id ON message (id_hash);
CREATE INDEX IF NOT EXISTS message_stem ON message (stem_hash);
";

/// While a whole tree is read: words are gathered for longer before they are written, and what was
/// written is put together in larger steps.
const FILLING: &str = "
INSERT INTO words (words, rank) VALUES ('hashsize', 67108864);
INSERT INTO words (words, rank) VALUES ('automerge', 16);
";
/// SQLite's own measures.
const FILLED: &str = "
INSERT INTO words (words, rank) VALUES ('hashsize', 1048576);
INSERT INTO words (words, rank) VALUES ('automerge', 4);
";

/// KiB of pages that each connection remembers, and the one that fills.
const CACHE: &str = "-8000";
const CACHE_FILLING: &str = "-64000";
/// Removes a database with all that lies beside it; last what says that it is not whole.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal", UNFILLED] {
        match fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The end of the name of a file that is there until a whole tree was read: without care for what
/// a crash would leave, which is thrown away then.
const UNFILLED: &str = "-unfilled";

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_beside(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

impl Disk {
    /// Opens the database; what cannot be used is thrown away. `place` tells this spool from any
    /// other.
    pub(super) async fn open(path: &Path, place: &str) -> Result<(Self, Loaded), sqlx::Error> {
        if path.exists() && !beside(path, UNFILLED).exists() {
            match Self::try_open(path, place).await {
                Ok(Some(opened)) => return Ok(opened),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("{} is damaged and made anew: {error}", path.display());
                }
            }
        }
        Self::make(path, place).await
    }

    /// An empty database, to be filled from the tree.
    async fn make(path: &Path, place: &str) -> Result<(Self, Loaded), sqlx::Error> {
        remove(path)?;
        File::create(beside(path, UNFILLED))?;
        sync_beside(path)?;
        let options = options(path)
            .journal_mode(SqliteJournalMode::Memory)
            .synchronous(SqliteSynchronous::Off)
            .pragma("cache_size", CACHE_FILLING);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        sqlx::raw_sql(FILLING).execute(&pool).await?;
        let disk = Self { path: path.to_owned(), pool: RwLock::new(pool) };
        disk.set_meta("place", &ours(place)).await?;
        Ok((disk, Loaded { is_new: true, ..Loaded::default() }))
    }

    /// Now that it holds the whole tree single messages are found quickly, and a crash leaves it
    /// whole.
    pub(super) async fn is_filled(&self) -> Result<(), sqlx::Error> {
        let filling = self.pool();
        sqlx::raw_sql(WAYS).execute(&filling).await?;
        sqlx::raw_sql(FILLED).execute(&filling).await?;
        filling.close().await;
        let path = self.path.clone();
        let safe = tokio::task::spawn_blocking(move || {
            File::open(&path)?.sync_all()?;
            fs::remove_file(beside(&path, UNFILLED))?;
            sync_beside(&path)
        });
        safe.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
        let pool = keeping(&self.path).await?;
        *self.pool.write().unwrap_or_else(PoisonError::into_inner) = pool;
        Ok(())
    }

    pub(super) fn pool(&self) -> SqlitePool {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn try_open(path: &Path, place: &str) -> Result<Option<(Self, Loaded)>, sqlx::Error> {
        let pool = keeping(path).await?;
        let disk = Self { path: path.to_owned(), pool: RwLock::new(pool) };
        let loaded = disk.load(place).await;
        if !matches!(loaded, Ok(Some(_))) {
            disk.pool().close().await;
        }
        Ok(loaded?.map(|loaded| (disk, loaded)))
    }

    async fn load(&self, place: &str) -> Result<Option<Loaded>, sqlx::Error> {
        let pool = self.pool();
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        if self.meta("place").await?.is_none_or(|told| told != ours(place)) {
            return Ok(None);
        }
        let clean = self.meta("clean").await?.as_deref() == Some("yes");
        self.set_meta("clean", "no").await?;
        let mut loaded = Loaded { clean, ..Loaded::default() };
        let rows: Vec<(i64, String, String)> =
            sqlx::query_as("SELECT id, context, number FROM mailbox")
                .fetch_all(&self.pool())
                .await?;
        for (id, context, number) in rows {
            if let (Ok(id), Ok(mailbox)) = (u32::try_from(id), MailboxId::new(&context, &number)) {
                loaded.mailboxes.push((id, mailbox));
            }
        }
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT id, name FROM folder").fetch_all(&self.pool()).await?;
        for (id, name) in rows {
            if let (Ok(id), Some(folder)) = (u16::try_from(id), Folder::named(&name)) {
                loaded.folders.push((id, folder));
            }
        }
        let rows: Vec<(i64, i64, i64)> =
            sqlx::query_as("SELECT mailbox, folder, modified FROM stamp")
                .fetch_all(&self.pool())
                .await?;
        for (mailbox, folder, modified) in rows {
            if let (Ok(mailbox), Ok(folder)) = (u32::try_from(mailbox), u16::try_from(folder)) {
                loaded.stamps.push((mailbox, folder, modified));
            }
        }
        // One row a mailbox: a row a message would cost a second more for a million of them.
        let mut rows = sqlx::query_as::<_, (i64, String)>(
            "SELECT mailbox, group_concat(hex(entry), '') FROM place GROUP BY mailbox",
        )
        .fetch(&pool);
        while let Some((mailbox, hex)) = rows.try_next().await? {
            let Ok(mailbox) = u32::try_from(mailbox) else { continue };
            let entries = hex.as_bytes().chunks_exact(48).filter_map(|hex| {
                let mut bytes = [0; 24];
                for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
                    *byte = digit(pair[0]) << 4 | digit(pair[1]);
                }
                Entry::from_bytes(&bytes)
            });
            loaded.entries.push((mailbox, entries.collect()));
        }
        drop(rows);
        Ok(Some(loaded))
    }

    async fn meta(&self, key: &str) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT value FROM meta WHERE key = ?1")
            .bind(key)
            .fetch_optional(&self.pool())
            .await
    }

    async fn set_meta(&self, key: &str, value: &str) -> Result<(), sqlx::Error> {
        let set = "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
        sqlx::query(set).bind(key).bind(value).execute(&self.pool()).await.map(|_| ())
    }

    /// The last thing: all is written.
    pub(super) async fn close(&self, clean: bool) {
        if clean && let Err(error) = self.set_meta("clean", "yes").await {
            tracing::warn!("the index will be compared with the tree at the next start: {error}");
        }
        self.pool().close().await;
    }
}

/// How the database is opened once it is filled.
async fn keeping(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        // What a power cut takes away the next start reads from the tree.
        .synchronous(SqliteSynchronous::Normal)
        .pragma("cache_size", CACHE);
    // A connection to a file does not break while nobody looks.
    let pool = SqlitePoolOptions::new().max_connections(4).test_before_acquire(false);
    pool.connect_with(options).await
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).create_if_missing(true)
}

fn ours(place: &str) -> String {
    format!("{VERSION} {place}")
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        b'A'..=b'F' => hex - b'A' + 10,
        _ => 0,
    }
}
