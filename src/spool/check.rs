//! The tree, checked file by file: what does not belong together, what cannot be read, what is no
//! longer as it was delivered. Reads only, so that it may run beside a daemon.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::draft::sum;
use super::scan::{listing, mailboxes, names};
use super::sidecar::{LARGEST, Sidecar};
use super::{Error, Gauge, Progress, Reader};
use crate::mailbox::{Folder, MailboxId};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub path: PathBuf,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A sidecar without audio.
    NoAudio,
    /// Audio of a message's format without a sidecar. Another program may have left it so.
    NoSidecar,
    TooLarge,
    Unreadable(String),
    /// The audio is not what was delivered.
    Changed,
    /// Another message has the same id.
    SameId(PathBuf),
    /// Half of something that a crash or a call in progress left in `tmp`.
    Leftover,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            What::NoAudio => write!(f, "{path} has no audio beside it"),
            What::NoSidecar => write!(f, "{path} has no text file beside it"),
            What::TooLarge => write!(f, "{path} is too large for a text file of a message"),
            What::Unreadable(why) => write!(f, "{path} cannot be read: {why}"),
            What::Changed => write!(f, "{path} is not the audio that was delivered"),
            What::SameId(other) => write!(f, "{path} has the id of {}", other.display()),
            What::Leftover => write!(f, "{path} is half of something"),
        }
    }
}

/// Checks every file below `root`, and tells how far it is after each mailbox. How many messages
/// there are, and what is wrong with them.
pub fn check(root: &Path, reader: Reader, gauge: &Gauge) -> Result<(usize, Vec<Flaw>), Error> {
    let (all, closed) = mailboxes(root)?;
    let mut progress = Progress { of: all.len(), ..Progress::default() };
    let mut checked = Checked { reader, ids: HashMap::new(), flaws: vec![], messages: 0 };
    for (context, error) in closed {
        checked.flaw(root.join(context), What::Unreadable(error.to_string()));
    }
    gauge.shows(progress);
    for mailbox in &all {
        checked.mailbox(root, mailbox);
        progress.mailboxes += 1;
        progress.messages = checked.messages;
        gauge.shows(progress);
    }
    Ok((checked.messages, checked.flaws))
}

struct Checked {
    reader: Reader,
    ids: HashMap<String, PathBuf>,
    flaws: Vec<Flaw>,
    messages: usize,
}

impl Checked {
    /// What lies in a directory; one that cannot be read is a flaw.
    fn names(&mut self, dir: &Path) -> Vec<String> {
        names(dir).unwrap_or_else(|error| {
            self.flaw(dir.to_owned(), What::Unreadable(error.to_string()));
            vec![]
        })
    }

    fn mailbox(&mut self, root: &Path, mailbox: &MailboxId) {
        let home = root.join(mailbox.path());
        for name in self.names(&home) {
            let dir = home.join(&name);
            if !dir.is_dir() {
                continue;
            }
            if name == "tmp" {
                let left = self.names(&dir);
                self.flaws.extend(
                    left.iter().map(|name| Flaw { path: dir.join(name), what: What::Leftover }),
                );
            } else if Folder::named(&name).is_some() {
                self.folder(&dir);
            }
        }
    }

    fn folder(&mut self, dir: &Path) {
        for (stem, lying) in listing(&self.names(dir)) {
            let txt = dir.join(format!("{stem}.txt"));
            let audio = lying.formats.map(|formats| format!("{stem}.{}", formats.best()));
            let Some(audio) = audio.map(|name| dir.join(name)).filter(|audio| audio.is_file())
            else {
                if lying.sidecar {
                    self.flaw(txt, What::NoAudio);
                }
                continue;
            };
            if !lying.sidecar {
                self.flaw(audio.clone(), What::NoSidecar);
            }
            self.messages += 1;
            let fields = match fs::metadata(&txt) {
                Ok(meta) if meta.len() > LARGEST => {
                    self.flaw(txt, What::TooLarge);
                    continue;
                }
                Ok(meta) if !meta.is_file() => {
                    self.flaw(txt, What::Unreadable("it is no file".to_owned()));
                    continue;
                }
                Ok(_) => match fs::read(&txt) {
                    Ok(bytes) => Sidecar::parse(&bytes),
                    Err(error) => {
                        self.flaw(txt, What::Unreadable(error.to_string()));
                        continue;
                    }
                },
                Err(_) => Sidecar::default(),
            };
            if let Some(id) = fields.id()
                && let Some(other) = self.ids.insert(id.to_string(), audio.clone())
            {
                self.flaw(audio.clone(), What::SameId(other));
            }
            match (self.reader.info)(&audio) {
                Err(error) => self.flaw(audio, What::Unreadable(error.to_string())),
                Ok(info) => self.sum(audio, info.data_at, fields.text_of("sha256")),
            }
        }
    }

    fn sum(&mut self, audio: PathBuf, data_at: u64, wanted: &str) {
        if wanted.is_empty() {
            return;
        }
        match File::open(&audio).and_then(|mut file| sum(&mut file, data_at)) {
            Ok(found) if found == wanted => {}
            Ok(_) => self.flaw(audio, What::Changed),
            Err(error) => self.flaw(audio, What::Unreadable(error.to_string())),
        }
    }

    fn flaw(&mut self, path: PathBuf, what: What) {
        self.flaws.push(Flaw { path, what });
    }
}
