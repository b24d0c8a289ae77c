//! What is too old goes: from its folder into the trash, from the trash for good.

use tracing::{info, warn};

use super::{Error, Order, Query, Spool};
use crate::mailbox::retention::{Due, Halt, Retention, may_sweep};
use crate::mailbox::{By, Edit, MessageId};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Into the trash.
    pub expired: usize,
    pub purged: usize,
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
        for mailbox in self.0.index.mailboxes() {
            let mut skip = 0;
            loop {
                let query = Query {
                    order: Order::Number,
                    skip,
                    limit: Some(PIECE),
                    to: Some(now),
                    ..Query::default()
                };
                let page = self.list(&mailbox, &query).await?;
                skip += PIECE;
                for message in &page {
                    match retention.due(message, now) {
                        Due::Stays => {}
                        Due::Expired => due.push((mailbox.clone(), message.id, Edit::Delete)),
                        Due::Purged => due.push((mailbox.clone(), message.id, Edit::Purge)),
                    }
                }
                if page.len() < PIECE {
                    break;
                }
            }
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
        if swept != Swept::default() {
            info!(
                expired = swept.expired,
                purged = swept.purged,
                "{} messages went into the trash and {} out of it by their age",
                swept.expired,
                swept.purged
            );
        }
        Ok(swept)
    }

    /// When the last sweep ran.
    pub async fn last_sweep(&self) -> Result<Option<i64>, Error> {
        Ok(self.0.state.fact(LAST).await?)
    }
}

fn shown(id: MessageId) -> String {
    format!("message {id}")
}
