//! A process that delivers, edits, copies, imports and renames, and is killed in the midst of it.
//!
//! The process tells each thing before it begins and when it is done; what it told to be done is
//! looked for afterwards, by another process, in the tree and in the lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::Arc;
use std::time::Duration;

use afterbeep::control::{Command, Reply, Stores};
use afterbeep::daemon::WAV;
use afterbeep::directory::Settings;
use afterbeep::mailbox::{By, CallerId, Edit, Envelope, Folder, MailboxId, Message, MessageId};
use afterbeep::spool::{CopyAs, Query, Spool};

/// Callers who speak at once.
const CALLERS: u64 = 8;
/// Messages in the spool that is imported.
const FOREIGN: usize = 24;
const FOLDERS: [&str; 6] = ["INBOX", "Old", "Work", "Friends", "SENT", "Deleted"];
/// Tells this program that it is the one to be killed.
const WORKER: &str = "AFTERBEEP_CRASH_WORKER";

/// Works until it is killed, if that is what this process is for.
pub fn work_if_asked() {
    let Ok(home) = std::env::var(WORKER) else { return };
    let (home, round) = home.rsplit_once(':').unwrap();
    let (home, round) = (PathBuf::from(home), round.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(work(&home, round));
}

/// Kills so many processes, and finds what they had told; `arguments` make this program work.
pub fn crashes(times: u64, seed: u64, arguments: &[&str]) -> Tally {
    let mut tally = Tally::default();
    let mut dice = Dice(seed);
    let mut home = None;
    let mut book = Book::default();
    for round in 0..times {
        // A spool that grows without end would only make the look at it slow.
        if round % 25 == 0 {
            home = Some(fresh());
            book = Book::default();
        }
        let home: &tempfile::TempDir = home.as_ref().unwrap();
        let told = kill_one(home.path(), round ^ seed << 20, &mut dice, arguments);
        tally.crashes += 1;
        for line in &told {
            book.note(line);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let checked = runtime.block_on(check(home.path(), &mut book));
        match checked {
            Ok(messages) => tally.messages += messages,
            Err(why) => {
                let last = told.iter().rev().take(30).rev().cloned().collect::<Vec<_>>();
                panic!("seed {seed}, crash {round}: {why}\nlast told:\n{}", last.join("\n"));
            }
        }
        tally.acknowledged += told.iter().filter(|line| line.starts_with("did")).count();
    }
    tally
}

#[derive(Debug, Default)]
pub struct Tally {
    pub crashes: usize,
    /// Things that were told to be done.
    pub acknowledged: usize,
    /// Messages looked at, over all crashes.
    pub messages: usize,
}

fn fresh() -> tempfile::TempDir {
    let home = tempfile::Builder::new().prefix("afterbeep-crash-").tempdir().unwrap();
    let inbox = home.path().join("asterisk/INBOX");
    fs::create_dir_all(&inbox).unwrap();
    for n in 0..FOREIGN {
        fs::write(inbox.join(format!("msg{n:04}.wav")), wav(400 + n)).unwrap();
        let text = format!(
            "[message]\ncallerid=\"foreign-{n}\" <2001>\norigtime={}\nmsg_id=1600000000-{n:08x}\n",
            1_600_000_000 + n
        );
        fs::write(inbox.join(format!("msg{n:04}.txt")), text).unwrap();
    }
    home
}

/// What a process told until it died.
fn kill_one(home: &Path, round: u64, dice: &mut Dice, arguments: &[&str]) -> Vec<String> {
    let mut child = process::Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .env(WORKER, format!("{}:{round}", home.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = vec![];
    // From the first thing that is done on, any moment may be the last.
    let reader = loop {
        let line = lines.next().expect("a worker that works").unwrap();
        let begun = line.starts_with("did");
        told.push(line);
        if begun {
            break std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<String>>());
        }
    };
    std::thread::sleep(Duration::from_micros(dice.below(250_000)));
    child.kill().unwrap();
    child.wait().unwrap();
    told.extend(reader.join().unwrap());
    told
}

async fn open(home: &Path) -> Stores {
    let mut tried = 0;
    loop {
        match Stores::open(&home.join("spool"), &home.join("state"), WAV).await {
            Ok((stores, problems)) => {
                assert!(problems.is_empty(), "{problems:?}");
                return stores;
            }
            // The one before closes its files in threads of their own.
            Err(error) => {
                tried += 1;
                assert!(tried < 500, "{error:#}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn mailbox(n: u64) -> MailboxId {
    MailboxId::new("default", &(1000 + n).to_string()).unwrap()
}

fn import_box(round: u64) -> MailboxId {
    MailboxId::new("imported", &(round & 0xfffff).to_string()).unwrap()
}

async fn work(home: &Path, round: u64) {
    let stores = open(home).await;
    let spool = stores.spool.clone();
    let mut callers = vec![];
    callers.push(tokio::spawn(async move { rename(stores, round).await }));
    for caller in 0..CALLERS {
        let spool = spool.clone();
        callers.push(tokio::spawn(async move { call(spool, round, caller).await }));
    }
    let from = home.join("asterisk");
    callers.push(tokio::spawn(async move {
        let to = import_box(round);
        tell(&format!("try import {to}"));
        let imported = spool.import((&to, 7), &from, false).await.unwrap();
        assert_eq!(imported.messages, FOREIGN, "{imported:?}");
        tell(&format!("did import {to}"));
    }));
    for caller in callers {
        caller.await.unwrap();
    }
}

/// One mailbox that gets another number again and again, and messages in between.
async fn rename(stores: Stores, round: u64) {
    let mut dice = Dice(round ^ 0xabcd);
    let of = |id: &MailboxId| id.context() == MOVING;
    let found = stores.directory.all().into_iter().map(|(id, _)| id).find(of);
    let mut at = if let Some(at) = found {
        at
    } else {
        let at = MailboxId::new(MOVING, "2000").unwrap();
        let settings = Settings::new();
        let add = Command::AddMailbox { mailbox: at.to_string(), settings, pin: None };
        refused(stores.perform(add).await);
        at
    };
    for n in 0_u64.. {
        let tag = format!("{round:x}-moved-{n}");
        tell(&format!("try {tag} deliver {at}"));
        deliver(&stores.spool, &tag, &at, &mut dice).await;
        tell(&format!("did {tag} deliver {at}"));
        let to = MailboxId::new(MOVING, &(2000 + dice.below(1000)).to_string()).unwrap();
        if to == at {
            continue;
        }
        let command = Command::RenameMailbox { mailbox: at.to_string(), to: to.to_string() };
        refused(stores.perform(command).await);
        at = to;
    }
}

fn refused(reply: Reply) {
    if let Reply::Refused { why } = reply {
        panic!("{why}");
    }
}

/// Where the mailbox is that gets other numbers.
const MOVING: &str = "moving";

/// One line in one piece.
fn tell(line: &str) {
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Leaves messages, and does things to those that it has left.
async fn call(spool: Spool, round: u64, caller: u64) {
    let mut dice = Dice(round.wrapping_mul(0x9e37_79b9).wrapping_add(caller));
    let mut mine: Vec<(String, MailboxId, MessageId)> = vec![];
    for n in 0_u64.. {
        if mine.is_empty() || dice.below(3) == 0 {
            let (tag, to) = (format!("{round:x}-{caller}-{n}"), mailbox(dice.below(4)));
            tell(&format!("try {tag} deliver {to}"));
            let id = deliver(&spool, &tag, &to, &mut dice).await.id;
            tell(&format!("did {tag} deliver {to}"));
            mine.push((tag, to, id));
            continue;
        }
        let at = usize::try_from(dice.below(mine.len() as u64)).unwrap();
        let (tag, to, id) = mine[at].clone();
        let (word, edit) = match dice.below(8) {
            0 => ("heard", Edit::MarkHeard),
            1 => ("new", Edit::MarkNew),
            2 => ("Work", Edit::File(Folder::Work)),
            3 => ("Friends", Edit::File(Folder::Friends)),
            4 => ("delete", Edit::Delete),
            5 => ("restore", Edit::Restore),
            6 => ("purge", Edit::Purge),
            _ => {
                let Ok(Some(message)) = spool.get(&to, id).await else { panic!("{tag} is lost") };
                tell(&format!("try {tag} copy {to}"));
                let by = By::new("crash", 1_700_000_900);
                spool.copy(&message, (&to, 7), CopyAs::Sent, &by).await.unwrap();
                tell(&format!("did {tag} copy {to}"));
                continue;
            }
        };
        tell(&format!("try {tag} {word} {to}"));
        spool.edit(&to, id, &edit, &By::new("crash", 1_700_000_500)).await.unwrap();
        tell(&format!("did {tag} {word} {to}"));
        if word == "purge" {
            mine.remove(at);
        }
    }
}

async fn deliver(spool: &Spool, tag: &str, to: &MailboxId, dice: &mut Dice) -> Arc<Message> {
    let caller = CallerId { number: "2001".into(), name: tag.to_owned(), ext: String::new() };
    let envelope = Envelope { caller, received: 1_700_000_000, ..Envelope::default() };
    let draft = spool.draft(to, 7, envelope, 1_700_000_000_000).await.unwrap();
    let bytes = wav(2000 + usize::try_from(dice.below(8000)).unwrap());
    let mut file = draft.opener()().unwrap();
    file.write_all(&bytes).unwrap();
    drop(file);
    spool.deliver(draft).await.unwrap()
}

/// What has been told of all messages.
#[derive(Default)]
struct Book {
    messages: BTreeMap<String, Told>,
    /// Mailboxes that an import was begun for, and whether it was done.
    imports: BTreeMap<String, bool>,
}

#[derive(Clone, Debug, Default)]
struct Told {
    mailbox: String,
    delivered: bool,
    heard: bool,
    folder: &'static str,
    /// Where it lay before it was deleted.
    before: &'static str,
    purged: bool,
    copies: usize,
    /// Begun, and never told to be done.
    open: Option<String>,
    copies_open: usize,
}

impl Book {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [how @ ("try" | "did"), "import", to] => {
                let done = self.imports.entry((*to).to_owned()).or_default();
                *done |= *how == "did";
            }
            ["try", tag, word, to] => {
                let told = self.messages.entry((*tag).to_owned()).or_default();
                (*to).clone_into(&mut told.mailbox);
                told.open = Some((*word).to_owned());
                told.copies_open += usize::from(*word == "copy");
            }
            ["did", tag, word, _] => {
                let told = self.messages.get_mut(*tag).expect("it was begun");
                told.open = None;
                told.done(word);
            }
            // The test harness has words of its own.
            _ => {}
        }
    }
}

impl Told {
    fn done(&mut self, word: &str) {
        match word {
            "deliver" => (self.delivered, self.folder) = (true, "INBOX"),
            "heard" => self.heard = true,
            "new" => self.heard = false,
            "Work" => self.folder = "Work",
            "Friends" => self.folder = "Friends",
            "delete" if self.folder != "Deleted" => {
                (self.before, self.folder) = (self.folder, "Deleted");
            }
            "restore" if self.folder == "Deleted" => self.folder = self.before,
            "purge" => self.purged = true,
            "copy" => {
                self.copies += 1;
                self.copies_open -= 1;
            }
            _ => {}
        }
    }
}

/// Everything that was told to be done is so, nothing is twice, and lists and tree agree.
async fn check(home: &Path, book: &mut Book) -> Result<usize, String> {
    let stores = open(home).await;
    let spool = stores.spool.clone();
    for (to, done) in &mut book.imports {
        let id: MailboxId = to.parse().unwrap();
        if !*done {
            spool
                .import((&id, 7), &home.join("asterisk"), false)
                .await
                .map_err(|e| e.to_string())?;
            *done = true;
        }
        let names: Vec<String> =
            all(&spool, &id).await.iter().map(|m| m.envelope.caller.name.clone()).collect();
        let different: BTreeSet<&String> = names.iter().collect();
        if (names.len(), different.len()) != (FOREIGN, FOREIGN) {
            return Err(format!(
                "{to} has {} messages, {} of them different",
                names.len(),
                different.len()
            ));
        }
    }
    let mut listed: BTreeMap<String, Vec<Arc<Message>>> = BTreeMap::new();
    let mut count = 0;
    let mut ids = BTreeSet::new();
    let moving = stores.directory.all().into_iter().map(|(id, _)| id);
    let moving: Vec<MailboxId> = moving.filter(|id| id.context() == MOVING).collect();
    let dirs = fs::read_dir(home.join("spool").join(MOVING)).map_or(0, Iterator::count);
    if moving.len() > 1 || dirs != moving.len() {
        return Err(format!("{dirs} directories, and {moving:?}"));
    }
    for id in (0..4).map(mailbox).chain(moving) {
        let messages = all(&spool, &id).await;
        let in_tree = tree(&home.join("spool").join(id.path()))?;
        let in_lists: BTreeSet<(String, String)> =
            messages.iter().map(|m| (m.folder.to_string(), m.stem.to_string())).collect();
        if in_tree != in_lists {
            let odd: Vec<_> = in_tree.symmetric_difference(&in_lists).collect();
            return Err(format!("{id}: tree and lists differ: {odd:?}"));
        }
        count += messages.len();
        for message in messages {
            if !ids.insert(message.id) {
                return Err(format!("two messages are {}", message.id));
            }
            listed.entry(message.envelope.caller.name.clone()).or_default().push(message);
        }
    }
    for (tag, told) in &mut book.messages {
        let found = listed.remove(tag).unwrap_or_default();
        told.compare(tag, &found)?;
    }
    if let Some((tag, _)) = listed.first_key_value() {
        return Err(format!("nobody has left {tag}"));
    }
    drop(spool);
    let Stores { state, .. } = stores;
    state.close().await;
    Ok(count)
}

impl Told {
    /// And learns what became of what was begun.
    fn compare(&mut self, tag: &str, found: &[Arc<Message>]) -> Result<(), String> {
        let (own, copies): (Vec<_>, Vec<_>) = found.iter().partition(|m| m.origin.is_none());
        let open = self.open.take();
        if !(self.copies..=self.copies + self.copies_open).contains(&copies.len()) {
            let (least, most) = (self.copies, self.copies + self.copies_open);
            return Err(format!("{tag} has {} copies, not {least} to {most}", copies.len()));
        }
        (self.copies, self.copies_open) = (copies.len(), 0);
        if own.len() > 1 {
            return Err(format!("{tag} is there {} times", own.len()));
        }
        let Some(message) = own.first() else {
            let may_miss = self.purged || !self.delivered || open.as_deref() == Some("purge");
            self.purged = true;
            return if may_miss { Ok(()) } else { Err(format!("{tag} is lost")) };
        };
        if self.purged && self.delivered {
            return Err(format!("{tag} was purged, and is there"));
        }
        let folder = FOLDERS.into_iter().find(|name| *name == message.folder.name());
        let is = (folder.unwrap_or("another folder"), message.heard.is_some());
        let before = (self.folder, self.heard);
        if let Some(word) = &open {
            self.done_once(word);
        }
        let after = (self.folder, self.heard);
        if is != after && (is != before || open.is_none()) {
            return Err(format!("{tag} is {is:?}, not {after:?}, nor {before:?} before {open:?}"));
        }
        (self.delivered, self.folder, self.heard) = (true, is.0, is.1);
        Ok(())
    }

    fn done_once(&mut self, word: &str) {
        if !matches!(word, "copy" | "purge") {
            self.done(word);
        }
    }
}

async fn all(spool: &Spool, id: &MailboxId) -> Vec<Arc<Message>> {
    let folders = FOLDERS.into_iter().filter_map(Folder::named).collect();
    spool.list(id, &Query { folders, ..Query::default() }).await.unwrap()
}

/// Folder and stem of each message in a mailbox's directory, none of them half.
fn tree(dir: &Path) -> Result<BTreeSet<(String, String)>, String> {
    let mut found = BTreeSet::new();
    for folder in FOLDERS {
        let names: BTreeSet<String> = fs::read_dir(dir.join(folder))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        for name in &names {
            let (stem, extension) = name.rsplit_once('.').unwrap();
            let other = if extension == "wav" { "txt" } else { "wav" };
            if !names.contains(&format!("{stem}.{other}")) {
                return Err(format!("{}/{folder}/{name} stands alone", dir.display()));
            }
            found.insert((folder.to_owned(), stem.to_owned()));
        }
    }
    Ok(found)
}

/// 16-bit, mono, 8 kHz.
fn wav(samples: usize) -> Vec<u8> {
    let bytes = u32::try_from(samples * 2).unwrap();
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav.extend((0..samples).flat_map(|n| i16::try_from(n % 251).unwrap().to_le_bytes()));
    wav
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n ^ n >> 31) % bound.max(1)
    }
}
