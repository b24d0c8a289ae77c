//! A backup, taken while the daemon runs, is everything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use afterbeep::control::Stores;
use afterbeep::daemon::WAV;

use crate::house::{House, names};
use crate::phone::Phone;
use crate::voice::{Law, Voice};

#[test]
fn what_was_backed_up_is_restored_with_every_message_and_every_pin() {
    let mut house = House::new("[deposit]\ninstructions = false");
    house.ok(&["mailbox", "add", "1001-1003@sales", "--pin", "48215"]);
    let voice = Voice::new(Law::Mu, 2.5, 30);
    for _ in 0..2 {
        let phone = Phone::new(&house);
        let mut call = phone.call("1000");
        call.skip_to_the_end_of_the_beep();
        call.say(&voice, 0..voice.len());
        call.hang_up();
    }
    let before = house.messages(2);
    let backup = house.dir.path().join("backup");
    let told = house.ok(&["backup", backup.to_str().unwrap()]);
    assert!(told.contains("state.db and pin.key are in"), "{told}");
    house.ok(&["backup", backup.to_str().unwrap()]);
    assert_eq!(names(&backup), ["pin.key", "state.db"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&backup), 0o700);
    for file in ["pin.key", "state.db"] {
        assert_eq!(mode(&backup.join(file)), 0o600, "{file}");
    }
    assert!(!house.dir.path().join("state/snapshot.db").exists(), "no copy is left behind");
    // The other half, as the README has it.
    let copy = house.dir.path().join("copy");
    let done = Command::new("cp").arg("-a").arg(&house.spool).arg(&copy).status().unwrap();
    assert!(done.success());

    // The disk is gone.
    house.kill();
    for dir in ["spool", "state"] {
        fs::remove_dir_all(house.dir.path().join(dir)).unwrap();
    }
    fs::rename(&copy, &house.spool).unwrap();
    fs::rename(&backup, house.dir.path().join("state")).unwrap();
    let state = house.dir.path().join("state");
    pins(&house.spool, &state);
    house.start();
    assert_eq!(house.messages(2), before, "with the ids and numbers that they had");
    // And the next message has a number that no other had.
    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    call.skip_to_the_end_of_the_beep();
    call.say(&voice, 0..voice.len());
    call.hang_up();
    let numbers: Vec<u64> =
        house.messages(3).iter().map(|message| message["number"].as_u64().unwrap()).collect();
    assert!(numbers[2] > numbers[0] && numbers[2] > numbers[1], "{numbers:?}");
}

fn pins(spool: &Path, state: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (stores, problems) = Stores::open(spool, state, WAV).await.unwrap();
        assert_eq!(problems, Vec::<String>::new());
        for (mailbox, pin) in [
            ("1000", "4711"),
            ("1001@sales", "48215"),
            ("1002@sales", "48215"),
            ("1003@sales", "48215"),
        ] {
            let found = stores.directory.find(&mailbox.parse().unwrap()).unwrap();
            assert!(stores.state.pin_key().is_pin(found.uuid, &found.pin, pin), "{mailbox}");
        }
        stores.state.close().await;
    });
}
