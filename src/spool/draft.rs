//! A recording that is not yet a message; it survives a crash.
//!
//! `tmp/<call>.wav` grows while the caller speaks, `tmp/<call>.txt` already says who called.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use tracing::{error, warn};

use super::edit::remove;
use super::index::Seen;
use super::layout::Layout;
use super::look::stamp;
use super::publish::{Acted, Arrival, Work};
use super::room::{Room, copy_whole, is_full, says_full};
use super::sidecar::Sidecar;
use super::{Audio, Error, Probe, Reader};
use crate::mailbox::{CallerId, Envelope, MailboxId, Message, MessageId, Stem};

/// Audio that is read at once.
const PIECE: usize = 64 * 1024;

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
    room: Arc<Room>,
    /// Where the recording is made, if not in the spool.
    stray: Arc<OnceLock<PathBuf>>,
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
        (layout, room): (&Layout, &Arc<Room>),
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
            room: room.clone(),
            stray: Arc::default(),
            opening: Arc::default(),
            marks: Marks::default(),
            complained: false,
        }
    }

    /// A draft that a crash left behind.
    pub(super) fn found(
        (layout, room): (&Layout, &Arc<Room>),
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
            room: room.clone(),
            stray: Arc::default(),
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
        self.stray.get().filter(|stray| stray.exists()).unwrap_or(&self.audio)
    }

    /// Where it lies as a draft.
    pub(super) fn home(&self) -> &Path {
        &self.audio
    }

    /// Whether a failure is the first one, and should be told.
    pub(super) fn complain(&mut self) -> bool {
        !std::mem::replace(&mut self.complained, true)
    }

    /// Whether a recorder has the recording open, or will.
    pub(super) fn is_being_written(&self) -> bool {
        Arc::weak_count(&self.opening) > 0
            || File::open(self.audio())
                .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Makes the draft's files, elsewhere where the spool does not take them; the recorder calls it
    /// on its own thread.
    pub fn opener(&self) -> impl FnOnce() -> io::Result<File> + Send + use<> {
        let (audio, text, call) = (self.audio.clone(), self.fields.text(), self.call().to_owned());
        let (room, stray) = (self.room.clone(), self.stray.clone());
        let opening = Arc::downgrade(&self.opening);
        move || {
            let mut made = begin(&audio, &text);
            if made.as_ref().is_err_and(says_full) && room.release() {
                made = begin(&audio, &text);
            }
            let made = made.or_else(|why| {
                let path = room.elsewhere(&call).map_err(|_| kind(&why))?;
                let file = begin(&path, &text).map_err(|_| kind(&why))?;
                error!(
                    "{} cannot be made: {why}; the caller is recorded in {} until the spool takes \
                     it again",
                    audio.display(),
                    path.display()
                );
                let _ = stray.set(path);
                Ok::<_, io::Error>(file)
            });
            drop(opening);
            made
        }
    }

    /// The name that it has among drafts.
    fn call(&self) -> &str {
        self.audio.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// Brings a recording that was made elsewhere into the spool.
    pub(super) fn come_home(&self) -> Result<(), Error> {
        let Some(stray) = self.stray.get() else { return Ok(()) };
        bring_home(stray, &self.audio)
    }

    /// Whether its recording was made elsewhere, or has fled there.
    pub fn is_elsewhere(&self) -> bool {
        self.stray.get().is_some()
    }

    /// The recording is a message: what was made elsewhere is not needed any more.
    pub(super) fn forget_stray(&self) {
        if let Some(stray) = self.stray.get() {
            forget(stray);
        }
    }

    /// Copies what can still be read of a recording away from a disk that fails.
    pub(super) fn flee(&self) -> io::Result<Option<PathBuf>> {
        if self.stray.get().is_some() {
            return Ok(None);
        }
        let path = self.room.elsewhere(self.call())?;
        copy_whole(&self.audio, &path)?;
        fs::write(path.with_extension("txt"), self.fields.text())?;
        let _ = self.stray.set(path.clone());
        Ok(Some(path))
    }

    /// The message that the finished recording makes: checked and summed.
    pub(super) fn finish(&self, number: u64, reader: Reader) -> Result<(Message, File), Error> {
        let mut audio = open(&self.audio).map_err(Error::io("open", &self.audio))?;
        let Audio { rate, duration, data_at } =
            (reader.repair)(&audio).map_err(Error::io("read", &self.audio))?;
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

    /// Makes its sidecar say all, and tells how to make the message exist.
    pub(super) fn prepare(
        self,
        (message, audio): (Message, File),
        probe: &Probe,
    ) -> Result<Work, Error> {
        let mut fields = self.fields;
        fields.complete(&message);
        let text = self.sidecar;
        let sidecar = overwrite(&text, &fields.text()).map_err(Error::io("write", &text))?;
        probe.after("sidecar written").map_err(Error::io("write", &text))?;
        // Neither changes by its new name.
        let seen = Seen {
            sidecar: stamp(&sidecar.metadata().map_err(Error::io("read", &text))?),
            audio: stamp(&audio.metadata().map_err(Error::io("read", &self.audio))?),
        };
        let written = vec![(self.audio.clone(), audio), (text.clone(), sidecar)];
        let folder = self.layout.folder(&message.mailbox, &message.folder);
        let arrival = Arrival {
            message,
            folder: folder.clone(),
            audio: vec![(self.audio, "wav")],
            sidecar: text,
            probe: probe.clone(),
        };
        let act = Box::new(move || {
            let message = arrival.place()?;
            Ok(Acted { message, seen, folders: vec![folder] })
        });
        Ok(Work { written, act })
    }

    pub(super) fn remove(self) -> Result<(), Error> {
        let strays = self.stray.get().map(|stray| [stray.clone(), stray.with_extension("txt")]);
        for path in strays.into_iter().flatten().chain([self.audio, self.sidecar]) {
            remove(&path)?;
        }
        Ok(())
    }
}

/// A recording and what is known of it, both or none.
fn begin(audio: &Path, text: &str) -> io::Result<File> {
    let made = private(audio).or_else(|error| match (error.kind(), audio.parent()) {
        (io::ErrorKind::NotFound, Some(dir)) => {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            private(audio)
        }
        _ => Err(error),
    })?;
    // Until the recorder closes the file. A file system without locks has none to break.
    let _ = made.try_lock_shared();
    let sidecar = audio.with_extension("txt");
    let written = if is_full(audio) {
        Err(io::ErrorKind::StorageFull.into())
    } else {
        private(&sidecar).and_then(|mut file| file.write_all(text.as_bytes()))
    };
    if let Err(error) = written {
        let _ = (fs::remove_file(audio), fs::remove_file(&sidecar));
        return Err(error);
    }
    Ok(made)
}

/// Makes a draft of a recording that was made elsewhere. The longer of two is the whole one: a
/// recording may have fled from a disk that has come back.
pub(super) fn bring_home(stray: &Path, audio: &Path) -> Result<(), Error> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let (text, their_text) = (audio.with_extension("txt"), stray.with_extension("txt"));
    if length(stray) > length(audio) {
        if let Some(dir) = audio.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(Error::io("make the directory", dir))?;
        }
        if their_text.exists() {
            copy_whole(&their_text, &text).map_err(Error::io("write", &text))?;
        }
        copy_whole(stray, audio).map_err(Error::io("write", audio))?;
    }
    Ok(())
}

/// Removes what was made elsewhere and is safe in the spool.
pub(super) fn forget(stray: &Path) {
    for path in [stray, &stray.with_extension("txt")] {
        if let Err(error) = remove(path) {
            warn!("{error}");
        }
    }
}

/// The same error once more.
fn kind(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn private(path: &Path) -> io::Result<File> {
    // Reading too: the recorder looks at its own header when it cuts the end.
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// A draft's sidecar that says more. At no moment does it say less: it begins as it did, one write
/// is whole to whoever survives us, and it needs no room that it does not have already.
fn overwrite(path: &Path, text: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all_at(text.as_bytes(), 0)?;
    let length = text.len() as u64;
    if file.metadata()?.len() > length {
        file.set_len(length)?;
    }
    Ok(file)
}

/// A recording to be made whole.
pub(super) fn open(audio: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(audio)
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
    let left = audio.metadata()?.len().saturating_sub(data_at);
    let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).clamp(1, PIECE)];
    loop {
        let n = audio.read(&mut piece)?;
        if n == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&piece[..n]);
    }
}
