//! Other programs add, change, move and remove files while the daemon runs.

use super::*;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use afterbeep::directory::Directory;
use afterbeep::spool::{Gauge, check};
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinHandle;

/// A spool that follows what others do in it.
struct Watched {
    home: Home,
    spool: Spool,
    changes: Receiver<Change>,
    watch: JoinHandle<()>,
}

impl Watched {
    async fn new() -> Self {
        let home = Home::new();
        fs::create_dir_all(home.inbox()).unwrap();
        fs::create_dir_all(home.mailbox().join("Old")).unwrap();
        let settle = Duration::from_secs(1);
        let (spool, _) = home.open_with(Options { settle, ..Options::default() }).await;
        let changes = spool.changes();
        let watch = tokio::spawn(spool.clone().watch());
        // The first thing that it does is done when it first waits.
        tokio::task::yield_now().await;
        Self { home, spool, changes, watch }
    }

    /// The next change. A look at all folders comes only every 30 s: this is the watcher's word.
    async fn next(&mut self) -> Change {
        tokio::time::timeout(Duration::from_secs(15), self.changes.recv()).await.unwrap().unwrap()
    }

    async fn found(&mut self) -> Arc<Message> {
        match self.next().await {
            Change::Found { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    /// Nothing more was told, up to a file that comes last.
    async fn and_nothing_else(mut self) {
        drop_pair(&self.home.inbox(), "zz-last", 80);
        assert_eq!(self.found().await.stem.as_str(), "zz-last");
        self.watch.abort();
    }
}

/// As a careful program does it: beside, then renamed, the sidecar last.
fn drop_pair(dir: &Path, stem: &str, samples: usize) {
    wav(&dir.join(format!(".{stem}.wav")), samples);
    fs::rename(dir.join(format!(".{stem}.wav")), dir.join(format!("{stem}.wav"))).unwrap();
    let text = format!("[message]\norigtime=1600000000\nmsg_id={stem}\ncallerid=\"Bob\" <2002>\n");
    fs::write(dir.join(format!(".{stem}.txt")), text).unwrap();
    fs::rename(dir.join(format!(".{stem}.txt")), dir.join(format!("{stem}.txt"))).unwrap();
}

#[tokio::test]
async fn a_pair_that_is_dropped_is_found_moved_and_removed() {
    let mut watched = Watched::new().await;
    let (inbox, old) = (watched.home.inbox(), watched.home.mailbox().join("Old"));
    drop_pair(&inbox, "portal-1", 8000);
    let message = watched.found().await;
    assert_eq!(
        (message.envelope.caller.name.as_str(), watched.spool.counts(&id()).new),
        ("Bob", 1)
    );
    for extension in ["wav", "txt"] {
        let name = format!("portal-1.{extension}");
        fs::rename(inbox.join(&name), old.join(&name)).unwrap();
    }
    let Change::Moved { was, message: moved, counts } = watched.next().await else { panic!() };
    assert_eq!((was.id, moved.id, &moved.folder), (message.id, message.id, &Folder::Old));
    assert_eq!(counts, Counts { old: 1, ..Counts::default() });
    for extension in ["wav", "txt"] {
        fs::remove_file(old.join(format!("portal-1.{extension}"))).unwrap();
    }
    let Change::Removed { counts, .. } = watched.next().await else { panic!() };
    assert_eq!(counts, Counts::default());
    watched.and_nothing_else().await;
}

/// What an administrator's cron job may do, with the programs that it has.
#[tokio::test]
async fn a_shell_script_that_moves_files_about_is_reflected_in_lists_and_counts() {
    let mut watched = Watched::new().await;
    let prepared = watched.home.0.path().join("prepared");
    fs::create_dir_all(&prepared).unwrap();
    for n in 0..6 {
        wav(&prepared.join(format!("msg000{n}.wav")), 800);
        let text = format!("[message]\norigtime=160000000{n}\nmsg_id=16-{n}\ncallerid={n}\n");
        fs::write(prepared.join(format!("msg000{n}.txt")), text).unwrap();
    }
    let mailbox = watched.home.mailbox();
    let run = |script: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-euc", script]).env("FROM", &prepared).current_dir(&mailbox);
        assert!(shell.status().unwrap().success(), "{script}");
    };
    // Who called, in which folder; and new and old as they are counted.
    let is = async |watched: &Watched| {
        let all = watched.spool.list(&id(), &Query::default()).await.unwrap();
        let mut all: Vec<String> = all
            .iter()
            .map(|message| format!("{} {}", message.envelope.caller.number, message.folder))
            .collect();
        all.sort();
        let counts = watched.spool.counts(&id());
        (all.join(", "), counts.new, counts.old)
    };
    for (script, expected) in [
        ("cp $FROM/msg000[0-3].* INBOX/", ("0 INBOX, 1 INBOX, 2 INBOX, 3 INBOX", 4, 0)),
        (
            "mv INBOX/msg0000.* Old/; mkdir Work; mv INBOX/msg0001.* Work/",
            ("0 Old, 1 Work, 2 INBOX, 3 INBOX", 2, 1),
        ),
        // As Asterisk closes a gap: the last message takes the name of one that is gone.
        (
            "rm INBOX/msg0002.*; for e in wav txt; do mv INBOX/msg0003.$e INBOX/msg0002.$e; done",
            ("0 Old, 1 Work, 3 INBOX", 1, 1),
        ),
        (
            "cp $FROM/msg000[45].* Work/; rm -r Old; mv Work/msg0004.* INBOX/",
            ("1 Work, 3 INBOX, 4 INBOX, 5 Work", 2, 0),
        ),
        ("rm */*.wav */*.txt", ("", 0, 0)),
    ] {
        run(script);
        let wanted = (expected.0.to_owned(), expected.1, expected.2);
        loop {
            let now = is(&watched).await;
            if now == wanted {
                break;
            }
            let change = tokio::time::timeout(Duration::from_secs(15), watched.changes.recv());
            change.await.unwrap_or_else(|_| panic!("{now:?} after {script}")).unwrap();
        }
    }
    watched.watch.abort();
}

#[tokio::test]
async fn an_editors_rename_and_a_write_in_place_are_edits() {
    let mut watched = Watched::new().await;
    let inbox = watched.home.inbox();
    drop_pair(&inbox, "portal-1", 8000);
    let message = watched.found().await;
    let txt = inbox.join("portal-1.txt");
    let text = fs::read_to_string(&txt).unwrap();
    fs::write(inbox.join("portal-1.txt~"), text.replace("Bob", "Rob")).unwrap();
    fs::rename(inbox.join("portal-1.txt~"), &txt).unwrap();
    let Change::Edited { message: renamed, .. } = watched.next().await else { panic!() };
    assert_eq!((renamed.id, renamed.envelope.caller.name.as_str()), (message.id, "Rob"));
    fs::write(&txt, text.replace("origtime", "flag=Urgent\norigtime")).unwrap();
    loop {
        let Change::Edited { message: written, counts, .. } = watched.next().await else {
            panic!()
        };
        if written.urgent {
            assert_eq!((written.number, counts.urgent_new), (message.number, 1));
            break;
        }
    }
    watched.and_nothing_else().await;
}

#[tokio::test]
async fn a_lone_recording_is_a_message_once_it_is_still() {
    let mut watched = Watched::new().await;
    let path = watched.home.inbox().join("dictated.wav");
    wav(&path, 4000);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(vec![0; 8000]);
    fs::write(&path, &bytes).unwrap();
    let message = watched.found().await;
    assert_eq!(message.duration, Duration::from_secs(1), "all that was written");
    assert!(message.envelope.received > 1_700_000_000);
    watched.and_nothing_else().await;
}

#[tokio::test]
async fn a_mailbox_and_a_folder_that_are_new_are_seen() {
    let mut watched = Watched::new().await;
    let cust = watched.home.mailbox().join("Cust1");
    fs::create_dir(&cust).unwrap();
    drop_pair(&cust, "portal-1", 80);
    assert_eq!(watched.found().await.folder, Folder::Other("Cust1".into()));
    let other = watched.home.spool().join("sales/2000/INBOX");
    fs::create_dir_all(&other).unwrap();
    drop_pair(&other, "portal-2", 80);
    assert_eq!(watched.found().await.mailbox, "2000@sales".parse().unwrap());
    watched.and_nothing_else().await;
}

/// Our own work makes the same events as another program's.
#[tokio::test]
async fn what_we_do_ourselves_is_told_once_and_by_its_name() {
    let mut watched = Watched::new().await;
    for n in 0..20 {
        let message = leave(&watched.spool, 800).await;
        assert!(matches!(watched.next().await, Change::Delivered { .. }), "{n}");
        edit(&watched.spool, message.id, Edit::MarkHeard).await;
        assert!(matches!(watched.next().await, Change::Edited { .. }), "{n}");
        edit(&watched.spool, message.id, Edit::File(Folder::Work)).await;
        assert!(matches!(watched.next().await, Change::Moved { .. }), "{n}");
        // In the midst of it another program's.
        let stem = format!("portal-{n}");
        drop_pair(&watched.home.inbox(), &stem, 80);
        assert_eq!(watched.found().await.stem.as_str(), stem);
        if n % 2 == 0 {
            edit(&watched.spool, message.id, Edit::Purge).await;
            assert!(matches!(watched.next().await, Change::Removed { .. }), "{n}");
        }
    }
    watched.and_nothing_else().await;
}

/// Asterisk closes the gap that a deleted message leaves.
#[tokio::test]
async fn messages_that_are_renumbered_stay_who_they_are() {
    let mut watched = Watched::new().await;
    let inbox = watched.home.inbox();
    for n in 0..3 {
        drop_pair(&inbox, &format!("msg000{n}"), 80 * (n + 1));
    }
    let mut ids = vec![];
    while ids.len() < 3 {
        ids.push(watched.found().await.id);
    }
    for extension in ["wav", "txt"] {
        fs::remove_file(inbox.join(format!("msg0000.{extension}"))).unwrap();
    }
    for (from, to) in [(1, 0), (2, 1)] {
        for extension in ["wav", "txt"] {
            let name = |n| inbox.join(format!("msg000{n}.{extension}"));
            fs::rename(name(from), name(to)).unwrap();
        }
    }
    let (mut removed, mut kept) = (vec![], vec![]);
    while removed.len() + kept.len() < 3 {
        match watched.next().await {
            Change::Removed { message, .. } => removed.push(message.id),
            Change::Edited { message, .. } => kept.push((message.id, message.stem.to_string())),
            other => panic!("{other:?}"),
        }
    }
    kept.sort();
    let mut expected = vec![(ids[1], "msg0000".to_owned()), (ids[2], "msg0001".to_owned())];
    expected.sort();
    assert_eq!((removed, kept), (vec![ids[0]], expected));
    watched.and_nothing_else().await;
}

/// While no daemon ran: all is found after the start, and nothing is told as left just now.
#[tokio::test]
async fn what_happened_between_two_runs_is_found_after_the_start() {
    let home = Home::new();
    let (spool, _) = home.open().await;
    let gone = leave(&spool, 8000).await;
    home.close(spool).await;
    for extension in ["wav", "txt"] {
        fs::remove_file(home.inbox().join(format!("{}.{extension}", gone.stem))).unwrap();
    }
    drop_pair(&home.inbox(), "portal-1", 80);
    let (spool, found) = home.reopen_at_once().await;
    assert_eq!(found.messages, 1, "the index is believed");
    let mut changes = spool.changes();
    let watch = tokio::spawn(spool.clone().watch());
    let mut told = vec![];
    while told.len() < 2 {
        told.push(match changes.recv().await.unwrap() {
            Change::Removed { message, .. } => ("removed", message.stem.to_string()),
            Change::Found { message, .. } => ("found", message.stem.to_string()),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, [("removed", gone.stem.to_string()), ("found", "portal-1".into())]);
    watch.abort();
}

/// Old spools have no `msg_id`, and recordings of silence are all the same.
#[tokio::test]
async fn thousands_of_messages_alike_in_everything_are_told_apart_for_good() {
    let home = Home::new();
    fs::create_dir_all(home.inbox()).unwrap();
    for n in 0..2000 {
        wav(&home.inbox().join(format!("msg{n:04}.wav")), 8);
        let text = "[message]\norigtime=1600000000\ncallerid=2002\n";
        fs::write(home.inbox().join(format!("msg{n:04}.txt")), text).unwrap();
    }
    let who = async |spool: &Spool| {
        let all = spool.list(&id(), &Query { limit: Some(5000), ..Query::default() }).await;
        let all = all.unwrap();
        let who: BTreeMap<String, MessageId> =
            all.iter().map(|message| (message.stem.to_string(), message.id)).collect();
        let ids: BTreeSet<MessageId> = who.values().copied().collect();
        (who, ids.len())
    };
    let (spool, _) = home.open().await;
    let first = who(&spool).await;
    assert_eq!((first.0.len(), first.1), (2000, 2000));
    home.close(spool).await;
    fs::remove_file(home.0.path().join("state/index.db")).unwrap();
    let (spool, _) = home.open().await;
    assert_eq!(who(&spool).await, first);
    home.close(spool).await;
}

/// Root may read everything: this runs as somebody else, and all threads that it starts.
fn as_nobody<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(work());
    };
    std::thread::spawn(run).join().unwrap();
}

#[test]
fn what_cannot_be_read_keeps_nobody_else_from_the_start() {
    as_nobody(async || {
        let home = Home::new();
        let root = home.spool();
        let mailboxes = ["default/1000", "default/2000", "default/3000", "default/4000", "sales/1"];
        for mailbox in mailboxes {
            let inbox = root.join(mailbox).join("INBOX");
            fs::create_dir_all(&inbox).unwrap();
            drop_pair(&inbox, "msg0000", 80);
        }
        let (spool, _) = home.open().await;
        home.close(spool).await;
        let closed = ["sales", "default/2000", "default/3000/INBOX", "lost+found"];
        fs::create_dir(root.join("lost+found")).unwrap();
        set_mode(&root, &closed, 0o000);
        fs::write(home.mailbox().join("tmp"), "a file").unwrap();
        fs::create_dir_all(root.join("default/4000/tmp/other.gone")).unwrap();
        let pipe = home.inbox().join("pipe.txt");
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
        wav(&home.inbox().join("pipe.wav"), 80);
        let new = |spool: &Spool, id: &str| spool.counts(&id.parse().unwrap()).new;
        let all = ["1000", "2000", "3000", "4000", "1@sales"];
        let (spool, _) = home.open().await;
        assert_eq!(all.map(|id| new(&spool, id)), [1; 5], "what is known is not forgotten");
        spool.reindex(&Gauge::default()).await.unwrap();
        assert_eq!(all.map(|id| new(&spool, id)), [1; 5]);
        home.close(spool).await;
        let (_, flaws) = check(&root, WAV, &Gauge::default()).unwrap();
        let told: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        for closed in &closed[..3] {
            assert!(told.iter().any(|flaw| flaw.contains(closed)), "{closed} in {told:?}");
        }
        let state = State::open(&home.0.path().join("state")).await.unwrap();
        let (_, problems) = Directory::open(&root, &state).unwrap();
        let told: Vec<bool> = problems.iter().map(|p| p.contains("/sales: ")).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1, "{problems:?}");
        drop(state);
        home.state_is_free().await;
        fs::remove_file(home.0.path().join("state/index.db")).unwrap();
        let (spool, _) = home.open().await;
        assert_eq!(all.map(|id| new(&spool, id)), [1, 0, 0, 1, 0]);
        set_mode(&root, &closed, 0o700);
        spool.reindex(&Gauge::default()).await.unwrap();
        assert_eq!(all.map(|id| new(&spool, id)), [1; 5]);
        home.close(spool).await;
    });
}

fn set_mode(root: &Path, dirs: &[&str], mode: u32) {
    for dir in dirs {
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(mode)).unwrap();
    }
}
