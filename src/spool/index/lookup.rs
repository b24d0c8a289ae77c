//! What the database is asked: messages by number, id, name and words.

use std::fmt::{Display, Write};

use futures_util::TryStreamExt;
use sqlx::Row;

use super::disk::Disk;
use super::record::{self, Seen};
use crate::mailbox::{Folder, Formats, MailboxId, Message, MessageId, Stem};

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

/// Messages that a search finds at most: the newest.
pub(super) const FOUND: i64 = 10_000;

impl Disk {
    /// The messages with these numbers, in any order.
    pub(super) async fn messages(
        &self,
        numbers: &[u64],
        name: impl Fn(u32) -> Option<MailboxId>,
    ) -> Result<Vec<Message>, sqlx::Error> {
        let mut found = Vec::with_capacity(numbers.len());
        for part in numbers.chunks(1000) {
            // One row: on its way here each costs more than to be read.
            let records: Option<Vec<u8>> = sqlx::query_scalar(
                "SELECT CAST(group_concat(record, '') AS BLOB)
                 FROM json_each(?1) CROSS JOIN message ON number = value",
            )
            .bind(listed(part))
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
        let hashes: Vec<i64> = hashes.collect();
        let mut found = vec![];
        for part in hashes.chunks(1000) {
            let records: Vec<Vec<u8>> =
                sqlx::query_scalar(sql).bind(listed(part)).fetch_all(&self.pool()).await?;
            found.extend(records.iter().flat_map(|record| record::decode_all(record, &name)));
        }
        Ok(found)
    }

    /// Which of these numbers a message has.
    pub(super) async fn taken(&self, numbers: &[u64]) -> Result<Vec<u64>, sqlx::Error> {
        let mut taken = vec![];
        for part in numbers.chunks(1000) {
            let rows: Vec<i64> = sqlx::query_scalar(
                "SELECT number FROM message WHERE number IN (SELECT value FROM json_each(?1))",
            )
            .bind(listed(part))
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
}

/// As JSON, for one parameter.
fn listed(numbers: &[impl Display]) -> String {
    let mut list = String::with_capacity(numbers.len() * 8 + 2);
    for number in numbers {
        list.push(if list.is_empty() { '[' } else { ',' });
        let _infallible = write!(list, "{number}");
    }
    list.push(']');
    list
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn id_hash(id: MessageId) -> i64 {
    let bytes = id.bytes();
    i64::from_le_bytes(bytes[8..].try_into().unwrap_or_default())
}

/// FNV-1a: the same in every version of ours, which the standard library's hash is not.
pub(super) fn stem_hash(stem: &Stem) -> i64 {
    let hash = stem.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.cast_signed()
}
