//! Lists, counts and audio.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::index::{Scope, Usage};
use super::{Error, Glance, Query, Spool, blocking};
use crate::mailbox::{Counts, Folder, MailboxId, Message, MessageId, Stem};

impl Spool {
    pub async fn list(
        &self,
        mailbox: &MailboxId,
        query: &Query,
    ) -> Result<Vec<Arc<Message>>, Error> {
        Ok(self.0.index.list(Scope::Mailbox(mailbox), query).await?)
    }

    /// What a query finds, however much it is, at the cost of memory alone; its text is left aside.
    pub fn glance(&self, mailbox: &MailboxId, query: &Query) -> Vec<Glance> {
        self.0.index.glance(mailbox, query)
    }

    /// The messages of a mailbox with these numbers, without those that are not there any more.
    pub async fn read(
        &self,
        mailbox: &MailboxId,
        numbers: &[u64],
    ) -> Result<Vec<Arc<Message>>, Error> {
        let mut found = self.0.index.numbered(numbers).await?;
        found.retain(|message| message.mailbox == *mailbox);
        Ok(found)
    }

    /// How many messages a query finds, whatever page it asks for.
    pub async fn total(&self, mailbox: &MailboxId, query: &Query) -> Result<usize, Error> {
        Ok(self.0.index.total(Scope::Mailbox(mailbox), query).await?)
    }

    /// Messages of all mailboxes of a context, as one list.
    pub async fn list_all(&self, context: &str, query: &Query) -> Result<Vec<Arc<Message>>, Error> {
        Ok(self.0.index.list(Scope::Organization(context), query).await?)
    }

    pub async fn total_of_all(&self, context: &str, query: &Query) -> Result<usize, Error> {
        Ok(self.0.index.total(Scope::Organization(context), query).await?)
    }

    pub async fn get(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
    ) -> Result<Option<Arc<Message>>, Error> {
        Ok(self.0.index.get(mailbox, id).await?)
    }

    /// The message of this number, wherever it lies.
    pub async fn numbered(&self, number: u64) -> Result<Option<Arc<Message>>, Error> {
        Ok(self.0.index.numbered(&[number]).await?.pop())
    }

    /// The message whose files have this name, in one of the folders.
    pub async fn find(
        &self,
        mailbox: &MailboxId,
        folders: &[Folder],
        stem: &Stem,
    ) -> Result<Option<Arc<Message>>, Error> {
        Ok(self.0.index.find(mailbox, folders, stem).await?)
    }

    pub fn counts(&self, mailbox: &MailboxId) -> Counts {
        self.0.index.counts(mailbox)
    }

    /// Messages that count against the mailbox's limit.
    pub fn kept(&self, mailbox: &MailboxId) -> usize {
        self.usage(mailbox).messages
    }

    /// How much of the mailbox's limits is used.
    pub fn usage(&self, mailbox: &MailboxId) -> Usage {
        self.0.index.usage(mailbox)
    }

    /// All messages of all mailboxes.
    pub fn len(&self) -> usize {
        self.0.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn open_audio(&self, message: &Message) -> Result<File, Error> {
        let path = self.audio_path(message);
        File::open(&path).map_err(Error::io("open", &path))
    }

    /// The file to listen to. It may have been moved since the message was read: [`Spool::audio`]
    /// finds it then.
    pub fn audio_path(&self, message: &Message) -> PathBuf {
        let Message { mailbox, folder, stem, formats, .. } = message;
        self.0.layout.folder(mailbox, folder).join(format!("{stem}.{}", formats.best()))
    }

    /// A message's audio as it lies on disk, to be read in pieces.
    pub async fn audio(&self, mailbox: &MailboxId, id: MessageId) -> Result<Recording, Error> {
        let mut tried = None;
        loop {
            let message = self.get(mailbox, id).await?.ok_or(Error::NoSuchMessage(id))?;
            let path = self.audio_path(&message);
            let opening = path.clone();
            match blocking(move || Recording::open(&opening)).await? {
                // Moved between the look and the opening.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && tried != Some(path.clone()) =>
                {
                    tried = Some(path);
                }
                done => return done.map_err(Error::io("open", &path)),
            }
        }
    }
}

/// An open audio file. It stays readable whatever becomes of its message.
#[derive(Debug)]
pub struct Recording {
    file: File,
    bytes: u64,
    modified: SystemTime,
    path: PathBuf,
}

impl Recording {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let modified = meta.modified()?;
        Ok(Self { file, bytes: meta.len(), modified, path: path.to_owned() })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Its extension tells what it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Up to `most` bytes from `from` on; none at the end.
    pub fn read(&self, from: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.bytes.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(most)];
        let mut read = 0;
        while read < piece.len() {
            match self.file.read_at(&mut piece[read..], from + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        piece.truncate(read);
        Ok(piece)
    }
}
