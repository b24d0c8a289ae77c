//! What the spool promises, whatever happens to it: deliveries, crashes at every step, strangers'
//! files.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[path = "store/deliver.rs"]
mod deliver;
#[path = "store/edit.rs"]
mod edit;
#[path = "store/index.rs"]
mod index;
#[path = "store/life.rs"]
mod life;
#[path = "store/others.rs"]
mod others;
#[path = "store/room.rs"]
mod room;

use afterbeep::daemon::WAV;
use afterbeep::mailbox::{
    By, CallerId, Change, Counts, Edit, Envelope, Folder, MailboxId, Message, MessageId, Stem,
};
use afterbeep::spool::{CopyAs, Draft, Error, Found, Marks, Options, Probe, Query, Spool};
use afterbeep::state::State;

#[tokio::test]
async fn a_delivered_message_is_listed_told_and_there_after_a_restart() {
    let home = Home::new();
    let (spool, found) = home.open().await;
    assert_eq!(found, Found::default());
    let mut changes = spool.changes();
    let delivered = leave(&spool, 8000).await;
    let Ok(Change::Delivered { message, counts }) = changes.try_recv() else { panic!("untold") };
    assert_eq!((message.id, counts.new, counts.old), (delivered.id, 1, 0));
    assert_eq!(delivered.duration, Duration::from_secs(1));
    assert_eq!(delivered.stem.as_str().split('_').count(), 6, "{}", delivered.stem);
    assert!(delivered.stem.as_str().starts_with("voicemail_1700000000_1700000000"));
    assert!(delivered.stem.as_str().ends_with("_10142_2001_1"));
    let (spool, found) = home.reopen(spool).await;
    assert_eq!(found, Found { messages: 1, ..Found::default() });
    let read = inbox(&spool).await;
    assert_eq!(*read[0], delivered, "what is read is what was delivered");
    assert!(files(&home.mailbox().join("tmp")).is_empty());
}

#[tokio::test]
async fn two_messages_of_one_second_are_two() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let (first, second) = (leave(&spool, 8000).await, leave(&spool, 8000).await);
    assert_ne!(first.id, second.id);
    assert!(first.number < second.number);
    assert_ne!(first.stem, second.stem);
    assert_eq!(inbox(&spool).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_owner_deletes_while_others_leave_messages() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let heard = [leave(&spool, 800).await, leave(&spool, 800).await];
    let leave_one = |spool: &Spool| {
        let spool = spool.clone();
        tokio::spawn(async move { leave(&spool, 800).await.id })
    };
    let mut leaving: Vec<_> = (0..3).map(|_| leave_one(&spool)).collect();
    for message in &heard {
        edit(&spool, message.id, Edit::MarkHeard).await.unwrap();
        leaving.push(leave_one(&spool));
        edit(&spool, message.id, Edit::Delete).await.unwrap();
    }
    let mut left = BTreeSet::new();
    for leaving in leaving {
        left.insert(leaving.await.unwrap());
    }
    let (spool, found) = home.reopen(spool).await;
    assert_eq!((found.messages, spool.counts(&id()).new), (7, 5));
    let new: BTreeSet<_> = inbox(&spool).await.iter().map(|message| message.id).collect();
    let deleted = list(&spool, Folder::Deleted).await;
    assert_eq!((new, deleted.len()), (left, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_at_once_are_all_there() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let leaving: Vec<_> = (0..100)
        .map(|_| {
            let spool = spool.clone();
            tokio::spawn(async move { leave(&spool, 800).await.stem })
        })
        .collect();
    for leaving in leaving {
        let stem = leaving.await.unwrap();
        assert!(home.inbox().join(format!("{stem}.wav")).is_file());
        assert!(home.inbox().join(format!("{stem}.txt")).is_file());
    }
    assert_eq!(spool.counts(&id()).new, 100);
    let (spool, found) = home.reopen(spool).await;
    assert_eq!((found.messages, inbox(&spool).await.len()), (100, 100));
}

/// Whoever can write a file into the spool cannot stop it.
#[tokio::test]
async fn a_number_beyond_all_numbers_stops_nothing() {
    let home = Home::new();
    let (mut spool, _) = home.open().await;
    let message = leave(&spool, 800).await;
    let sidecar = home.inbox().join(format!("{}.txt", message.stem));
    let text = fs::read_to_string(&sidecar).unwrap();
    let own = format!("number={}\n", message.number);
    for claimed in [i64::MAX.to_string(), (1_u64 << 53).to_string()] {
        fs::write(&sidecar, text.replace(&own, &format!("number={claimed}\n"))).unwrap();
        let found;
        (spool, found) = home.reopen(spool).await;
        assert_eq!(found.unreadable, 0);
        leave(&spool, 800).await;
    }
    assert_eq!(inbox(&home.reopen(spool).await.0).await.len(), 3);
}

#[tokio::test]
async fn a_number_given_twice_hides_no_message() {
    let home = Home::new();
    fs::create_dir_all(home.inbox()).unwrap();
    for id in ["01KE7P0J3R0000000000000001", "01KE7P0J3R0000000000000002"] {
        wav(&home.inbox().join(format!("{id}.wav")), 80);
        let text = format!("[message]\norigtime=1700000000\nid={id}\nnumber=7\n");
        fs::write(home.inbox().join(format!("{id}.txt")), text).unwrap();
    }
    let (spool, _) = home.open().await;
    assert_eq!((inbox(&spool).await.len(), spool.counts(&id()).new), (2, 2));
}

#[tokio::test]
async fn a_lost_database_gives_no_number_twice() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let delivered = leave(&spool, 8000).await;
    let draft = speak(&spool, 8000).await;
    drop((draft, spool));
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(home.0.path().join("state").join(name));
    }
    let (spool, found) = home.open().await;
    assert_eq!((found.messages, found.recovered), (2, 1));
    let read = inbox(&spool).await;
    assert_eq!(read.len(), 2);
    assert!(read.iter().any(|m| m.number == delivered.number));
    assert_ne!(read[0].number, read[1].number);
}

#[tokio::test]
async fn asterisks_spool_is_simply_there_and_keeps_its_numbers() {
    let home = Home::new();
    let old = home.mailbox().join("Old");
    fs::create_dir_all(&old).unwrap();
    let asterisk = "[message]\norigmailbox=1000\ncallerid=\"Bob\" <2002>\norigtime=1600000000\nmsg_id=1600000000-00000001\nduration=1\n";
    fs::write(old.join("msg0000.txt"), asterisk).unwrap();
    wav(&old.join("msg0000.wav"), 8000);
    wav(&old.join("msg0001.wav"), 4000); // nobody described it
    let before = (fs::read(old.join("msg0000.txt")).unwrap(), files(&old));
    let (spool, found) = home.open().await;
    assert_eq!(found.messages, 2);
    let listed = list(&spool, Folder::Old).await;
    let bob = listed.iter().find(|m| m.envelope.caller.name == "Bob").unwrap();
    let other = listed.iter().find(|m| m.stem.as_str() == "msg0001").unwrap();
    assert_eq!(
        (bob.envelope.received, other.duration),
        (1_600_000_000, Duration::from_millis(500))
    );
    assert_eq!((fs::read(old.join("msg0000.txt")).unwrap(), files(&old)), before, "untouched");
    let kept = (bob.id, bob.number, other.id, other.number);
    // Asterisk renumbers.
    fs::rename(old.join("msg0001.wav"), old.join("msg0005.wav")).unwrap();
    let (spool, _) = home.reopen(spool).await;
    let listed = list(&spool, Folder::Old).await;
    let bob = listed.iter().find(|m| m.envelope.caller.name == "Bob").unwrap();
    let other = listed.iter().find(|m| m.stem.as_str() == "msg0005").unwrap();
    assert_eq!((bob.id, bob.number, other.id, other.number), kept);
}

#[tokio::test]
async fn strange_files_do_no_harm() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let good = leave(&spool, 8000).await;
    let dir = home.inbox();
    fs::write(dir.join("alone.txt"), "[message]\nduration=3\n").unwrap();
    fs::write(dir.join("broken.wav"), "no RIFF").unwrap();
    fs::write(dir.join("broken.txt"), "[message]\nduration=3\norigtime=5\n").unwrap();
    wav(&dir.join("half.wav"), 8000);
    fs::write(dir.join("half.txt"), "[message]\ncallerid=\"A").unwrap();
    fs::write(dir.join("huge.txt"), vec![b'x'; 300_000]).unwrap();
    wav(&dir.join("huge.wav"), 10);
    fs::write(dir.join(".lock"), "").unwrap();
    fs::create_dir(dir.join("folder.wav")).unwrap();
    fs::create_dir_all(home.mailbox().join("a\\b")).unwrap();
    let before = files(&dir);
    let (spool, found) = home.reopen(spool).await;
    assert_eq!(found, Found { messages: 3, recovered: 0, unreadable: 2 });
    assert_eq!(files(&dir), before, "nothing is removed");
    let stems: Vec<_> = inbox(&spool).await.iter().map(|m| m.stem.to_string()).collect();
    assert!(
        stems.contains(&"broken".to_owned()) && stems.contains(&"half".to_owned()),
        "{stems:?}"
    );
    assert!(spool.get(&id(), good.id).await.unwrap().is_some());
    let half = inbox(&spool).await.into_iter().find(|m| m.stem.as_str() == "half").unwrap();
    assert_eq!(half.duration, Duration::from_secs(1));
}

#[tokio::test]
async fn a_copy_of_a_message_is_another_message() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let original = leave(&spool, 8000).await;
    for extension in ["wav", "txt"] {
        let from = home.inbox().join(format!("{}.{extension}", original.stem));
        fs::copy(from, home.inbox().join(format!("zz-copy.{extension}"))).unwrap();
    }
    let (spool, _) = home.reopen(spool).await;
    let read = inbox(&spool).await;
    assert_eq!(read.len(), 2);
    assert_ne!(read[0].id, read[1].id);
    assert_ne!(read[0].number, read[1].number);
    let ids: Vec<_> = read.iter().map(|m| m.id).collect();
    let (spool, _) = home.reopen(spool).await;
    assert_eq!(inbox(&spool).await.iter().map(|m| m.id).collect::<Vec<_>>(), ids, "at every start");
}

#[tokio::test]
async fn a_page_is_a_window_in_an_order() {
    let home = Home::new();
    let dir = home.inbox();
    fs::create_dir_all(&dir).unwrap();
    for n in 0..20 {
        wav(&dir.join(format!("m{n}.wav")), 80);
        let text = format!("[message]\norigtime={}\nmsg_id=x{n}\n", 100 + n / 2);
        fs::write(dir.join(format!("m{n}.txt")), text).unwrap();
    }
    let (spool, _) = home.open().await;
    let page = async |from, to, newest_first, skip, limit| {
        let folders = vec![Folder::Inbox];
        let query = Query { folders, from, to, newest_first, skip, limit, ..Query::default() };
        let page = spool.list(&id(), &query).await.unwrap();
        page.iter().map(|m| m.envelope.received).collect::<Vec<_>>()
    };
    assert_eq!(page(None, None, false, 0, None).await.len(), 20);
    assert_eq!(page(Some(103), Some(104), false, 0, None).await, [103, 103, 104, 104]);
    assert_eq!(page(None, None, true, 1, Some(2)).await, [109, 108]);
    assert!(page(Some(5), Some(4), false, 0, None).await.is_empty());
    let query = Query { folders: vec![Folder::Inbox], ..Query::default() };
    let all = spool.list(&id(), &query).await.unwrap();
    let mut turned = spool.list(&id(), &Query { newest_first: true, ..query }).await.unwrap();
    turned.reverse();
    assert_eq!(all, turned, "both orders agree on equal times");
    let missing = Stem::found("m99").unwrap();
    assert!(spool.find(&id(), &[Folder::Inbox], &missing).await.unwrap().is_none());
}

#[tokio::test]
async fn the_spool_is_private_and_has_one_owner() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let (spool, _) = home.open().await;
    let message = leave(&spool, 800).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&spool.audio_path(&message)), 0o600);
    assert_eq!(mode(&spool.audio_path(&message).with_extension("txt")), 0o600);
    assert_eq!(mode(&home.inbox()), 0o700);
    let other = State::open(&home.0.path().join("other")).await.unwrap();
    assert!(Spool::open(&home.spool(), &other, WAV).await.is_err());
}

/// One message of ours or of Asterisk's, in the INBOX.
async fn message_of(home: &Home, ours: bool) -> MessageId {
    if !ours {
        asterisks_message(home, "msg0000");
    }
    let (spool, _) = home.open().await;
    let id = if ours { leave(&spool, 8000).await.id } else { inbox(&spool).await[0].id };
    home.reopen(spool).await;
    id
}

fn asterisks_message(home: &Home, stem: &str) {
    let inbox = home.inbox();
    fs::create_dir_all(&inbox).unwrap();
    wav(&inbox.join(format!("{stem}.wav")), 8000);
    wav(&inbox.join(format!("{stem}.WAV")), 8000);
    fs::write(inbox.join(format!("{stem}.gsm")), [0xd0; 33]).unwrap();
    let text = "[message]\norigmailbox=1000\nmacrocontext=x\ncallerid=\"Bob\" <2002>\n\
                origtime=1600000000\nmsg_id=1600000000-00000001\nflag=\nduration=1\n";
    fs::write(inbox.join(format!("{stem}.txt")), text).unwrap();
}

/// Files in all folders but `tmp`.
fn tree(home: &Home) -> usize {
    let folders = files(&home.mailbox()).into_iter().filter(|name| name != "tmp");
    folders.map(|name| files(&home.mailbox().join(name)).len()).sum()
}

/// The spool's work stops after so many steps, as if the process had been killed.
fn crash_at(step: usize) -> Options {
    nth(step, || panic!("a crash"))
}

fn fail_at(step: usize) -> Options {
    nth(step, || Err(std::io::Error::other("a disk that fails")))
}

fn nth(step: usize, then: fn() -> std::io::Result<()>) -> Options {
    let left = std::sync::atomic::AtomicUsize::new(step);
    let probe =
        Probe::new(move |_| match left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            1 => then(),
            _ => Ok(()),
        });
    Options { probe, ..Options::default() }
}

async fn edit(spool: &Spool, message: MessageId, edit: Edit) -> Option<std::sync::Arc<Message>> {
    spool.edit(&id(), message, &edit, &by()).await.unwrap()
}

fn by() -> By {
    By::new("1000", 1_700_000_100)
}

/// An empty place on disk, and the mailbox 1000 in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn spool(&self) -> PathBuf {
        self.0.path().join("spool")
    }

    fn mailbox(&self) -> PathBuf {
        self.spool().join("default/1000")
    }

    fn inbox(&self) -> PathBuf {
        self.mailbox().join("INBOX")
    }

    async fn open(&self) -> (Spool, Found) {
        let settle = Duration::ZERO;
        self.open_with(Options { settle, ..Options::default() }).await
    }

    async fn open_with(&self, options: Options) -> (Spool, Found) {
        let state = State::open(&self.0.path().join("state")).await.unwrap();
        Spool::open_with(&self.spool(), &state, WAV, options).await.unwrap()
    }

    async fn close(&self, spool: Spool) {
        spool.close().await;
        drop(spool);
        self.state_is_free().await;
    }

    /// As the daemon does it: where the index was left whole, the tree is not read first.
    async fn reopen_at_once(&self) -> (Spool, Found) {
        self.state_is_free().await;
        let (settle, at_once) = (Duration::ZERO, true);
        self.open_with(Options { settle, at_once, ..Options::default() }).await
    }

    /// As after a crash: nothing is told to stop.
    async fn reopen(&self, spool: Spool) -> (Spool, Found) {
        drop(spool);
        self.state_is_free().await;
        self.open().await
    }

    async fn state_is_free(&self) {
        // The database's connections close in threads of their own.
        let began = Instant::now();
        while let Err(error) = State::open(&self.0.path().join("state")).await {
            assert!(began.elapsed() < Duration::from_secs(60), "{error}");
            tokio::task::yield_now().await;
        }
    }
}

fn id() -> MailboxId {
    "1000".parse().unwrap()
}

/// A draft whose recording has ended.
async fn speak(spool: &Spool, samples: usize) -> Draft {
    let caller =
        CallerId { number: "2001".into(), name: "Jane \"J\" Doe\u{e9}".into(), ext: String::new() };
    let envelope = Envelope { caller, received: 1_700_000_000, ..Envelope::default() };
    let draft = spool.draft(&id(), 10_142, envelope, 1_700_000_000_000).await.unwrap();
    let mut file = draft.opener()().unwrap();
    file.write_all(&header(samples)).unwrap();
    file.write_all(&vec![1; samples * 2]).unwrap();
    draft
}

async fn leave(spool: &Spool, samples: usize) -> Message {
    let draft = speak(spool, samples).await;
    (*spool.deliver(draft).await.unwrap()).clone()
}

async fn inbox(spool: &Spool) -> Vec<std::sync::Arc<Message>> {
    list(spool, Folder::Inbox).await
}

async fn list(spool: &Spool, folder: Folder) -> Vec<std::sync::Arc<Message>> {
    spool.list(&id(), &Query { folders: vec![folder], ..Query::default() }).await.unwrap()
}

fn wav(path: &Path, samples: usize) {
    let mut bytes = header(samples);
    bytes.extend(vec![0; samples * 2]);
    fs::write(path, bytes).unwrap();
}

/// 16-bit, mono, 8 kHz.
fn header(samples: usize) -> Vec<u8> {
    let bytes = u32::try_from(samples * 2).unwrap();
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav
}

fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![] };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn only(dir: &Path, extension: &str) -> String {
    let mut named = files(dir);
    named.retain(|name| name.ends_with(extension));
    assert_eq!(named.len(), 1, "{named:?}");
    named.remove(0)
}
