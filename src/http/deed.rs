//! What a face changes: performed once, whatever the face, and told in the audit trail.

use std::net::IpAddr;

use super::House;
use super::guard::Principal;
use crate::directory::{self, Door, NewPin, Settings};
use crate::mailbox::MailboxId;
use crate::state::audit::Deed;
use crate::state::organization::Organization;
use crate::{spool, state};

/// Who asks, by which face, from where.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) principal: &'a Principal,
    pub(super) door: Door,
    pub(super) from: IpAddr,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Directory(#[from] directory::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error("a caller is leaving a message there: try again in a moment")]
    Busy,
}

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Self {
        Self::Directory(error.into())
    }
}

impl House {
    pub(super) async fn add_mailbox(
        &self,
        asker: Asker<'_>,
        id: &MailboxId,
        settings: &Settings,
        pin: NewPin<'_>,
    ) -> Result<String, Error> {
        let pin = self.directory.add(id, settings, pin, (self.now)()).await?;
        self.record(asker, "mailbox.add", &id.to_string(), "").await?;
        Ok(pin)
    }

    pub(super) async fn edit_mailbox(
        &self,
        asker: Asker<'_>,
        id: &MailboxId,
        settings: Settings,
        pin: NewPin<'_>,
    ) -> Result<(), Error> {
        let changed: Vec<String> = settings.keys().cloned().collect();
        let pin_too = if matches!(pin, NewPin::Unchanged) { "" } else { " pin" };
        let detail = changed.join(" ") + pin_too;
        // It waits for the disk: not on a thread that serves others.
        let now = (self.now)();
        tokio::task::block_in_place(|| self.directory.edit(id, &settings, pin, now))?;
        self.record(asker, "mailbox.edit", &id.to_string(), detail.trim()).await
    }

    /// Gives a mailbox another number.
    pub(super) async fn renumber_mailbox(
        &self,
        asker: Asker<'_>,
        id: &MailboxId,
        to: &MailboxId,
    ) -> Result<(), Error> {
        if (self.busy)(id) {
            return Err(Error::Busy);
        }
        let now = (self.now)();
        self.spool.will_rename(id, to).await?;
        tokio::task::block_in_place(|| self.directory.renumber(id, to, now))?;
        self.spool.rename(id, to).await?;
        self.record(asker, "mailbox.renumber", &id.to_string(), &to.to_string()).await
    }

    /// Every organization that has a mailbox, or was made by name.
    pub(super) async fn organizations(&self) -> Result<Vec<Organization>, Error> {
        let known = self.state.organizations().await?;
        let mut contexts: Vec<String> =
            self.directory.all().iter().map(|(id, _)| id.context().to_owned()).collect();
        contexts.dedup();
        contexts.retain(|context| !known.iter().any(|one| one.context == *context));
        if contexts.is_empty() {
            return Ok(known);
        }
        for context in contexts {
            self.state.organization(&context, (self.now)()).await?;
        }
        Ok(self.state.organizations().await?)
    }

    pub(super) async fn remove_mailbox(
        &self,
        asker: Asker<'_>,
        id: &MailboxId,
    ) -> Result<(), Error> {
        if (self.busy)(id) {
            return Err(Error::Busy);
        }
        tokio::task::block_in_place(|| self.directory.remove(id))?;
        self.spool.forget(id);
        self.record(asker, "mailbox.remove", &id.to_string(), "").await
    }

    pub(super) async fn record(
        &self,
        asker: Asker<'_>,
        action: &str,
        subject: &str,
        detail: &str,
    ) -> Result<(), Error> {
        let who = format!("{} {}", asker.principal.kind, asker.principal.name);
        let source = asker.from.to_canonical().to_string();
        let deed =
            Deed { who: &who, door: asker.door.name(), source: &source, action, subject, detail };
        self.state.record(&deed, (self.now)()).await?;
        Ok(())
    }
}
