//! What an operator does with whole mailboxes, and with the spool as a whole.

use tracing::{info, warn};

use super::{Reply, Stores};
use crate::mailbox::MailboxId;
use crate::mailbox::retention::Retention;
use crate::spool::{Gauge, Swept};

impl Stores {
    pub(super) async fn remove(&self, id: MailboxId) -> anyhow::Result<Reply> {
        let _turn = self.turn.lock().await;
        // Its recording would have nowhere to go, or reach the number's next owner.
        let busy = self.busy.as_ref().is_some_and(|busy| busy(&id));
        anyhow::ensure!(!busy, "a caller is leaving a message in {id}: try again in a moment");
        self.directory.remove(&id)?;
        self.spool.forget(&id);
        Ok(Reply::Done)
    }

    pub(super) async fn rename(
        &self,
        id: MailboxId,
        to: MailboxId,
        now: i64,
    ) -> anyhow::Result<Reply> {
        let _turn = self.turn.lock().await;
        let busy = self.busy.as_ref().is_some_and(|busy| busy(&id));
        anyhow::ensure!(!busy, "a caller is leaving a message in {id}: try again in a moment");
        let _alone = self.spool.alone(&id).await;
        self.spool.will_rename(&id, &to).await?;
        self.directory.renumber(&id, &to, now)?;
        self.spool.rename(&id, &to).await?;
        Ok(Reply::Done)
    }

    pub(super) async fn sweep(
        &self,
        retention: &Retention,
        force: bool,
        now: i64,
    ) -> anyhow::Result<Reply> {
        let swept = self.spool.sweep(retention, now, force).await?;
        let Swept { expired, purged, mailboxes, halted } = swept;
        let halted = halted.map(|halt| halt.to_string());
        Ok(Reply::Swept { expired, purged, mailboxes, halted })
    }

    /// Takes what people have written into the mailboxes' settings.
    pub fn reread(&self) {
        let (changed, problems) = self.directory.reread();
        for problem in problems {
            warn!("{problem}");
        }
        info!(changed, "{changed} mailboxes were changed by hand");
    }

    /// Reads every message anew.
    pub(super) async fn reindex(&self, gauge: &Gauge) -> anyhow::Result<Reply> {
        let _alone = self.reading.lock().await;
        let (messages, differ) = self.spool.reindex(gauge).await?;
        Ok(Reply::Reindexed { messages, differ })
    }
}
