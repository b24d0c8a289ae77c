//! `afterbeep import asterisk`: mailboxes, greetings and messages, taken over from an Asterisk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;

use crate::control::{Command, Operator, Reply};
use crate::directory::import::conf::{Conf, Source};
use crate::directory::import::{House, Pin, Plan, Planned, csv, is_pin};
use crate::directory::settings;
use crate::mailbox::MailboxId;
use crate::spool;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Take over mailboxes, greetings and messages of an Asterisk. What is here already stays as it
    /// is, so it can be run again
    Asterisk(Asterisk),
}

#[derive(Args)]
pub(super) struct Asterisk {
    /// Asterisk's voicemail.conf; what it includes is looked for beside it
    #[arg(long, value_name = "FILE", required_unless_present_any = ["realtime", "messages"])]
    conf: Option<PathBuf>,
    /// The realtime table `voicemail` as CSV, its first line the names of the columns; repeat it for
    /// several
    #[arg(long, value_name = "FILE")]
    realtime: Vec<PathBuf>,
    /// Copy greetings and messages from this spool of Asterisk's, the directory that holds the
    /// contexts. Without a daemon, you must be able to read it; with one, the daemon must
    #[arg(long, value_name = "DIR")]
    messages: Option<PathBuf>,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Verb {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        match self {
            Self::Asterisk(wishes) => wishes.run(operator).await,
        }
    }
}

impl Asterisk {
    async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        let plan = self.plan()?;
        let mut totals = Totals::default();
        self.mailboxes(&plan, operator, &mut totals).await?;
        if let Some(from) = &self.messages {
            self.copy(from, &plan, operator, &mut totals).await?;
        }
        let would = if self.dry_run { "would be " } else { "" };
        println!(
            "{} mailboxes {would}made, {} are there already; {} messages and {} greetings \
             {would}copied, {} messages are there already",
            totals.made, totals.known, totals.messages, totals.greetings, totals.messages_known
        );
        if totals.weak > 0 {
            println!(
                "{} PINs are weak: their owners are asked for new ones at the next login",
                totals.weak
            );
        }
        if !plan.advice.is_empty() {
            println!("\nWhat [general] said, for afterbeep.toml:");
            plan.advice.iter().for_each(|line| println!("  {line}"));
        }
        let report: Vec<&String> = plan.report.iter().chain(&totals.problems).collect();
        if !report.is_empty() {
            println!("\nNot carried over:");
            for line in report {
                println!("  {line}");
            }
        }
        if totals.refused > 0 {
            bail!("{} mailboxes were refused", totals.refused);
        }
        Ok(())
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let known = settings();
        let is_time_zone = |zone: &str| TimeZone::get(zone).is_ok();
        let house = House { settings: &known, is_time_zone: &is_time_zone };
        let (mut conf, mut plan) = (Conf::default(), Plan::default());
        if let Some(path) = &self.conf {
            let source = read(path)?;
            let dir = path.parent().unwrap_or(Path::new(".")).to_owned();
            conf = Conf::parse(&source, &mut |name| included(&dir, name));
            plan = Plan::of(&conf, &house);
        }
        for path in &self.realtime {
            let text = String::from_utf8_lossy(&read(path)?.bytes).into_owned();
            plan = plan.and(Plan::of_rows(&csv::rows(&text), &conf, &house));
        }
        Ok(plan)
    }

    async fn mailboxes(
        &self,
        plan: &Plan,
        operator: &mut Operator,
        totals: &mut Totals,
    ) -> anyhow::Result<()> {
        let bar = bar(plan.mailboxes.len(), "mailboxes")?;
        for planned in &plan.mailboxes {
            let Planned { id, settings, kept, .. } = planned;
            let command = Command::ImportMailbox {
                mailbox: id.to_string(),
                settings: settings.clone(),
                pin: self.pin(planned, totals),
                kept: kept.clone(),
                dry_run: self.dry_run,
            };
            match operator.ask(command).await {
                Ok(Reply::MailboxImported { made, pin, weak }) => {
                    totals.made += usize::from(made);
                    totals.known += usize::from(!made);
                    totals.weak += usize::from(weak);
                    if let Some(pin) = pin {
                        // Only a person who is told it in this moment can know it.
                        bar.suspend(|| println!("{id} PIN {pin}"));
                    }
                }
                Ok(_) => bail!("the daemon answered something else"),
                Err(error) => {
                    totals.refused += 1;
                    totals.problems.push(format!("{id}: {error:#}"));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// The PIN that counts: with `passwordlocation=spooldir` that of the spool.
    fn pin(&self, planned: &Planned, totals: &mut Totals) -> Option<String> {
        if planned.pin_in_spool {
            let secret =
                self.messages.as_ref().map(|from| from.join(planned.id.path()).join("secret.conf"));
            let bytes = secret.and_then(|path| fs::read(path).ok());
            let found = bytes.and_then(|bytes| {
                let source = Source { name: "secret.conf".into(), bytes };
                let conf = Conf::parse(&source, &mut |_| Ok(vec![]));
                conf.section("general")?.last("password").map(str::to_owned)
            });
            match found {
                Some(pin) if is_pin(&pin) => return Some(pin),
                Some(_) => {
                    totals.problems.push(format!("{}: secret.conf holds no PIN", planned.id));
                }
                None => {}
            }
        }
        match &planned.pin {
            Pin::Given(pin) => Some(pin.clone()),
            Pin::Drawn => None,
        }
    }

    async fn copy(
        &self,
        from: &Path,
        plan: &Plan,
        operator: &mut Operator,
        totals: &mut Totals,
    ) -> anyhow::Result<()> {
        let from =
            from.canonicalize().with_context(|| format!("cannot read {}", from.display()))?;
        let found = spool::mailboxes_in(&from)?;
        let bar = bar(found.len(), "mailboxes' messages")?;
        // Asterisk compares without regard to case; the tree does not.
        let planned: BTreeMap<String, &MailboxId> =
            plan.mailboxes.iter().map(|m| (m.id.to_string().to_lowercase(), &m.id)).collect();
        for (id, dir) in found {
            let id =
                planned.get(&id.to_string().to_lowercase()).map_or(id, |known| (*known).clone());
            let planned = self.dry_run && planned.contains_key(&id.to_string().to_lowercase());
            let command = Command::ImportMessages {
                mailbox: id.to_string(),
                from: dir,
                dry_run: self.dry_run,
                planned,
            };
            match operator.ask(command).await {
                Ok(Reply::MessagesImported { messages, known, greetings, problems }) => {
                    totals.messages += messages;
                    totals.messages_known += known;
                    totals.greetings += greetings;
                    totals.problems.extend(problems);
                }
                Ok(_) => bail!("the daemon answered something else"),
                Err(error) => totals.problems.push(format!("{id}: {error:#}")),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

#[derive(Default)]
struct Totals {
    made: usize,
    known: usize,
    weak: usize,
    refused: usize,
    messages: usize,
    messages_known: usize,
    greetings: usize,
    problems: Vec<String>,
}

fn bar(length: usize, what: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}")?;
    Ok(ProgressBar::new(length as u64).with_style(style).with_message(what.to_owned()))
}

fn read(path: &Path) -> anyhow::Result<Source> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Source { name: path.display().to_string(), bytes })
}

/// The files that an `#include` names: one, or those that a pattern in the last part fits.
fn included(dir: &Path, name: &str) -> Result<Vec<Source>, String> {
    let path = dir.join(name);
    let last = path.file_name().and_then(|last| last.to_str()).unwrap_or_default().to_owned();
    let mut paths = vec![path.clone()];
    if last.contains(['*', '?']) {
        let parent = path.parent().unwrap_or(dir);
        let entries =
            fs::read_dir(parent).map_err(|e| format!("cannot read {}: {e}", parent.display()))?;
        let names = entries.filter_map(Result::ok).filter_map(|e| e.file_name().into_string().ok());
        let fit =
            names.filter(|name| !name.starts_with('.') && fits(last.as_bytes(), name.as_bytes()));
        paths = fit.map(|name| parent.join(name)).collect();
        paths.sort();
    }
    paths.iter().map(|path| read(path).map_err(|error| format!("{error:#}"))).collect()
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits(rest, name) || name.split_first().is_some_and(|(_, name)| fits(pattern, name))
        }
        (Some((b'?', rest)), Some((_, name))) => fits(rest, name),
        (Some((a, rest)), Some((b, name))) => a == b && fits(rest, name),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_a_shell_would_fit() {
        let is = |pattern: &str, name: &str| fits(pattern.as_bytes(), name.as_bytes());
        assert!(is("vm_*.conf", "vm_a.conf") && is("*", "x") && is("a?c", "abc"));
        assert!(!is("vm_*.conf", "vm.conf") && !is("a?c", "ac") && !is("*.conf", "x.conf.bak"));
    }
}
