//! Wrong PINs and passwords: counted for each mailbox and each source, at each door, and kept over
//! a restart. After a few the door stays shut for a while that grows.
//!
//! A stranger at one door does not lock the owner out of another; and since each door lets but one
//! guess a day through in the end, all guesses together stay few.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::sqlite::SqlitePool;
use uuid::Uuid;

use super::{Error, State};

/// Where somebody asks for a PIN or a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    Phone,
    Telebroad,
    Onsip,
    Telecomx,
    Yay,
    Telecmi,
    /// Our own interface, and the web page that uses it.
    Api,
}

const DOORS: [(Door, &str); 7] = [
    (Door::Phone, "phone"),
    (Door::Telebroad, "telebroad"),
    (Door::Onsip, "onsip"),
    (Door::Telecomx, "telecomx"),
    (Door::Yay, "yay"),
    (Door::Telecmi, "telecmi"),
    (Door::Api, "api"),
];

impl Door {
    pub fn name(self) -> &'static str {
        DOORS.iter().find(|(door, _)| *door == self).map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        DOORS.iter().find(|(_, known)| *known == name).map(|(door, _)| *door)
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose attempts are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Mailbox(Uuid),
    /// A mailbox that there is not: its lock must not tell.
    Nobody(Box<str>),
    /// An address, a network, or a caller.
    Source(Box<str>),
}

impl Subject {
    fn source(text: &str) -> Self {
        Self::Source(short(text))
    }

    fn nobody(name: &str) -> Self {
        Self::Nobody(short(name))
    }

    fn text(&self) -> String {
        match self {
            Self::Mailbox(uuid) => format!("mailbox {uuid}"),
            Self::Nobody(name) => format!("nobody {name}"),
            Self::Source(source) => format!("source {source}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text.split_once(' ')? {
            ("mailbox", uuid) => uuid.parse().ok().map(Self::Mailbox),
            ("nobody", name) => Some(Self::Nobody(name.into())),
            ("source", source) => Some(Self::Source(source.into())),
            _ => None,
        }
    }

    /// How many wrong attempts are free.
    fn patience(&self) -> u32 {
        match self {
            Self::Mailbox(_) | Self::Nobody(_) => 5,
            Self::Source(_) => 20,
        }
    }
}

fn short(text: &str) -> Box<str> {
    text.chars().take(64).collect::<String>().into()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    failures: u32,
    last: i64,
    /// Nobody is let in before.
    until: i64,
}

impl Record {
    /// One more, which is wrong until somebody says otherwise. `Err`: not before then.
    fn begin(&mut self, patience: u32, now: i64) -> Result<(), i64> {
        // A clock that went back must not shut the door for longer than it ever would be.
        if now < self.until && self.until - now <= LONGEST_LOCK {
            return Err(self.until);
        }
        if now.saturating_sub(self.last.max(self.until)) > FORGOTTEN {
            *self = Self::default();
        }
        self.failures = self.failures.saturating_add(1);
        self.last = now;
        self.until = match self.failures.checked_sub(patience) {
            None => 0,
            Some(over) => now + LONGEST_LOCK.min(FIRST_LOCK << over.min(16)),
        };
        Ok(())
    }

    fn is_worth_keeping(&self, now: i64) -> bool {
        self.failures > 0 && now.saturating_sub(self.last.max(self.until)) <= FORGOTTEN
    }
}

/// Seconds.
const FIRST_LOCK: i64 = 60;
const LONGEST_LOCK: i64 = 86_400;
/// So long after the last wrong attempt, or the lock that came of it, nothing is held against anybody.
const FORGOTTEN: i64 = 86_400;
/// Records that are kept; beyond them all are forgotten but those of mailboxes.
const MOST: usize = 100_000;

type Key = (Subject, Door);

#[derive(Default)]
pub(super) struct Attempts(Mutex<HashMap<Key, Record>>);

impl Attempts {
    pub(super) async fn load(pool: &SqlitePool) -> Result<Self, Error> {
        let rows: Vec<(String, String, i64, i64, i64)> =
            sqlx::query_as("SELECT subject, door, failures, last, until FROM attempt")
                .fetch_all(pool)
                .await?;
        let records = rows.into_iter().filter_map(|(subject, door, failures, last, until)| {
            let key = (Subject::read(&subject)?, Door::named(&door)?);
            Some((
                key,
                Record { failures: u32::try_from(failures).unwrap_or(u32::MAX), last, until },
            ))
        });
        Ok(Self(Mutex::new(records.collect())))
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Key, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The door is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Unix seconds.
    pub until: i64,
    /// For what this source did, not for what was done to the mailbox.
    pub source: bool,
}

/// An attempt that is counted as wrong until it is settled: many at once get no more guesses.
#[must_use]
pub struct Attempt {
    state: State,
    keys: Vec<Key>,
}

impl State {
    /// Begins to check a PIN or a password. `mailbox` is whose PIN it is.
    pub fn attempt(
        &self,
        mailbox: Option<Uuid>,
        source: &str,
        door: Door,
        now: i64,
    ) -> Result<Attempt, Locked> {
        let mailbox = mailbox.map(|uuid| (Subject::Mailbox(uuid), door));
        self.begin(mailbox.into_iter().chain([(Subject::source(source), door)]).collect(), now)
    }

    /// Counts a wrong attempt at a mailbox that there is not, which was counted for its source.
    pub async fn turn_away(&self, name: &str, door: Door, now: i64) -> Result<(), Error> {
        match self.begin(vec![(Subject::nobody(name), door)], now) {
            Ok(attempt) => attempt.wrong().await.map(drop),
            Err(_) => Ok(()),
        }
    }

    /// The lock that such attempts have brought about.
    pub fn turned_away(&self, name: &str, door: Door, now: i64) -> Option<Locked> {
        let record = self.0.attempts.records().get(&(Subject::nobody(name), door)).copied()?;
        (record.until > now).then_some(Locked { until: record.until, source: false })
    }

    fn begin(&self, keys: Vec<Key>, now: i64) -> Result<Attempt, Locked> {
        let mut records = self.0.attempts.records();
        if records.len() >= MOST {
            records.retain(|_, record| record.is_worth_keeping(now));
            if records.len() >= MOST {
                records.retain(|(subject, _), _| matches!(subject, Subject::Mailbox(_)));
            }
        }
        // All or none: what one refuses is not held against the other.
        let mut begun = Vec::with_capacity(keys.len());
        for key in &keys {
            let mut record = records.get(key).copied().unwrap_or_default();
            record
                .begin(key.0.patience(), now)
                .map_err(|until| Locked { until, source: matches!(key.0, Subject::Source(_)) })?;
            begun.push(record);
        }
        records.extend(keys.iter().cloned().zip(begun));
        drop(records);
        Ok(Attempt { state: self.clone(), keys })
    }

    /// Takes what is held against nobody any more out of the database: names and sources come from
    /// outside, and there are many.
    pub async fn forget_attempts(&self, now: i64) -> Result<(), Error> {
        prune(&self.0.pool, now).await
    }

    /// Opens every door of a mailbox again.
    pub async fn forgive(&self, mailbox: Uuid) -> Result<(), Error> {
        self.forget(&Subject::Mailbox(mailbox)).await
    }

    /// Opens every door again to a source, or to a number without a mailbox, as it is or as it is
    /// shown, escaped; whether anything was held against it.
    pub async fn forgive_source(&self, named: &str) -> Result<bool, Error> {
        let is_meant = |subject: &&Subject| match subject {
            Subject::Mailbox(_) => false,
            Subject::Nobody(name) | Subject::Source(name) => {
                **name == *named || name.escape_debug().eq(named.chars())
            }
        };
        let known: HashSet<Subject> = {
            let records = self.0.attempts.records();
            records.keys().map(|(subject, _)| subject).filter(is_meant).cloned().collect()
        };
        for subject in &known {
            self.forget(subject).await?;
        }
        Ok(!known.is_empty())
    }

    async fn forget(&self, subject: &Subject) -> Result<(), Error> {
        self.0.attempts.records().retain(|(of, _), _| of != subject);
        sqlx::query("DELETE FROM attempt WHERE subject = ?1")
            .bind(subject.text())
            .execute(&self.0.pool)
            .await?;
        Ok(())
    }

    /// Who is shut out of what, and until when; who comes in first leads.
    pub fn shut_out(&self, now: i64) -> Vec<(Subject, Door, i64)> {
        let records = self.0.attempts.records();
        let shut = records.iter().filter(|(_, record)| record.until > now);
        let mut shut: Vec<_> =
            shut.map(|((of, door), record)| (of.clone(), *door, record.until)).collect();
        drop(records);
        shut.sort_by_cached_key(|(of, door, until)| (*until, of.text(), door.name()));
        shut
    }

    /// Which doors of a mailbox are shut, and until when.
    pub fn locks(&self, mailbox: Uuid, now: i64) -> Vec<(Door, i64)> {
        let subject = Subject::Mailbox(mailbox);
        let records = self.0.attempts.records();
        let shut = records.iter().filter(|((of, _), record)| *of == subject && record.until > now);
        shut.map(|((_, door), record)| (*door, record.until)).collect()
    }
}

impl Attempt {
    /// It was right: the mailbox's count begins anew, the source's is as before.
    pub async fn right(self) -> Result<(), Error> {
        let mut over = vec![];
        {
            let mut records = self.state.0.attempts.records();
            for key in &self.keys {
                let Some(record) = records.get_mut(key) else { continue };
                let kept = record.failures > 1;
                match key.0 {
                    Subject::Source(_) if kept => {
                        record.failures -= 1;
                        record.until = 0;
                    }
                    Subject::Source(_) => drop(records.remove(key)),
                    Subject::Mailbox(_) | Subject::Nobody(_) => {
                        records.remove(key);
                        if kept {
                            over.push(key.clone());
                        }
                    }
                }
            }
        }
        for key in over {
            gone(&self.state.0.pool, &key).await?;
        }
        Ok(())
    }

    /// It was wrong; whether that has just shut the mailbox's door, and until when.
    pub async fn wrong(self) -> Result<Option<i64>, Error> {
        let mut shut = None;
        for key in &self.keys {
            let record = self.state.0.attempts.records().get(key).copied().unwrap_or_default();
            if matches!(key.0, Subject::Mailbox(_)) && record.until > 0 {
                shut = Some(record.until);
            }
            sqlx::query(
                "INSERT INTO attempt VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (subject, door)
                 DO UPDATE SET failures = ?3, last = ?4, until = ?5",
            )
            .bind(key.0.text())
            .bind(key.1.name())
            .bind(i64::from(record.failures))
            .bind(record.last)
            .bind(record.until)
            .execute(&self.state.0.pool)
            .await?;
            // Somebody has opened the door meanwhile: a restart must not shut it again.
            if !self.state.0.attempts.records().contains_key(key) {
                gone(&self.state.0.pool, key).await?;
            }
        }
        Ok(shut)
    }

    /// Nothing could be checked: as if nobody had asked.
    pub fn void(self) {
        let mut records = self.state.0.attempts.records();
        for key in &self.keys {
            if let Some(record) = records.get_mut(key) {
                record.failures = record.failures.saturating_sub(1);
                record.until = 0;
            }
        }
    }
}

async fn gone(pool: &SqlitePool, (subject, door): &Key) -> Result<(), Error> {
    sqlx::query("DELETE FROM attempt WHERE subject = ?1 AND door = ?2")
        .bind(subject.text())
        .bind(door.name())
        .execute(pool)
        .await?;
    Ok(())
}

/// What nobody needs any more, taken out of the database.
pub(super) async fn prune(pool: &SqlitePool, now: i64) -> Result<(), Error> {
    sqlx::query("DELETE FROM attempt WHERE max(last, until) < ?1")
        .bind(now - FORGOTTEN)
        .execute(pool)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Uuid = Uuid::from_u128(7);

    async fn guess(state: &State, door: Door, source: &str, now: i64) -> Result<(), Locked> {
        let attempt = state.attempt(Some(BOX), source, door, now)?;
        attempt.wrong().await.unwrap();
        Ok(())
    }

    #[tokio::test]
    async fn guesses_become_slow_and_the_other_door_stays_open() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let mut now = 1_000_000;
        let mut guesses = 0;
        for n in 0..5 {
            guess(&state, Door::Telecomx, &format!("10.0.0.{n}"), now).await.unwrap();
        }
        let shut = guess(&state, Door::Telecomx, "10.0.1.1", now).await.unwrap_err();
        assert_eq!(shut, Locked { until: now + 60, source: false });
        guess(&state, Door::Phone, "+1212", now).await.unwrap();
        let end = now + 7 * 86_400;
        while now < end {
            match guess(&state, Door::Telecomx, "10.0.1.1", now).await {
                Ok(()) => guesses += 1,
                Err(Locked { until, .. }) => now = until,
            }
        }
        assert!(guesses < 20, "{guesses} guesses in a week");
    }

    #[tokio::test]
    async fn many_at_once_get_no_more_guesses_and_a_restart_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        // A start forgets what is a day old.
        let now = crate::state::now();
        let begun: Vec<_> =
            (0..100).filter_map(|_| state.attempt(Some(BOX), "x", Door::Api, now).ok()).collect();
        assert_eq!(begun.len(), 5);
        for attempt in begun {
            attempt.wrong().await.unwrap();
        }
        drop(state);
        let state = State::open(dir.path()).await.unwrap();
        assert!(state.attempt(Some(BOX), "y", Door::Api, now + 1).is_err());
        assert_eq!(state.locks(BOX, now + 1), [(Door::Api, now + 60)]);
        state.forgive(BOX).await.unwrap();
        assert!(state.attempt(Some(BOX), "y", Door::Api, now + 1).is_ok());
    }

    #[tokio::test]
    async fn what_is_a_day_old_is_forgotten_while_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let rows = async || -> i64 {
            let rows = sqlx::query_scalar("SELECT count(*) FROM attempt").fetch_one(&state.0.pool);
            rows.await.unwrap()
        };
        for n in 0..9 {
            state.turn_away(&format!("{n}@default"), Door::Api, 5 + n).await.unwrap();
        }
        state.forget_attempts(FORGOTTEN + 10).await.unwrap();
        assert_eq!(rows().await, 4);
        state.forget_attempts(FORGOTTEN + 14).await.unwrap();
        assert_eq!(rows().await, 0);
    }

    #[tokio::test]
    async fn the_right_pin_clears_the_mailbox_and_not_the_guesser() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        for n in 0..19u128 {
            let other = Uuid::from_u128(100 + n);
            let attempt = state.attempt(Some(other), "evil", Door::Phone, 5).unwrap();
            attempt.wrong().await.unwrap();
        }
        // His own mailbox, rightly, does not make him honest.
        state.attempt(Some(BOX), "evil", Door::Phone, 5).unwrap().right().await.unwrap();
        let attempt = state.attempt(Some(BOX), "evil", Door::Phone, 5).unwrap();
        attempt.wrong().await.unwrap();
        let shut = state.attempt(Some(BOX), "evil", Door::Phone, 6).err().unwrap();
        assert!(shut.source);
        for _ in 0..4 {
            guess(&state, Door::Phone, "else", 7).await.unwrap();
        }
        state.forgive(BOX).await.unwrap();
        for _ in 0..4 {
            guess(&state, Door::Phone, "else", 8).await.unwrap();
        }
        state.attempt(Some(BOX), "home", Door::Phone, 9).unwrap().right().await.unwrap();
        for _ in 0..5 {
            guess(&state, Door::Phone, "else", 10).await.unwrap();
        }
    }
}
