//! What an operator asks, by the command line: performed by the daemon when one runs, by the
//! command itself when none does.
//!
//! `<state>/control.sock` (0600): one JSON object a line, and one line in answer.

mod keeping;
mod operator;
mod socket;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use nix::unistd::Uid;
use tokio::sync::mpsc;
use tracing::info;
use uuid::Uuid;

use crate::directory::{Directory, Imported, Settings, Sound};
use crate::mailbox::{Folder, Mailbox, MailboxId, Message, is_plain_name};
use crate::spool::{self, Gauge, Options, Query, Reader, Spool};
use crate::state::attempt::Subject;
use crate::state::audit::Deed;
use crate::state::{self, Counter, State, make_private};

pub use operator::Operator;
pub use socket::listen;
pub use words::{Command, LockLine, MailboxLine, MessageLine, Reply, TraceFilter, TraceLine};

/// What commands are about. The daemon holds it for its life, a command without a daemon for a
/// moment.
#[derive(Clone)]
pub struct Stores {
    pub state: State,
    pub directory: Directory,
    pub spool: Spool,
    /// Whether somebody is leaving a message in a mailbox now; nobody is where no daemon runs.
    pub busy: Option<Busy>,
    /// Whether a file is audio that callers can hear.
    pub playable: fn(&Path) -> io::Result<()>,
    /// There is nothing to show where no daemon runs.
    pub tracer: Option<Tracer>,
    /// Held while a mailbox is made, changed or removed: two commands must not make the same one.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Held while the whole spool is read: two at once would only hinder each other.
    reading: Arc<tokio::sync::Mutex<()>>,
}

pub type Busy = Arc<dyn Fn(&MailboxId) -> bool + Send + Sync>;

/// Who shows SIP messages, as replies; `None` where as many watch as may.
pub type Tracer = Arc<dyn Fn(TraceFilter) -> Option<mpsc::Receiver<Reply>> + Send + Sync>;

impl Stores {
    /// Opens everything that is kept, and tells what was found wrong in it.
    pub async fn open(
        spool: &Path,
        state: &Path,
        reader: Reader,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        Self::open_with(spool, state, reader, Options::default()).await
    }

    pub async fn open_with(
        spool: &Path,
        state: &Path,
        reader: Reader,
        options: Options,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        refuse_another_owner(spool, state)?;
        Self::try_open(spool, state, reader, options).await.map_err(advised)
    }

    /// What is wrong with the settings that are kept. Recordings are left alone, and nothing is
    /// told while a daemon runs: it has told it in its log.
    pub async fn look(spool: &Path, state: &Path) -> anyhow::Result<Vec<String>> {
        if socket::connect(state).await.is_ok() {
            return Ok(vec![]);
        }
        refuse_another_owner(spool, state)?;
        let look = async {
            make_private(spool)?;
            let state = State::open(state).await?;
            Ok(Directory::open(spool, &state)?.1)
        };
        look.await.map_err(advised)
    }

    async fn try_open(
        spool: &Path,
        state: &Path,
        reader: Reader,
        options: Options,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        let state = State::open(state).await?;
        make_private(spool)?;
        let (root, beside) = (spool.to_owned(), state.clone());
        let directory = tokio::task::spawn_blocking(move || Directory::open(&root, &beside));
        let spool = Spool::open_with(spool, &state, reader, options).await;
        // Also where the spool cannot be opened: the directory holds the state until it is read.
        let directory = directory.await?;
        let ((spool, found), (directory, mut problems)) = (spool?, directory?);
        state.given(Counter::Mailbox, directory.owners()).await?;
        info!(
            messages = found.messages,
            recovered = found.recovered,
            "the spool holds {} messages; {} recordings were recovered after a crash",
            found.messages,
            found.recovered
        );
        if found.unreadable > 0 {
            problems.push(format!("{} files in the spool cannot be read", found.unreadable));
        }
        let playable = reader.playable;
        let (busy, tracer, turn, reading) = (None, None, Arc::default(), Arc::default());
        let stores = Self { state, directory, spool, busy, playable, tracer, turn, reading };
        Ok((stores, problems))
    }

    pub async fn perform(&self, command: Command) -> Reply {
        let deed = command.deed();
        let reply = self.try_perform(command).await;
        let told = match (&reply, deed) {
            (Ok(_), Some((action, subject))) => self.record(action, &subject).await,
            (Ok(_) | Err(_), _) => Ok(()),
        };
        match (reply, told) {
            (Ok(reply), Ok(())) => reply,
            (Ok(_), Err(error)) => Reply::Refused {
                why: format!("it was done, but the audit trail cannot be written: {error}"),
            },
            (Err(error), _) => Reply::Refused { why: format!("{error:#}") },
        }
    }

    async fn record(&self, action: &str, subject: &str) -> Result<(), state::Error> {
        let who = owner_name(Uid::effective());
        let deed = Deed { who: &who, door: "cli", action, subject, ..Deed::default() };
        self.state.record(&deed, unix_now()).await
    }

    fn add_sound(
        &self,
        context: &str,
        uuid: Option<Uuid>,
        name: String,
        file: &Path,
        now: i64,
    ) -> anyhow::Result<Sound> {
        let draft = self.directory.sound_draft(context)?;
        let copied =
            std::fs::copy(file, &draft).with_context(|| format!("cannot read {}", file.display()));
        let kept = copied.and_then(|_| {
            (self.playable)(&draft).with_context(|| format!("{} is no audio", file.display()))?;
            let file_name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let sound = Sound {
                uuid: uuid.unwrap_or_else(Uuid::new_v4),
                name,
                file_name: file_name.to_owned(),
                tag: String::new(),
                created: now,
                updated: now,
            };
            self.directory.add_sound(context, &sound, &draft)?;
            Ok(sound)
        });
        if kept.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        kept
    }

    async fn tend_outbox(&self, command: &Command) -> Result<Reply, state::Error> {
        Ok(match command {
            Command::RetryOutbox { id } => {
                Reply::Count { count: self.state.retry_posted(*id, unix_now()).await? }
            }
            Command::DropOutbox { id } => {
                Reply::Count { count: self.state.drop_posted(*id).await? }
            }
            Command::ListOutbox { after, limit } => {
                let most = i64::from(*limit).min(1_000);
                Reply::Outbox { posted: self.state.outbox(*after, most).await? }
            }
            _ => Reply::Done,
        })
    }

    async fn try_perform(&self, command: Command) -> anyhow::Result<Reply> {
        let now = unix_now();
        Ok(match command {
            Command::AddMailbox { mailbox, settings, pin } => {
                let _turn = self.turn.lock().await;
                let id: MailboxId = mailbox.parse()?;
                let pin = self.directory.add(&id, &settings, pin.as_deref(), now).await?;
                Reply::Pin { pin }
            }
            Command::ImportMailbox { mailbox, settings, pin, kept, dry_run } => {
                let _turn = self.turn.lock().await;
                let (wishes, when) = (((&settings, &kept), pin.as_deref()), (now, dry_run));
                self.import_mailbox(&mailbox, wishes, when).await?
            }
            Command::ImportMessages { mailbox, from, dry_run, planned } => {
                self.import_messages(&mailbox, &from, (dry_run, planned)).await?
            }
            Command::Snapshot => Reply::Snapshot { file: self.state.snapshot().await? },
            Command::EditMailbox { mailbox, settings, pin } => {
                let _turn = self.turn.lock().await;
                let id = mailbox.parse()?;
                self.directory.edit(&id, &settings, pin.as_deref(), now)?;
                Reply::Done
            }
            Command::RemoveMailbox { mailbox } => self.remove(mailbox.parse()?).await?,
            Command::UnlockMailbox { .. } | Command::ListLocks | Command::OpenLock { .. } => {
                self.tend_locks(command, now).await?
            }
            Command::ListMailboxes { context } => {
                let all = self.directory.all().into_iter();
                let wanted =
                    all.filter(|(id, _)| context.as_ref().is_none_or(|c| id.context() == c));
                let mailboxes =
                    wanted.map(|(id, mailbox)| self.mailbox_line(&id, &mailbox)).collect();
                Reply::Mailboxes { mailboxes }
            }
            Command::ShowMailbox { mailbox } => self.show_mailbox(mailbox.parse()?)?,
            Command::AddCredential { credential, secret } => {
                self.state.set_credential(&credential, &secret, now).await?;
                Reply::Done
            }
            Command::RemoveCredential { kind, name } => {
                anyhow::ensure!(
                    self.state.remove_credential(kind, &name).await?,
                    "there is no {kind} `{}`",
                    name.escape_debug()
                );
                Reply::Done
            }
            Command::ListCredentials { kind } => {
                Reply::Credentials { credentials: self.state.credentials(kind).await? }
            }
            Command::AddSound { context, uuid, name, file } => {
                let sound = self.add_sound(&context, uuid, name, &file, now)?;
                Reply::Sounds { sounds: vec![sound] }
            }
            Command::RemoveSound { context, uuid } => {
                anyhow::ensure!(
                    self.directory.remove_sound(&context, uuid)?,
                    "there is no sound {uuid}"
                );
                Reply::Done
            }
            Command::ListSounds { context } => {
                Reply::Sounds { sounds: self.directory.sounds(&context)? }
            }
            Command::AddOrganization { context, name, account } => {
                anyhow::ensure!(
                    is_plain_name(&context),
                    "`{}` is no context",
                    context.escape_debug()
                );
                self.state.make_organization(&context, &name, &account, now).await?;
                Reply::Done
            }
            Command::ListOrganizations => {
                Reply::Organizations { organizations: self.state.organizations().await? }
            }
            Command::VerifyAudit => Reply::Audit { verdict: self.state.verify_trail().await? },
            Command::ShowAudit { limit } => {
                Reply::Trail { entries: self.state.trail(None, limit).await? }
            }
            Command::Trace { .. } => anyhow::bail!("only a daemon that runs can be watched"),
            Command::RenameMailbox { mailbox, to } => {
                self.rename(mailbox.parse()?, to.parse()?, now).await?
            }
            Command::SweepSpool { retention, force } => self.sweep(&retention, force, now).await?,
            Command::ReindexSpool => self.reindex(&Gauge::default()).await?,
            command @ (Command::ListOutbox { .. }
            | Command::RetryOutbox { .. }
            | Command::DropOutbox { .. }) => self.tend_outbox(&command).await?,
            Command::ListMessages { mailbox, folder } => {
                self.list_messages(mailbox.parse()?, folder.as_deref()).await?
            }
        })
    }

    async fn tend_locks(&self, command: Command, now: i64) -> anyhow::Result<Reply> {
        match command {
            Command::ListLocks => return Ok(Reply::Locks { locks: self.locks(now) }),
            Command::UnlockMailbox { mailbox } => self.directory.unlock(&mailbox.parse()?).await?,
            Command::OpenLock { source } => anyhow::ensure!(
                self.state.forgive_source(&source).await?,
                "nothing is held against `{}`: `afterbeep lock list` shows who is shut out, and \
                 `afterbeep mailbox unlock` opens a mailbox",
                source.escape_debug()
            ),
            _ => {}
        }
        Ok(Reply::Done)
    }

    fn locks(&self, now: i64) -> Vec<LockLine> {
        let owners = self.directory.all().into_iter().map(|(id, mailbox)| (mailbox.uuid, id));
        let owners: HashMap<Uuid, MailboxId> = owners.collect();
        let who = |subject| match subject {
            Subject::Mailbox(uuid) => match owners.get(&uuid) {
                Some(id) => format!("mailbox {id}"),
                None => format!("mailbox {uuid}"),
            },
            Subject::Nobody(name) => format!("no mailbox {name}"),
            Subject::Source(source) => source.into(),
        };
        let shut = self.state.shut_out(now).into_iter();
        shut.map(|(subject, door, until)| LockLine {
            who: who(subject),
            door: door.name().to_owned(),
            until,
        })
        .collect()
    }

    fn show_mailbox(&self, id: MailboxId) -> anyhow::Result<Reply> {
        let found = self.directory.find(&id);
        let mailbox = found.ok_or(crate::directory::Error::NoSuchMailbox(id))?;
        let mut settings = match serde_json::to_value(&*mailbox)? {
            serde_json::Value::Object(settings) => settings,
            _ => Settings::new(),
        };
        // Sealed, but nobody's business.
        settings.remove("pin");
        settings.remove("earlier_pins");
        let addresses = mailbox.email.iter().map(ToString::to_string);
        settings.insert("email".into(), addresses.collect());
        Ok(Reply::Mailbox { settings })
    }

    async fn list_messages(&self, id: MailboxId, folder: Option<&str>) -> anyhow::Result<Reply> {
        let folder = folder.unwrap_or("INBOX");
        let folder = Folder::named(folder)
            .ok_or_else(|| anyhow::anyhow!("`{}` is no folder", folder.escape_debug()))?;
        let query = Query { folders: vec![folder], ..Query::default() };
        let messages = self.spool.list(&id, &query).await?;
        if messages.is_empty() && self.directory.find(&id).is_none() {
            return Err(crate::directory::Error::NoSuchMailbox(id).into());
        }
        Ok(Reply::Messages { messages: messages.iter().map(|m| self.message_line(m)).collect() })
    }

    async fn import_mailbox(
        &self,
        mailbox: &str,
        (settings, pin): ((&Settings, &BTreeMap<String, String>), Option<&str>),
        when: (i64, bool),
    ) -> anyhow::Result<Reply> {
        let id = mailbox.parse()?;
        let Imported { made, pin, weak } = self.directory.import(&id, settings, pin, when).await?;
        Ok(Reply::MailboxImported { made, pin, weak })
    }

    async fn import_messages(
        &self,
        mailbox: &str,
        from: &Path,
        (dry, planned): (bool, bool),
    ) -> anyhow::Result<Reply> {
        let id: MailboxId = mailbox.parse()?;
        let owner = self.directory.find(&id).map(|mailbox| mailbox.id);
        let owner = owner.or(planned.then_some(0));
        let owner = owner.ok_or(crate::directory::Error::NoSuchMailbox(id.clone()))?;
        let spool::Imported { messages, known, greetings, problems } =
            self.spool.import((&id, owner), from, dry).await?;
        Ok(Reply::MessagesImported { messages, known, greetings, problems })
    }

    fn mailbox_line(&self, id: &MailboxId, mailbox: &Mailbox) -> MailboxLine {
        let counts = self.spool.counts(id);
        MailboxLine {
            mailbox: id.to_string(),
            name: mailbox.name.clone(),
            enabled: mailbox.enabled,
            new: counts.new,
            old: counts.old,
        }
    }

    fn message_line(&self, message: &Message) -> MessageLine {
        MessageLine {
            id: message.id.to_string(),
            number: message.number,
            folder: message.folder.to_string(),
            received: message.envelope.received,
            seconds: message.duration.as_secs_f64(),
            caller_number: message.envelope.caller.number.clone(),
            caller_name: message.envelope.caller.name.clone(),
            heard: message.heard.is_some(),
            urgent: message.urgent,
            private: message.private,
            file: self.spool.audio_path(message),
        }
    }
}

/// Whose directory it is, if root would work there in place of somebody else.
fn owned_by_another(dir: &Path, me: Uid) -> Option<Uid> {
    let owner = Uid::from_raw(dir.metadata().ok()?.uid());
    (me.is_root() && owner != me).then_some(owner)
}

fn owner_name(owner: Uid) -> String {
    let known = nix::unistd::User::from_uid(owner).ok().flatten();
    known.map_or_else(|| format!("#{owner}"), |user| user.name)
}

const ADVICE: &str = "spool and state must be directories that this user may write; change their owner, or \
                      name others with --spool and --state";

/// Root would make files that the owner of the others could not use.
fn refuse_another_owner(spool: &Path, state: &Path) -> anyhow::Result<()> {
    for dir in [spool, state] {
        if let Some(owner) = owned_by_another(dir, Uid::effective()) {
            let (name, dir) = (owner_name(owner), dir.display());
            anyhow::bail!(
                "{dir} belongs to {name}, who could not use what root makes there: run this as \
                 that user (sudo -u {name} afterbeep ...), or while the daemon runs"
            );
        }
    }
    Ok(())
}

fn advised(error: anyhow::Error) -> anyhow::Error {
    if error.root_cause().is::<io::Error>() { error.context(ADVICE) } else { error }
}

pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_leaves_the_directories_of_others_alone() {
        let dir = tempfile::tempdir().unwrap();
        // Only root may give it away; for anybody else it is another's already.
        let _ = nix::unistd::chown(dir.path(), Some(Uid::from_raw(1)), None);
        assert!(owned_by_another(dir.path(), Uid::from_raw(0)).is_some());
        assert!(owned_by_another(dir.path(), Uid::from_raw(2)).is_none());
        assert!(owned_by_another(Path::new("/"), Uid::from_raw(0)).is_none());
        assert!(owned_by_another(&dir.path().join("none"), Uid::from_raw(0)).is_none());
    }
}
