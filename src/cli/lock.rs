//! `afterbeep lock …`: who is shut out after too many wrong PINs or passwords.

use anyhow::bail;
use clap::Subcommand;
use jiff::Timestamp;

use crate::control::{Command, Operator, Reply};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List who is shut out, of what, and until when: callers, addresses, mailboxes
    List,
    /// Let a caller, an address, a network or a number without a mailbox try again at once; for a
    /// mailbox, `mailbox unlock`
    Open {
        /// As `list` shows it
        source: String,
    },
}

impl Verb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::List => list(operator).await,
            Self::Open { source } => {
                operator.ask(Command::OpenLock { source }).await?;
                Ok(())
            }
        }
    }
}

async fn list(operator: &mut Operator) -> anyhow::Result<()> {
    let Reply::Locks { locks } = operator.ask(Command::ListLocks).await? else {
        bail!("the daemon answered something else")
    };
    for lock in &locks {
        let until = Timestamp::from_second(lock.until).unwrap_or(Timestamp::UNIX_EPOCH);
        // Callers name themselves: nothing in it that a terminal would obey.
        println!("{until}  {:<10} {}", lock.door, lock.who.escape_debug());
    }
    if locks.is_empty() {
        println!("nobody is shut out");
    }
    Ok(())
}
