//! `afterbeep user …`: who may use the HTTP interfaces.

use std::io::{self, IsTerminal};

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::control::{Command, Operator, Reply};
use crate::state::user::Role;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Add a user, or give one a new role and password
    Add {
        name: String,
        /// admin: everything; reader: reads messages of every mailbox
        #[arg(long)]
        role: Role,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove a user
    Remove { name: String },
    /// List users with their roles
    List,
}

impl Verb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::Add { name, role, password_stdin } => {
                let password = password(password_stdin)?;
                operator.ask(Command::AddUser { name, role, password }).await?;
            }
            Self::Remove { name } => {
                operator.ask(Command::RemoveUser { name }).await?;
            }
            Self::List => {
                let Reply::Users { users } = operator.ask(Command::ListUsers).await? else {
                    bail!("the daemon answered something else")
                };
                for user in users {
                    println!("{:<24} {}", user.name.escape_debug(), user.role);
                }
            }
        }
        Ok(())
    }
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
