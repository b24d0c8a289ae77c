//! `afterbeep user …` and `afterbeep key …`: who may use the HTTP interfaces.

use std::io::{self, IsTerminal};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::config::Network;
use crate::control::{Command, Operator, Reply};
use crate::state::credential::{Credential, Kind, Role};
use crate::state::session::fresh_token;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Add a user, or give one a new role, reach and password
    Add {
        name: String,
        #[command(flatten)]
        reach: Reach,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove a user
    Remove { name: String },
    /// List users with their roles
    List,
}

#[derive(Subcommand)]
pub(super) enum KeyVerb {
    /// Make a key, or renew one; its secret is printed this once
    Add {
        /// token: a bearer token of ours; yay: a reseller's user; telecmi: an app
        kind: Kind,
        /// For a token any name, for yay RESELLER/USER, for telecmi the appid, a number
        name: String,
        #[command(flatten)]
        reach: Reach,
        /// Take the secret from the first line of standard input instead of drawing one
        #[arg(long)]
        secret_stdin: bool,
    },
    /// Remove a key
    Remove { kind: Kind, name: String },
    /// List keys of one kind
    List { kind: Kind },
}

#[derive(Args)]
pub(super) struct Reach {
    /// reader: lists and plays messages; editor: and moves, deletes and uploads them; manager: and
    /// makes and changes mailboxes; admin: everything
    #[arg(long)]
    role: Role,
    /// Only this organization
    #[arg(long)]
    context: Option<String>,
    /// Only the mailbox of this number
    #[arg(long)]
    mailbox: Option<String>,
    /// Only from this address or network; repeat it for several
    #[arg(long, value_name = "ADDRESS[/BITS]", value_parser = network)]
    allow: Vec<String>,
}

impl Reach {
    fn of(self, kind: Kind, name: String) -> Credential {
        let Self { role, context, mailbox, allow } = self;
        Credential { context, mailbox, allow, ..Credential::new(kind, name, role) }
    }
}

impl Verb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::Add { name, reach, password_stdin } => {
                let secret = password(password_stdin)?;
                let credential = reach.of(Kind::User, name);
                operator.ask(Command::AddCredential { credential, secret }).await?;
                Ok(())
            }
            Self::Remove { name } => remove(operator, Kind::User, name).await,
            Self::List => list(operator, Kind::User).await,
        }
    }
}

impl KeyVerb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::Add { kind, name, reach, secret_stdin } => {
                let secret = if secret_stdin { password(true)? } else { fresh_token()? };
                let shown = match kind {
                    Kind::Token => format!("{name}.{secret}"),
                    Kind::User | Kind::Yay | Kind::Telecmi | Kind::Owner => secret.clone(),
                };
                let credential = reach.of(kind, name);
                operator.ask(Command::AddCredential { credential, secret }).await?;
                if !secret_stdin {
                    println!("{shown}");
                }
                Ok(())
            }
            Self::Remove { kind, name } => remove(operator, kind, name).await,
            Self::List { kind } => list(operator, kind).await,
        }
    }
}

async fn remove(operator: &mut Operator, kind: Kind, name: String) -> anyhow::Result<()> {
    operator.ask(Command::RemoveCredential { kind, name }).await?;
    Ok(())
}

async fn list(operator: &mut Operator, kind: Kind) -> anyhow::Result<()> {
    let Reply::Credentials { credentials } =
        operator.ask(Command::ListCredentials { kind }).await?
    else {
        bail!("the daemon answered something else")
    };
    for one in credentials {
        let mut reach = String::new();
        for (what, value) in [("context", &one.context), ("mailbox", &one.mailbox)] {
            if let Some(value) = value {
                reach += &format!("  {what} {}", value.escape_debug());
            }
        }
        if !one.allow.is_empty() {
            reach += &format!("  from {}", one.allow.join(" "));
        }
        println!("{:<24} {:<8}{reach}", one.name.escape_debug().to_string(), one.role.to_string());
    }
    Ok(())
}

/// As it was written, once it makes sense.
fn network(text: &str) -> Result<String, String> {
    text.parse::<Network>().map(|_| text.to_owned())
}

/// Never an argument: those can be read by every process of the machine.
fn password(from_stdin: bool) -> anyhow::Result<String> {
    if !from_stdin {
        if !io::stdin().is_terminal() {
            bail!("give the password on standard input and say --password-stdin");
        }
        eprint!("Password (it is shown while you type; --password-stdin reads it from a pipe): ");
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("cannot read the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
