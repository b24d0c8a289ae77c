//! What is recorded on a call, and what becomes of it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::clock;
use super::driver::{Conversation, Heard};
use crate::config::Deposit;
use crate::directory::{self, Directory};
use crate::ivr::{self, Marks, What};
use crate::mailbox::greeting::Greeting;
use crate::mailbox::{By, CallerId, Envelope, MailboxId, Message, MessageId};
use crate::media::{self, Take};
use crate::pii::Pii;
use crate::spool::{self, CopyAs};

impl Conversation<'_> {
    pub(super) async fn record(
        &mut self,
        what: What,
        limit: Duration,
        silence: Option<Duration>,
    ) -> Heard {
        let ready = match what {
            What::Deposit => {
                let id = self.addressee();
                let owner = self.house.directory.find(&id).map_or(0, |mailbox| mailbox.id);
                self.envelope.received = clock::seconds();
                let envelope = self.envelope.clone();
                self.draft_in(&id, owner, envelope, (limit, silence)).await
            }
            What::Message(to) => {
                let owner = self.house.directory.find(&to).map_or(0, |mailbox| mailbox.id);
                let envelope = self.own_envelope(&to);
                self.draft_in(&to, owner, envelope, (limit, silence)).await
            }
            What::Greeting(_) | What::Intro => {
                self.take_beside(limit, silence);
                true
            }
        };
        if ready {
            return None;
        }
        let (duration, ended) = (Duration::ZERO, ivr::Ended::Failed);
        Some(ivr::Event::RecordingFinished { duration, ended })
    }

    async fn draft_in(
        &mut self,
        id: &MailboxId,
        owner: u64,
        envelope: Envelope,
        (limit, silence): (Duration, Option<Duration>),
    ) -> bool {
        match self.house.spool.draft(id, owner, envelope, clock::milliseconds()).await {
            Ok(draft) => {
                let open = Box::new(draft.opener());
                self.port.record(self.take(open, limit, silence));
                self.draft = Some(draft);
                true
            }
            Err(error) => {
                error!(mailbox = %id, "nothing can be recorded for {id}: {error}");
                false
            }
        }
    }

    fn take(
        &self,
        open: Box<dyn FnOnce() -> io::Result<File> + Send>,
        limit: Duration,
        silence: Option<Duration>,
    ) -> Take {
        let Deposit { silence_level, silence_adapts: adapts, trim_silence: trims, .. } =
            self.house.config.deposit;
        Take { open, limit, silence, silence_level, adapts, trims }
    }

    /// Makes the message as loud as the house wants it. One that cannot be is delivered as it is.
    async fn level(&self, audio: PathBuf) {
        let Some(target) = self.house.config.deposit.level_dbfs else { return };
        let levelled =
            tokio::task::spawn_blocking(move || media::wav::level(&audio, target.into())).await;
        match levelled.map_err(io::Error::other).flatten() {
            Ok(()) => {}
            Err(error) => warn!("a message is left as loud as it was: {error}"),
        }
    }

    /// A recording that is no message, beside the owner's greetings.
    fn take_beside(&mut self, limit: Duration, silence: Option<Duration>) {
        let place = self.house.directory.unfinished(&self.id, &self.envelope.sip_call_id);
        let path = place.clone();
        let open = Box::new(move || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)
        });
        self.port.record(self.take(open, limit, silence));
        self.take = Some(place);
    }

    /// The owner is the caller of what the owner sends.
    fn own_envelope(&self, to: &MailboxId) -> Envelope {
        let caller = CallerId {
            number: self.id.number().to_owned(),
            name: self.mailbox.name.clone(),
            ..CallerId::default()
        };
        let (to, received) = (to.number().to_owned(), clock::seconds());
        Envelope { caller, to, received, ..self.envelope.clone() }
    }

    /// Whose mailbox the message comes into first: of several the first that has room.
    fn addressee(&self) -> MailboxId {
        let full = !self.also.is_empty() && self.house.is_full(&self.id);
        let other = self.also.iter().find(|id| full && !self.house.is_full(id));
        other.unwrap_or(&self.id).clone()
    }

    pub(super) async fn deliver(&mut self, marks: Marks) -> bool {
        let also = std::mem::take(&mut self.also);
        let Some(message) = self.publish(marks).await else { return false };
        let all = std::iter::once(self.id.clone()).chain(also);
        let others = all.filter(|id| *id != message.mailbox);
        let (full, others): (Vec<_>, Vec<_>) = others.partition(|id| self.house.is_full(id));
        for id in full {
            info!(mailbox = %id, "{id} is full and gets no copy of a message to a list");
        }
        self.copy(&message, &others, &CopyAs::Also).await;
        true
    }

    /// To all of them, and a copy for the sender.
    pub(super) async fn send(&mut self, to: &[MailboxId], marks: Marks) -> bool {
        let Some(message) = self.publish(marks).await else { return false };
        let others: Vec<_> = to.iter().filter(|id| **id != message.mailbox).cloned().collect();
        let sent = self.copy(&message, &others, &CopyAs::Also).await;
        let own = [self.id.clone()];
        self.copy(&message, &own, &CopyAs::Sent).await;
        sent.len() == others.len()
    }

    pub(super) async fn forward(
        &mut self,
        id: MessageId,
        to: &[MailboxId],
        with_intro: bool,
    ) -> bool {
        let intro = self.take.take();
        let sent = self.forward_after(intro.as_deref().filter(|_| with_intro), id, to).await;
        intro.as_deref().into_iter().for_each(remove);
        sent
    }

    async fn forward_after(&self, intro: Option<&Path>, id: MessageId, to: &[MailboxId]) -> bool {
        let Ok(Some(message)) = self.house.spool.get(&self.id, id).await else { return false };
        let how = CopyAs::Forward {
            by: self.id.number().to_owned(),
            urgent: message.urgent,
            intro: intro.map(Path::to_owned),
        };
        let sent = self.copy(&message, to, &how).await;
        if let Some(one) = sent.first() {
            let own = [self.id.clone()];
            // With what was said before it.
            self.copy(if intro.is_some() { one } else { &message }, &own, &CopyAs::Sent).await;
        }
        sent.len() == to.len()
    }

    /// The copies that were made.
    async fn copy(&self, message: &Message, to: &[MailboxId], how: &CopyAs) -> Vec<Arc<Message>> {
        let by = By::new(self.id.number(), clock::seconds());
        let mut made = vec![];
        for id in to {
            let Some(mailbox) = self.house.directory.find(id) else { continue };
            let copied = self.house.spool.copy(message, (id, mailbox.id), how.clone(), &by).await;
            match copied {
                Ok(copy) => made.push(copy),
                Err(error) => {
                    error!(mailbox = %id, "a message could not be copied to {id}: {error}");
                }
            }
        }
        made
    }

    async fn publish(&mut self, marks: Marks) -> Option<Arc<Message>> {
        let mut draft = self.draft.take()?;
        self.level(draft.audio().to_owned()).await;
        let Marks { urgent, private } = marks;
        draft.mark(spool::Marks { urgent, private, ..draft.marks() });
        let recording = draft.clone();
        match self.house.spool.deliver(draft).await {
            Ok(message) => {
                let seconds = message.duration.as_secs_f32();
                info!(
                    mailbox = %message.mailbox,
                    message_id = %message.id,
                    caller = %Pii(&message.envelope.caller.number),
                    seconds,
                    "stored a message of {seconds:.1} s for {}",
                    message.mailbox
                );
                Some(message)
            }
            Err(error) => {
                error!(
                    mailbox = %self.id,
                    "a message could not be stored; its recording stays in {} and is tried again: {error}",
                    recording.audio().display()
                );
                None
            }
        }
    }

    pub(super) fn keep(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.house.spool.keep(draft);
        }
    }

    pub(super) async fn discard(&mut self) {
        if let Some(draft) = self.draft.take()
            && let Err(error) = self.house.spool.discard(draft).await
        {
            warn!(mailbox = %self.id, "a recording that nobody wants could not be removed: {error}");
        }
        self.take.take().as_deref().into_iter().for_each(remove);
    }

    /// What a call leaves beside the greetings is of no use to anybody.
    pub(super) async fn put_away(&mut self) {
        if self.take.is_some() {
            self.discard().await;
        }
    }

    pub(super) async fn keep_greeting(&mut self, greeting: Greeting) -> bool {
        let Some(path) = self.take.take() else { return false };
        let recording = path.clone();
        let keep = move |directory: &Directory, id: &MailboxId| {
            directory.keep_greeting(id, greeting, &recording)?;
            if greeting == Greeting::Temporary {
                directory.expire_greeting(id, None, clock::seconds())?;
            }
            Ok(())
        };
        let kept = self.on_disk("keep a greeting", keep).await.is_some();
        if !kept && path.exists() {
            remove(&path);
        }
        kept
    }

    pub(super) async fn erase_greeting(&self, greeting: Greeting) -> bool {
        let erase =
            move |directory: &Directory, id: &MailboxId| directory.erase_greeting(id, greeting);
        self.on_disk("erase a greeting", erase).await.is_some()
    }

    pub(super) async fn expire_greeting(&self, days: u32) -> bool {
        let now = clock::seconds();
        let until = (days > 0).then(|| now + i64::from(days) * 86_400);
        let expire =
            move |directory: &Directory, id: &MailboxId| directory.expire_greeting(id, until, now);
        self.on_disk("end a greeting", expire).await.is_some()
    }

    /// Does what the owner wants of the mailbox, where waiting for the disk holds up no other call.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        what: &str,
        deed: impl FnOnce(&Directory, &MailboxId) -> Result<T, directory::Error> + Send + 'static,
    ) -> Option<T> {
        let (directory, id) = (self.house.directory.clone(), self.id.clone());
        let why = match tokio::task::spawn_blocking(move || deed(&directory, &id)).await {
            Ok(Ok(done)) => {
                info!(mailbox = %self.id, "the owner of {} did {what} by telephone", self.id);
                return Some(done);
            }
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        error!(mailbox = %self.id, "cannot {what} of {}: {why}", self.id);
        None
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn!("{} could not be removed: {error}", path.display());
    }
}
