//! The index's durable half: `<state>/index.db`, which may be thrown away at any time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::TryStreamExt;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::record::{self, Seen};
use super::run::Entry;
use crate::mailbox::{Folder, Formats, MailboxId, Message, MessageId, Stem};

pub(super) struct Disk {
    path: PathBuf,
    /// Another one once the database is filled.
    pool: RwLock<SqlitePool>,
}

/// A message in its place.
#[derive(Clone, Debug)]
pub(super) struct Filed {
    pub(super) mailbox: u32,
    pub(super) entry: Entry,
    pub(super) message: Arc<Message>,
    pub(super) seen: Seen,
}

/// What has changed since the last writing.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) mailboxes: Vec<(u32, Option<MailboxId>)>,
    pub(super) folders: Vec<(u16, Folder)>,
    pub(super) stamps: Vec<(u32, u16, i64)>,
    pub(super) gone: Vec<(u32, u64)>,
    pub(super) put: Vec<Arc<Filed>>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.mailboxes.is_empty()
            && self.folders.is_empty()
            && self.stamps.is_empty()
            && self.gone.is_empty()
            && self.put.is_empty()
    }
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

/// A message as a look at its folder compares it: no more, for a mailbox may hold very many.
#[derive(Clone, Debug)]
pub(in crate::spool) struct Known {
    pub(in crate::spool) number: u64,
    pub(in crate::spool) id: MessageId,
    pub(in crate::spool) folder: Folder,
    pub(in crate::spool) stem: Stem,
    pub(in crate::spool) formats: Formats,
    pub(in crate::spool) seen: Seen,
}

impl Known {
    pub(super) fn of(message: &Message, seen: Seen) -> Self {
        let Message { number, id, formats, .. } = *message;
        let (folder, stem) = (message.folder.clone(), message.stem.clone());
        Self { number, id, folder, stem, formats, seen }
    }
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

/// Rows of one statement, as many as may have values of their own: SQLite gets each statement's old
/// pages out of the way first, and full-text search writes out what it has gathered.
const ROWS: usize = 6000;
/// KiB of pages that each connection remembers, and the one that fills.
const CACHE: &str = "-8000";
const CACHE_FILLING: &str = "-64000";
/// Messages that a search finds at most: the newest.
pub(super) const FOUND: i64 = 10_000;

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

    fn pool(&self) -> SqlitePool {
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

    pub(super) async fn write(&self, batch: &Batch) -> Result<(), sqlx::Error> {
        let mut tx = self.pool().begin().await?;
        for (id, mailbox) in &batch.mailboxes {
            match mailbox {
                Some(mailbox) => {
                    sqlx::query("INSERT OR REPLACE INTO mailbox VALUES (?1, ?2, ?3)")
                        .bind(i64::from(*id))
                        .bind(mailbox.context())
                        .bind(mailbox.number())
                        .execute(&mut *tx)
                        .await?;
                }
                None => {
                    for sql in [
                        "DELETE FROM words WHERE rowid IN (SELECT number FROM place WHERE mailbox = ?1)",
                        "DELETE FROM message WHERE number IN (SELECT number FROM place WHERE mailbox = ?1)",
                        "DELETE FROM place WHERE mailbox = ?1",
                        "DELETE FROM stamp WHERE mailbox = ?1",
                        "DELETE FROM mailbox WHERE id = ?1",
                    ] {
                        sqlx::query(sql).bind(i64::from(*id)).execute(&mut *tx).await?;
                    }
                }
            }
        }
        for (id, folder) in &batch.folders {
            sqlx::query("INSERT OR REPLACE INTO folder VALUES (?1, ?2)")
                .bind(i64::from(*id))
                .bind(folder.name())
                .execute(&mut *tx)
                .await?;
        }
        for (mailbox, number) in &batch.gone {
            let number = signed(*number);
            sqlx::query("DELETE FROM place WHERE mailbox = ?1 AND number = ?2")
                .bind(i64::from(*mailbox))
                .bind(number)
                .execute(&mut *tx)
                .await?;
            for sql in
                ["DELETE FROM message WHERE number = ?1", "DELETE FROM words WHERE rowid = ?1"]
            {
                sqlx::query(sql).bind(number).execute(&mut *tx).await?;
            }
        }
        for part in batch.stamps.chunks(ROWS) {
            let mut query = QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO stamp ");
            query.push_values(part, |mut row, (mailbox, folder, modified)| {
                row.push_bind(i64::from(*mailbox))
                    .push_bind(i64::from(*folder))
                    .push_bind(*modified);
            });
            query.build().persistent(part.len() == ROWS).execute(&mut *tx).await?;
        }
        for part in batch.put.chunks(ROWS) {
            put(part, &mut tx).await?;
        }
        tx.commit().await
    }

    /// The messages with these numbers, in any order.
    pub(super) async fn messages(
        &self,
        numbers: &[u64],
        name: impl Fn(u32) -> Option<MailboxId>,
    ) -> Result<Vec<Message>, sqlx::Error> {
        let mut found = Vec::with_capacity(numbers.len());
        for part in numbers.chunks(1000) {
            let list: Vec<String> = part.iter().map(ToString::to_string).collect();
            // One row: on its way here each costs more than to be read.
            let records: Option<Vec<u8>> = sqlx::query_scalar(
                "SELECT CAST(group_concat(record, '') AS BLOB)
                 FROM json_each(?1) CROSS JOIN message ON number = value",
            )
            .bind(format!("[{}]", list.join(",")))
            .fetch_one(&self.pool())
            .await?;
            found.extend(record::decode_all(&records.unwrap_or_default(), &name));
        }
        Ok(found)
    }

    pub(super) async fn by_ids(
        &self,
        ids: &[MessageId],
        name: impl Fn(u32) -> Option<MailboxId>,
    ) -> Result<Vec<Message>, sqlx::Error> {
        let hashes = ids.iter().map(|id| id_hash(*id));
        let mut found = self
            .hashed(
                "SELECT record FROM message
             WHERE id_hash IN (SELECT value FROM json_each(?1))",
                hashes,
                name,
            )
            .await?;
        found.retain(|message| ids.contains(&message.id));
        Ok(found)
    }

    pub(super) async fn by_stem(
        &self,
        stem: &Stem,
        name: impl Fn(u32) -> Option<MailboxId>,
    ) -> Result<Vec<Message>, sqlx::Error> {
        let mut found = self
            .hashed(
                "SELECT record FROM message
             WHERE stem_hash IN (SELECT value FROM json_each(?1))",
                [stem_hash(stem)].into_iter(),
                name,
            )
            .await?;
        found.retain(|message| message.stem == *stem);
        Ok(found)
    }

    async fn hashed(
        &self,
        sql: &'static str,
        hashes: impl Iterator<Item = i64>,
        name: impl Fn(u32) -> Option<MailboxId>,
    ) -> Result<Vec<Message>, sqlx::Error> {
        let list: Vec<String> = hashes.map(|hash| hash.to_string()).collect();
        let mut found = vec![];
        for part in list.chunks(1000) {
            let json = format!("[{}]", part.join(","));
            let records: Vec<Vec<u8>> =
                sqlx::query_scalar(sql).bind(json).fetch_all(&self.pool()).await?;
            found.extend(records.iter().flat_map(|record| record::decode_all(record, &name)));
        }
        Ok(found)
    }

    /// Which of these numbers a message has.
    pub(super) async fn taken(&self, numbers: &[u64]) -> Result<Vec<u64>, sqlx::Error> {
        let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let mut taken = vec![];
        for part in list.chunks(1000) {
            let rows: Vec<i64> = sqlx::query_scalar(
                "SELECT number FROM message WHERE number IN (SELECT value FROM json_each(?1))",
            )
            .bind(format!("[{}]", part.join(",")))
            .fetch_all(&self.pool())
            .await?;
            taken.extend(rows.into_iter().filter_map(|number| u64::try_from(number).ok()));
        }
        Ok(taken)
    }

    pub(super) async fn known(
        &self,
        mailbox: u32,
        name: &MailboxId,
    ) -> Result<Vec<Known>, sqlx::Error> {
        let pool = self.pool();
        let mut rows = sqlx::query(
            "SELECT message.seen, message.record FROM place JOIN message USING (number)
             WHERE place.mailbox = ?1",
        )
        .bind(i64::from(mailbox))
        .fetch(&pool);
        let mut known = vec![];
        while let Some(row) = rows.try_next().await? {
            let seen = Seen::from_bytes(row.try_get(0)?);
            let message = record::decode(row.try_get(1)?, name);
            known.extend(message.map(|message| Known::of(&message, seen)));
        }
        Ok(known)
    }

    /// Numbers of messages in which all words begin words; the newest first.
    pub(super) async fn search(
        &self,
        mailbox: Option<u32>,
        words: &[String],
    ) -> Result<Vec<u64>, sqlx::Error> {
        let each: Vec<String> = words
            .iter()
            .map(|word| format!("({{name number transcript}} : \"{word}\" *)"))
            .collect();
        let mut wish = each.join(" AND ");
        if let Some(mailbox) = mailbox {
            wish = format!("(mailbox : \"m{mailbox}\") AND {wish}");
        }
        let rows: Vec<i64> = sqlx::query_scalar(
            "SELECT rowid FROM words WHERE words MATCH ?1 ORDER BY rowid DESC LIMIT ?2",
        )
        .bind(wish)
        .bind(FOUND)
        .fetch_all(&self.pool())
        .await?;
        Ok(rows.into_iter().filter_map(|number| u64::try_from(number).ok()).collect())
    }

    /// The last thing: all is written.
    pub(super) async fn close(&self, clean: bool) {
        if clean && let Err(error) = self.set_meta("clean", "yes").await {
            tracing::warn!("the index will be compared with the tree at the next start: {error}");
        }
        self.pool().close().await;
    }
}

async fn put(
    part: &[Arc<Filed>],
    tx: &mut sqlx::Transaction<'_, Sqlite>,
) -> Result<(), sqlx::Error> {
    let whole = part.len() == ROWS;
    let mut query = QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO message ");
    query.push_values(part, |mut row, filed| {
        row.push_bind(signed(filed.message.number))
            .push_bind(id_hash(filed.message.id))
            .push_bind(stem_hash(&filed.message.stem))
            .push_bind(filed.seen.to_bytes().to_vec())
            .push_bind(record::encode(filed.mailbox, &filed.message));
    });
    query.build().persistent(whole).execute(&mut **tx).await?;
    let mut query = QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO place ");
    query.push_values(part, |mut row, filed| {
        row.push_bind(i64::from(filed.mailbox))
            .push_bind(signed(filed.message.number))
            .push_bind(filed.entry.to_bytes().to_vec());
    });
    query.build().persistent(whole).execute(&mut **tx).await?;
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT OR REPLACE INTO words (rowid, mailbox, name, number, transcript) ",
    );
    query.push_values(part, |mut row, filed| {
        let caller = &filed.message.envelope.caller;
        row.push_bind(signed(filed.message.number))
            .push_bind(format!("m{}", filed.mailbox))
            .push_bind(caller.name.clone())
            .push_bind(endings(&caller.number))
            .push_bind(filed.message.transcript.clone());
    });
    query.build().persistent(whole).execute(&mut **tx).await.map(|_| ())
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

/// All ends of a number from three digits on: a search for its middle finds a beginning of one.
fn endings(number: &str) -> String {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    let ends = (0..digits.len().saturating_sub(2).max(1))
        .map(|from| digits.iter().skip(from).collect::<String>());
    ends.collect::<Vec<_>>().join(" ")
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn id_hash(id: MessageId) -> i64 {
    let bytes = id.bytes();
    i64::from_le_bytes(bytes[8..].try_into().unwrap_or_default())
}

/// FNV-1a: the same in every version of ours, which the standard library's hash is not.
fn stem_hash(stem: &Stem) -> i64 {
    let hash = stem.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.cast_signed()
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        b'A'..=b'F' => hex - b'A' + 10,
        _ => 0,
    }
}
