//! From a draft to a message, and again where the disk would not.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use tracing::{error, warn};

use super::draft::Draft;
use super::index::Seen;
use super::publish::{Published, Synced, Work};
use super::{Error, Spool, blocking, fresh_id, scan};
use crate::mailbox::{Change, Counts, Envelope, MailboxId, Message};
use crate::state::Counter;

impl Spool {
    /// A recording that is not yet a message. Its files appear when the recorder opens it.
    pub async fn draft(
        &self,
        mailbox: &MailboxId,
        owner: u64,
        envelope: Envelope,
        now_ms: u64,
    ) -> Result<Draft, Error> {
        let received = envelope.received;
        let call = match self.call_digits(received).await {
            Err(error) if self.makes_room(&error).await => self.call_digits(received).await?,
            done => done?,
        };
        let id = fresh_id(now_ms)?;
        let envelope = Envelope { call, ..envelope };
        Ok(Draft::new((&self.0.layout, &self.0.room), mailbox, owner, id, envelope))
    }

    /// Turns a draft into a message in the owner's INBOX. When this returns it survives a power
    /// cut; when it fails the draft stays, to be tried again by [`Spool::retry`] and at the next
    /// start.
    pub async fn deliver(&self, draft: Draft) -> Result<Arc<Message>, Error> {
        let kept = draft.clone();
        let published = self.publish(draft).await.inspect_err(|_| self.keep(kept));
        let (message, counts, synced) = published?;
        // It exists: whom it is told to need not wait until its folder is safe too.
        self.tell(Change::Delivered { message: message.clone(), counts });
        self.until_safe(synced).await;
        Ok(message)
    }

    /// Leaves a draft to [`Spool::retry`]: its recorder may still be writing.
    pub fn keep(&self, draft: Draft) {
        self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner).push(draft);
    }

    /// Tries again what could not be delivered; how many messages came of it.
    pub async fn retry(&self) -> usize {
        let stuck =
            std::mem::take(&mut *self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner));
        self.sync_again().await;
        self.keep_reserve().await;
        let mut delivered = 0;
        for mut draft in stuck {
            if draft.is_being_written() {
                self.keep(draft);
                continue;
            }
            match scan::revive(self, draft.clone()).await {
                Ok(Some((message, counts))) => {
                    self.tell(Change::Delivered { message, counts });
                    delivered += 1;
                }
                Ok(None) => {}
                Err(error) => {
                    if draft.complain() {
                        warn!(
                            "a recording is kept in {} and tried again: {error}",
                            draft.audio().display()
                        );
                    }
                    self.keep(draft);
                }
            }
        }
        delivered
    }

    /// Whether new recordings have room on the disk.
    pub fn has_room(&self) -> bool {
        self.0.room.is_there()
    }

    /// Whether something is worth another try, with the room that was kept for a full disk.
    pub(super) async fn makes_room(&self, error: &Error) -> bool {
        let room = self.0.room.clone();
        error.says_full() && blocking(move || room.release()).await.unwrap_or(false)
    }

    pub(super) async fn keep_reserve(&self) {
        let room = self.0.room.clone();
        // It is tried again.
        let _ = blocking(move || room.keep_reserve()).await;
    }

    /// Takes a recording away from a disk that fails, as long as it can be read.
    async fn rescue(&self, draft: &Draft) {
        let fleeing = draft.clone();
        match blocking(move || fleeing.flee()).await {
            Ok(Ok(Some(path))) => {
                error!("a recording was copied from the failing spool to {}", path.display());
            }
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => error!("a recording cannot be copied from a failing disk: {error}"),
        }
    }

    pub(super) async fn publish(
        &self,
        draft: Draft,
    ) -> Result<(Arc<Message>, Counts, Synced), Error> {
        let published = match self.publish_once(draft.clone()).await {
            Err(error) if self.makes_room(&error).await => self.publish_once(draft.clone()).await,
            done => done,
        };
        match &published {
            Ok(_) if draft.is_elsewhere() => blocking(move || draft.forget_stray()).await?,
            Err(error) if error.says_broken() => self.rescue(&draft).await,
            Ok(_) | Err(_) => {}
        }
        published
    }

    async fn publish_once(&self, draft: Draft) -> Result<(Arc<Message>, Counts, Synced), Error> {
        let number = self.0.state.next(Counter::Message).await?;
        let (reader, probe) = (self.0.reader, self.0.options.probe.clone());
        let ((id, received), owner) = (draft.about(), draft.mailbox().clone());
        let work = blocking(move || {
            draft.come_home()?;
            let finished = draft.finish(number, reader)?;
            let names = (finished.0.mailbox.clone(), finished.0.stem.clone());
            Ok::<_, Error>((names, draft.prepare(finished, &probe)?))
        });
        // Both end before a name changes, and neither waits for the other.
        let (work, ()) = tokio::join!(work, self.intend(&owner, id, received));
        let ((mailbox, stem), work) = work??;
        let _shared = self.turn_of(&mailbox).read().await;
        self.is_ours_now(&stem, false);
        let (message, seen, synced) = self.begin(work).await?;
        let counts = self.0.index.insert(&message, seen);
        Ok((message, counts, synced))
    }

    /// Changes the tree; safe when this returns.
    pub(super) async fn act(&self, work: Work) -> Result<(Arc<Message>, Seen), Error> {
        let (message, seen, synced) = self.begin(work).await?;
        self.until_safe(synced).await;
        Ok((message, seen))
    }

    async fn begin(&self, work: Work) -> Result<(Arc<Message>, Seen, Synced), Error> {
        let Published { message, seen, synced } = self.0.publisher.publish(work).await?;
        self.is_ours_now(&message.stem, false);
        Ok((Arc::new(message), seen, synced))
    }

    pub(super) async fn until_safe(&self, synced: Synced) {
        if let Ok(Some((folder, error))) = synced.await
            && self.unsynced().insert(folder.clone())
        {
            warn!("{} could not be synced, and is tried again: {error}", folder.display());
        }
    }

    async fn sync_again(&self) {
        let folders = std::mem::take(&mut *self.unsynced());
        for folder in folders {
            let path = folder.clone();
            let synced = blocking(move || File::open(path)?.sync_all()).await;
            match synced {
                Ok(Ok(())) => {}
                // The folder was taken away, and its messages with it.
                Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Err(_)) | Err(_) => {
                    self.unsynced().insert(folder);
                }
            }
        }
    }

    fn unsynced(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn discard(&self, draft: Draft) -> Result<(), Error> {
        blocking(move || draft.remove()).await?
    }

    /// Ten digits of the second and seven of a counter that never goes back.
    pub(super) async fn call_digits(&self, second: i64) -> Result<String, Error> {
        let counter = self.0.state.next(Counter::Call).await? % 10_000_000;
        Ok(format!("{:010}{counter:07}", second.clamp(0, 9_999_999_999)))
    }
}
