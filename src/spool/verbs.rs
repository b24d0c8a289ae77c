//! What somebody asks of a message that is there.

use std::sync::Arc;

use super::copy::{CopyAs, Target};
use super::{Error, Options, Spool, blocking, copy, edit, fresh_id};
use crate::mailbox::edit::{Outcome, Refused};
use crate::mailbox::{By, Change, Edit, MailboxId, Message, MessageId};
use crate::state::Counter;

impl Spool {
    /// Does what somebody asks of a message. When this returns it survives a power cut; the
    /// message as it is then, or `None` where it was purged.
    pub async fn edit(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
        edit: &Edit,
        by: &By,
    ) -> Result<Option<Arc<Message>>, Error> {
        let (spool, mailbox, edit, by) = (self.clone(), mailbox.clone(), edit.clone(), by.clone());
        // Whoever asked may go away; what is begun is finished.
        let task = tokio::spawn(async move {
            match spool.edit_in_turn(&mailbox, id, &edit, &by).await {
                // Whoever makes room must be able to.
                Err(error) if spool.makes_room(&error).await => {
                    spool.edit_in_turn(&mailbox, id, &edit, &by).await
                }
                done => done,
            }
        });
        task.await.map_err(|_| Error::Stopped)?
    }

    async fn edit_in_turn(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
        edit: &Edit,
        by: &By,
    ) -> Result<Option<Arc<Message>>, Error> {
        let _turn = self.turn(id).lock().await;
        let _shared = self.turn_of(mailbox).read().await;
        let was = self.get(mailbox, id).await?.ok_or(Error::NoSuchMessage(id))?;
        self.is_ours_now(&was.stem, false);
        self.is_ours_now(&was.stem, true);
        let Options { rules, shred, probe, .. } = self.0.options.clone();
        let (layout, message) = (self.0.layout.clone(), was.clone());
        match edit.apply(&was, by, rules)? {
            Outcome::Unchanged => Ok(Some(was)),
            Outcome::Changed(edited) => {
                let work = blocking(move || edit::change(&layout, &message, *edited, &probe));
                let (message, seen) = self.act(work.await??).await?;
                if let Some(counts) = self.0.index.replace(&was, &message, seen) {
                    let told = message.clone();
                    self.tell(if was.folder == message.folder {
                        Change::Edited { was, message: told, counts }
                    } else {
                        Change::Moved { was, message: told, counts }
                    });
                }
                Ok(Some(message))
            }
            Outcome::Gone => {
                self.act(edit::purge(&layout, &message, shred, &probe)).await?;
                if let Some(counts) = self.0.index.remove(&message) {
                    self.tell(Change::Removed { message, counts });
                }
                Ok(None)
            }
        }
    }

    /// Makes another message of the same audio, in the mailbox `to` whose owner's integer is
    /// `owner`. A private message is not sent on.
    pub async fn copy(
        &self,
        source: &Message,
        (to, owner): (&MailboxId, u64),
        how: CopyAs,
        by: &By,
    ) -> Result<Arc<Message>, Error> {
        refuse_private(source, &how)?;
        let (spool, source, to, at) = (self.clone(), source.clone(), to.clone(), by.at);
        let task =
            tokio::spawn(async move { spool.copy_whole(source, (to, owner), how, at).await });
        task.await.map_err(|_| Error::Stopped)?
    }

    async fn copy_whole(
        &self,
        source: Message,
        (mailbox, owner): (MailboxId, u64),
        how: CopyAs,
        at: i64,
    ) -> Result<Arc<Message>, Error> {
        let _turn = self.turn(source.id).lock().await;
        // Where it lies now, which may be elsewhere than the caller has read.
        let source =
            self.get(&source.mailbox, source.id).await?.ok_or(Error::NoSuchMessage(source.id))?;
        refuse_private(&source, &how)?;
        let number = self.0.state.next(Counter::Message).await?;
        let call = self.call_digits(at).await?;
        let id = fresh_id(u64::try_from(at).unwrap_or(0).saturating_mul(1000))?;
        let target = Target { mailbox, owner, id, number, call, at };
        let (layout, reader) = (self.0.layout.clone(), self.0.reader);
        let probe = self.0.options.probe.clone();
        let kind = how.clone();
        let there = target.mailbox.clone();
        let work = blocking(move || copy::copy(&layout, &source, (target, &how), reader, &probe))
            .await??;
        if matches!(kind, CopyAs::Also | CopyAs::Forward { .. }) {
            self.intend(&there, id, at).await;
        }
        let _shared = self.turn_of(&there).read().await;
        let (message, seen) = self.act(work).await?;
        let counts = self.0.index.insert(&message, seen);
        let told = message.clone();
        self.tell(match kind {
            CopyAs::Also | CopyAs::Forward { .. } => Change::Delivered { message: told, counts },
            CopyAs::Sent | CopyAs::Within(_) => Change::Copied { message: told, counts },
        });
        Ok(message)
    }
}

fn refuse_private(source: &Message, how: &CopyAs) -> Result<(), Refused> {
    match how {
        CopyAs::Forward { .. } if source.private => Err(Refused::Private),
        CopyAs::Forward { .. } | CopyAs::Also | CopyAs::Sent | CopyAs::Within(_) => Ok(()),
    }
}
