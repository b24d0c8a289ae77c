//! What an owner does by telephone: the PIN, the greetings, and finding others by name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Directory, Error, Happening, NewPin, Settings};
use crate::mailbox::greeting::{Greeting, Moment};
use crate::mailbox::{Mailbox, MailboxId, is_plain_name, keypad};

/// Found by name at most.
const MANY: usize = 40;

impl Directory {
    /// False for a PIN that is weak, or that was used before.
    pub fn change_pin(&self, id: &MailboxId, new: &str, now: i64) -> Result<bool, Error> {
        match self.edit(id, &Settings::new(), NewPin::Chosen(new), now) {
            Err(Error::Refused(_)) => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Until when the temporary greeting plays, in Unix seconds.
    pub fn expire_greeting(
        &self,
        id: &MailboxId,
        until: Option<i64>,
        now: i64,
    ) -> Result<(), Error> {
        let _turn = self.turn();
        let kept = self.latest(id)?;
        let mailbox = Mailbox { temporary_until: until, modified: now, ..(*kept).clone() };
        self.write(id, mailbox)
    }

    /// The first visit is over, and need not be repeated.
    pub fn set_up(&self, id: &MailboxId, now: i64) -> Result<(), Error> {
        let _turn = self.turn();
        let kept = self.latest(id)?;
        self.write(id, Mailbox { set_up: true, modified: now, ..(*kept).clone() })
    }

    /// The owner's greeting for such a call, where a rule of the mailbox names one that is there.
    pub fn greeting_for(
        &self,
        id: &MailboxId,
        mailbox: &Mailbox,
        caller: &str,
        at: Moment,
    ) -> Option<PathBuf> {
        let rule = mailbox.greeting_rules.iter().find(|rule| rule.fits(caller, at))?;
        self.rule_greeting(id, &rule.greeting).filter(|path| path.is_file())
    }

    /// Where the greeting lies that rules call so; `None`: that can be no name.
    pub fn rule_greeting(&self, id: &MailboxId, name: &str) -> Option<PathBuf> {
        is_plain_name(name).then(|| self.dir(id).join(format!("greeting-{name}.wav")))
    }

    /// Makes a finished recording the greeting that lies there, in place of the one before.
    pub fn keep_rule_greeting(&self, place: &Path, recording: &Path) -> Result<(), Error> {
        let told = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { doing, path, source }
        };
        File::open(recording).and_then(|file| file.sync_all()).map_err(told("sync", recording))?;
        fs::rename(recording, place).map_err(told("rename", recording))?;
        sync(place.parent().unwrap_or(place)).map_err(told("sync", place))
    }

    /// A place for a recording of the owner's that is not yet a greeting. `call` keeps those of
    /// two telephones apart.
    pub fn unfinished(&self, id: &MailboxId, call: &str) -> PathBuf {
        let name: String = call.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        self.dir(id).join(format!(".greeting-{name}.wav"))
    }

    /// Makes a finished recording the greeting. The one before stays beside it, hidden.
    pub fn keep_greeting(
        &self,
        id: &MailboxId,
        greeting: Greeting,
        recording: &Path,
    ) -> Result<(), Error> {
        let place = self.own_greeting(id, greeting);
        let told = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { doing, path, source }
        };
        File::open(recording).and_then(|file| file.sync_all()).map_err(told("sync", recording))?;
        for before in self.recordings(id, greeting) {
            set_aside(&before).map_err(told("move away", &before))?;
        }
        fs::rename(recording, &place).map_err(told("rename", recording))?;
        sync(&self.dir(id)).map_err(told("sync", &place))?;
        self.greet_with_own(id, greeting)
    }

    /// Takes a greeting away; it stays beside its place, hidden, until another one follows it.
    pub fn erase_greeting(&self, id: &MailboxId, greeting: Greeting) -> Result<(), Error> {
        let place = self.own_greeting(id, greeting);
        let told = |source| Error::Io { doing: "move away", path: place.clone(), source };
        for before in self.recordings(id, greeting) {
            set_aside(&before).map_err(told)?;
        }
        sync(&self.dir(id)).map_err(told)?;
        self.greet_with_own(id, greeting)
    }

    /// Not with a sound of the organization any more.
    fn greet_with_own(&self, id: &MailboxId, greeting: Greeting) -> Result<(), Error> {
        let _turn = self.turn();
        match self.find(id) {
            Some(kept) if greeting == Greeting::Unavailable && kept.greeting.is_some() => {
                let kept = self.latest(id)?;
                self.write(id, Mailbox { greeting: None, ..(*kept).clone() })
            }
            Some(_) => {
                self.tell(Happening::Greeting { mailbox: id.clone(), greeting });
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Mailboxes of an organization whose owner's first or last name begins with the letters on
    /// these keys, by name.
    pub fn search(&self, context: &str, keys: &str) -> Vec<MailboxId> {
        let mut found = self.within(context);
        found.retain(|(_, mailbox)| {
            mailbox.enabled && mailbox.listed && keypad::begins(&mailbox.name, keys)
        });
        found.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        found.into_iter().map(|(id, _)| id).take(MANY).collect()
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn set_aside(place: &Path) -> io::Result<()> {
    let (Some(dir), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
    let aside = dir.join(format!(".{}.before", name.to_string_lossy()));
    match fs::rename(place, aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
