//! Who may change what now, and what of all that happens is our own work.

use std::collections::HashSet;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::Spool;
use crate::mailbox::{MailboxId, MessageId, Stem};

impl Spool {
    /// Whoever changes a mailbox's files holds this, shared with others.
    pub(super) fn turn_of(&self, mailbox: &MailboxId) -> &tokio::sync::RwLock<()> {
        &self.0.mailboxes[shard(mailbox)]
    }

    pub(super) fn looks(&self, mailbox: &MailboxId) -> &tokio::sync::Mutex<()> {
        &self.0.looks[shard(mailbox)]
    }

    pub(super) fn turn(&self, id: MessageId) -> &tokio::sync::Mutex<()> {
        &self.0.turns[usize::from(id.bytes()[15]) % TURNS]
    }

    /// Nobody else changes the mailbox while this is held.
    pub async fn alone(&self, mailbox: &MailboxId) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.turn_of(mailbox).write().await
    }

    /// Files of this name come by our own work, or go.
    pub(super) fn is_ours_now(&self, stem: &Stem, goes: bool) {
        let mut ours = self.0.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if ours.since.is_none_or(|since| now.duration_since(since) > OURS) {
            ours.since = Some(now);
            ours.before = std::mem::take(&mut ours.now);
        }
        ours.now.insert((stem.to_string(), goes));
    }

    /// Whether a file came, or went, by our own work a moment ago.
    pub(super) fn is_ours(&self, path: &Path, goes: bool) -> bool {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let ours = self.0.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = ours.since.is_some_and(|since| since.elapsed() < OURS * 2);
        let key = (stem.to_owned(), goes);
        fresh && (ours.now.contains(&key) || ours.before.contains(&key))
    }
}

/// Stems, and whether their files go.
#[derive(Default)]
pub(super) struct Ours {
    since: Option<Instant>,
    now: HashSet<(String, bool)>,
    before: HashSet<(String, bool)>,
}

pub(super) fn shard(mailbox: &MailboxId) -> usize {
    let name = mailbox.number().bytes().chain(mailbox.context().bytes());
    name.fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % TURNS
}

pub(super) const TURNS: usize = 64;

/// How long our own work is remembered, at least.
pub(super) const OURS: Duration = Duration::from_secs(2);
