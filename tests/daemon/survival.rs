//! What is left when the daemon, the disk or a file fails in the middle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::{House, PROGRAM, field, names};
use crate::phone::{Phone, code};
use crate::voice::{FRAME, Kept, Law, Voice, wav_samples, write_wav};

#[test]
fn a_daemon_killed_in_mid_recording_has_the_message_when_it_starts_again() {
    let mut house = House::new("");
    let voice = Voice::new(Law::Mu, 4.0, 20);
    {
        let phone = Phone::new(&house);
        let mut call = phone.call("1000");
        call.skip_to_the_end_of_the_beep();
        call.say(&voice, 0..voice.len());
    }
    // Half a second may be lost, by a machine that does not stand still.
    house.until("it is on disk", || house.recorded() >= 3_500);
    house.kill();
    assert_eq!(names(&house.inbox()), [""; 0]);
    house.start();

    let audio = house.message();
    // Its header is right, or this would fail.
    let kept = voice.kept_in(&wav_samples(&audio));
    assert!(kept.head <= 1 && kept.tail <= 25, "{kept:?}");
    assert_eq!((kept.middle, kept.foreign), (0, 0));
    let seconds: u64 = field(&audio, "duration").parse().unwrap();
    assert!((3..=4).contains(&seconds));
    let list = house.telebroad("1000");
    assert_eq!((list.len(), &list[0]["callerid"]), (1, &"12125550142".into()));
    assert_eq!(house.drafts(), [""; 0]);

    // Once more: it is there once.
    house.kill();
    house.start();
    assert_eq!(house.message(), audio);
}

#[test]
fn on_a_full_disk_the_caller_is_told_and_what_was_recorded_is_kept() {
    let mut house = House::empty("");
    let disk = SmallDisk::new(&house);
    house.start_as(disk.program(&house));
    house.ok(&["mailbox", "add", "1000"]);
    let voice = Voice::new(Law::Mu, 9.0, 21);
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    // More than the disk holds: 16,000 bytes a second.
    call.say(&voice, 0..voice.len());
    // "Your message could not be saved. Goodbye." is longer than what is said when it was.
    assert!(call.listen_until_silence().len() / FRAME > 150);
    call.expect_bye();

    assert!(house.runs(), "{}", house.log());
    assert!(house.log().contains("ERROR"), "{}", house.log());
    assert_eq!(code(&Phone::new(&house).request("OPTIONS")), 200);
    let phone = Phone::new(&house);
    phone.call("1000").hang_up();
    if let SmallDisk::Mounted(_) = disk {
        let told = || house.log().contains("callers hear that mailboxes are full");
        house.until("it is told", told);
    }

    // With room again, nothing that was written is lost.
    disk.grow(&mut house);
    let audio = house.message();
    let Kept { head, middle, foreign, tail } = voice.kept_in(&wav_samples(&audio));
    assert!(head <= 1 && middle == 0 && foreign == 0, "{head} {middle} {foreign}");
    assert!(voice.len() - tail > 300, "only {} frames", voice.len() - tail);
}

#[test]
fn a_spool_that_cannot_be_written_stops_the_start_with_advice() {
    let house = House::empty("");
    // Permissions do not stop an administrator; a file in the way does.
    fs::write(&house.spool, "in the way").unwrap();
    for command in ["serve", "check-config"] {
        let done = house.run(&[command]);
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{told}");
        assert!(told.contains(house.spool.to_str().unwrap()), "{told}");
        assert!(told.contains("name others with --spool and --state"), "{told}");
        assert_eq!(told.matches("File exists").count(), 1, "{told}");
    }
}

#[test]
fn messages_with_the_same_audio_are_all_listed_and_keep_their_numbers() {
    let mut house = House::empty("");
    let inbox = house.inbox();
    fs::create_dir_all(&inbox).unwrap();
    let said = Voice::new(Law::Mu, 2.0, 23).samples();
    for n in 0..3 {
        write_wav(&inbox.join(format!("msg000{n}.wav")), &said);
        let text = format!("[message]\norigtime=170000000{n}\nduration=2\n");
        fs::write(inbox.join(format!("msg000{n}.txt")), text).unwrap();
    }
    house.start();
    house.ok(&["mailbox", "add", "1000"]);
    let before = house.messages(3);
    house.kill();
    house.start();
    assert_eq!(house.messages(3), before);
}

#[test]
fn damaged_files_are_listed_as_far_as_they_can_be_read_and_left_alone() {
    let mut house = House::empty("");
    let inbox = house.inbox();
    fs::create_dir_all(&inbox).unwrap();
    let said = Voice::new(Law::Mu, 3.0, 22).samples();
    // A sidecar that ends in the middle of a line.
    write_wav(&inbox.join("msg0000.wav"), &said);
    fs::write(
        inbox.join("msg0000.txt"),
        ";\n[message]\norigmailbox=1000\ncallerid=\"Alan\" <2125550199>\norigtime=1700000000\ndurat",
    )
    .unwrap();
    // A header that knows of no audio.
    let wrong = inbox.join("msg0001.wav");
    write_wav(&wrong, &said[160..]);
    let mut bytes = fs::read(&wrong).unwrap();
    bytes[4..8].fill(0);
    bytes[40..44].fill(0);
    fs::write(&wrong, bytes).unwrap();
    fs::write(inbox.join("msg0001.txt"), "[message]\norigtime=1700000001\n").unwrap();
    // No WAV at all.
    fs::write(inbox.join("msg0002.wav"), "no audio").unwrap();
    fs::write(inbox.join("msg0002.txt"), "[message]\norigtime=1700000002\nduration=5\n").unwrap();
    let before: Vec<(String, Vec<u8>)> = contents(&inbox);
    house.start();
    house.ok(&["mailbox", "add", "1000"]);

    let messages = house.messages(3);
    let facts = |n: usize| {
        let message = &messages[n];
        (message["received"].as_i64().unwrap(), message["seconds"].as_f64().unwrap())
    };
    assert_eq!(
        [facts(0), facts(1), facts(2)],
        [(1_700_000_000, 3.0), (1_700_000_001, 2.98), (1_700_000_002, 5.0)]
    );
    assert_eq!(messages[0]["caller_number"], "2125550199");
    assert_eq!(house.telebroad("1000").len(), 3);
    assert_eq!(contents(&inbox), before, "something was changed");
    let log = house.log();
    assert_eq!(log.matches("msg0002.wav").count(), 1, "{log}");
    assert!(!log.contains('\x1b'), "colours in a file: {log}");
}

#[test]
fn a_second_daemon_on_the_same_spool_refuses_to_start() {
    let mut house = House::new("");
    // Another state, so that it does not stop there.
    let other = house.dir.path().join("other");
    let done = house.run(&["--state", other.to_str().unwrap(), "serve"]);
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.contains("another"), "{told}");
    let done = house.run(&["serve"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(house.runs());
}

/// A spool with little room: a tiny file system where we may mount one, else a daemon that may
/// write no large file.
enum SmallDisk {
    Mounted(PathBuf),
    Limited,
}

impl SmallDisk {
    fn new(house: &House) -> Self {
        fs::create_dir(&house.spool).unwrap();
        let size = format!("size={ROOM}k,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&house.spool);
        match mount.output() {
            Ok(done) if done.status.success() => Self::Mounted(house.spool.clone()),
            _ => Self::Limited,
        }
    }

    fn program(&self, house: &House) -> Command {
        match self {
            Self::Mounted(_) => house.command(&[]),
            // The signal that a large file brings would end the daemon before the error is seen.
            Self::Limited => {
                let script = "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"";
                let mut shell = Command::new("sh");
                shell.args(["-c", script, &(ROOM * 2).to_string(), PROGRAM, "--config"]);
                shell.arg(house.dir.path().join("afterbeep.toml"));
                shell
            }
        }
    }

    /// Starts the daemon anew, with room.
    fn grow(&self, house: &mut House) {
        house.kill();
        if let Self::Mounted(spool) = self {
            let mut mount = Command::new("mount");
            assert!(mount.args(["-o", "remount,size=4m"]).arg(spool).status().unwrap().success());
        }
        house.start();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Self::Mounted(spool) = self {
            // The daemon may still have files there.
            let _ = Command::new("umount").arg("--lazy").arg(spool).status();
        }
    }
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

/// In KiB.
const ROOM: u32 = 128;
