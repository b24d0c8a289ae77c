//! The office that sends what waits: it settles intents, keeps the lanes, and hands letters over.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::errand::{self, Errand, Wishes};
use super::extern_notify::Programs;
use super::facts::{Facts, Style};
use super::lanes::{After, Lanes};
use super::letter::{Address, Enclosure, Letter, file_name};
use super::mailer::{Failure, Mailer};
use super::rounds::Rounds;
use super::template::{Kind, Templates};
use super::webhook::Poster;
use super::words::words;
use crate::directory::{Directory, Happening};
use crate::mailbox::edit::{By, Edit};
use crate::mailbox::{Change, Folder, Mailbox, MailboxId, Message, MessageId};
use crate::pii::Secret;
use crate::spool::{Form, Query, Recording, Spool};
use crate::state::State;
use crate::state::outbox::{Posted, Posting};

/// Everything that sending needs.
pub struct Office {
    pub spool: Spool,
    pub directory: Directory,
    pub state: State,
    pub templates: Templates,
    pub mailer: Option<Mailer>,
    pub poster: Poster,
    pub wishes: Wishes,
    pub style: Style,
    pub from: Address,
    /// Secret of each hook, and whether it may lie in our own network.
    pub hooks: HashMap<String, (Option<Secret>, bool)>,
    /// Program and fixed arguments; empty: none.
    pub extern_notify: Vec<String>,
    /// A larger recording is not attached, in bytes.
    pub largest: u64,
    pub attach: Attach,
    /// Makes links to recordings that are not attached; `None`: no such links.
    pub link: Option<Linker>,
    pub rounds: Rounds,
}

/// How recordings come with their letters.
#[derive(Clone, Copy, Debug)]
pub enum Attach {
    AsKept,
    As(Form),
    /// Not at all: the letter says where to listen.
    Link,
}

/// The address of a recording for who has no login, from this Unix second on, and until when it is
/// good.
pub type Linker = Arc<dyn Fn(&MailboxId, MessageId, i64) -> (String, i64) + Send + Sync>;

/// What it means that an intent has no message.
#[derive(Clone, Copy)]
enum Lacking {
    /// A crash came before it: the intent is forgotten.
    Lost,
    /// It is about to be there.
    Coming,
}

/// An attempt, and what follows from it.
struct Ended {
    row: Posted,
    after: After,
    /// Its message is deleted when all its letters are sent.
    deletes: bool,
    is_written: bool,
}

/// Rows that are looked at together.
const PAGE: i64 = 64;
/// Changes of which is written down together what follows from them.
const TOGETHER: usize = 256;
/// Changes that wait to be written down. More are forgotten, but not that messages came.
const MOST_UNWRITTEN: usize = 10_000;
/// Nothing happens by itself for longer than this, whatever the clock does.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Between two tries to write down what has become of a notice.
const WRITE_AGAIN: Duration = Duration::from_secs(2);
/// Shut for so many seconds, a mailbox counts as locked.
const LOCKED: i64 = 600;
/// Messages that a digest names.
const LISTED: usize = 50;

impl Office {
    /// Works until `stopped` says so; what is under way then is tried again at the next start.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let office = Arc::new(self);
        let wake = Arc::new(Notify::new());
        let (changes, happenings) = (office.spool.changes(), office.directory.happenings());
        let settled = office.settle_all(Lacking::Lost).await;
        office.finish_deletions().await;
        let hears = tokio::spawn(office.clone().hear(changes, settled, wake.clone()));
        let watches = tokio::spawn(office.clone().hear_directory(happenings, wake.clone()));
        let (rounds, called) = (office.clone(), wake.clone());
        let goes = tokio::spawn(async move { rounds.go_round(|| called.notify_one()).await });
        let sends = tokio::spawn(office.send(wake));
        let _ = stopped.wait_for(|stopped| *stopped).await;
        hears.abort();
        watches.abort();
        goes.abort();
        sends.abort();
    }

    async fn hear(
        self: Arc<Self>,
        mut changes: broadcast::Receiver<Change>,
        mut settled: bool,
        wake: Arc<Notify>,
    ) {
        let programs = Programs::default();
        // What could not be written down is tried again.
        let mut unwritten: Vec<Change> = vec![];
        loop {
            let (mut heard, mut missed) = (vec![], 0);
            let patience =
                if settled && unwritten.is_empty() { Duration::MAX } else { WRITE_AGAIN };
            match timeout(patience, changes.recv()).await {
                Ok(Ok(change)) => heard.push(change),
                Ok(Err(RecvError::Lagged(many))) => missed += many,
                Ok(Err(RecvError::Closed)) => return,
                Err(_) => {}
            }
            // What has come meanwhile is written down with it.
            while heard.len() < TOGETHER {
                match changes.try_recv() {
                    Ok(change) => heard.push(change),
                    Err(TryRecvError::Lagged(many)) => missed += many,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            for change in &heard {
                if let Some(counts) = change.counts() {
                    programs.tell(&self.extern_notify, change.mailbox(), counts);
                }
            }
            let is_new = unwritten.is_empty();
            unwritten.append(&mut heard);
            match self.write_down(&unwritten).await {
                Ok(()) => unwritten.clear(),
                Err(error) if is_new => {
                    warn!("what follows from a change cannot be written down yet: {error}");
                }
                Err(_) => {}
            }
            if unwritten.len() > MOST_UNWRITTEN {
                missed += unwritten.len() as u64;
                unwritten.clear();
            }
            if missed > 0 {
                info!("{missed} changes came faster than notices were written");
                settled = false;
                for (mailbox, _) in self.directory.all() {
                    programs.tell(&self.extern_notify, &mailbox, self.spool.counts(&mailbox));
                }
            }
            // What was missed of deliveries stands as intents.
            if !settled && unwritten.is_empty() {
                settled = self.settle_all(Lacking::Coming).await;
            }
            wake.notify_one();
        }
    }

    async fn hear_directory(
        self: Arc<Self>,
        mut happenings: broadcast::Receiver<Happening>,
        wake: Arc<Notify>,
    ) {
        loop {
            let happening = match happenings.recv().await {
                Ok(happening) => happening,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let postings = self.of_happening(&happening, now());
            if postings.is_empty() {
                continue;
            }
            if let Err(error) = self.state.post(&[], &postings, now()).await {
                warn!("a notice was not written down: {error}");
            }
            wake.notify_one();
        }
    }

    fn of_happening(&self, happening: &Happening, now: i64) -> Vec<Posting> {
        let chance = ulid(now);
        match happening {
            Happening::Settings { was: Some(was), is: Some(is), .. } => {
                errand::of_settings(was, is, &chance, &self.wishes)
            }
            Happening::Shut { mailbox, until } if until - now >= LOCKED => {
                let Some(settings) = self.directory.find(mailbox) else { return vec![] };
                let until = self.style.date(&settings, *until);
                let of = (&*settings, mailbox.context());
                let told = (until.as_str(), self.spool.counts(mailbox));
                errand::of_lock(of, told, (now, &chance), &self.wishes)
            }
            Happening::Greeting { mailbox, greeting } => {
                let Some(settings) = self.directory.find(mailbox) else { return vec![] };
                errand::of_greeting(&settings, *greeting, &chance, &self.wishes)
            }
            // A pause between two guesses.
            Happening::Settings { .. } | Happening::Shut { .. } => vec![],
        }
    }

    async fn write_down(&self, changes: &[Change]) -> Result<(), crate::state::Error> {
        let (mut settled, mut postings) = (vec![], vec![]);
        let now = now();
        for change in changes {
            let id = change.mailbox();
            let Some(mailbox) = self.directory.find(id) else { continue };
            match change {
                Change::Delivered { message, counts } => {
                    if self.wishes.wants(&mailbox) {
                        settled.push(message.id.to_string());
                    }
                    let of = (&*mailbox, &**message);
                    postings.extend(errand::of_message(of, *counts, true, &self.wishes));
                }
                Change::Found { message, counts } => {
                    let of = (&*mailbox, &**message);
                    postings.extend(errand::of_message(of, *counts, false, &self.wishes));
                }
                change => {
                    let (counts, chance) = (self.spool.counts(id), ulid(now));
                    let at = (now, chance.as_str());
                    postings.extend(errand::of_change(change, &mailbox, counts, at, &self.wishes));
                }
            }
        }
        if settled.is_empty() && postings.is_empty() {
            return Ok(());
        }
        self.state.post(&settled, &postings, now).await
    }

    /// Intents of before: those whose message exists are sent. False where that could not be
    /// written down.
    async fn settle_all(&self, lacking: Lacking) -> bool {
        let mut after = String::new();
        loop {
            let intents = match self.state.intents(&after, PAGE).await {
                Ok(intents) => intents,
                Err(error) => {
                    warn!("intents to notify cannot be read: {error}");
                    return false;
                }
            };
            let Some(last) = intents.last() else { return true };
            after.clone_from(&last.message);
            let (mut settled, mut postings) = (vec![], vec![]);
            for intent in intents {
                match (self.message(&intent.mailbox, &intent.message).await, lacking) {
                    (Some((mailbox, message)), _) => {
                        let counts = self.spool.counts(&message.mailbox);
                        let of = (&*mailbox, &*message);
                        postings.extend(errand::of_message(of, counts, true, &self.wishes));
                    }
                    (None, Lacking::Lost) => {}
                    (None, Lacking::Coming) => continue,
                }
                settled.push(intent.message);
            }
            if let Err(error) = self.state.post(&settled, &postings, now()).await {
                warn!("intents to notify cannot be settled: {error}");
                return false;
            }
        }
    }

    async fn message(&self, mailbox: &str, id: &str) -> Option<(Arc<Mailbox>, Arc<Message>)> {
        let (mailbox, settings) = match mailbox.parse::<MailboxId>() {
            Ok(id) if mailbox.contains('@') => (id.clone(), self.directory.find(&id)?),
            _ => self.directory.named(mailbox)?,
        };
        let id: MessageId = id.parse().ok()?;
        let message = self.spool.get(&mailbox, id).await.ok().flatten()?;
        Some((settings, message))
    }

    async fn send(self: Arc<Self>, wake: Arc<Notify>) {
        let lanes = Arc::new(Mutex::new(Lanes::default()));
        let mut under_way: HashSet<i64> = HashSet::new();
        let mut sending: JoinSet<Ended> = JoinSet::new();
        // What has become of some could not be written down. They are not tried again: on a full
        // disk a letter would be sent until there is room.
        let mut unwritten: Vec<Ended> = vec![];
        let mut written = Instant::now();
        loop {
            if !unwritten.is_empty() && written.elapsed() >= WRITE_AGAIN {
                for ended in std::mem::take(&mut unwritten) {
                    match self.conclude(&ended).await {
                        Ok(()) => {
                            under_way.remove(&ended.row.id);
                        }
                        Err(_) => unwritten.push(ended),
                    }
                }
                written = Instant::now();
            }
            let at = now();
            let closed = lock(&lanes).closed(at);
            let most = PAGE + i64::try_from(under_way.len()).unwrap_or(0);
            let due = self.state.due(at, &closed, most).await.unwrap_or_else(|error| {
                warn!("the outbox cannot be read: {error}");
                vec![]
            });
            let mut begun = false;
            for row in due {
                if under_way.contains(&row.id) || !lock(&lanes).begin(&row.lane, at) {
                    continue;
                }
                under_way.insert(row.id);
                begun = true;
                let (office, lanes) = (self.clone(), lanes.clone());
                sending.spawn(async move { office.attempt(row, &lanes).await });
            }
            if begun {
                continue;
            }
            let opening = lock(&lanes).next_opening(at);
            let next = self.state.next_due(at).await.unwrap_or(None);
            let wait = [opening, next].into_iter().flatten().min().map_or(LOOK_AGAIN, |next| {
                Duration::from_secs(u64::try_from(next - at).unwrap_or(1)).min(LOOK_AGAIN)
            });
            let wait = if unwritten.is_empty() { wait } else { wait.min(WRITE_AGAIN) };
            tokio::select! {
                () = wake.notified() => {}
                () = self.state.until_retried() => lock(&lanes).open_all(),
                Some(done) = sending.join_next() => {
                    match done.map(|ended| (ended.is_written, ended)) {
                        Ok((true, ended)) => {
                            under_way.remove(&ended.row.id);
                        }
                        Ok((false, ended)) => unwritten.push(ended),
                        // A panicked attempt leaves its row due; it is tried at the next start.
                        Err(error) => warn!("an attempt to send a notice broke off: {error}"),
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn attempt(&self, row: Posted, lanes: &Mutex<Lanes>) -> Ended {
        let (outcome, deletes) = self.carry(&row).await;
        let ended = (row.attempts + 1, row.made, now());
        let after = lock(lanes).end(&row.lane, outcome, ended);
        match &after {
            After::Again { why, .. } if row.error != *why => {
                info!(notice = %row.key, lane = %row.lane, "a notice waits: {why}");
            }
            After::Dead { why } => {
                warn!(notice = %row.key, lane = %row.lane,
                    "a notice is given up (see `afterbeep outbox list`): {why}");
            }
            After::Sent | After::Again { .. } => {}
        }
        let mut ended = Ended { row, after, deletes, is_written: true };
        if let Err(error) = self.conclude(&ended).await {
            warn!(
                notice = %ended.row.key,
                "what became of a notice cannot be written down, and is tried again: {error}"
            );
            ended.is_written = false;
        }
        ended
    }

    async fn conclude(&self, ended: &Ended) -> Result<(), crate::state::Error> {
        let Ended { row, after, deletes, .. } = ended;
        match after {
            After::Sent => self.sent(row, *deletes).await,
            After::Again { at, why } => self.state.failed(row.id, why, Some(*at)).await,
            After::Dead { why } => self.state.failed(row.id, why, None).await,
        }
    }

    async fn sent(&self, row: &Posted, deletes: bool) -> Result<(), crate::state::Error> {
        if self.state.sent(row, deletes).await? && deletes {
            self.finish_deletions().await;
        }
        Ok(())
    }

    /// Messages that every recipient's server has accepted leave their mailbox.
    async fn finish_deletions(&self) {
        let sent = self.state.all_sent().await.unwrap_or_default();
        for (message, mailbox) in sent {
            if let Some((_, found)) = self.message(&mailbox, &message).await {
                let by = By::new("mail", now());
                let done = self.spool.edit(&found.mailbox, found.id, &Edit::Delete, &by).await;
                if let Err(error) = done {
                    warn!(
                        "a mailed message could not be deleted, and is at the next start: {error}"
                    );
                    continue;
                }
            }
            if let Err(error) = self.state.forget_sent(&message).await {
                warn!("the outbox cannot be written: {error}");
            }
        }
    }

    /// Tries once. The second value: the message is to be deleted when all its letters are sent.
    async fn carry(&self, row: &Posted) -> (Result<(), Failure>, bool) {
        match serde_json::from_str(&row.body) {
            Ok(Errand::Mail { to, kind, attach, delete, about }) => {
                match self.letter(row, &to, kind, (attach, delete), &about).await {
                    Ok(Some((letter, deletes))) => match &self.mailer {
                        Some(mailer) => (mailer.send(letter).await, deletes),
                        None => (Err(Failure::Later("mail.server is not set".into())), false),
                    },
                    // The message is gone: there is nothing to tell any more.
                    Ok(None) => (Ok(()), false),
                    Err(failure) => (Err(failure), false),
                }
            }
            Ok(Errand::Hook { url, event }) => {
                let Some((secret, private)) = self.hooks.get(&url) else {
                    return (
                        Err(Failure::Letter("the configuration has no such webhook".into())),
                        false,
                    );
                };
                let signed = (row.key.as_str(), secret.as_ref(), *private);
                (self.poster.post(&url, signed, &event, now()).await, false)
            }
            Err(error) => (Err(Failure::Letter(format!("cannot be read: {error}"))), false),
        }
    }

    async fn letter(
        &self,
        row: &Posted,
        to: &str,
        kind: Kind,
        (attach, delete): (bool, bool),
        about: &str,
    ) -> Result<Option<(lettre::Message, bool)>, Failure> {
        let Some((id, mailbox)) = self.directory.named(&row.mailbox) else { return Ok(None) };
        let mut facts = Facts::of(&id, &mailbox, self.spool.counts(&id));
        facts.what = words(about, &mailbox.language);
        about.clone_into(&mut facts.until);
        facts.percent = about.parse().unwrap_or(0);
        if kind == Kind::Digest {
            let unheard = self.unheard(&id).await?;
            if unheard.is_empty() {
                return Ok(None);
            }
            facts = facts.listing(&unheard, &mailbox, &self.style);
        }
        let mut enclosure = None;
        if let Some(message) = &row.message {
            let Some((_, message)) = self.message(&row.mailbox, message).await else {
                return Ok(None);
            };
            if kind == Kind::Reminder && (message.heard.is_some() || !is_new(&message)) {
                return Ok(None);
            }
            facts = facts.with(&message, &mailbox, &self.style);
            if attach && !matches!(self.attach, Attach::Link) {
                enclosure = self.enclosure(&message, &mailbox).await?;
            }
            if attach
                && enclosure.is_none()
                && let (Some(link), Some(told)) = (&self.link, &mut facts.message)
            {
                let (url, until) = link(&id, message.id, now());
                (told.link, told.link_until) = (url, self.style.date(&mailbox, until));
            }
        }
        // Without its recording in the letter, the message stays.
        let deletes = delete && enclosure.is_some();
        if let Some(message) = &mut facts.message {
            message.attached = enclosure.is_some();
            message.deleted = deletes;
        }
        let words = self.templates.words(kind, &mailbox.language, &facts);
        let html = match kind {
            Kind::Page => String::new(),
            _ => self.templates.html(&words, &mailbox.language),
        };
        let to = Address { name: mailbox.name.clone(), address: to.to_owned() };
        let letter = Letter {
            from: &self.from,
            to: &to,
            words: &words,
            html,
            enclosure,
            key: &row.key,
            date: row.made,
        };
        let letter = letter.message().map_err(|error| Failure::Letter(error.to_string()))?;
        Ok(Some((letter, deletes)))
    }

    /// The newest of them.
    async fn unheard(&self, mailbox: &MailboxId) -> Result<Vec<Arc<Message>>, Failure> {
        let query = Query {
            folders: vec![Folder::Inbox, Folder::Urgent],
            heard: Some(false),
            newest_first: true,
            limit: Some(LISTED),
            ..Query::default()
        };
        let found = self.spool.list(mailbox, &query).await;
        found.map_err(|error| Failure::Later(error.to_string()))
    }

    async fn enclosure(
        &self,
        message: &Message,
        mailbox: &Mailbox,
    ) -> Result<Option<Enclosure>, Failure> {
        let recording = match self.spool.audio(&message.mailbox, message.id).await {
            Ok(recording) => recording,
            Err(error) => return Err(Failure::Later(error.to_string())),
        };
        let form = match self.attach {
            Attach::As(form) => Some(form),
            Attach::AsKept | Attach::Link => None,
        };
        let largest = self.largest;
        let read = tokio::task::spawn_blocking(move || enclosed(&recording, form, largest)).await;
        let enclosed = match read {
            Ok(Ok(enclosed)) => enclosed,
            Ok(Err(error)) => return Err(Failure::Later(error.to_string())),
            Err(_) => None,
        };
        let zone = self.style.zone(mailbox);
        let at = jiff::Timestamp::from_second(message.envelope.received).unwrap_or_default();
        let local = at.to_zoned(zone).strftime("%Y-%m-%d_%H%M").to_string();
        Ok(enclosed.map(|(content, mime, extension)| Enclosure {
            name: file_name(&local, &message.envelope.caller.number, message.duration, extension),
            mime,
            content,
        }))
    }
}

/// Content, MIME type and extension of a recording as it is attached; none where it is too large.
fn enclosed(
    recording: &Recording,
    form: Option<Form>,
    largest: u64,
) -> io::Result<Option<(Vec<u8>, &'static str, &'static str)>> {
    let made = form.and_then(|form| Some((form, (form.make)(recording.path()).ok()?)));
    let enclosed = match made {
        Some((form, content)) => (content, form.media_type, form.extension),
        None if recording.bytes() > largest => return Ok(None),
        // What cannot be made into another form is sent as it is.
        None => {
            let all = usize::try_from(recording.bytes()).unwrap_or(usize::MAX);
            (recording.read(0, all)?, "audio/wav", "wav")
        }
    };
    Ok((enclosed.0.len() as u64 <= largest).then_some(enclosed))
}

/// It lies where unheard messages lie.
fn is_new(message: &Message) -> bool {
    matches!(message.folder, Folder::Inbox | Folder::Urgent)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix seconds.
pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Tells one happening from the next.
fn ulid(now: i64) -> String {
    let mut chance = [0; 16];
    // Without chance the second alone tells them apart.
    let _ = crate::state::seal::chance(&mut chance);
    MessageId::new(u64::try_from(now).unwrap_or(0) * 1000, u128::from_le_bytes(chance)).to_string()
}
