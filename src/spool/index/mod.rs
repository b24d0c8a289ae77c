//! What lies in the spool, known without a look at it: order and counts in memory, the messages
//! themselves in a database that can be made anew from the tree at any time.
//!
//! Changes take effect in memory at once and are written in the background; until then they are
//! answered from here. After a crash the folders' times tell what was not written.

mod batch;
mod cache;
mod disk;
mod lookup;
mod record;
mod run;
mod tables;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{MutexGuard, Notify};
use tokio::task::AbortHandle;
use tracing::{error, info};

use super::query::{Glance, Query};
use crate::mailbox::{Counts, Folder, MailboxId, Message, MessageId, Stem};

use batch::{Batch, Filed};
use cache::Cache;
use disk::Disk;
pub(super) use lookup::Known;
pub(super) use record::{Seen, Stamp};
use run::{Entry, HEARD, Run, URGENT};
use tables::{NAMED, Shelf, Tables};

#[derive(Debug, thiserror::Error)]
#[error("the index: {0}")]
pub struct Error(#[from] sqlx::Error);

pub(super) struct Index {
    tables: RwLock<Tables>,
    disk: Disk,
    /// Somebody waits for room.
    wake: Arc<Notify>,
    written: Notify,
    cache: Mutex<Cache>,
    /// Counts what was changed or removed: what was read before is not remembered after.
    edition: AtomicU64,
    /// One at a time: what was written later shall stand.
    writing: tokio::sync::Mutex<()>,
    /// It knew nothing when it was opened.
    is_new: bool,
    writer: OnceLock<AbortHandle>,
}

/// What counts against the mailbox's limits: all but SENT and the trash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub messages: usize,
    pub millis: u64,
    pub bytes: u64,
}

/// Changes that may wait to be written before whoever makes more has to wait too.
const WAITING: usize = 20_000;
/// How long changes are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_secs(5);

impl Index {
    /// Throws away what an earlier run has left.
    pub(super) fn forget_all(path: &Path) -> std::io::Result<()> {
        disk::remove(path)
    }

    /// Opens what an earlier run has left, and says whether it left it whole.
    pub(super) async fn open(path: &Path, place: &str) -> Result<(Arc<Self>, bool), Error> {
        let (disk, loaded) = Disk::open(path, place).await?;
        let mut tables = Tables { folders: NAMED.to_vec(), ..Tables::default() };
        for (at, folder) in loaded.folders {
            let at = usize::from(at);
            if at >= tables.folders.len() {
                tables.folders.resize(at + 1, Folder::Deleted);
            }
            tables.folders[at] = folder;
        }
        for (number, id) in loaded.mailboxes {
            tables.next = tables.next.max(number + 1);
            tables.numbers.insert(id.clone(), number);
            tables.shelves.insert(number, Shelf::new(id));
        }
        for (mailbox, folder, modified) in loaded.stamps {
            if let Some(shelf) = tables.shelves.get_mut(&mailbox) {
                shelf.stamps.push((folder, modified));
            }
        }
        let mut contexts: HashMap<String, Vec<Entry>> = HashMap::new();
        for (mailbox, entries) in loaded.entries {
            let Some(shelf) = tables.shelves.get_mut(&mailbox) else { continue };
            for entry in &entries {
                shelf.weigh(*entry, true);
            }
            match contexts.get_mut(shelf.id.context()) {
                Some(all) => all.extend(&entries),
                None => {
                    contexts.insert(shelf.id.context().to_owned(), entries.clone());
                }
            }
            shelf.run = Run::of(entries);
        }
        tables.contexts = contexts.into_iter().map(|(name, all)| (name, Run::of(all))).collect();
        let index = Arc::new(Self {
            tables: RwLock::new(tables),
            disk,
            wake: Arc::default(),
            written: Notify::new(),
            cache: Mutex::default(),
            edition: AtomicU64::new(0),
            writing: tokio::sync::Mutex::default(),
            is_new: loaded.is_new,
            writer: OnceLock::new(),
        });
        let writer = tokio::spawn(write_on(Arc::downgrade(&index)));
        let _ = index.writer.set(writer.abort_handle());
        Ok((index, loaded.clean))
    }

    /// A whole tree was read; single messages are asked for from now on.
    pub(super) async fn is_filled(&self) -> Result<(), Error> {
        self.write_out().await?;
        let _turn = self.writing.lock().await;
        Ok(self.disk.is_filled().await?)
    }

    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Nothing more is written: the next start compares with the tree.
    pub(super) fn abandon(&self) {
        if let Some(writer) = self.writer.get() {
            writer.abort();
        }
    }

    pub(super) async fn numbered(&self, numbers: &[u64]) -> Result<Vec<Arc<Message>>, Error> {
        Ok(self.still_there(self.messages(numbers).await?))
    }

    pub(super) fn len(&self) -> usize {
        self.read().contexts.values().map(Run::len).sum()
    }

    /// The highest number of any message.
    pub(super) fn highest(&self) -> u64 {
        let tables = self.read();
        let entries = tables.shelves.values().flat_map(|shelf| shelf.run.iter());
        entries.map(|entry| entry.number).max().unwrap_or(0)
    }

    pub(super) fn mailboxes(&self) -> Vec<MailboxId> {
        let mut all: Vec<_> = self.read().numbers.keys().cloned().collect();
        all.sort();
        all
    }

    /// How many messages a mailbox holds in all folders.
    pub(super) fn held(&self, mailbox: &MailboxId) -> usize {
        self.with(mailbox, |shelf| shelf.run.len()).unwrap_or(0)
    }

    pub(super) fn counts(&self, mailbox: &MailboxId) -> Counts {
        self.with(mailbox, |shelf| shelf.counts).unwrap_or_default()
    }

    pub(super) fn usage(&self, mailbox: &MailboxId) -> Usage {
        self.with(mailbox, |shelf| shelf.usage).unwrap_or_default()
    }

    pub(super) fn insert(&self, message: &Arc<Message>, seen: Seen) -> Counts {
        let mut tables = self.write();
        let counts = tables.put(message, seen);
        drop(tables);
        self.lock_cache().put(message.clone());
        counts
    }

    /// What has become of a message; `None` where it is not there any more.
    pub(super) fn replace(
        &self,
        was: &Message,
        message: &Arc<Message>,
        seen: Seen,
    ) -> Option<Counts> {
        let mut tables = self.write();
        self.edition.fetch_add(1, Ordering::Release);
        tables.take(was)?;
        let counts = tables.put(message, seen);
        self.lock_cache().put(message.clone());
        Some(counts)
    }

    /// Counts without the message; `None` where it was not there.
    pub(super) fn remove(&self, was: &Message) -> Option<Counts> {
        let mut tables = self.write();
        self.edition.fetch_add(1, Ordering::Release);
        let counts = tables.take(was);
        self.lock_cache().remove(was.number);
        counts
    }

    pub(super) fn forget(&self, mailbox: &MailboxId) {
        let mut tables = self.write();
        self.edition.fetch_add(1, Ordering::Release);
        let Some(number) = tables.numbers.remove(mailbox) else { return };
        if let Some(shelf) = tables.shelves.remove(&number)
            && let Some(run) = tables.contexts.get_mut(mailbox.context())
        {
            for entry in shelf.run.iter() {
                run.remove(entry);
            }
        }
        tables.forget_waiting(number);
        tables.gone.retain(|_, of| *of != number);
        tables.stamps.retain(|(of, _), _| *of != number);
        tables.mailboxes.insert(number, None);
        self.lock_cache().clear();
    }

    /// The same shelf under another name.
    pub(super) fn rename(&self, from: &MailboxId, to: &MailboxId) {
        let mut tables = self.write();
        self.edition.fetch_add(1, Ordering::Release);
        let Some(number) = tables.numbers.remove(from) else { return };
        tables.numbers.insert(to.clone(), number);
        tables.mailboxes.insert(number, Some(to.clone()));
        let entries: Vec<Entry> = match tables.shelves.get_mut(&number) {
            Some(shelf) => {
                shelf.id = to.clone();
                shelf.run.iter().collect()
            }
            None => vec![],
        };
        if from.context() != to.context() {
            for entry in entries {
                if let Some(run) = tables.contexts.get_mut(from.context()) {
                    run.remove(entry);
                }
                tables.contexts.entry(to.context().to_owned()).or_default().insert(entry);
            }
        }
        for filed in tables.pending.values_mut().filter(|filed| filed.mailbox == number) {
            let message = Message { mailbox: to.clone(), ..(*filed.message).clone() };
            *filed = Arc::new(Filed { message: Arc::new(message), ..(**filed).clone() });
        }
        self.lock_cache().clear();
    }

    /// When each folder was last read: its time of modification then.
    pub(super) fn stamps(&self, mailbox: &MailboxId) -> HashMap<Folder, i64> {
        let tables = self.read();
        let shelf = tables.numbers.get(mailbox).and_then(|number| tables.shelves.get(number));
        let stamps = shelf.map_or(&[][..], |shelf| &shelf.stamps);
        stamps
            .iter()
            .filter_map(|(at, stamp)| Some((tables.folders.get(usize::from(*at))?.clone(), *stamp)))
            .collect()
    }

    pub(super) fn stamp(&self, mailbox: &MailboxId, folder: &Folder, modified: i64) {
        let mut tables = self.write();
        let number = tables.mailbox(mailbox);
        let at = tables.folder(folder);
        let Some(shelf) = tables.shelves.get_mut(&number) else { return };
        match shelf.stamps.iter_mut().find(|(other, _)| *other == at) {
            Some((_, known)) if *known == modified => return,
            Some((_, known)) => *known = modified,
            None => shelf.stamps.push((at, modified)),
        }
        tables.stamps.insert((number, at), modified);
    }

    pub(super) async fn list(
        &self,
        scope: Scope<'_>,
        query: &Query,
    ) -> Result<Vec<Arc<Message>>, Error> {
        let among = match &query.text {
            Some(text) => Some(self.search(scope, text).await?),
            None => None,
        };
        let numbers: Vec<u64> =
            self.read().page(scope, query, among).iter().map(|entry| entry.number).collect();
        self.messages(&numbers).await
    }

    pub(super) fn glance(&self, mailbox: &MailboxId, query: &Query) -> Vec<Glance> {
        let tables = self.read();
        let page = tables.page(Scope::Mailbox(mailbox), query, None);
        let glances = page.into_iter().filter_map(|entry| {
            Some(Glance {
                number: entry.number,
                received: entry.received(),
                folder: tables.folders.get(usize::from(entry.folder()))?.clone(),
                heard: entry.is(HEARD),
                urgent: entry.is(URGENT),
            })
        });
        glances.collect()
    }

    /// How many a query finds, its page left aside.
    pub(super) async fn total(&self, scope: Scope<'_>, query: &Query) -> Result<usize, Error> {
        let among = match &query.text {
            Some(text) => Some(self.search(scope, text).await?),
            None => None,
        };
        let tables = self.read();
        let wish = tables.wish(query, among);
        Ok(tables.run(scope).map_or(0, |run| run.count(&wish)))
    }

    async fn messages(&self, numbers: &[u64]) -> Result<Vec<Arc<Message>>, Error> {
        let edition = self.edition.load(Ordering::Acquire);
        let mut found: Vec<Option<Arc<Message>>> = {
            let mut cache = self.lock_cache();
            numbers.iter().map(|number| cache.get(*number)).collect()
        };
        if found.iter().any(Option::is_none) {
            let tables = self.read();
            for (number, found) in numbers.iter().zip(&mut found).filter(|(_, f)| f.is_none()) {
                *found = tables.pending.get(number).map(|filed| filed.message.clone());
            }
        }
        let missing = numbers.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing: Vec<u64> = missing.map(|(number, _)| *number).collect();
        if !missing.is_empty() {
            let read = self.disk.messages(&missing, |number| self.name(number)).await?;
            let mut read: Vec<Arc<Message>> = read.into_iter().map(Arc::new).collect();
            if read.len() <= Cache::MOST / 4 {
                let mut cache = self.lock_cache();
                if self.edition.load(Ordering::Acquire) == edition {
                    for message in &read {
                        cache.offer(message);
                    }
                }
            }
            read.sort_unstable_by_key(|message| message.number);
            for (number, found) in numbers.iter().zip(&mut found).filter(|(_, f)| f.is_none()) {
                let at = read.binary_search_by_key(number, |message| message.number);
                *found = at.ok().map(|at| read[at].clone());
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    pub(super) async fn get(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
    ) -> Result<Option<Arc<Message>>, Error> {
        let found = self.by_ids(&[id]).await?;
        Ok(found.into_iter().find(|message| message.mailbox == *mailbox))
    }

    /// Messages with these ids, in whatever mailbox.
    pub(super) async fn by_ids(&self, ids: &[MessageId]) -> Result<Vec<Arc<Message>>, Error> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let mut found: Vec<Arc<Message>> = {
            let tables = self.read();
            ids.iter().filter_map(|id| tables.waiting(*id)).collect()
        };
        if found.len() < ids.len() {
            let waiting: HashSet<MessageId> = found.iter().map(|message| message.id).collect();
            let read = self.disk.by_ids(ids, |number| self.name(number)).await?;
            let read = read.into_iter().filter(|message| !waiting.contains(&message.id));
            found.extend(read.map(Arc::new));
        }
        Ok(self.still_there(found))
    }

    pub(super) async fn find(
        &self,
        mailbox: &MailboxId,
        folders: &[Folder],
        stem: &Stem,
    ) -> Result<Option<Arc<Message>>, Error> {
        let wanted = |message: &Message| {
            message.stem == *stem
                && message.mailbox == *mailbox
                && (folders.is_empty() || folders.contains(&message.folder))
        };
        let waiting = |tables: &Tables| {
            let mut all = tables.pending.values().map(|filed| &filed.message);
            all.find(|message| wanted(message)).cloned()
        };
        let mut found: Vec<Arc<Message>> = waiting(&self.read()).into_iter().collect();
        if found.is_empty() {
            let read = self.disk.by_stem(stem, |number| self.name(number)).await?;
            let tables = self.read();
            // What waits to be written anew is not called so any more.
            let read = read
                .into_iter()
                .filter(|message| wanted(message) && !tables.pending.contains_key(&message.number));
            found.extend(read.map(Arc::new));
        }
        Ok(self.still_there(found).into_iter().next())
    }

    /// Which of the numbers belong to messages.
    pub(super) async fn taken(&self, numbers: &[u64]) -> Result<BTreeSet<u64>, Error> {
        let mut taken: BTreeSet<u64> = {
            let tables = self.read();
            let waiting = numbers.iter().filter(|number| tables.pending.contains_key(number));
            waiting.copied().collect()
        };
        taken.extend(self.disk.taken(numbers).await?);
        Ok(taken)
    }

    /// All of a mailbox, with what their files looked like.
    pub(super) async fn known(&self, mailbox: &MailboxId) -> Result<Vec<Known>, Error> {
        let Some(number) = self.read().numbers.get(mailbox).copied() else { return Ok(vec![]) };
        let mut known = self.disk.known(number, mailbox).await?;
        let tables = self.read();
        known.retain(|known| {
            let number = &known.number;
            !tables.pending.contains_key(number) && !tables.gone.contains_key(number)
        });
        let waiting = tables.pending.values().filter(|filed| filed.mailbox == number);
        known.extend(waiting.map(|filed| Known::of(&filed.message, filed.seen)));
        Ok(known)
    }

    async fn search(&self, scope: Scope<'_>, text: &str) -> Result<Vec<u64>, Error> {
        let words = super::query::words(text);
        if words.is_empty() {
            return Ok(vec![]);
        }
        let mailbox = match scope {
            Scope::Mailbox(mailbox) => match self.read().numbers.get(mailbox) {
                Some(number) => Some(*number),
                None => return Ok(vec![]),
            },
            Scope::Organization(_) => None,
        };
        let (waiting, known) = self.waiting(|message| super::query::says(message, &words));
        let mut numbers = self.disk.search(mailbox, &words).await?;
        numbers.retain(|number| !known.contains(number));
        numbers.extend(waiting.iter().map(|message| message.number));
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// What is not yet written and wanted, and the numbers of all that is not yet written.
    fn waiting(&self, wanted: impl Fn(&Message) -> bool) -> (Vec<Arc<Message>>, BTreeSet<u64>) {
        let tables = self.read();
        let wanted = tables.pending.values().filter(|filed| wanted(&filed.message));
        let found = wanted.map(|filed| filed.message.clone()).collect();
        (found, tables.pending.keys().chain(tables.gone.keys()).copied().collect())
    }

    /// Without what was removed since it was read.
    fn still_there(&self, mut found: Vec<Arc<Message>>) -> Vec<Arc<Message>> {
        let tables = self.read();
        found.retain(|message| !tables.gone.contains_key(&message.number));
        found
    }

    fn name(&self, number: u32) -> Option<MailboxId> {
        self.read().shelves.get(&number).map(|shelf| shelf.id.clone())
    }

    fn with<T>(&self, mailbox: &MailboxId, read: impl FnOnce(&Shelf) -> T) -> Option<T> {
        let tables = self.read();
        let number = tables.numbers.get(mailbox)?;
        tables.shelves.get(number).map(read)
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until not too much waits to be written.
    pub(super) async fn has_room(&self) {
        loop {
            let written = self.written.notified();
            if self.read().pending.len() < WAITING {
                return;
            }
            self.wake.notify_one();
            written.await;
        }
    }

    /// Writes what waits; how many messages it were.
    async fn flush(&self) -> Result<usize, Error> {
        let turn = self.writing.lock().await;
        self.flush_in(&turn).await
    }

    async fn flush_in(&self, _turn: &MutexGuard<'_, ()>) -> Result<usize, Error> {
        let mut taken = Taken { index: self, batch: Some(self.write().batch()) };
        let Some(batch) = taken.batch.as_ref().filter(|batch| !batch.is_empty()) else {
            return Ok(0);
        };
        self.disk.write(batch).await?;
        let Some(batch) = taken.batch.take() else { return Ok(0) };
        let mut tables = self.write();
        for filed in &batch.put {
            let number = filed.message.number;
            if tables.pending.get(&number).is_some_and(|waiting| Arc::ptr_eq(waiting, filed)) {
                tables.waits_no_more(number);
            }
        }
        for (mailbox, number) in &batch.gone {
            if tables.gone.get(number) == Some(mailbox) {
                tables.gone.remove(number);
            }
        }
        drop(tables);
        self.written.notify_waiters();
        Ok(batch.put.len())
    }

    pub(super) async fn write_out(&self) -> Result<(), Error> {
        while !self.read().is_written() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes everything: nothing is changed after.
    pub(super) async fn close(&self) {
        // Whoever is writing finishes it; nobody begins anew.
        let turn = self.writing.lock().await;
        self.abandon();
        let mut written = Ok(0);
        while written.is_ok() && !self.read().is_written() {
            written = self.flush_in(&turn).await;
        }
        if let Err(error) = &written {
            error!("{error}; the next start compares it with the tree");
        }
        self.disk.close(written.is_ok()).await;
    }
}

/// What is being written. Where that fails, or nobody waits for it any more, it waits as before.
struct Taken<'a> {
    index: &'a Index,
    batch: Option<Batch>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.index.write().put_back(batch);
        }
    }
}

/// Whose messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    Mailbox(&'a MailboxId),
    /// All mailboxes of a context.
    Organization(&'a str),
}

/// Writes in the background for as long as somebody holds the index.
async fn write_on(index: std::sync::Weak<Index>) {
    let mut failed = false;
    loop {
        let Some(held) = index.upgrade() else { return };
        let waits = !held.read().is_written();
        let done = if waits { held.flush().await } else { Ok(0) };
        let pause = match done {
            Ok(_) if failed => {
                failed = false;
                info!("the index is written again");
                GATHER
            }
            // Much waits: go on at once.
            Ok(many) if many > WAITING / 4 => Duration::ZERO,
            Ok(_) => GATHER,
            Err(error) => {
                if !failed {
                    error!("{error}; it is tried again, and made true at the next start");
                }
                failed = true;
                RETRY
            }
        };
        let wake = held.wake.clone();
        drop(held);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wake.notified() => {}
        }
    }
}
