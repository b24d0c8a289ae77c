//! `afterbeep organization …`, `afterbeep sound …` and `afterbeep audit …`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use jiff::Timestamp;
use uuid::Uuid;

use crate::control::{Command, Operator, Reply};
use crate::mailbox::DEFAULT_CONTEXT;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Make an organization of a context, or give it a new name and account
    Add {
        context: String,
        /// What it is called
        #[arg(long)]
        name: Option<String>,
        /// Whose organizations it belongs to
        #[arg(long, default_value = "main")]
        account: String,
    },
    /// List organizations with the numbers that vendors' interfaces use for them
    List,
}

#[derive(Subcommand)]
pub(super) enum SoundVerb {
    /// Add a recording that mailboxes may greet with
    Add {
        file: PathBuf,
        /// What it is called; the file's name where left out
        #[arg(long)]
        name: Option<String>,
        #[arg(long, default_value = DEFAULT_CONTEXT)]
        context: String,
        /// The UUID that it is known by; drawn where left out
        #[arg(long)]
        uuid: Option<Uuid>,
    },
    /// List sounds
    List {
        #[arg(long, default_value = DEFAULT_CONTEXT)]
        context: String,
    },
    /// Remove a sound
    Remove {
        uuid: Uuid,
        #[arg(long, default_value = DEFAULT_CONTEXT)]
        context: String,
    },
}

#[derive(Subcommand)]
pub(super) enum AuditVerb {
    /// Show the newest entries
    Show {
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Look through the whole trail for what was changed, left out or put in later
    Verify,
}

impl Verb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::Add { context, name, account } => {
                let name = name.unwrap_or_else(|| context.clone());
                operator.ask(Command::AddOrganization { context, name, account }).await?;
            }
            Self::List => {
                let Reply::Organizations { organizations } =
                    operator.ask(Command::ListOrganizations).await?
                else {
                    bail!("the daemon answered something else")
                };
                for one in organizations {
                    println!(
                        "{:>6} {} account {:>4}  {:<24} {}",
                        one.id,
                        one.uuid,
                        one.account,
                        one.context,
                        one.name.escape_debug()
                    );
                }
            }
        }
        Ok(())
    }
}

impl SoundVerb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        let reply = match self {
            Self::Add { file, name, context, uuid } => {
                let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("sound");
                let name = name.unwrap_or_else(|| stem.to_owned());
                // The daemon runs elsewhere.
                let file = std::path::absolute(file)?;
                operator.ask(Command::AddSound { context, uuid, name, file }).await?
            }
            Self::List { context } => operator.ask(Command::ListSounds { context }).await?,
            Self::Remove { uuid, context } => {
                operator.ask(Command::RemoveSound { context, uuid }).await?;
                return Ok(());
            }
        };
        let Reply::Sounds { sounds } = reply else { bail!("the daemon answered something else") };
        for sound in sounds {
            println!("{}  {}", sound.uuid, sound.name.escape_debug());
        }
        Ok(())
    }
}

impl AuditVerb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::Show { limit } => {
                let Reply::Trail { entries } = operator.ask(Command::ShowAudit { limit }).await?
                else {
                    bail!("the daemon answered something else")
                };
                for entry in entries.iter().rev() {
                    let at = Timestamp::from_second(entry.at).unwrap_or(Timestamp::UNIX_EPOCH);
                    let line = [
                        &entry.who,
                        &entry.door,
                        &entry.source,
                        &entry.action,
                        &entry.subject,
                        &entry.detail,
                    ];
                    let line: Vec<String> =
                        line.iter().map(|part| part.escape_debug().to_string()).collect();
                    println!("{:>6} {at} {}", entry.seq, line.join(" "));
                }
                Ok(())
            }
            Self::Verify => {
                let Reply::Audit { verdict } = operator.ask(Command::VerifyAudit).await? else {
                    bail!("the daemon answered something else")
                };
                match verdict.broken {
                    None => println!("{} entries, and all of them fit", verdict.entries),
                    Some((seq, why)) => bail!("entry {seq} does not fit: {why}"),
                }
                Ok(())
            }
        }
    }
}
