//! Asterisk's `externnotify`: a program that is told the counts, with the same arguments and no
//! shell between.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinSet;
use tracing::warn;

use crate::mailbox::{Counts, MailboxId};

const PATIENCE: Duration = Duration::from_secs(30);
/// External programs at one time.
const PROGRAMS: usize = 4;

/// Programs that tell the counts: the newest only, one at a time for a mailbox.
#[derive(Clone, Default)]
pub(super) struct Programs(Arc<Mutex<HashMap<MailboxId, Counts>>>);

impl Programs {
    pub(super) fn tell(&self, program: &[String], mailbox: &MailboxId, counts: Counts) {
        if program.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        let first = waiting.is_empty();
        waiting.insert(mailbox.clone(), counts);
        if first {
            let (programs, program) = (self.clone(), program.to_vec());
            tokio::spawn(async move { programs.work(&program).await });
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<MailboxId, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self, program: &[String]) {
        loop {
            let next: Vec<_> = self
                .waiting()
                .iter()
                .take(PROGRAMS)
                .map(|(mailbox, counts)| (mailbox.clone(), *counts))
                .collect();
            let mut running = JoinSet::new();
            for (mailbox, counts) in next.clone() {
                let program = program.to_vec();
                running.spawn(async move { run(&program, &mailbox, counts).await });
            }
            running.join_all().await;
            let mut waiting = self.waiting();
            for (mailbox, told) in next {
                // Changed meanwhile: it is told again.
                if waiting.get(&mailbox) == Some(&told) {
                    waiting.remove(&mailbox);
                }
            }
            if waiting.is_empty() {
                return;
            }
        }
    }
}

/// `context mailbox new old urgent`; as in Asterisk, `new` does not count urgent ones.
fn arguments(mailbox: &MailboxId, counts: Counts) -> [String; 5] {
    [
        mailbox.context().to_owned(),
        mailbox.number().to_owned(),
        counts.new.saturating_sub(counts.urgent_new).to_string(),
        counts.old.to_string(),
        counts.urgent_new.to_string(),
    ]
}

/// Runs the program to its end; it is killed when it takes too long.
async fn run(program: &[String], mailbox: &MailboxId, counts: Counts) {
    let [command, fixed @ ..] = program else { return };
    let child = Command::new(command)
        .args(fixed)
        .args(arguments(mailbox, counts))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match tokio::time::timeout(PATIENCE, child).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => warn!(%mailbox, "the program in notices.extern_notify failed: {status}"),
        Ok(Err(error)) => warn!(%mailbox, "notices.extern_notify cannot be run: {error}"),
        Err(_) => warn!(%mailbox, "the program in notices.extern_notify was killed after 30 s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_asterisks() {
        let mailbox = "1000@sales".parse().unwrap();
        let counts = Counts { new: 3, old: 2, urgent_new: 1, urgent_old: 1 };
        assert_eq!(arguments(&mailbox, counts).join(" "), "sales 1000 2 2 1");
    }
}
