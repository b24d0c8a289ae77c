//! `afterbeep messages …`: what a mailbox holds, and copies of it.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::control::{Command, MessageLine, Operator, Reply};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List the messages of a mailbox, oldest first
    List {
        /// NUMBER or NUMBER@CONTEXT
        mailbox: String,
        /// INBOX, Old, Work, Family, Friends, SENT, Deleted, Urgent or another
        #[arg(long, default_value = "INBOX")]
        folder: String,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Copy messages, audio and sidecar, into a directory
    Export {
        /// NUMBER or NUMBER@CONTEXT
        mailbox: String,
        #[arg(long, default_value = "INBOX")]
        folder: String,
        /// Made where it does not exist; files in it are never replaced
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

impl Verb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::List { mailbox, folder, json } => {
                for message in messages(operator, mailbox, folder).await? {
                    if json {
                        println!("{}", serde_json::to_string(&message)?);
                    } else {
                        println!("{}", line(&message));
                    }
                }
                Ok(())
            }
            Self::Export { mailbox, folder, to } => {
                let messages = messages(operator, mailbox, folder).await?;
                fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
                let bar = ProgressBar::new(messages.len() as u64);
                for message in &messages {
                    copy(&message.file, &to)?;
                    let sidecar = message.file.with_extension("txt");
                    if sidecar.exists() {
                        copy(&sidecar, &to)?;
                    }
                    bar.inc(1);
                }
                bar.finish_and_clear();
                println!("{} messages are in {}", messages.len(), to.display());
                Ok(())
            }
        }
    }
}

async fn messages(
    operator: &mut Operator,
    mailbox: String,
    folder: String,
) -> anyhow::Result<Vec<MessageLine>> {
    let command = Command::ListMessages { mailbox, folder: Some(folder) };
    match operator.ask(command).await? {
        Reply::Messages { messages } => Ok(messages),
        _ => bail!("the daemon answered something else"),
    }
}

fn line(message: &MessageLine) -> String {
    let at = Timestamp::from_second(message.received).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = at.to_zoned(TimeZone::system());
    format!(
        "{} {:>7.1} s  {:<4} {:<16} {:<20} {}",
        at.strftime("%Y-%m-%d %H:%M:%S"),
        message.seconds,
        if message.heard { "old" } else { "new" },
        // A terminal obeys control characters; a caller must not reach it.
        message.caller_number.escape_debug().to_string(),
        message.caller_name.escape_debug().to_string(),
        message.id,
    )
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let name = from.file_name().context("a message without a name")?;
    let to = to.join(name);
    let mut source =
        fs::File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut target = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&to)
        .with_context(|| format!("cannot write {}", to.display()))?;
    std::io::copy(&mut source, &mut target)
        .with_context(|| format!("cannot copy to {}", to.display()))?;
    Ok(())
}
