//! `afterbeep mailbox …`: one mailbox or a range of them.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::control::{Command, Operator, Reply};
use crate::directory::Settings;
use crate::mailbox::{DEFAULT_CONTEXT, MailboxId};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Make a mailbox, or a range; prints the PIN of each, this once
    Add(Wishes),
    /// Change settings; what is not named stays, and empty text takes an optional one away
    Edit(Wishes),
    /// List mailboxes with their new and old messages
    List {
        /// Only this context
        #[arg(long)]
        context: Option<String>,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Show the settings of a mailbox
    Show {
        /// NUMBER or NUMBER@CONTEXT
        mailbox: String,
    },
    /// Give a mailbox another number or context; all that it holds goes along
    Rename {
        /// NUMBER or NUMBER@CONTEXT
        mailbox: String,
        /// NUMBER or NUMBER@CONTEXT
        to: String,
    },
    /// Let the owner log in again after too many wrong PINs
    Unlock {
        /// NUMBER, NUMBER@CONTEXT, or a range: 1000-1399@sales
        mailboxes: String,
    },
    /// Remove a mailbox, or a range, with its messages; they are kept in .removed below the spool
    Remove {
        /// NUMBER, NUMBER@CONTEXT, or a range: 1000-1399@sales
        mailboxes: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
pub(super) struct Wishes {
    /// NUMBER, NUMBER@CONTEXT, or a range: 1000-1399, 1000-1399@sales
    mailboxes: String,
    /// 4 to 16 digits; a random one is drawn for a new mailbox where this is left out
    #[arg(long)]
    pin: Option<String>,
    #[command(flatten)]
    settings: Wanted,
}

/// The settings by the names that mailbox.toml gives them, but for `greeting_rules`. Empty text takes
/// an optional one away.
#[derive(Args, Serialize)]
struct Wanted {
    /// The owner's full name
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Whether it takes calls
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    /// user@domain: calls to this SIP address come here
    #[arg(long, value_name = "USER@DOMAIN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sip_address: Option<String>,
    /// Outside number, with its +
    #[arg(long, value_name = "+NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    e164: Option<String>,
    /// Such as Europe/Berlin
    #[arg(long, value_name = "IANA NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// Such as en or pt-BR
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    /// Its owner need not set it up at the first visit
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    set_up: Option<bool>,
    /// Say the caller's number before a message
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    say_caller_id: Option<bool>,
    /// Say how long a message is
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    say_duration: Option<bool>,
    /// Say when a message was left
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    say_datetime: Option<bool>,
    /// Mail about new messages
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_email: Option<NotifyEmail>,
    /// Mail address; repeat it for several
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    email: Vec<String>,
    /// Page about new messages
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_pager: Option<bool>,
    /// The pager's mail address
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pager: Option<String>,
    /// SIP address whose message lamp follows this mailbox; repeat it for several
    #[arg(long, value_name = "sip:USER@HOST")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mwi: Vec<String>,
    /// A tone before the recording
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    beep: Option<bool>,
    /// UUID of a sound that greets in place of the owner's recording; `afterbeep sound` keeps them
    #[arg(long, value_name = "UUID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting: Option<String>,
    /// It greets and takes no message
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting_only: Option<bool>,
    /// The directory finds its owner by name
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listed: Option<bool>,
    /// Times are told by so many hours: 12 or 24; else as the language has it
    #[arg(long, value_parser = number)]
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<Value>,
    /// How dates are told, in Asterisk's letters, such as ABdY HM; else as the language has it
    #[arg(long, value_name = "LETTERS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    date_format: Option<String>,
    /// Write messages down
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    transcribe: Option<bool>,
    /// How many messages it holds
    #[arg(long, value_parser = number)]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_messages: Option<Value>,
    /// The longest message
    #[arg(long, value_parser = number)]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_seconds: Option<Value>,
    /// The shortest message that is kept
    #[arg(long, value_parser = number)]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_seconds: Option<Value>,
}

#[derive(Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum NotifyEmail {
    No,
    Yes,
    Attach,
    Delete,
}

/// A number, or the empty text that takes one away.
fn number(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(text.into());
    }
    text.parse::<u32>().map(Into::into).map_err(|error| error.to_string())
}

impl Wanted {
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = match serde_json::to_value(self)? {
            Value::Object(settings) => settings,
            _ => Settings::new(),
        };
        // `--email ""` takes the addresses away.
        for key in ["email", "mwi"] {
            if let Some(Value::Array(addresses)) = settings.get_mut(key) {
                addresses.retain(|address| address.as_str() != Some(""));
            }
        }
        Ok(settings)
    }
}

impl Verb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::Add(Wishes { mailboxes, pin, settings }) => {
                let settings = settings.settings()?;
                each(&mailboxes, operator, |mailbox| Command::AddMailbox {
                    mailbox,
                    settings: settings.clone(),
                    pin: pin.clone(),
                })
                .await
            }
            Self::Edit(Wishes { mailboxes, pin, settings }) => {
                let settings = settings.settings()?;
                if settings.is_empty() && pin.is_none() {
                    bail!("name a setting to change; `afterbeep mailbox edit --help` lists them");
                }
                each(&mailboxes, operator, |mailbox| Command::EditMailbox {
                    mailbox,
                    settings: settings.clone(),
                    pin: pin.clone(),
                })
                .await
            }
            Self::Remove { mailboxes, yes } => {
                if !yes && !confirmed(&mailboxes)? {
                    bail!("nothing was removed");
                }
                each(&mailboxes, operator, |mailbox| Command::RemoveMailbox { mailbox }).await
            }
            Self::Rename { mailbox, to } => {
                let command = Command::RenameMailbox { mailbox: mailbox.clone(), to: to.clone() };
                operator.ask(command).await?;
                println!("{mailbox} is {to} now");
                Ok(())
            }
            Self::Unlock { mailboxes } => {
                each(&mailboxes, operator, |mailbox| Command::UnlockMailbox { mailbox }).await
            }
            Self::List { context, json } => list(operator, context, json).await,
            Self::Show { mailbox } => show(operator, mailbox).await,
        }
    }
}

fn confirmed(mailboxes: &str) -> anyhow::Result<bool> {
    eprint!("Remove {} with all messages? [y/N] ", mailboxes.escape_debug());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().eq_ignore_ascii_case("y"))
}

async fn each(
    mailboxes: &str,
    operator: &mut Operator,
    command: impl Fn(String) -> Command,
) -> anyhow::Result<()> {
    let ids = range(mailboxes)?;
    let bar = ProgressBar::new(ids.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    if ids.len() < 50 {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let mut refused = 0;
    for id in &ids {
        match operator.ask(command(id.to_string())).await {
            // Only a person who is told the PIN in this moment can know it.
            Ok(Reply::Pin { pin }) => bar.suspend(|| println!("{id} PIN {pin}")),
            Ok(_) => bar.suspend(|| println!("{id} done")),
            Err(error) => {
                refused += 1;
                bar.suspend(|| eprintln!("{id}: {error:#}"));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if refused > 0 {
        bail!("{refused} of {} mailboxes were refused", ids.len());
    }
    Ok(())
}

const MOST: u64 = 100_000;

/// `1000`, `1000@sales`, `1000-1399@sales`.
fn range(text: &str) -> anyhow::Result<Vec<MailboxId>> {
    let (numbers, context) = text.split_once('@').unwrap_or((text, DEFAULT_CONTEXT));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some((first, last)) = numbers.split_once('-').filter(|(a, b)| digits(a) && digits(b))
    else {
        return Ok(vec![MailboxId::new(context, numbers)?]);
    };
    // `0100-0199`: leading zeros are part of a number.
    let width = first.len();
    let (from, to): (u64, u64) = (
        first.parse().context("the range begins too high")?,
        last.parse().context("the range ends too high")?,
    );
    if width != last.len() || from > to || to - from >= MOST {
        bail!(
            "`{text}` is no range: write FIRST-LAST with equally many digits, at most {MOST} of them"
        );
    }
    (from..=to).map(|n| Ok(MailboxId::new(context, &format!("{n:0width$}"))?)).collect()
}

async fn list(operator: &mut Operator, context: Option<String>, json: bool) -> anyhow::Result<()> {
    let Reply::Mailboxes { mailboxes } = operator.ask(Command::ListMailboxes { context }).await?
    else {
        bail!("the daemon answered something else")
    };
    if mailboxes.is_empty() && !json {
        println!("There are no mailboxes yet: `afterbeep mailbox add 1000` makes one.");
    }
    for line in mailboxes {
        if json {
            println!("{}", serde_json::to_string(&line)?);
        } else {
            let disabled = if line.enabled { "" } else { "  (disabled)" };
            println!(
                "{:<24} {:>5} new {:>5} old  {}{disabled}",
                line.mailbox,
                line.new,
                line.old,
                line.name.escape_debug()
            );
        }
    }
    Ok(())
}

async fn show(operator: &mut Operator, mailbox: String) -> anyhow::Result<()> {
    match operator.ask(Command::ShowMailbox { mailbox }).await? {
        Reply::Mailbox { settings } => {
            // In TOML, as the file has it.
            let ordered: BTreeMap<_, _> =
                settings.into_iter().filter(|(_, v)| !v.is_null()).collect();
            print!("{}", toml_text(&ordered)?);
            Ok(())
        }
        _ => bail!("the daemon answered something else"),
    }
}

fn toml_text(settings: &BTreeMap<String, Value>) -> anyhow::Result<String> {
    let mut text = String::new();
    for (key, value) in settings {
        // Strings, numbers, booleans and lists of strings read the same in JSON and TOML.
        text += &format!("{key} = {}\n", serde_json::to_string(value)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        _wanted: Wanted,
    }

    #[test]
    fn every_setting_has_a_flag_but_rules_and_what_owners_say_by_telephone() {
        let command = Alone::command();
        let flags: Vec<_> = command.get_arguments().map(|flag| flag.get_id().as_str()).collect();
        let mut without = crate::directory::settings();
        without.retain(|setting| !flags.contains(&setting.as_str()));
        assert_eq!(without, ["greeting_rules", "temporary_until"]);
    }

    #[test]
    fn a_range_is_written_out() {
        let ids =
            |text: &str| range(text).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(ids("1000"), ["1000@default"]);
        assert_eq!(ids("0099-0101@sales"), ["0099@sales", "0100@sales", "0101@sales"]);
        assert_eq!(ids("front-desk"), ["front-desk@default"]);
        for bad in ["1000-999", "1-200000000", "99-100", "../x", "1000-1002@../x", ""] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
