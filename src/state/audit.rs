//! Who changed what, and from where: a trail that shows when somebody has tampered with it.
//!
//! Each entry's mark is an HMAC over itself and the mark before it, under a key outside the
//! database: what is changed, left out or put in later does not fit.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::sync::Mutex;

use super::{Error, State};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub seq: u64,
    /// Unix seconds.
    pub at: i64,
    /// Who did it.
    pub who: String,
    /// By which way.
    pub door: String,
    /// From which address.
    pub source: String,
    /// What was done, such as `mailbox.edit`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// More about it. Never a secret.
    pub detail: String,
}

/// Something that was done, before it has its place in the trail.
#[derive(Clone, Debug, Default)]
pub struct Deed<'d> {
    pub who: &'d str,
    pub door: &'d str,
    pub source: &'d str,
    pub action: &'d str,
    pub subject: &'d str,
    pub detail: &'d str,
}

/// What a look through the whole trail found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub entries: u64,
    /// The first entry that does not fit, and why.
    pub broken: Option<(u64, String)>,
}

/// The mark of the last entry.
pub(super) struct Trail {
    last: Mutex<Option<(u64, String)>>,
    key: [u8; 32],
}

/// Entries that are kept; the oldest go.
const MOST: u64 = 1_000_000;
const STEP: u64 = 1000;
const LONGEST: usize = 1000;

type Row = (i64, i64, String, String, String, String, String, String, String, String);

impl Trail {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { last: Mutex::new(None), key }
    }

    fn mark(&self, before: &str, entry: &Entry) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            unreachable!("HMAC takes keys of any length")
        };
        let (seq, at) = (entry.seq.to_string(), entry.at.to_string());
        let Entry { who, door, source, action, subject, detail, .. } = entry;
        for part in [before, &seq, &at, who, door, source, action, subject, detail] {
            // With its length, so that no text can pass for two.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        STANDARD_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

fn entry(row: Row) -> (Entry, String, String) {
    let (seq, at, who, door, source, action, subject, detail, before, mark) = row;
    let seq = u64::try_from(seq).unwrap_or(0).max(1);
    (Entry { seq, at, who, door, source, action, subject, detail }, before, mark)
}

impl State {
    /// Adds to the trail. When this returns it is on the disk.
    pub async fn record(&self, deed: &Deed<'_>, now: i64) -> Result<(), Error> {
        let mut last = self.0.trail.last.lock().await;
        let (seq, before) = match last.take() {
            Some(known) => known,
            None => self.last_mark().await?,
        };
        let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
        let entry = Entry {
            seq: seq + 1,
            at: now,
            who: cut(deed.who),
            door: cut(deed.door),
            source: cut(deed.source),
            action: cut(deed.action),
            subject: cut(deed.subject),
            detail: cut(deed.detail),
        };
        let mark = self.0.trail.mark(&before, &entry);
        let number = i64::try_from(entry.seq).unwrap_or(i64::MAX);
        let mut whole = self.0.pool.begin().await?;
        sqlx::query("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(number)
            .bind(entry.at)
            .bind(&entry.who)
            .bind(&entry.door)
            .bind(&entry.source)
            .bind(&entry.action)
            .bind(&entry.subject)
            .bind(&entry.detail)
            .bind(&before)
            .bind(&mark)
            .execute(&mut *whole)
            .await?;
        // So that an end that was cut off is missed.
        sqlx::query("INSERT OR REPLACE INTO counter VALUES ('audit', ?1)")
            .bind(number)
            .execute(&mut *whole)
            .await?;
        if entry.seq.is_multiple_of(STEP) {
            let oldest = i64::try_from(entry.seq.saturating_sub(MOST)).unwrap_or(0);
            sqlx::query("DELETE FROM audit WHERE seq <= ?1")
                .bind(oldest)
                .execute(&mut *whole)
                .await?;
        }
        whole.commit().await?;
        *last = Some((entry.seq, mark));
        Ok(())
    }

    async fn last_mark(&self) -> Result<(u64, String), Error> {
        let row: Option<(i64, String)> =
            sqlx::query_as("SELECT seq, mark FROM audit ORDER BY seq DESC LIMIT 1")
                .fetch_optional(&self.0.pool)
                .await?;
        let (seq, mark) = row.unwrap_or_default();
        // After an end that was cut off, numbers go on where they were: the gap stays visible.
        let known: Option<i64> =
            sqlx::query_scalar("SELECT high_water FROM counter WHERE name = 'audit'")
                .fetch_optional(&self.0.pool)
                .await?;
        Ok((u64::try_from(seq.max(known.unwrap_or(0))).unwrap_or(0), mark))
    }

    /// The newest entries, or those before `before`.
    pub async fn trail(&self, before: Option<u64>, limit: u32) -> Result<Vec<Entry>, Error> {
        let before = before.and_then(|seq| i64::try_from(seq).ok()).unwrap_or(i64::MAX);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT seq, at, who, door, source, action, subject, detail, before, mark
             FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2",
        )
        .bind(before)
        .bind(limit)
        .fetch_all(&self.0.pool)
        .await?;
        Ok(rows.into_iter().map(|row| entry(row).0).collect())
    }

    /// Looks through the whole trail.
    pub async fn verify_trail(&self) -> Result<Verdict, Error> {
        let mut verdict = Verdict { entries: 0, broken: None };
        let mut last: Option<(u64, String)> = None;
        loop {
            let after = last.as_ref().map_or(0, |(seq, _)| i64::try_from(*seq).unwrap_or(0));
            let rows: Vec<Row> = sqlx::query_as(
                "SELECT seq, at, who, door, source, action, subject, detail, before, mark
                 FROM audit WHERE seq > ?1 ORDER BY seq LIMIT 1000",
            )
            .bind(after)
            .fetch_all(&self.0.pool)
            .await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let (entry, before, mark) = entry(row);
                let why = match &last {
                    Some((seq, _)) if entry.seq != seq + 1 => Some("entries before it are missing"),
                    Some((_, mark)) if *mark != before => Some("it does not follow the one before"),
                    // The oldest go a thousand at a time.
                    None if !(entry.seq - 1).is_multiple_of(STEP) => {
                        Some("entries before it are missing")
                    }
                    _ if self.0.trail.mark(&before, &entry) != mark => Some("it was changed"),
                    _ => None,
                };
                verdict.entries += 1;
                if let Some(why) = why {
                    verdict.broken = Some((entry.seq, why.into()));
                    return Ok(verdict);
                }
                last = Some((entry.seq, mark));
            }
        }
        let known: Option<i64> =
            sqlx::query_scalar("SELECT high_water FROM counter WHERE name = 'audit'")
                .fetch_optional(&self.0.pool)
                .await?;
        let (known, found) =
            (u64::try_from(known.unwrap_or(0)).unwrap_or(0), last.map_or(0, |(seq, _)| seq));
        if found < known {
            verdict.broken = Some((known, "the end of the trail is missing".into()));
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn trail(dir: &std::path::Path) -> State {
        let state = State::open(dir).await.unwrap();
        for n in 0..5 {
            let subject = format!("100{n}@default");
            let deed =
                Deed { who: "alice", action: "mailbox.add", subject: &subject, ..Deed::default() };
            state.record(&deed, 100 + n).await.unwrap();
        }
        state
    }

    #[tokio::test]
    async fn a_trail_fits_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        drop(trail(dir.path()).await);
        let state = trail(dir.path()).await;
        let verdict = state.verify_trail().await.unwrap();
        assert_eq!(verdict, Verdict { entries: 10, broken: None });
        let newest = state.trail(None, 2).await.unwrap();
        assert_eq!(newest.iter().map(|e| e.seq).collect::<Vec<_>>(), [10, 9]);
        assert_eq!(state.trail(Some(2), 9).await.unwrap()[0].subject, "1000@default");
    }

    #[tokio::test]
    async fn what_is_changed_left_out_cut_off_or_forged_is_found() {
        for (sql, at) in [
            ("UPDATE audit SET who = 'bob' WHERE seq = 3", 3),
            ("DELETE FROM audit WHERE seq = 3", 4),
            ("DELETE FROM audit WHERE seq = 1", 2),
            ("DELETE FROM audit WHERE seq = 5", 5),
            ("UPDATE audit SET before = 'x' WHERE seq = 4", 4),
            (
                "INSERT INTO audit SELECT 6, at, who, door, source, action, subject, detail, mark, mark FROM audit WHERE seq = 5",
                6,
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let state = trail(dir.path()).await;
            sqlx::raw_sql(sql).execute(&state.0.pool).await.unwrap();
            let broken = state.verify_trail().await.unwrap().broken;
            assert_eq!(broken.map(|(seq, _)| seq), Some(at), "{sql}");
        }
    }
}
