//! A spool of any size: real files, as a daemon that has run for a year would have left them.
//!
//! Audio is a tenth of a second of tone, one file for each mailbox and hard links to it, so that a
//! million messages cost a million small sidecars and little else. The same wishes give the same
//! spool. As a program: `cargo bench --bench corpus -- DIR MAILBOXES MESSAGES [LARGEST]`.

#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use afterbeep::mailbox::{Mailbox, MessageId, Stem};
use sha2::{Digest, Sha256};

/// How large.
#[derive(Clone, Copy, Debug)]
pub struct Corpus {
    pub mailboxes: usize,
    /// In all mailboxes together but the first.
    pub messages: usize,
    /// In the first mailbox alone, besides its share.
    pub largest: usize,
}

/// The first number; all mailboxes are in the context `default`.
pub const FIRST: usize = 100_000;
/// Unix seconds of the last message; the first is a year older.
pub const LAST: i64 = 1_790_000_000;
const YEAR: i64 = 365 * 86_400;
/// A file system lets an inode have about 65,000 names.
const MOST_LINKS: usize = 60_000;

impl Corpus {
    /// Makes the tree below `root`, which must be empty or missing. Returns how many messages it has.
    pub fn make(self, root: &Path) -> usize {
        let (next, made) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= self.mailboxes {
                            return;
                        }
                        made.fetch_add(self.mailbox(root, at), Ordering::Relaxed);
                    }
                });
            }
        });
        made.into_inner()
    }

    /// The first of a mailbox's messages among all, and how many there are.
    fn share(self, at: usize) -> (usize, usize) {
        let each = self.messages / self.mailboxes;
        let more = self.messages % self.mailboxes;
        let many = each + usize::from(at < more);
        let before = at * each + at.min(more);
        if at == 0 { (0, many + self.largest) } else { (before + self.largest, many) }
    }

    fn mailbox(self, root: &Path, at: usize) -> usize {
        let number = FIRST + at;
        let dir = root.join("default").join(number.to_string());
        for folder in FOLDERS {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let owner = 10_001 + at as u64;
        let uuid = uuid::Uuid::from_u128(0xa0_0000 + at as u128);
        let mut mailbox = Mailbox::new(uuid, owner, LAST - YEAR);
        mailbox.name = format!("{} {}", NAMES[at % NAMES.len()], NAMES[at / 7 % NAMES.len()]);
        fs::write(dir.join("mailbox.toml"), toml::to_string(&mailbox).unwrap()).unwrap();
        let (audio, sum) = tone(at);
        let master = dir.join("INBOX").join(".tone");
        let mut sidecar = String::new();
        let (first, many) = self.share(at);
        for n in 0..many {
            let message = Dice::message(first + n, number, owner);
            let folder = dir.join(message.folder());
            let wav = folder.join(format!("{}.wav", message.stem));
            // The last names take the place of the master, so that nothing but messages is left.
            if n % MOST_LINKS == 0 {
                let _ = fs::remove_file(&master);
                fs::write(&master, &audio).unwrap();
            }
            fs::hard_link(&master, &wav).unwrap();
            sidecar.clear();
            message.write(&sum, &mut sidecar);
            fs::write(wav.with_extension("txt"), &sidecar).unwrap();
        }
        let _ = fs::remove_file(&master);
        many
    }
}

/// One message, by its place among all.
struct Dice {
    at: u64,
    chance: u64,
    mailbox: usize,
    owner: u64,
    received: i64,
    caller: String,
    call: String,
    stem: Stem,
}

impl Dice {
    fn message(at: usize, mailbox: usize, owner: u64) -> Self {
        let at = at as u64;
        let chance = mix(at);
        let received = LAST - i64::try_from(chance % YEAR.unsigned_abs()).unwrap();
        let caller = format!("+1212555{:04}", chance >> 20 & 0x1fff);
        let call = format!("{received:010}{:07}", at % 10_000_000);
        let stem = Stem::ours(received, &call, owner, &caller, 0);
        Self { at, chance, mailbox, owner, received, caller, call, stem }
    }

    fn folder(&self) -> &'static str {
        match self.chance >> 40 & 31 {
            0..=22 => "INBOX",
            23..=27 => "Old",
            28 => "Work",
            29 => "SENT",
            _ => "Deleted",
        }
    }

    /// The text that the spool would have written.
    fn write(&self, sum: &str, text: &mut String) {
        let Self { at, chance, mailbox, owner, received, caller, call, .. } = self;
        let name = NAMES[usize::try_from(chance >> 8 & 15).unwrap()];
        let millis = received.unsigned_abs() * 1000;
        let id = MessageId::new(millis, u128::from(*chance) << 24 | u128::from(*at));
        let date = "Mon Jan  5 02:30:11 PM UTC 2026";
        let urgent = if (chance >> 50).is_multiple_of(16) { "Urgent" } else { "" };
        write!(
            text,
            ";\n; Message Information file\n;\n[message]\norigmailbox={mailbox}\ncontext=default\n\
             exten={mailbox}\nrdnis=unknown\npriority=1\ncallerchan=SIP/{caller}\n\
             callerid=\"{name}\" <{caller}>\norigdate={date}\norigtime={received}\ncategory=\n\
             msg_id={received}-{at:08x}\nflag={urgent}\nduration=0\nid={id}\nowner={owner}\n\
             call={call}\ncall_id={chance:x}@pbx.example\ncaller_num={caller}\ncaller_name={name}\n\
             caller_ext=\nto={mailbox}\nduration_ms=100\ncodec=pcm_s16le\nrate=8000\nsha256={sum}\n\
             number={}\n",
            at + 1
        )
        .unwrap();
        if chance >> 44 & 3 != 0 {
            writeln!(text, "heard_at={}\nread_by=phone", received + 3600).unwrap();
        }
        let words = (0..8).map(|n| WORDS[usize::try_from(chance >> (n * 4) & 15).unwrap()]);
        writeln!(text, "transcript={}", words.collect::<Vec<_>>().join(" ")).unwrap();
    }
}

/// A WAV file, and the sum of its audio.
fn tone(of: usize) -> (Vec<u8>, String) {
    let period = 8 + of % 40;
    let samples = (0..800).map(|n| if (n / period).is_multiple_of(2) { 3000_i16 } else { -3000 });
    let audio: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let bytes = u32::try_from(audio.len()).unwrap();
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav.extend(&audio);
    let sum = Sha256::digest(&audio).iter().map(|byte| format!("{byte:02x}")).collect();
    (wav, sum)
}

/// splitmix64.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

const FOLDERS: [&str; 5] = ["INBOX", "Old", "Work", "SENT", "Deleted"];
const NAMES: [&str; 16] = [
    "Ada Byron",
    "Alan Turing",
    "Grace Hopper",
    "Zoë Müller",
    "Edsger",
    "Barbara L",
    "Ken",
    "Dennis",
    "Radia P",
    "Vint",
    "Elisa",
    "Hedy",
    "Claude",
    "Harry N",
    "Agner",
    "Anna",
];
const WORDS: [&str; 16] = [
    "please",
    "call",
    "me",
    "back",
    "about",
    "the",
    "invoice",
    "tomorrow",
    "meeting",
    "delivery",
    "appointment",
    "number",
    "thanks",
    "urgent",
    "contract",
    "bye",
];

// Another bench that takes this file as a module has a `main` of its own.
#[allow(dead_code, reason = "only where this file is the program")]
fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [dir, numbers @ ..] = words.as_slice() else {
        return println!("DIR MAILBOXES MESSAGES [LARGEST]: makes a spool in an empty directory");
    };
    let number = |at: usize| numbers.get(at).map_or(0, |word| word.parse().unwrap());
    let corpus = Corpus { mailboxes: number(0).max(1), messages: number(1), largest: number(2) };
    let begun = std::time::Instant::now();
    let made = corpus.make(Path::new(dir));
    let took: Duration = begun.elapsed();
    println!("{made} messages in {} mailboxes, {took:.1?}", corpus.mailboxes);
}
