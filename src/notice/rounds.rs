//! The rounds that the office makes by itself: digests at their hour, reminders after theirs.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::Time;
use tracing::warn;

use super::calendar::{DIGEST, REMINDER, Span};
use super::errand;
use super::office::{Office, now};
use crate::mailbox::{Folder, Mailbox, MailboxId, NotifyEmail};
use crate::spool::Query;
use crate::state::outbox::Posting;

/// Which rounds the house wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// When, by the clock of each mailbox, its owner hears of all that is unheard.
    pub digest_at: Option<Time>,
    /// Seconds after which a message that nobody has heard is told of again, once.
    pub remind_after: Option<i64>,
}

const PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    State(#[from] crate::state::Error),
    #[error(transparent)]
    Spool(#[from] crate::spool::Error),
}

impl Office {
    /// Goes round again and again; `posted` is called where something is to be sent now.
    pub(super) async fn go_round(&self, posted: impl Fn()) {
        if self.rounds == Rounds::default() {
            // What is decided when the option is on again begins then.
            for name in [DIGEST, REMINDER] {
                if let Err(error) = self.state.forget_fact(name).await {
                    warn!("the time of the last round cannot be forgotten: {error}");
                }
            }
            return;
        }
        loop {
            match self.round(now()).await {
                Ok(0) => {}
                Ok(_) => posted(),
                Err(error) => warn!("no digest and no reminder for the moment: {error}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes down the digests and reminders that are due at `now`, Unix seconds; how many.
    pub async fn round(&self, now: i64) -> Result<usize, Error> {
        let digests = match self.rounds.digest_at {
            Some(at) => self.digests(at, now).await?,
            None => self.state.forget_fact(DIGEST).await.map(|()| 0)?,
        };
        let reminders = match self.rounds.remind_after {
            Some(seconds) => self.reminders(seconds, now).await?,
            None => self.state.forget_fact(REMINDER).await.map(|()| 0)?,
        };
        Ok(digests + reminders)
    }

    async fn digests(&self, at: Time, now: i64) -> Result<usize, Error> {
        let Some(span) = Span::since(self.state.fact(DIGEST).await?, now) else {
            self.state.set_fact(DIGEST, now).await?;
            return Ok(0);
        };
        let mut postings = vec![];
        for (id, mailbox) in self.directory.all() {
            if !is_told(&mailbox) || self.spool.counts(&id).new == 0 {
                continue;
            }
            if let Some(struck) = span.struck(at, &self.style.zone(&mailbox)) {
                postings.extend(errand::of_digest(&mailbox, struck, &self.wishes));
            }
        }
        self.decided(&postings, DIGEST, span.until, now).await
    }

    async fn reminders(&self, seconds: i64, now: i64) -> Result<usize, Error> {
        let until = now - seconds;
        let Some(mut span) = Span::since(self.state.fact(REMINDER).await?, until) else {
            self.state.set_fact(REMINDER, until).await?;
            return Ok(0);
        };
        let mut all = 0;
        while !span.is_empty() {
            let step = span.step();
            let postings = self.reminders_of(step).await?;
            all += self.decided(&postings, REMINDER, step.until, now).await?;
            span.after = step.until;
        }
        Ok(all)
    }

    async fn reminders_of(&self, span: Span) -> Result<Vec<Posting>, Error> {
        let mailboxes: Vec<(MailboxId, _)> = self.directory.all();
        let contexts: BTreeSet<&str> = mailboxes.iter().map(|(id, _)| id.context()).collect();
        let unheard = Query {
            folders: vec![Folder::Inbox, Folder::Urgent],
            from: Some(span.after + 1),
            to: Some(span.until),
            heard: Some(false),
            ..Query::default()
        };
        let mut postings = vec![];
        for context in contexts {
            for message in self.spool.list_all(context, &unheard).await? {
                let Some(mailbox) = self.directory.find(&message.mailbox) else { continue };
                if is_told(&mailbox) {
                    postings.extend(errand::of_reminder((&mailbox, &message), &self.wishes));
                }
            }
        }
        Ok(postings)
    }

    async fn decided(
        &self,
        postings: &[Posting],
        name: &str,
        until: i64,
        now: i64,
    ) -> Result<usize, Error> {
        self.state.post_round(postings, (name, until), now).await?;
        Ok(postings.len())
    }
}

fn is_told(mailbox: &Mailbox) -> bool {
    mailbox.enabled && mailbox.notify_email != NotifyEmail::No
}
