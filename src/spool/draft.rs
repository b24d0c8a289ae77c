//! A recording that is not yet a message; it survives a crash.
//!
//! `tmp/<call>.wav` grows while the caller speaks, `tmp/<call>.txt` already says who called.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::layout::Layout;
use super::look::seen;
use super::publish::{Acted, Arrival, Work};
use super::sidecar::Sidecar;
use super::{Audio, Error, Probe, Reader};
use crate::mailbox::{CallerId, Envelope, MailboxId, Message, MessageId, Stem};

#[derive(Clone)]
pub struct Draft {
    layout: Layout,
    mailbox: MailboxId,
    owner: u64,
    id: MessageId,
    envelope: Envelope,
    audio: PathBuf,
    sidecar: PathBuf,
    fields: Sidecar,
    /// Shared with the recorder until it has opened the recording.
    opening: Arc<()>,
    marks: Marks,
    /// Its first failure was told.
    complained: bool,
}

/// What the caller, or whoever heard the recording, says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub urgent: bool,
    pub private: bool,
    /// Nobody was heard to speak.
    pub silent: bool,
}

impl Draft {
    /// The message that it will be, and the second when it was begun.
    pub(super) fn about(&self) -> (MessageId, i64) {
        (self.id, self.envelope.received)
    }

    pub(super) fn new(
        layout: &Layout,
        mailbox: &MailboxId,
        owner: u64,
        id: MessageId,
        envelope: Envelope,
    ) -> Self {
        let stem = layout.drafts(mailbox).join(&envelope.call);
        let fields = Sidecar::draft(mailbox, owner, id, &envelope);
        Self {
            layout: layout.clone(),
            mailbox: mailbox.clone(),
            owner,
            id,
            envelope,
            audio: stem.with_extension("wav"),
            sidecar: stem.with_extension("txt"),
            fields,
            opening: Arc::default(),
            marks: Marks::default(),
            complained: false,
        }
    }

    /// A draft that a crash left behind.
    pub(super) fn found(
        layout: &Layout,
        mailbox: &MailboxId,
        fresh: MessageId,
        (audio, received, call): (&Path, i64, String),
    ) -> Self {
        let sidecar = audio.with_extension("txt");
        let mut fields = Sidecar::parse(&fs::read(&sidecar).unwrap_or_default());
        let (id, owner) = (fields.id().unwrap_or(fresh), fields.owner());
        let mut envelope = fields.envelope(received);
        if envelope.call.is_empty() {
            envelope.call = call;
        }
        if fields.is_empty() {
            fields = Sidecar::draft(mailbox, owner, id, &envelope);
        }
        Self {
            layout: layout.clone(),
            mailbox: mailbox.clone(),
            owner,
            id,
            envelope,
            audio: audio.to_owned(),
            sidecar,
            fields,
            opening: Arc::default(),
            marks: Marks::default(),
            complained: false,
        }
    }

    /// The call was transferred: the message will be from whoever speaks now.
    pub fn is_from(&mut self, caller: &CallerId) {
        self.envelope.caller = caller.clone();
        self.fields = Sidecar::draft(&self.mailbox, self.owner, self.id, &self.envelope);
    }

    /// How the message will be marked.
    pub fn mark(&mut self, marks: Marks) {
        self.marks = marks;
    }

    pub fn marks(&self) -> Marks {
        self.marks
    }

    pub fn id(&self) -> MessageId {
        self.id
    }

    pub(super) fn mailbox(&self) -> &MailboxId {
        &self.mailbox
    }

    /// Nobody said anything: the message says so, and is kept like any other.
    pub fn holds_no_speech(&mut self) {
        self.fields.set("empty", "yes");
    }

    /// Where the recording grows: to be listened to before it is a message.
    pub fn audio(&self) -> &Path {
        &self.audio
    }

    /// Whether a failure is the first one, and should be told.
    pub(super) fn complain(&mut self) -> bool {
        !std::mem::replace(&mut self.complained, true)
    }

    /// Whether a recorder has the recording open, or will.
    pub(super) fn is_being_written(&self) -> bool {
        Arc::weak_count(&self.opening) > 0
            || File::open(&self.audio)
                .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Makes the draft's files; the recorder calls it on its own thread.
    pub fn opener(&self) -> impl FnOnce() -> io::Result<File> + Send + use<> {
        let (audio, sidecar, text) = (self.audio.clone(), self.sidecar.clone(), self.fields.text());
        let opening = Arc::downgrade(&self.opening);
        move || {
            let made = private(&audio).or_else(|error| match (error.kind(), audio.parent()) {
                (io::ErrorKind::NotFound, Some(dir)) => {
                    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
                    private(&audio)
                }
                _ => Err(error),
            })?;
            // Until the recorder closes the file. A file system without locks has none to break.
            let _ = made.try_lock_shared();
            private(&sidecar)?.write_all(text.as_bytes())?;
            drop(opening);
            Ok(made)
        }
    }

    /// The message that the finished recording makes: checked and summed.
    pub(super) fn finish(&self, number: u64, reader: Reader) -> Result<(Message, File), Error> {
        let Audio { rate, duration, data_at } =
            (reader.repair)(&self.audio).map_err(Error::io("read", &self.audio))?;
        let mut audio = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.audio)
            .map_err(Error::io("open", &self.audio))?;
        let sha256 = sum(&mut audio, data_at).map_err(Error::io("read", &self.audio))?;
        let bytes = audio.metadata().map_or(0, |meta| meta.len());
        let Envelope { received, call, caller, .. } = &self.envelope;
        let stem = Stem::ours(*received, call, self.owner, &caller.number, duration.as_secs());
        let message = Message {
            envelope: self.envelope.clone(),
            duration,
            rate,
            bytes,
            sha256,
            urgent: self.marks.urgent,
            private: self.marks.private,
            silent: self.marks.silent || self.fields.text_of("empty") == "yes",
            ..Message::new(self.id, number, self.mailbox.clone(), stem)
        };
        Ok((message, audio))
    }

    /// Writes the sidecar beside, and tells how to make the message exist.
    pub(super) fn prepare(
        self,
        (message, audio): (Message, File),
        probe: &Probe,
    ) -> Result<Work, Error> {
        let mut fields = self.fields;
        fields.complete(&message);
        // A new file: the draft's own sidecar stays true until the message exists.
        let beside = self.sidecar.with_extension("new");
        let sidecar =
            replace(&beside, fields.text().as_bytes()).map_err(Error::io("write", &beside))?;
        probe.after("sidecar written").map_err(Error::io("write", &beside))?;
        let (obsolete, probe) = (self.sidecar, probe.clone());
        let written = vec![(self.audio.clone(), audio), (beside.clone(), sidecar)];
        let folder = self.layout.folder(&message.mailbox, &message.folder);
        let arrival = Arrival {
            message,
            folder: folder.clone(),
            audio: vec![(self.audio, "wav")],
            sidecar: beside,
            probe,
        };
        let act = Box::new(move || {
            let message = arrival.place()?;
            // A draft's sidecar without its audio means nothing; the next start removes it.
            let _ = fs::remove_file(&obsolete);
            let seen = seen(&folder, &message);
            Ok(Acted { message, seen, folders: vec![folder] })
        });
        Ok(Work { written, act })
    }

    pub(super) fn remove(self) -> Result<(), Error> {
        for path in [&self.audio, &self.sidecar] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

fn private(path: &Path) -> io::Result<File> {
    // Reading too: the recorder looks at its own header when it cuts the end.
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// A file with this content, whatever an earlier attempt left under its name.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    Ok(file)
}

pub(super) fn sum(audio: &mut File, data_at: u64) -> io::Result<String> {
    audio.seek(SeekFrom::Start(data_at))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let n = audio.read(&mut piece)?;
        if n == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&piece[..n]);
    }
}
