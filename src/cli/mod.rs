//! The command line: what an operator types, and how it is answered.

mod backup;
mod call;
mod demo;
mod export;
mod import;
mod lock;
mod mailbox;
mod menu;
mod messages;
mod organization;
mod outbox;
mod serve;
mod spool;
mod trace;
mod user;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config};
use crate::control::Operator;
use crate::daemon;

/// The voicemail server behind your PBX.
///
/// Without a command it serves: it answers SIP calls, plays the greeting, records after the beep,
/// and tells the messages over HTTP.
#[derive(Parser)]
#[command(name = "afterbeep", version, about, long_about, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Answer calls (the default)
    Serve,
    /// Show the main job in a minute: a server, a call, a message
    Demo(demo::Demo),
    /// Read the configuration and the mailboxes' settings, and tell all that is wrong
    CheckConfig,
    /// Make, change, show and remove mailboxes
    #[command(subcommand)]
    Mailbox(mailbox::Verb),
    /// Make and remove users of the HTTP interfaces
    #[command(subcommand)]
    User(user::Verb),
    /// Make and remove keys for the HTTP interfaces: bearer tokens, and what vendors' clients show
    #[command(subcommand)]
    Key(user::KeyVerb),
    /// See who is shut out after too many wrong PINs or passwords, and let them try again
    #[command(subcommand)]
    Lock(lock::Verb),
    /// Name the organizations that contexts are
    #[command(subcommand)]
    Organization(organization::Verb),
    /// Keep recordings that mailboxes may greet with
    #[command(subcommand)]
    Sound(organization::SoundVerb),
    /// Who changed what: show the trail, or prove that nobody tampered with it
    #[command(subcommand)]
    Audit(organization::AuditVerb),
    /// See and mend what waits to be sent: mail, pages, webhooks
    #[command(subcommand)]
    Outbox(outbox::Verb),
    /// List and export messages
    #[command(subcommand)]
    Messages(messages::Verb),
    Trace(trace::Trace),
    /// Take over mailboxes, greetings and messages of another system
    #[command(subcommand)]
    Import(import::Verb),
    /// Write messages in the way of another system
    #[command(subcommand)]
    Export(export::Verb),
    /// Copy users, keys and counters into a directory, while the daemon runs
    Backup(backup::Backup),
    /// Check and mend the spool, read it anew, let go what is too old
    #[command(subcommand)]
    Spool(spool::Verb),
    Menu(menu::Menu),
    /// Look at sound packs
    #[command(subcommand)]
    Prompts(menu::Prompts),
    /// Call a number by SIP, leave a recording or press keys: does my voicemail answer?
    Call(call::Call),
}

/// Where everything is. Flags win over the configuration file.
#[derive(Args, Clone)]
struct Place {
    /// Configuration file [default: /etc/afterbeep/afterbeep.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where messages lie
    #[arg(long, global = true, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Where users, counters and keys lie
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Take calls here, by UDP and TCP
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    sip: Option<SocketAddr>,
    /// Serve HTTP here
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
}

const DEFAULT_CONFIG: &str = "/etc/afterbeep/afterbeep.toml";

/// Exit codes: 0 done, 1 it did not work, 2 the command cannot be understood.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match perform(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("afterbeep: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error with its causes, without those that it has told itself.
fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

fn perform(Cli { place, verb }: Cli) -> anyhow::Result<ExitCode> {
    let verb = verb.unwrap_or(Verb::Serve);
    if let Verb::CheckConfig = verb {
        return serve::check(&place);
    }
    if let Verb::Prompts(prompts) = verb {
        return Ok(prompts.run());
    }
    let config = place.config()?;
    if let Verb::Menu(menu) = verb {
        menu.run(&config)?;
        return Ok(ExitCode::SUCCESS);
    }
    daemon::log(&config.log, matches!(verb, Verb::Serve))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match verb {
            Verb::Serve => serve::serve(config).await,
            Verb::Demo(demo) => demo.run(&place).await,
            Verb::Mailbox(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::User(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::Key(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::Lock(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::Organization(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::Sound(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::Outbox(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::Audit(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::Messages(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::Trace(trace) => trace.run(&mut operator(&config).await?).await,
            Verb::Import(verb) => verb.run(&mut operator(&config).await?).await,
            Verb::Export(verb) => verb.run(&config).await,
            Verb::Backup(backup) => backup.run(&config, &mut operator(&config).await?).await,
            Verb::Spool(verb) => verb.run(&config).await,
            Verb::Call(call) => call.run().await,
            Verb::CheckConfig | Verb::Menu(_) | Verb::Prompts(_) => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn operator(config: &Config) -> anyhow::Result<Operator> {
    Operator::reach(&config.spool, &config.state, daemon::WAV).await
}

impl Place {
    /// The configuration as it is meant, flags included.
    fn config(&self) -> anyhow::Result<Config> {
        let file = match &self.config {
            Some(file) => Some(file.clone()),
            None => Some(PathBuf::from(DEFAULT_CONFIG)).filter(|file| file.exists()),
        };
        let mut config = match file {
            None => Config::default(),
            Some(file) => {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                config::parse(&text).map_err(|problems| {
                    let told: Vec<String> =
                        problems.iter().map(|problem| format!("\n  {problem}")).collect();
                    anyhow::anyhow!(
                        "{} has {} problem{}:{}",
                        file.display(),
                        told.len(),
                        if told.len() == 1 { "" } else { "s" },
                        told.concat()
                    )
                })?
            }
        };
        if let Some(spool) = &self.spool {
            config.spool.clone_from(spool);
        }
        if let Some(state) = &self.state {
            config.state.clone_from(state);
        }
        if let Some(address) = self.sip {
            config.sip.udp = vec![address];
            config.sip.tcp = vec![address];
        }
        if let Some(address) = self.http {
            config.http.listen = vec![address];
        }
        Ok(config)
    }
}
