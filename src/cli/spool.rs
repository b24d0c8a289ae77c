//! `afterbeep spool …`: is what lies there whole, and is it as the index says?

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::Config;
use crate::control::{Command, Operator, Reply};
use crate::daemon::WAV;
use crate::spool::{Flaw, Gauge, Options, Progress, What, check};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Check every message: text file, audio, checksum. Reads only, also while the daemon runs
    Verify,
    /// Put right what a crash or another program left half-done; the daemon must not run
    Repair,
    /// Read every message anew into the index
    Reindex,
    /// Let go what is older than the configuration says, as every night
    Sweep {
        /// Even where the clock has jumped, or more than a tenth of all messages would go
        #[arg(long)]
        force: bool,
    },
}

impl Verb {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Verify => told(flaws(config)?),
            Self::Repair => repair(config).await,
            Self::Reindex => reindex(config).await,
            Self::Sweep { force } => sweep(config, force).await,
        }
    }
}

/// Makes a WAV file's header agree with its length.
fn mend(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    (WAV.repair)(&file).map(drop)
}

fn flaws(config: &Config) -> anyhow::Result<(usize, Vec<Flaw>)> {
    let bar = bar()?;
    let shown = bar.clone();
    let checked = check(&config.spool, WAV, &Gauge::new(move |progress| show(&shown, progress)));
    bar.finish_and_clear();
    checked.with_context(|| format!("cannot check {}", config.spool.display()))
}

fn bar() -> anyhow::Result<ProgressBar> {
    let style = "{bar:40} {pos}/{len} mailboxes, {msg} messages, {eta} left";
    Ok(ProgressBar::new(0).with_style(ProgressStyle::with_template(style)?))
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.of as u64);
    bar.set_position(progress.mailboxes as u64);
    bar.set_message(progress.messages.to_string());
}

fn told((messages, flaws): (usize, Vec<Flaw>)) -> anyhow::Result<()> {
    for flaw in &flaws {
        println!("{flaw}");
    }
    // Another program may leave audio alone, and a caller may be speaking.
    let wrong =
        flaws.iter().filter(|flaw| !matches!(flaw.what, What::NoSidecar | What::Leftover)).count();
    println!("{messages} messages were checked, {wrong} things are wrong");
    if wrong > 0 {
        bail!("the spool is not whole: `afterbeep spool repair` mends what can be mended");
    }
    Ok(())
}

async fn repair(config: &Config) -> anyhow::Result<()> {
    let before = flaws(config)?.1;
    // Opening it finishes what was begun, and makes messages of drafts.
    let mut operator = Operator::reach(&config.spool, &config.state, WAV).await?;
    let Operator::Here(stores, _) = &operator else {
        bail!("the daemon runs; stop it first: it mends the spool itself at each start")
    };
    for flaw in &before {
        if let What::Unreadable(_) = flaw.what
            && flaw.path.extension().is_some_and(|extension| extension == "wav")
            && mend(&flaw.path).is_ok()
        {
            println!("{} has a true header again", flaw.path.display());
        }
    }
    let told_before: Vec<String> = before.iter().map(ToString::to_string).collect();
    let messages = stores.spool.len();
    operator.ask(Command::ReindexSpool).await?;
    operator.close().await;
    let (checked, after) = flaws(config)?;
    let gone =
        told_before.iter().filter(|flaw| !after.iter().any(|left| left.to_string() == **flaw));
    for flaw in gone {
        println!("mended: {flaw}");
    }
    println!("{messages} messages are in the index");
    told((checked, after))
}

async fn reindex(config: &Config) -> anyhow::Result<()> {
    let (bar, begun) = (bar()?, Instant::now());
    let shown = bar.clone();
    // Where no daemon runs the index is made anew; a daemon's is compared with the tree.
    let gauge = Gauge::new(move |progress| show(&shown, progress));
    let options = Options { anew: true, gauge, ..Options::default() };
    let reached = Operator::reach_with(&config.spool, &config.state, WAV, options).await;
    let mut operator = reached.inspect_err(|_| bar.finish_and_clear())?;
    let (messages, differ) = if let Operator::Here(stores, _) = &operator {
        (stores.spool.len(), None)
    } else {
        let mut reply = operator.ask(Command::ReindexSpool).await;
        while let Ok(Reply::Reading { progress }) = reply {
            show(&bar, progress);
            reply = operator.next().await;
        }
        bar.finish_and_clear();
        match reply? {
            Reply::Reindexed { messages, differ } => (messages, Some(differ)),
            Reply::Refused { why } => bail!(why),
            _ => bail!("the daemon answered something else"),
        }
    };
    operator.close().await;
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    match differ {
        Some(differ) => println!(
            "{messages} messages were read in {seconds:.1} s; {differ} differed from what the \
             index knew"
        ),
        None => println!("{messages} messages were read into a new index in {seconds:.1} s"),
    }
    Ok(())
}

async fn sweep(config: &Config, force: bool) -> anyhow::Result<()> {
    let mut operator = Operator::reach(&config.spool, &config.state, WAV).await?;
    let retention = config.messages.retention;
    let reply = operator.ask(Command::SweepSpool { retention, force }).await?;
    let Reply::Swept { expired, purged, mailboxes, halted } = reply else {
        bail!("the daemon answered something else")
    };
    operator.close().await;
    if let Some(why) = halted {
        bail!("nothing was swept: {why}; --force sweeps all the same");
    }
    println!(
        "{expired} messages went into the trash, {purged} out of it for good, and {mailboxes} \
         removed mailboxes with them"
    );
    Ok(())
}
