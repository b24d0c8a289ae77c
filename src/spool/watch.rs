//! Other programs' work in the tree: noticed by the system's watcher at once, by a look at the
//! folders' times within half a minute in any case.
//!
//! The watcher is a hint. It misses files in folders that are new, it overflows, and there are
//! fewer watches than folders may need: then the mailboxes used last have them. The looks go round
//! in small steps, so that nobody who asks meanwhile has to wait for a whole round.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use super::look::{Depth, look};
use super::scan::{all_mailboxes, all_touched, names, or_without};
use super::{Error, Spool, blocking, is_there};
use crate::mailbox::{Folder, MailboxId};

/// Between two looks at all folders' times.
const RECONCILE: Duration = Duration::from_secs(30);
/// Looks at all folders in which every mailbox's files are looked at once: an hour.
const ROUNDS: usize = 120;
/// A round takes so long, in so many steps: each mailbox has its place in it, so that the time
/// between two looks at it is the same. A small spool is one step.
const SPREAD: Duration = Duration::from_secs(20);
const STEPS: u16 = 200;
/// Mailboxes in the smallest step.
const STEP: usize = 25;
/// What happens to a mailbox within this time is looked at once.
const GATHER: Duration = Duration::from_millis(250);
/// A lone recording may be complete after this.
const LATER: Duration = Duration::from_secs(10);
/// Folders that are watched at most; the system's limit is shared with every other program.
const MOST_WATCHES: usize = 16_384;
const HINTS: usize = 4096;

/// What the watcher tells: a mailbox, or nothing where it has lost count.
type Hint = Option<MailboxId>;

impl Spool {
    /// Follows what other programs do in the tree, for as long as the process lives.
    pub async fn watch(self) {
        let (hints, hinted) = mpsc::channel(HINTS);
        let lost = Arc::new(AtomicBool::new(false));
        let watches = match Watches::start(&self, hints, lost.clone()) {
            Ok(watches) => Some(watches),
            Err(error) => {
                warn!(
                    "other programs' files are seen within {} s, since nothing can be watched: {error}",
                    RECONCILE.as_secs()
                );
                None
            }
        };
        self.follow(watches, hinted, &lost).await;
    }

    async fn follow(
        self,
        mut watches: Option<Watches>,
        mut hinted: mpsc::Receiver<Hint>,
        lost: &AtomicBool,
    ) {
        let mut tick = interval(RECONCILE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due: HashMap<MailboxId, Instant> = HashMap::new();
        let mut round = Round::default();
        loop {
            let next = due.values().min().copied();
            tokio::select! {
                // A round that is not yet over goes on instead.
                _ = tick.tick() => if round.next.is_none() {
                    match self.all(&mut watches).await {
                        Ok(all) => round.begin(all, Instant::now()),
                        Err(error) => {
                            warn!("the tree could not be compared with the index: {error}");
                        }
                    }
                },
                () = at(round.next) => {
                    if let Err(error) = self.step(&mut round, &mut watches, &mut due).await {
                        warn!("the tree could not be compared with the index: {error}");
                    }
                }
                hint = hinted.recv() => match hint {
                    Some(Some(mailbox)) => {
                        look_soon(&mut due, mailbox, Instant::now());
                    }
                    Some(None) => tick.reset_immediately(),
                    // The watcher has ended; the looks go on.
                    None => sleep_until(Instant::now() + RECONCILE).await,
                },
                () = at(next) => {
                    let now = Instant::now();
                    let ready: Vec<MailboxId> =
                        due.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
                    for mailbox in ready {
                        due.remove(&mailbox);
                        if let Some(watches) = &mut watches {
                            watches.add(&self, &mailbox);
                        }
                        self.look_again(&mailbox, Depth::Files, &mut due).await;
                    }
                }
            }
            if lost.swap(false, Ordering::Relaxed) {
                tick.reset_immediately();
            }
        }
    }

    async fn look_again(
        &self,
        mailbox: &MailboxId,
        depth: Depth,
        due: &mut HashMap<MailboxId, Instant>,
    ) {
        match look(self, mailbox, depth).await {
            Ok(looked) => {
                if looked.found + looked.changed + looked.removed > 0 {
                    info!(
                        %mailbox,
                        found = looked.found,
                        changed = looked.changed,
                        removed = looked.removed,
                        "another program has changed the messages of {mailbox}"
                    );
                }
                if looked.unsettled {
                    due.entry(mailbox.clone()).or_insert_with(|| Instant::now() + LATER);
                }
            }
            Err(error) => {
                if let Err(error) = or_without(self, mailbox, Err::<(), _>(error)) {
                    warn!(%mailbox, "the folders of {mailbox} cannot be read: {error}");
                }
            }
        }
    }

    /// Every mailbox there is now; those that are gone are forgotten.
    async fn all(&self, watches: &mut Option<Watches>) -> Result<Vec<MailboxId>, Error> {
        let (spool, mut taken) = (self.clone(), watches.take());
        let (all, gone, taken) = blocking(move || {
            if let Some(watches) = &mut taken {
                watches.add_contexts(&spool);
            }
            let all = all_mailboxes(&spool);
            let is_gone = |known: &MailboxId, all: &[MailboxId]| {
                all.binary_search(known).is_err() && !is_there(&spool.0.layout.mailbox(known))
            };
            let mut gone = spool.0.index.mailboxes();
            gone.retain(|known| all.as_ref().is_ok_and(|all| is_gone(known, all)));
            (all, gone, taken)
        })
        .await?;
        *watches = taken;
        for mailbox in gone {
            self.forget(&mailbox);
        }
        all
    }

    /// The folders' times of a few mailboxes, and the files of fewer.
    async fn step(
        &self,
        round: &mut Round,
        watches: &mut Option<Watches>,
        due: &mut HashMap<MailboxId, Instant>,
    ) -> Result<(), Error> {
        let (part, files) = round.step(Instant::now());
        let (spool, mut taken) = (self.clone(), watches.take());
        let (changed, taken) = blocking(move || {
            // Before the look: what changes after it is told.
            if let Some(watches) = &mut taken {
                watches.add_all(&spool, &part);
            }
            (all_touched(&spool, &part), taken)
        })
        .await?;
        *watches = taken;
        for mailbox in changed? {
            self.look_again(&mailbox, Depth::Changed, due).await;
        }
        for mailbox in files {
            self.look_again(&mailbox, Depth::Files, due).await;
        }
        Ok(())
    }
}

/// One look at all mailboxes, and how far it is.
#[derive(Default)]
struct Round {
    left: VecDeque<MailboxId>,
    /// Mailboxes whose files are to be looked at one by one, in this round and in those to come.
    rolling: VecDeque<MailboxId>,
    /// How many of them in this round.
    files: usize,
    /// Mailboxes of one step, and how many have their files looked at.
    each: (usize, usize),
    pause: Duration,
    /// When the next step is due; `None`: the round is over.
    next: Option<Instant>,
    /// What has happened since the last run is to be known soon.
    is_not_the_first: bool,
}

impl Round {
    fn begin(&mut self, all: Vec<MailboxId>, now: Instant) {
        self.files = all.len().div_ceil(ROUNDS);
        if self.rolling.len() < self.files {
            self.rolling.extend(all.iter().cloned());
        }
        let steps = all.len().div_ceil(STEP).clamp(1, STEPS.into());
        self.each = (all.len().div_ceil(steps), self.files.div_ceil(steps));
        let first = !std::mem::replace(&mut self.is_not_the_first, true);
        self.pause = if first { Duration::ZERO } else { SPREAD / u32::from(STEPS) };
        (self.left, self.next) = (all.into(), Some(now));
    }

    /// What is to be looked at now.
    fn step(&mut self, now: Instant) -> (Vec<MailboxId>, Vec<MailboxId>) {
        let (folders, files) = self.each;
        let part = self.left.drain(..folders.min(self.left.len())).collect();
        let files = files.min(self.files).min(self.rolling.len());
        self.files -= files;
        self.next = (!self.left.is_empty()).then_some(now + self.pause);
        (part, self.rolling.drain(..files).collect())
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The folders that the system watches for us.
struct Watches {
    watcher: RecommendedWatcher,
    /// Mailboxes by when their watches were last wanted, the oldest first.
    order: VecDeque<MailboxId>,
    watched: HashMap<MailboxId, BTreeSet<PathBuf>>,
    contexts: BTreeSet<PathBuf>,
    count: usize,
    most: usize,
    /// No mailbox more can be watched but in place of another one.
    is_full: bool,
    told: bool,
}

/// A mailbox's directory and its folders.
fn folders(spool: &Spool, mailbox: &MailboxId) -> Vec<PathBuf> {
    let home = spool.0.layout.mailbox(mailbox);
    let names = names(&home).unwrap_or_default();
    let folders = names.iter().filter(|name| Folder::named(name).is_some());
    let folders = folders.map(|name| home.join(name)).filter(|dir| dir.is_dir());
    let folders: Vec<PathBuf> = folders.collect();
    [vec![home], folders].concat()
}

impl Watches {
    fn start(
        spool: &Spool,
        hints: mpsc::Sender<Hint>,
        lost: Arc<AtomicBool>,
    ) -> notify::Result<Self> {
        let listener = spool.clone();
        let root = spool.root().to_owned();
        let handle = move |event: notify::Result<notify::Event>| {
            let sent = match event {
                Ok(event) if event.need_rescan() => hints.try_send(None),
                // Our own reading of a folder is one of these.
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => Ok(()),
                Ok(event) => {
                    let leaves = matches!(
                        event.kind,
                        EventKind::Remove(_)
                            | EventKind::Modify(ModifyKind::Name(RenameMode::From))
                    );
                    let concerned =
                        event.paths.iter().filter(|path| !listener.is_ours(path, leaves));
                    let concerned: BTreeSet<Hint> =
                        concerned.filter_map(|path| concerns(&root, path)).collect();
                    concerned.into_iter().try_for_each(|hint| hints.try_send(hint))
                }
                Err(_) => hints.try_send(None),
            };
            if sent.is_err() {
                lost.store(true, Ordering::Relaxed);
            }
        };
        let mut watcher = notify::recommended_watcher(handle)?;
        watcher.watch(spool.root(), RecursiveMode::NonRecursive)?;
        Ok(Self {
            watcher,
            order: VecDeque::new(),
            watched: HashMap::new(),
            contexts: BTreeSet::new(),
            count: 1,
            most: most_watches(),
            is_full: false,
            told: false,
        })
    }

    fn add_contexts(&mut self, spool: &Spool) {
        for context in names(spool.root()).unwrap_or_default() {
            let dir = spool.root().join(context);
            if dir.is_dir() && !self.contexts.contains(&dir) && self.watch(&dir) {
                self.contexts.insert(dir);
            }
        }
    }

    /// Watches what is not watched yet, as far as there are watches: one that is used keeps its
    /// own.
    fn add_all(&mut self, spool: &Spool, mailboxes: &[MailboxId]) {
        for mailbox in mailboxes {
            if self.is_full {
                return;
            }
            if self.watched.contains_key(mailbox) {
                continue;
            }
            let wanted = folders(spool, mailbox);
            if self.count + wanted.len() > self.most {
                self.is_full = true;
                self.tell();
                return;
            }
            self.watch_all(mailbox, wanted);
        }
    }

    /// Watches a mailbox; where there are no more watches, instead of the one used longest ago.
    fn add(&mut self, spool: &Spool, mailbox: &MailboxId) {
        if self.watched.contains_key(mailbox) {
            self.order.retain(|other| other != mailbox);
            self.order.push_back(mailbox.clone());
        }
        let mut wanted = folders(spool, mailbox);
        if let Some(watched) = self.watched.get(mailbox) {
            wanted.retain(|dir| !watched.contains(dir));
        }
        while self.count + wanted.len() > self.most {
            self.tell();
            let Some(oldest) = self.order.pop_front() else { break };
            if oldest == *mailbox {
                self.order.push_back(oldest);
                break;
            }
            self.drop_of(&oldest);
        }
        wanted.truncate(self.most.saturating_sub(self.count));
        self.watch_all(mailbox, wanted);
    }

    fn watch_all(&mut self, mailbox: &MailboxId, dirs: Vec<PathBuf>) {
        for dir in dirs {
            if self.watch(&dir) {
                self.count += 1;
                if !self.watched.contains_key(mailbox) {
                    self.order.push_back(mailbox.clone());
                }
                self.watched.entry(mailbox.clone()).or_default().insert(dir);
            }
        }
    }

    fn drop_of(&mut self, mailbox: &MailboxId) {
        self.is_full = false;
        for dir in self.watched.remove(mailbox).unwrap_or_default() {
            // A folder that is gone has no watch any more.
            let _ = self.watcher.unwatch(&dir);
            self.count -= 1;
        }
    }

    fn watch(&mut self, dir: &Path) -> bool {
        match self.watcher.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => true,
            Err(error) => {
                if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) {
                    self.most = self.count;
                    self.tell();
                }
                false
            }
        }
    }

    fn tell(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            info!(
                watches = self.count,
                "the system lets us watch {} folders: what other programs do elsewhere is seen within {} s",
                self.count,
                RECONCILE.as_secs()
            );
        }
    }
}

/// A mailbox may wait for a recording to be still: what else happens in it is seen before.
fn look_soon(due: &mut HashMap<MailboxId, Instant>, mailbox: MailboxId, now: Instant) {
    let soon = now + GATHER;
    due.entry(mailbox).and_modify(|at| *at = soon.min(*at)).or_insert(soon);
}

/// Half of what the system allows: other programs watch too.
fn most_watches() -> usize {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    let limit = limit.ok().and_then(|text| text.trim().parse::<usize>().ok());
    limit.map_or(MOST_WATCHES, |limit| (limit / 2).clamp(1, MOST_WATCHES))
}

/// The mailbox that a path is about; one that is new is found by a look at all.
fn concerns(root: &Path, path: &Path) -> Option<Hint> {
    let mut parts = path.strip_prefix(root).ok()?.iter().map(|part| part.to_str());
    let (context, number) = (parts.next()??, parts.next());
    let Some(number) = number else {
        return (!context.starts_with('.')).then_some(None);
    };
    let mailbox = MailboxId::new(context, number?).ok()?;
    match parts.next() {
        None => Some(Some(mailbox)),
        Some(folder) => {
            let named = folder.and_then(Folder::named).is_some();
            let hidden = parts.next().flatten().is_some_and(|name| name.starts_with('.'));
            (named && !hidden).then_some(Some(mailbox))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_comes_to_every_mailbox_in_small_steps() {
        let all = |many: usize| -> Vec<MailboxId> {
            (0..many).map(|n| (10_000 + n).to_string().parse().unwrap()).collect()
        };
        let mut round = Round::default();
        let mut now = Instant::now();
        let mut files = BTreeSet::new();
        for turn in 0..ROUNDS {
            let (began, mut seen) = (now, vec![]);
            round.begin(all(10_000), now);
            while let Some(next) = round.next {
                now = next;
                let (part, few) = round.step(now);
                assert!(part.len() <= 50 && few.len() <= 1, "{} {}", part.len(), few.len());
                seen.extend(part);
                files.extend(few);
            }
            assert_eq!(seen, all(10_000));
            let took = now - began;
            assert!(if turn == 0 { took.is_zero() } else { took < SPREAD && took > SPREAD / 2 });
        }
        assert_eq!(files.len(), 10_000);
        round.begin(all(20), now);
        assert_eq!((round.step(now).0, round.next), (all(20), None));
        round.begin(vec![], now);
        assert_eq!((round.step(now), round.next), ((vec![], vec![]), None));
    }

    #[test]
    fn a_recording_that_is_not_yet_still_holds_up_nothing_else() {
        let (now, jane): (_, MailboxId) = (Instant::now(), "1000".parse().unwrap());
        let mut due = HashMap::from([(jane.clone(), now + LATER)]);
        look_soon(&mut due, jane.clone(), now);
        assert_eq!(due[&jane], now + GATHER);
        look_soon(&mut due, jane.clone(), now + GATHER / 2);
        assert_eq!(due[&jane], now + GATHER, "nor do those that follow");
    }

    /// A round over many mailboxes takes no watch away, or it would take them all in turn.
    #[tokio::test]
    async fn only_who_is_used_takes_anothers_watches() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("spool");
        let all: Vec<MailboxId> =
            (0..20).map(|n| (1000 + n).to_string().parse().unwrap()).collect();
        for mailbox in &all {
            for folder in ["INBOX", "Old"] {
                fs::create_dir_all(root.join(mailbox.path()).join(folder)).unwrap();
            }
        }
        let state = crate::state::State::open(&dir.path().join("state")).await.unwrap();
        let reader = crate::spool::Reader {
            info: |_| Err(std::io::ErrorKind::Unsupported.into()),
            repair: |_| Err(std::io::ErrorKind::Unsupported.into()),
            playable: |_| Err(std::io::ErrorKind::Unsupported.into()),
            join: |_, _| Err(std::io::ErrorKind::Unsupported.into()),
        };
        let (spool, _) = Spool::open(&root, &state, reader).await.unwrap();
        let (hints, _hinted) = mpsc::channel(9);
        let mut watches = Watches::start(&spool, hints, Arc::default()).unwrap();
        // The root, and three for each mailbox.
        watches.most = 12;
        let watched = |watches: &Watches| {
            let mut watched: Vec<_> = watches.watched.keys().cloned().collect();
            watched.sort();
            watched
        };
        for _ in 0..3 {
            watches.add_all(&spool, &all);
            assert_eq!((watched(&watches), watches.count), (all[..3].to_vec(), 10));
        }
        watches.add(&spool, &all[0]);
        watches.add(&spool, &all[9]);
        watches.add_all(&spool, &all);
        assert_eq!(watched(&watches), [&all[0], &all[2], &all[9]].map(Clone::clone));
        assert_eq!(watches.count, 10);
        watches.most = 2;
        watches.add(&spool, &all[5]);
        assert_eq!((watched(&watches), watches.count), (vec![all[5].clone()], 2));
    }

    #[test]
    fn a_path_concerns_its_mailbox() {
        let at = |path: &str| concerns(Path::new("/spool"), &Path::new("/spool").join(path));
        let jane: MailboxId = "1000@sales".parse().unwrap();
        for path in ["sales/1000", "sales/1000/INBOX", "sales/1000/INBOX/msg0000.txt"] {
            assert_eq!(at(path), Some(Some(jane.clone())), "{path}");
        }
        assert_eq!(at("sales"), Some(None));
        for path in ["", ".removed", ".lock", "sales/1000/tmp", "sales/1000/tmp/x.wav"] {
            assert_eq!(at(path), None, "{path}");
        }
        assert_eq!(at("sales/1000/INBOX/.lock"), None);
        assert_eq!(at("sales/1000/mailbox.toml"), Some(Some(jane)), "a folder may be called so");
    }
}
