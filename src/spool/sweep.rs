//! What is too old goes: from its folder into the trash, from the trash for good.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tracing::{info, warn};

use super::edit::dispose;
use super::scan::names;
use super::{Error, Order, Query, Spool, blocking};
use crate::mailbox::retention::{Due, Halt, Retention, may_sweep};
use crate::mailbox::{By, Edit, Folder, MailboxId, MessageId};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Into the trash.
    pub expired: usize,
    pub purged: usize,
    /// Mailboxes that were removed long ago.
    pub mailboxes: usize,
    /// Why it did nothing.
    pub halted: Option<Halt>,
}

const LAST: &str = "last sweep";
/// Messages that are looked at together.
const PIECE: usize = 1000;

impl Spool {
    /// Lets go what is too old at `now`, Unix seconds. With `force` even where the clock has
    /// jumped or much would go at once.
    pub async fn sweep(
        &self,
        retention: &Retention,
        now: i64,
        force: bool,
    ) -> Result<Swept, Error> {
        let last = self.0.state.fact(LAST).await?;
        let mut due = vec![];
        let may_be = may_be_due(retention, now);
        for mailbox in self.0.index.mailboxes() {
            for query in &may_be {
                due.extend(self.due(&mailbox, query, (retention, now)).await?);
            }
            // Others are served between two mailboxes.
            tokio::task::yield_now().await;
        }
        self.0.state.set_fact(LAST, now).await?;
        let mut swept = Swept::default();
        if let Err(halt) = may_sweep(last, now, (due.len(), self.len()))
            && !force
        {
            warn!("nothing was swept: {halt}; `afterbeep spool sweep --force` sweeps all the same");
            return Ok(Swept { halted: Some(halt), ..swept });
        }
        let by = By::new("retention", now);
        for (mailbox, id, edit) in due {
            match self.edit(&mailbox, id, &edit, &by).await {
                Ok(Some(_)) => swept.expired += 1,
                Ok(None) => swept.purged += 1,
                // Its owner was faster.
                Err(Error::NoSuchMessage(_)) => {}
                Err(error) => warn!(%mailbox, "{} could not be swept: {error}", shown(id)),
            }
        }
        swept.mailboxes = self.bury(retention, now).await?;
        if swept != Swept::default() {
            info!(
                expired = swept.expired,
                purged = swept.purged,
                mailboxes = swept.mailboxes,
                "{} messages went into the trash and {} out of it by their age, and {} removed \
                 mailboxes for good",
                swept.expired,
                swept.purged,
                swept.mailboxes
            );
        }
        Ok(swept)
    }

    /// What a sweep does with the messages of a query.
    async fn due(
        &self,
        mailbox: &MailboxId,
        query: &Query,
        (retention, now): (&Retention, i64),
    ) -> Result<Vec<(MailboxId, MessageId, Edit)>, Error> {
        let mut due = vec![];
        let mut query = Query { limit: Some(PIECE), ..query.clone() };
        loop {
            let page = self.list(mailbox, &query).await?;
            query.skip += PIECE;
            for message in &page {
                match retention.due(message, now) {
                    Due::Stays => {}
                    Due::Expired => due.push((mailbox.clone(), message.id, Edit::Delete)),
                    Due::Purged => due.push((mailbox.clone(), message.id, Edit::Purge)),
                }
            }
            if page.len() < PIECE {
                return Ok(due);
            }
        }
    }

    /// Lets go the mailboxes that were removed long ago.
    async fn bury(&self, retention: &Retention, now: i64) -> Result<usize, Error> {
        let (grave, retention) = (self.root().join(".removed"), *retention);
        let shred = self.0.options.shred;
        blocking(move || {
            let mut gone = 0;
            for name in names(&grave)? {
                let dir = grave.join(name);
                let Ok(meta) = dir.symlink_metadata() else { continue };
                // A directory that is renamed keeps the time of its content, not its own.
                if !meta.is_dir() || !retention.buries(meta.ctime().max(meta.mtime()), now) {
                    continue;
                }
                let buried = if shred { overwrite_all(&dir) } else { Ok(()) }
                    .and_then(|()| fs::remove_dir_all(&dir).map_err(Error::io("remove", &dir)));
                match buried {
                    Ok(()) => gone += 1,
                    Err(error) => warn!("a removed mailbox is still there: {error}"),
                }
            }
            Ok(gone)
        })
        .await?
    }

    /// The clock is odd: a day later it may be believed again.
    pub async fn skip_sweep(&self, now: i64, why: Halt) -> Result<(), Error> {
        warn!("nothing was swept: {why}; `afterbeep spool sweep --force` sweeps all the same");
        Ok(self.0.state.set_fact(LAST, now).await?)
    }

    /// When the last sweep ran.
    pub async fn last_sweep(&self) -> Result<Option<i64>, Error> {
        Ok(self.0.state.fact(LAST).await?)
    }
}

/// The messages that are old enough by what is known without reading them: nothing lies in its
/// folder for longer than it exists.
fn may_be_due(retention: &Retention, now: i64) -> Vec<Query> {
    let &Retention { inbox, old, sent, filed, trash, keep_unheard, .. } = retention;
    let new = [Folder::Inbox, Folder::Urgent];
    let within = |folders: &[Folder]| Query { folders: folders.into(), ..Query::default() };
    let named = [&new[..], &[Folder::Old, Folder::Sent, Folder::Deleted]].concat();
    let all = [
        (inbox, Query { heard: keep_unheard.then_some(true), ..within(&new) }),
        (old, within(&[Folder::Old])),
        (sent, within(&[Folder::Sent])),
        (filed, Query { except: named, ..Query::default() }),
        (trash, within(&[Folder::Deleted])),
    ];
    let ends = all.into_iter().filter(|(days, _)| *days > 0);
    ends.map(|(days, query)| {
        let to = Some(now - i64::from(days) * DAY);
        Query { order: Order::Number, to, ..query }
    })
    .collect()
}

const DAY: i64 = 24 * 60 * 60;

/// Writes over all audio below a directory.
fn overwrite_all(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("read the directory", dir))? {
        let path = entry.map_err(Error::io("read the directory", dir))?.path();
        let meta = path.symlink_metadata().map_err(Error::io("read", &path))?;
        if meta.is_dir() {
            overwrite_all(&path)?;
        } else if meta.is_file() {
            dispose(&path, true)?;
        }
    }
    Ok(())
}

fn shown(id: MessageId) -> String {
    format!("message {id}")
}
