//! Where an owner's greetings and name lie, and which of them are played.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::Directory;
use crate::mailbox::greeting::{Greeting, Recorded};
use crate::mailbox::{Formats, MailboxId};

impl Directory {
    /// Which of the owner's greetings exist.
    pub fn recorded(&self, id: &MailboxId) -> Recorded {
        let has = |greeting| self.recording(id, greeting).is_some();
        Recorded {
            temporary: has(Greeting::Temporary),
            unavailable: has(Greeting::Unavailable),
            busy: has(Greeting::Busy),
            name: has(Greeting::Name),
        }
    }

    /// The recording that is played: the latest, and of several that were made together, as
    /// Asterisk makes them, the one that sounds best.
    pub fn recording(&self, id: &MailboxId, greeting: Greeting) -> Option<PathBuf> {
        let chosen = self.greeting(id, greeting);
        if chosen.parent() != Some(&self.dir(id)) {
            return Some(chosen).filter(|path| path.is_file());
        }
        let dated = self.recordings(id, greeting).into_iter().filter_map(|path| {
            let modified = path.metadata().ok()?.modified().ok()?;
            Some((path, modified))
        });
        let dated: Vec<_> = dated.collect();
        let latest = dated.iter().map(|(_, modified)| *modified).max()?;
        let together = |modified| latest.duration_since(modified).is_ok_and(|past| past < TOGETHER);
        dated.into_iter().find(|(_, modified)| together(*modified)).map(|(path, _)| path)
    }

    /// Every file of a greeting of the owner's, the best first: who removes it removes them all.
    pub fn recordings(&self, id: &MailboxId, greeting: Greeting) -> Vec<PathBuf> {
        let dir = self.dir(id);
        let entries = fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok);
        let formats = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (stem, extension) = name.rsplit_once('.')?;
            Formats::named(extension).filter(|_| stem == greeting.stem())
        });
        let Some(formats) = formats.reduce(Formats::and) else { return vec![] };
        let paths = formats.extensions().map(|e| dir.join(greeting.stem()).with_extension(e));
        paths.filter(|path| path.is_file()).collect()
    }

    /// Where the owner's recording is put, or the sound that the mailbox was given.
    pub fn greeting(&self, id: &MailboxId, greeting: Greeting) -> PathBuf {
        if greeting == Greeting::Unavailable
            && let Some(sound) = self.find(id).and_then(|mailbox| mailbox.greeting)
            && self.sound(id.context(), sound).is_some()
        {
            return self.sound_path(id.context(), sound);
        }
        self.own_greeting(id, greeting)
    }

    pub(super) fn own_greeting(&self, id: &MailboxId, greeting: Greeting) -> PathBuf {
        self.dir(id).join(greeting.stem()).with_extension("wav")
    }
}

/// Files of one recording are written within this time.
const TOGETHER: Duration = Duration::from_secs(5);
