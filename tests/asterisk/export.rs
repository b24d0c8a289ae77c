//! `afterbeep export asterisk`: an msgNNNN tree that other programs can read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::formats::speech;
use crate::house::{House, names, soon};
use crate::spool::make;

#[test]
fn an_exported_tree_has_asterisks_names_and_follows_the_spool() {
    let house = House::empty("");
    let to = house.dir.path().join("exported");
    let inbox = house.spool.join("default/1000/INBOX");
    fs::create_dir_all(&inbox).unwrap();
    for n in [3, 1, 2] {
        message(&inbox, n);
    }
    let export = || house.ok(&["export", "asterisk", to.to_str().unwrap()]);
    assert_eq!(export(), "3 written, 0 renumbered, 0 removed\n");
    let there = to.join("default/1000/INBOX");
    let tree = |many: usize| -> Vec<String> {
        (0..many).flat_map(|n| [format!("msg{n:04}.txt"), format!("msg{n:04}.wav")]).collect()
    };
    assert_eq!(names(&there), tree(3));
    assert_eq!(callers(&there), ["caller 1", "caller 2", "caller 3"], "oldest first");
    assert_eq!(export(), "0 written, 0 renumbered, 0 removed\n");
    // One goes, an older one comes, a mark is set.
    remove(&inbox, 1);
    message(&inbox, 0);
    let sidecar = inbox.join("voicemail_3.txt");
    let text = fs::read_to_string(&sidecar).unwrap() + "heard_at=1700000000\n";
    fs::write(&sidecar, text).unwrap();
    assert_eq!(export(), "2 written, 0 renumbered, 1 removed\n");
    assert_eq!(callers(&there), ["caller 0", "caller 2", "caller 3"]);
    assert!(fs::read_to_string(there.join("msg0002.txt")).unwrap().contains("heard_at"));
    remove(&inbox, 0);
    assert_eq!(export(), "0 written, 2 renumbered, 1 removed\n");
    assert_eq!(names(&there), tree(2), "dense");
    // Whatever a crash left half-done.
    fs::remove_file(there.join("msg0000.wav")).unwrap();
    fs::write(there.join("msg0007.wav"), "half").unwrap();
    fs::write(there.join(".msg0001.txt.new"), "half").unwrap();
    export();
    assert_eq!((callers(&there).len(), names(&there)), (2, tree(2)));
    // A mailbox that is gone leaves nothing of ours.
    fs::remove_dir_all(house.spool.join("default/1000")).unwrap();
    export();
    assert_eq!(names(&there), Vec::<String>::new());
}

#[test]
fn what_others_put_into_the_tree_stays() {
    let house = House::empty("");
    let to = house.dir.path().join("exported");
    let inbox = house.spool.join("default/1000/INBOX");
    fs::create_dir_all(&inbox).unwrap();
    message(&inbox, 1);
    let there = to.join("default/1000/INBOX");
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join("msg0000.txt"), "[message]\nduration=1\n").unwrap();
    fs::write(there.join("msg0000.wav"), "theirs").unwrap();
    let done = house.run(&["export", "asterisk", to.to_str().unwrap()]);
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(told.contains("msg0000.txt is not ours: its folder is left alone"), "{told}");
    assert_eq!(fs::read(there.join("msg0000.wav")).unwrap(), b"theirs");
    let inside = house.spool.join("default");
    assert_eq!(house.run(&["export", "asterisk", inside.to_str().unwrap()]).status.code(), Some(1));
}

#[test]
fn foreign_audio_becomes_wav() {
    let house = House::empty("");
    make(&house.spool);
    let to = house.dir.path().join("exported");
    house.ok(&["export", "asterisk", to.to_str().unwrap()]);
    let there = to.join("default/1000/INBOX");
    let exported = names(&there);
    assert_eq!(exported.len(), 20, "{exported:?}");
    for name in exported.iter().filter(|name| has(name, "wav")) {
        let info = afterbeep::media::wav::info(&there.join(name)).unwrap();
        assert_eq!((info.format, info.bits), (1, 16), "{name}");
        assert!((2.9..3.1).contains(&info.duration().as_secs_f64()), "{name}");
    }
}

#[test]
fn a_watched_export_follows_within_seconds() {
    let house = House::empty("");
    let inbox = house.spool.join("default/1000/INBOX");
    fs::create_dir_all(&inbox).unwrap();
    message(&inbox, 1);
    let to = house.dir.path().join("exported");
    let there = to.join("default/1000/INBOX");
    let mut watch = house
        .command(&["export", "asterisk", to.to_str().unwrap(), "--watch"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(soon(|| callers(&there) == ["caller 1"]));
    message(&inbox, 2);
    assert!(soon(|| callers(&there) == ["caller 1", "caller 2"]));
    remove(&inbox, 1);
    assert!(soon(|| callers(&there) == ["caller 2"] && names(&there).len() == 2));
    kill(Pid::from_raw(watch.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(watch.wait().unwrap().success());
}

fn message(inbox: &Path, n: u32) {
    let wav = inbox.join(format!("voicemail_{n}.wav"));
    speech(&wav, &["-r", "8000", "-b", "16", "-t", "wav"]);
    let old = SystemTime::now() - Duration::from_secs(60);
    fs::File::options().write(true).open(&wav).unwrap().set_modified(old).unwrap();
    let text =
        format!("[message]\ncallerid=\"caller {n}\" <200{n}>\norigtime={}\n", 1_600_000_000 + n);
    fs::write(wav.with_extension("txt"), text).unwrap();
}

fn has(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, own)| own == extension)
}

fn remove(inbox: &Path, n: u32) {
    for extension in ["txt", "wav"] {
        fs::remove_file(inbox.join(format!("voicemail_{n}.{extension}"))).unwrap();
    }
}

/// Who left the messages, by their numbers.
fn callers(dir: &Path) -> Vec<String> {
    let texts = names(dir).into_iter().filter(|name| has(name, "txt"));
    texts
        .filter_map(|name| {
            let path: PathBuf = dir.join(name);
            let text =
                fs::read_to_string(&path).ok().filter(|_| path.with_extension("wav").exists())?;
            let line = text.lines().find_map(|line| line.strip_prefix("callerid=\""))?.to_owned();
            Some(line.split_once('"')?.0.to_owned())
        })
        .collect()
}
