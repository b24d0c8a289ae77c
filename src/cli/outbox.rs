//! `afterbeep outbox …`: what waits to be sent, and what was given up.

use anyhow::bail;
use clap::Subcommand;
use jiff::Timestamp;

use crate::control::{Command, Operator, Reply};
use crate::state::outbox::Posted;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List notices that wait, those that were given up, and those that were accepted before the
    /// last letter of their message
    List,
    /// Try again at once: one notice, or all
    Retry {
        /// The number that `list` shows; all where left out
        id: Option<i64>,
    },
    /// Forget notices: one, or all that were given up
    Drop {
        /// The number that `list` shows; all that were given up where left out
        id: Option<i64>,
    },
}

/// Rows of one answer.
const PAGE: usize = 500;

impl Verb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::List => list(operator).await,
            Self::Retry { id } => {
                let count = counted(operator, Command::RetryOutbox { id }).await?;
                println!("{count} notices are tried again");
                Ok(())
            }
            Self::Drop { id } => {
                let count = counted(operator, Command::DropOutbox { id }).await?;
                println!("{count} notices are forgotten");
                Ok(())
            }
        }
    }
}

async fn list(operator: &mut Operator) -> anyhow::Result<()> {
    let mut after = 0;
    let mut shown = 0;
    loop {
        let command = Command::ListOutbox { after, limit: u32::try_from(PAGE).unwrap_or(500) };
        let Reply::Outbox { posted } = operator.ask(command).await? else {
            bail!("the daemon answered something else")
        };
        for row in &posted {
            println!("{}", line(row));
        }
        shown += posted.len();
        match posted.last() {
            Some(last) if posted.len() == PAGE => after = last.id,
            _ => break,
        }
    }
    if shown == 0 {
        println!("nothing waits");
    }
    Ok(())
}

/// One notice on one line: nothing in it that a terminal would obey.
fn line(row: &Posted) -> String {
    let at = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let when = match () {
        () if row.is_dead() => "given up".to_owned(),
        () if row.is_sent() => "accepted".to_owned(),
        () => format!("due {}", at(row.due)),
    };
    let error = row.error.escape_debug();
    format!(
        "{:>6} {} {} {when}, {} attempts {error}",
        row.id,
        at(row.made),
        row.lane.escape_debug(),
        row.attempts
    )
}

async fn counted(operator: &mut Operator, command: Command) -> anyhow::Result<u64> {
    let Reply::Count { count } = operator.ask(command).await? else {
        bail!("the daemon answered something else")
    };
    Ok(count)
}
