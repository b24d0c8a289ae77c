//! What has changed, on its way to the database.

use std::sync::Arc;

use sqlx::{QueryBuilder, Sqlite};

use super::disk::Disk;
use super::lookup::{id_hash, signed, stem_hash};
use super::record::{self, Seen};
use super::run::Entry;
use crate::mailbox::{Folder, MailboxId, Message};

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

/// Rows of one statement, as many as may have values of their own: SQLite gets each statement's old
/// pages out of the way first, and full-text search writes out what it has gathered.
const ROWS: usize = 6000;
impl Disk {
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

/// All ends of a number from three digits on: a search for its middle finds a beginning of one.
fn endings(number: &str) -> String {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    let ends = (0..digits.len().saturating_sub(2).max(1))
        .map(|from| digits.iter().skip(from).collect::<String>());
    ends.collect::<Vec<_>>().join(" ")
}
