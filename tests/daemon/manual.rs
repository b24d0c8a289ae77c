//! What the README says of HTTP, typed as it stands there.

use std::process::Command;

use crate::house::House;

/// A piece of each answer, in the order of the table.
const ANSWERS: [(&str, &str); 6] = [
    ("ours", "\"counts\":{\"new\":1,\"old\":0"),
    ("Telebroad", "{\"error\":null,\"result\":[{\"id\":\"1\""),
    ("OnSIP", "<IsCompleted>true</IsCompleted>"),
    ("TelecomX", "{\"newCount\":1,\"oldCount\":0,"),
    ("Yay", "\"status_code\":200,\"status_message\":\"OK\""),
    ("TeleCMI", "{\"count\":1,\"voicemail\":[{\"time\":"),
];

#[test]
fn each_line_of_the_readme_does_what_it_says() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let (_, chapter) = readme.split_once("## Ask it over HTTP\n").unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    // Mailbox 1000 is there from the first chapter.
    let house = House::new("");
    let program = env!("CARGO_BIN_EXE_afterbeep");
    let config = house.dir.path().join("afterbeep.toml");
    let beep = std::fs::canonicalize("sounds/en/auth-thankyou.wav").unwrap();
    // A shell in which the daemon is where the README has it.
    let mut script = format!(
        "set -eu\ncd '{}'\nafterbeep() {{ '{program}' --config '{}' \"$@\"; }}\ncp '{}' hello.wav\n",
        house.dir.path().display(),
        config.display(),
        beep.display(),
    );
    for line in chapter.lines().filter_map(|line| line.strip_prefix("    ")) {
        script += &format!("{line}\n");
    }
    for row in chapter.lines().filter(|line| line.starts_with("| ") && line.contains("`curl ")) {
        let command = row.split_once("`curl ").unwrap().1.split_once('`').unwrap().0;
        script += &format!("echo; echo '###'; curl {command}\n");
    }
    let script = script.replace("127.0.0.1:8080", &house.web().to_string());
    let told = Command::new("sh").args(["-c", &script]).output().unwrap();
    let (said, wrong) =
        (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success(), "{script}\n{said}\n{wrong}");
    let answers: Vec<&str> = said.split("###").skip(1).collect();
    assert_eq!(answers.len(), ANSWERS.len(), "{said}");
    for ((face, piece), answer) in ANSWERS.iter().zip(answers) {
        assert!(answer.contains(piece), "{face}: {answer}");
    }
}
