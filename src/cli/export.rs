//! `afterbeep export asterisk`: a tree of `msgNNNN` files for programs that know no other names.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::config::Config;
use crate::media;
use crate::spool::{Done, Export};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Write a tree of msgNNNN files as Asterisk would, for programs that know no other names
    Asterisk(Asterisk),
}

#[derive(Args)]
pub(super) struct Asterisk {
    /// Where; it is made for its owner alone, and what is made in it is as open as it is
    dir: PathBuf,
    /// Keep it like the spool until SIGINT or SIGTERM
    #[arg(long)]
    watch: bool,
}

/// How often changed folders are looked for.
const EVERY: Duration = Duration::from_secs(1);
/// A pass takes no more than this part of the time.
const SHARE: u32 = 20;

impl Verb {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<()> {
        let Self::Asterisk(Asterisk { dir, watch }) = self;
        let mut export = Export::open(&config.spool, &dir, wav)?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut told = Vec::new();
        loop {
            let began = Instant::now();
            let (back, done) = tokio::task::spawn_blocking(move || {
                let done = export.follow();
                (export, done)
            })
            .await?;
            export = back;
            let done = match done {
                Ok(done) => done,
                // Directories come and go while they are read.
                Err(error) if watch => {
                    Done { problems: vec![error.to_string()], ..Done::default() }
                }
                Err(error) => return Err(error.into()),
            };
            if !watch || done.written + done.renumbered + done.removed > 0 {
                println!(
                    "{} written, {} renumbered, {} removed",
                    done.written, done.renumbered, done.removed
                );
            }
            if done.problems != told {
                done.problems.iter().for_each(|problem| eprintln!("{problem}"));
                told = done.problems;
            }
            if !watch {
                return Ok(());
            }
            let pause = EVERY.max(began.elapsed() * SHARE);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            }
        }
    }
}

fn wav(path: &Path) -> io::Result<Vec<u8>> {
    media::file::to_wav(path)
}
