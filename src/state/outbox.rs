//! Notices that wait to be sent: first the intent, then a row for each letter, page and hook.
//!
//! An intent is committed before its message exists, and taken in the same transaction that writes
//! its rows: whatever a crash interrupts, each notice is sent at least once. Its `key` tells a
//! receiver which of two is the same.

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};
use tokio::sync::{mpsc, oneshot};

use super::{Error, State};

pub(super) const SCHEMA: &str = "
-- Messages whose owner is still to be told.
CREATE TABLE IF NOT EXISTS intent (
    message TEXT PRIMARY KEY, mailbox TEXT NOT NULL, made INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, mailbox TEXT NOT NULL, message TEXT,
    lane TEXT NOT NULL, body TEXT NOT NULL, made INTEGER NOT NULL, due INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'waiting',
    error TEXT NOT NULL DEFAULT '') STRICT;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (state, due);
CREATE INDEX IF NOT EXISTS outbox_message ON outbox (message) WHERE message IS NOT NULL;
";

/// That the owner of a mailbox is to be told of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub message: String,
    /// `number@context`: what it is called when the intent is made.
    pub mailbox: String,
}

/// A notice that is not yet in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The same for the same notice, however often it is posted.
    pub key: String,
    /// The mailbox's UUID.
    pub mailbox: String,
    pub message: Option<String>,
    /// What may fail alone: a mail server, a webhook's host.
    pub lane: String,
    pub body: String,
}

/// A notice that waits, or is given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    pub id: i64,
    pub key: String,
    pub mailbox: String,
    pub message: Option<String>,
    pub lane: String,
    pub body: String,
    /// Unix seconds.
    pub made: i64,
    /// Unix seconds.
    pub due: i64,
    pub attempts: i64,
    pub state: String,
    pub error: String,
}

impl FromRow<'_, SqliteRow> for Posted {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            key: row.try_get("key")?,
            mailbox: row.try_get("mailbox")?,
            message: row.try_get("message")?,
            lane: row.try_get("lane")?,
            body: row.try_get("body")?,
            made: row.try_get("made")?,
            due: row.try_get("due")?,
            attempts: row.try_get("attempts")?,
            state: row.try_get("state")?,
            error: row.try_get("error")?,
        })
    }
}

impl Posted {
    /// Tried often enough: somebody must look at it.
    pub fn is_dead(&self) -> bool {
        self.state == DEAD
    }

    /// Accepted; its message waits for the others.
    pub fn is_sent(&self) -> bool {
        self.state == SENT
    }
}

const DEAD: &str = "dead";
/// Accepted, but what follows from that is not yet done.
const SENT: &str = "sent";

/// Intents that may wait to be committed; further callers wait for a place.
const WAITING: usize = 1024;
/// Intents in one transaction.
const GROUP: usize = 256;

type Wanted = (Intent, i64, oneshot::Sender<Result<(), String>>);

/// Commits intents in groups, so that many hang-ups at once share one sync.
#[derive(Clone)]
pub struct Intents(mpsc::Sender<Wanted>);

impl Intents {
    pub fn start(state: &State) -> Self {
        let (sender, mut wanted) = mpsc::channel(WAITING);
        // The pool, not the state: the state's lock must go with its last holder.
        let pool = state.0.pool.clone();
        tokio::spawn(async move {
            let mut group: Vec<Wanted> = vec![];
            while wanted.recv_many(&mut group, GROUP).await > 0 {
                let done = commit(&pool, &group).await.map_err(|error| error.to_string());
                for (_, _, reply) in group.drain(..) {
                    // A caller that is gone needs no answer: the intent stands.
                    let _ = reply.send(done.clone());
                }
            }
        });
        Self(sender)
    }

    /// Safe on disk when this returns.
    pub async fn intend(&self, intent: Intent, now: i64) -> Result<(), Error> {
        let (reply, told) = oneshot::channel();
        let stopped = || Error::Refused("the outbox has stopped".into());
        self.0.send((intent, now, reply)).await.map_err(|_| stopped())?;
        told.await.map_err(|_| stopped())?.map_err(Error::Refused)
    }
}

/// In one statement: each would cost a way to the database's thread and back.
async fn commit(pool: &sqlx::SqlitePool, group: &[Wanted]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> =
        group.iter().map(|(intent, now, _)| (&intent.message, &intent.mailbox, now)).collect();
    let rows = serde_json::to_string(&rows).unwrap_or_else(|_| "[]".into());
    let insert = "INSERT OR IGNORE INTO intent
                  SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1)";
    sqlx::query(insert).bind(rows).execute(pool).await.map(|_| ())
}

impl State {
    /// One intent, on disk when this returns.
    pub async fn intend(&self, intent: &Intent, now: i64) -> Result<(), Error> {
        sqlx::query("INSERT OR IGNORE INTO intent VALUES (?1, ?2, ?3)")
            .bind(&intent.message)
            .bind(&intent.mailbox)
            .bind(now)
            .execute(&self.0.pool)
            .await?;
        Ok(())
    }

    /// The oldest intents, `most` of them, made after `after`.
    pub async fn intents(&self, after: &str, most: i64) -> Result<Vec<Intent>, Error> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT message, mailbox FROM intent WHERE message > ?1 ORDER BY message LIMIT ?2",
        )
        .bind(after)
        .bind(most)
        .fetch_all(&self.0.pool)
        .await?;
        Ok(rows.into_iter().map(|(message, mailbox)| Intent { message, mailbox }).collect())
    }

    /// Writes notices, and forgets the intents that they come from, at once or not at all.
    pub async fn post(
        &self,
        intents: &[String],
        postings: &[Posting],
        now: i64,
    ) -> Result<(), Error> {
        let mut transaction = self.0.pool.begin().await?;
        for posting in postings {
            sqlx::query(
                "INSERT OR IGNORE INTO outbox (key, mailbox, message, lane, body, made, due)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
            )
            .bind(&posting.key)
            .bind(&posting.mailbox)
            .bind(&posting.message)
            .bind(&posting.lane)
            .bind(&posting.body)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        }
        for message in intents {
            sqlx::query("DELETE FROM intent WHERE message = ?1")
                .bind(message)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Writes notices that come from no message, and the fact up to when they were decided, at
    /// once or not at all. However many there are, nobody waits long for his turn to write.
    pub async fn post_round(
        &self,
        postings: &[Posting],
        (fact, value): (&str, i64),
        now: i64,
    ) -> Result<(), Error> {
        let rows: Vec<_> =
            postings.iter().map(|p| (&p.key, &p.mailbox, &p.message, &p.lane, &p.body)).collect();
        let rows = serde_json::to_string(&rows).unwrap_or_else(|_| "[]".into());
        let mut transaction = self.0.pool.begin().await?;
        sqlx::query(
            "INSERT OR IGNORE INTO outbox (key, mailbox, message, lane, body, made, due)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2, ?2
             FROM json_each(?1)",
        )
        .bind(rows)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO fact VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2")
            .bind(fact)
            .bind(value)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// What may be tried now, oldest first, without the lanes that are closed for the moment.
    pub async fn due(&self, now: i64, closed: &[String], most: i64) -> Result<Vec<Posted>, Error> {
        let closed = serde_json::to_string(closed).unwrap_or_else(|_| "[]".into());
        let rows = sqlx::query_as(
            "SELECT * FROM outbox WHERE state = 'waiting' AND due <= ?1
             AND lane NOT IN (SELECT value FROM json_each(?2)) ORDER BY due, id LIMIT ?3",
        );
        Ok(rows.bind(now).bind(closed).bind(most).fetch_all(&self.0.pool).await?)
    }

    /// When the next notice is due that waits for its time: after `now`.
    pub async fn next_due(&self, now: i64) -> Result<Option<i64>, Error> {
        let next =
            sqlx::query_scalar("SELECT min(due) FROM outbox WHERE state = 'waiting' AND due > ?1");
        Ok(next.bind(now).fetch_one(&self.0.pool).await?)
    }

    /// A notice was accepted. `last` is true where no other letter of its message is waiting.
    /// With `keep` the row stays, as sent, until [`State::forget_sent`].
    pub async fn sent(&self, posted: &Posted, keep: bool) -> Result<bool, Error> {
        let mut transaction = self.0.pool.begin().await?;
        let done = if keep {
            "UPDATE outbox SET state = 'sent', error = '' WHERE id = ?1"
        } else {
            "DELETE FROM outbox WHERE id = ?1"
        };
        sqlx::query(done).bind(posted.id).execute(&mut *transaction).await?;
        let others: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM outbox WHERE message = ?1 AND lane = ?2 AND state <> ?3",
        )
        .bind(&posted.message)
        .bind(&posted.lane)
        .bind(SENT)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(others == 0)
    }

    /// Messages all of whose letters were accepted, and from which something still follows.
    pub async fn all_sent(&self) -> Result<Vec<(String, String)>, Error> {
        let rows = sqlx::query_as(
            "SELECT DISTINCT message, mailbox FROM outbox AS sent WHERE state = 'sent'
             AND message IS NOT NULL AND NOT EXISTS (SELECT 1 FROM outbox AS other
                WHERE other.message = sent.message AND other.lane = sent.lane
                AND other.state <> 'sent')",
        );
        Ok(rows.fetch_all(&self.0.pool).await?)
    }

    /// What followed from the letters of a message is done.
    pub async fn forget_sent(&self, message: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM outbox WHERE message = ?1 AND state = 'sent'")
            .bind(message)
            .execute(&self.0.pool)
            .await?;
        Ok(())
    }

    /// An attempt failed: again at `due`, or never where that is `None`.
    pub async fn failed(&self, id: i64, error: &str, due: Option<i64>) -> Result<(), Error> {
        sqlx::query(
            "UPDATE outbox SET attempts = attempts + 1, error = ?2, due = coalesce(?3, due),
             state = CASE WHEN ?3 IS NULL THEN 'dead' ELSE 'waiting' END WHERE id = ?1",
        )
        .bind(id)
        .bind(error)
        .bind(due)
        .execute(&self.0.pool)
        .await?;
        Ok(())
    }

    /// A page of the outbox for people, after the row `after`.
    pub async fn outbox(&self, after: i64, most: i64) -> Result<Vec<Posted>, Error> {
        let rows = sqlx::query_as("SELECT * FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2");
        Ok(rows.bind(after).bind(most).fetch_all(&self.0.pool).await?)
    }

    /// Tries rows again at once, dead ones too: one, or all. How many there were.
    pub async fn retry_posted(&self, id: Option<i64>, now: i64) -> Result<u64, Error> {
        let rows = sqlx::query(
            "UPDATE outbox SET state = 'waiting', due = ?2, attempts = 0
             WHERE state <> 'sent' AND (?1 IS NULL OR id = ?1)",
        );
        let count = rows.bind(id).bind(now).execute(&self.0.pool).await?.rows_affected();
        self.0.retried.notify_one();
        Ok(count)
    }

    /// Returns when somebody has asked for [`State::retry_posted`] since the last time.
    pub async fn until_retried(&self) {
        self.0.retried.notified().await;
    }

    /// Drops one row, or all dead ones. How many there were. What would have followed from the
    /// letters of a message no longer does: one of them was never accepted.
    pub async fn drop_posted(&self, id: Option<i64>) -> Result<u64, Error> {
        let mut transaction = self.0.pool.begin().await?;
        sqlx::query(
            "DELETE FROM outbox WHERE state = 'sent' AND EXISTS (SELECT 1 FROM outbox AS other
                WHERE other.message = outbox.message AND other.lane = outbox.lane
                AND CASE WHEN ?1 IS NULL THEN other.state = 'dead' ELSE other.id = ?1 END)",
        )
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        let rows = sqlx::query(
            "DELETE FROM outbox WHERE CASE WHEN ?1 IS NULL THEN state = 'dead' ELSE id = ?1 END",
        );
        let count = rows.bind(id).execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(count)
    }

    /// Forgets all that waits for a mailbox that is gone.
    pub async fn drop_mailbox(&self, uuid: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM outbox WHERE mailbox = ?1")
            .bind(uuid)
            .execute(&self.0.pool)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(key: &str, message: &str) -> Posting {
        Posting {
            key: key.into(),
            mailbox: "box".into(),
            message: Some(message.into()),
            lane: "mail".into(),
            body: "{}".into(),
        }
    }

    #[tokio::test]
    async fn an_intent_becomes_rows_once() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let intents = Intents::start(&state);
        let intent = Intent { message: "m1".into(), mailbox: "1000@default".into() };
        intents.intend(intent.clone(), 1).await.unwrap();
        intents.intend(intent.clone(), 2).await.unwrap();
        assert_eq!(state.intents("", 10).await.unwrap(), [intent]);
        for _ in 0..2 {
            state
                .post(&["m1".into()], &[letter("m1/a", "m1"), letter("m1/b", "m1")], 5)
                .await
                .unwrap();
        }
        assert_eq!(state.intents("", 10).await.unwrap(), []);
        assert_eq!(state.due(5, &[], 10).await.unwrap().len(), 2);
        assert_eq!(state.due(4, &[], 10).await.unwrap(), []);
        assert_eq!(state.due(5, &["mail".into()], 10).await.unwrap(), [], "its lane is closed");
    }

    #[tokio::test]
    async fn what_follows_waits_for_every_recipient() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        state.post(&[], &[letter("m1/a", "m1"), letter("m1/b", "m1")], 0).await.unwrap();
        let rows = state.due(0, &[], 10).await.unwrap();
        assert!(!state.sent(&rows[0], true).await.unwrap());
        assert_eq!(state.all_sent().await.unwrap(), []);
        state.failed(rows[1].id, "550 no", None).await.unwrap();
        assert_eq!(state.all_sent().await.unwrap(), [], "one was never accepted");
        assert_eq!(state.retry_posted(None, 9).await.unwrap(), 1);
        assert!(state.sent(&rows[1], true).await.unwrap());
        assert_eq!(state.all_sent().await.unwrap(), [("m1".into(), "box".into())]);
        state.forget_sent("m1").await.unwrap();
        assert_eq!(state.outbox(0, 10).await.unwrap(), []);
    }

    #[tokio::test]
    async fn nothing_follows_where_a_letter_was_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        for message in ["m1", "m2"] {
            let letters = ["a", "b"].map(|to| letter(&format!("{message}/{to}"), message));
            state.post(&[], &letters, 0).await.unwrap();
        }
        let rows = state.due(0, &[], 10).await.unwrap();
        state.sent(&rows[0], true).await.unwrap();
        state.failed(rows[1].id, "550 no", None).await.unwrap();
        state.sent(&rows[2], true).await.unwrap();
        state.sent(&rows[3], true).await.unwrap();
        assert_eq!(state.drop_posted(None).await.unwrap(), 1);
        assert_eq!(state.all_sent().await.unwrap(), [("m2".into(), "box".into())]);
    }

    #[tokio::test]
    async fn a_failed_notice_waits_and_in_the_end_is_left_to_people() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        state.post(&[], &[letter("m1/a", "m1")], 0).await.unwrap();
        let id = state.due(0, &[], 1).await.unwrap()[0].id;
        state.failed(id, "no route", Some(30)).await.unwrap();
        assert_eq!(state.due(29, &[], 1).await.unwrap(), []);
        assert_eq!(state.next_due(29).await.unwrap(), Some(30));
        // What is due and cannot be tried hides nothing that comes later.
        state.post(&[], &[letter("m2/a", "m2")], 0).await.unwrap();
        assert_eq!(state.next_due(29).await.unwrap(), Some(30));
        state.failed(id, "no route", None).await.unwrap();
        let dead = &state.outbox(0, 9).await.unwrap()[0];
        assert!(dead.is_dead() && dead.attempts == 2 && dead.error == "no route");
        assert_eq!(state.next_due(0).await.unwrap(), None);
        assert_eq!(state.drop_posted(None).await.unwrap(), 1);
    }
}
