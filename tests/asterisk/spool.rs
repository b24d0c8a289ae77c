//! A spool as an Asterisk of some years leaves it, with everything odd that it can hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::formats::{sox, speech};

const WAV: &[&str] = &["-r", "8000", "-b", "16", "-t", "wav"];
const WAV49: &[&str] = &["-r", "8000", "-e", "gsm-full-rate", "-t", "wav"];
const GSM: &[&str] = &["-r", "8000", "-t", "gsm"];
const ULAW: &[&str] = &["-r", "8000", "-t", "ul"];
const ALAW: &[&str] = &["-r", "8000", "-t", "al"];
const SLN16: &[&str] = &["-r", "16000", "-t", "s16"];

/// A message that must be there: mailbox, folder, stem, the caller as the sidecar has it, and the
/// extension that is the best of its forms.
pub const MESSAGES: [(&str, &str, &str, &str, &str); 21] = [
    ("1000@default", "INBOX", "msg0000", "Alice Example", "wav"),
    ("1000@default", "INBOX", "msg0001", "Anonymous", "gsm"),
    ("1000@default", "INBOX", "msg0003", "Bob", "WAV"),
    ("1000@default", "INBOX", "msg0004", "", "ulaw"),
    ("1000@default", "INBOX", "msg0005", "Zo\u{eb}", "alaw"),
    ("1000@default", "INBOX", "msg0006", "Wide", "sln16"),
    ("1000@default", "INBOX", "msg0007", "", "wav"),
    ("1000@default", "INBOX", "msg0009", "Cut", "wav"),
    ("1000@default", "INBOX", "msg0010", "Dos", "wav"),
    ("1000@default", "INBOX", "note from B\u{f6}b", "Portal", "wav"),
    ("1000@default", "Urgent", "msg0000", "Boss", "wav"),
    ("1000@default", "Old", "msg0000", "Old One", "wav"),
    ("1000@default", "Old", "msg0001-bak", "Saved", "wav"),
    ("1000@default", "Work", "msg0000", "Work", "wav"),
    ("1000@default", "Family", "msg0000", "Family", "wav"),
    ("1000@default", "Friends", "msg0000", "Friends", "wav"),
    ("1000@default", "Cust1", "msg0000", "Cust", "wav"),
    ("1000@default", "Deleted", "msg0000", "Gone", "wav"),
    ("1001@default", "INBOX", "msg0000", "Alice Example", "wav"),
    ("1001@default", "INBOX", "msg9999", "Last", "wav"),
    ("111@acme", "INBOX", "msg0000", "Pete", "wav16"),
];

/// The tones of the greetings, in Hz.
pub const UNAVAILABLE: u32 = 500;

/// Fills `root`, the directory of the contexts.
pub fn make(root: &Path) {
    let home = root.join("default/1000");
    let inbox = home.join("INBOX");
    let forms = Forms::new(root);
    // Everything in its place, in three forms.
    let alice = whole("\"Alice Example\" <2001>", 1_767_623_411, "1767623411-00000004", "", "");
    forms.put(&inbox, "msg0000", &["wav", "WAV", "gsm"], Some(alice.as_bytes()));
    // The spaceless caller of Asterisk's own test suite, without msg_id, flag and category.
    forms.put(
        &inbox,
        "msg0001",
        &["gsm"],
        Some(b"[message]\ncallerid=\"Anonymous\"<555-5555>\norigtime=1312927513\nduration=6\n"),
    );
    // A gap; an old version's field, a strange one, another order.
    forms.put(
        &inbox,
        "msg0003",
        &["WAV"],
        Some(b";\n[message]\nduration=3\nx_portal=read;note\nmacrocontext=macro-vm\norigtime=1600000003\n\
               callerid=\"Bob\" <2002>\nmsg_id=1600000003-00000001\nflag=PRIORITY\n"),
    );
    forms.put(
        &inbox,
        "msg0004",
        &["ulaw"],
        Some(b"[message]\ncallerid=2003\norigtime=1600000004\n"),
    );
    forms.put(
        &inbox,
        "msg0005",
        &["alaw"],
        Some(b"[message]\ncallerid=\"Zo\xeb\" <2004>\norigtime=1600000005\nduration=3\n"),
    );
    forms.put(
        &inbox,
        "msg0006",
        &["sln16", "gsm"],
        Some(b"[message]\ncallerid = \"Wide\" <2005>\norigtime => 1600000006\n"),
    );
    // A crash came between its audio and its text.
    forms.put(&inbox, "msg0007", &["wav", "gsm"], None);
    // A text without audio.
    fs::write(inbox.join("msg0008.txt"), alice.replace("00000004", "000000ff")).unwrap();
    // A text that was being copied.
    forms.put(&inbox, "msg0009", &["wav"], Some(b"[message]\ncallerid=\"Cut\" <2006>\norigti"));
    forms.put(
        &inbox,
        "msg0010",
        &["wav"],
        Some(b"[message]\r\ncallerid=\"Dos\" <2007>\r\norigtime=1600000010\r\nduration=3\r\n"),
    );
    // While it was forwarded with an introduction.
    forms.put(&inbox, "msg0000-bak", &["wav", "WAV", "gsm"], Some(alice.as_bytes()));
    forms.put(&inbox, "msg0000-prepend", &["wav"], None);
    // Another program's.
    let portal = whole("\"Portal\" <2008>", 1_600_000_011, "1600000011-0000000a", "", "");
    forms.put(&inbox, "note from B\u{f6}b", &["wav"], Some(portal.as_bytes()));
    for (folder, name, flag) in [
        ("Urgent", "Boss", "Urgent"),
        ("Old", "Old One", ""),
        ("Work", "Work", ""),
        ("Family", "Family", ""),
        ("Friends", "Friends", ""),
        ("Cust1", "Cust", ""),
        ("Deleted", "Gone", ""),
    ] {
        let id = format!("1600000100-{:08x}", name.len());
        let text = whole(&format!("\"{name}\" <2010>"), 1_600_000_100, &id, flag, "tt-weasels");
        forms.put(&home.join(folder), "msg0000", &["wav"], Some(text.as_bytes()));
    }
    // The copy outlived its message.
    let saved = whole("\"Saved\" <2011>", 1_600_000_200, "1600000200-0000000b", "", "");
    forms.put(&home.join("Old"), "msg0001-bak", &["wav"], Some(saved.as_bytes()));
    forms.put(&home.join("Old"), "msg0001-prepend", &["wav"], None);

    // Locks of processes that are long dead, both kinds.
    for lock in [".lock", ".lock-3f2a99c1", "lock"] {
        fs::write(inbox.join(lock), "").unwrap();
    }
    // Recordings that a crash broke off, and work files.
    let tmp = home.join("tmp");
    forms.put(&tmp, "Xy12Zq", &["wav", "gsm"], None);
    fs::write(tmp.join("Xy12Zq"), alice.as_bytes()).unwrap();
    fs::create_dir_all(tmp.join("vm-gain-ab12CD")).unwrap();
    fs::write(tmp.join("vm-gain-ab12CD/output.wav"), "RIFF").unwrap();
    // Greetings, each in a form of its own.
    Forms::tone(&home.join("unavail.gsm"), GSM, UNAVAILABLE);
    Forms::tone(&home.join("unavail.WAV"), WAV49, UNAVAILABLE);
    Forms::tone(&home.join("busy.ulaw"), ULAW, 700);
    Forms::tone(&home.join("greet.wav"), WAV, 900);
    Forms::tone(&home.join("unavail.tmp.wav"), WAV, 1100);
    fs::write(home.join("secret.conf"), "[general]\npassword=8642\n").unwrap();

    let second = root.join("default/1001");
    // Forwarded: the same msg_id in another mailbox.
    forms.put(&second.join("INBOX"), "msg0000", &["wav"], Some(alice.as_bytes()));
    let last = whole("\"Last\" <2012>", 1_600_000_300, "1600000300-0000000c", "", "");
    forms.put(&second.join("INBOX"), "msg9999", &["wav"], Some(last.as_bytes()));
    let pete = whole("\"Pete\" <2013>", 1_600_000_400, "1600000400-0000000d", "", "");
    forms.put(&root.join("acme/111/INBOX"), "msg0000", &["wav16"], Some(pete.as_bytes()));
    // Nobody ever left anything.
    fs::create_dir_all(root.join("acme/112")).unwrap();
    fs::write(root.join("stray"), "a file among the contexts").unwrap();
    // As Asterisk's last chmod leaves it.
    let text = inbox.join("msg0000.txt");
    fs::set_permissions(text, fs::Permissions::from_mode(0o666)).unwrap();
    fs::remove_dir_all(&forms.0).unwrap();
}

/// What Asterisk writes.
fn whole(callerid: &str, origtime: i64, msg_id: &str, flag: &str, category: &str) -> String {
    format!(
        ";\n; Message Information file\n;\n[message]\norigmailbox=1000\ncontext=from-internal\n\
         exten=1000\nrdnis=unknown\npriority=3\ncallerchan=PJSIP/alice-00000012\n\
         callerid={callerid}\norigdate=Mon Jan  5 02:30:11 PM UTC 2026\norigtime={origtime}\n\
         category={category}\nmsg_id={msg_id}\nflag={flag}\nduration=3\n"
    )
}

/// Every file below a directory with its content, but for what a running daemon keeps there.
pub fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = vec![];
    let mut left = vec![root.to_owned()];
    let ours = [".lock", ".reserve"].map(|name| root.join(name));
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if !ours.contains(&path) && !path.ends_with("mailbox.toml") {
                found.push((path.strip_prefix(root).unwrap().to_owned(), fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Each form of one recording, made once.
struct Forms(PathBuf);

impl Forms {
    fn new(root: &Path) -> Self {
        let dir = root.join(".forms");
        fs::create_dir_all(&dir).unwrap();
        for (extension, options) in [
            ("wav", WAV),
            ("WAV", WAV49),
            ("gsm", GSM),
            ("ulaw", ULAW),
            ("alaw", ALAW),
            ("sln16", SLN16),
            ("wav16", &["-r", "16000", "-b", "16", "-t", "wav"]),
        ] {
            speech(&dir.join(format!("m.{extension}")), options);
        }
        Self(dir)
    }

    fn put(&self, folder: &Path, stem: &str, extensions: &[&str], text: Option<&[u8]>) {
        fs::create_dir_all(folder).unwrap();
        for extension in extensions {
            let to = folder.join(format!("{stem}.{extension}"));
            fs::copy(self.0.join(format!("m.{extension}")), &to).unwrap();
            // What changed just now may still be written.
            let old = SystemTime::now() - Duration::from_secs(3600);
            fs::File::options().write(true).open(to).unwrap().set_modified(old).unwrap();
        }
        if let Some(text) = text {
            fs::write(folder.join(format!("{stem}.txt")), text).unwrap();
        }
    }

    fn tone(path: &Path, options: &[&str], hertz: u32) {
        let made = ["-q", "-n", "-c", "1", "-D"].iter().chain(options).copied();
        let effects = format!("synth 1.5 sine {hertz} vol 0.5");
        sox(&made.chain([path.to_str().unwrap()]).chain(effects.split(' ')).collect::<Vec<_>>());
    }
}
