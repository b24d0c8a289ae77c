//! `afterbeep backup`: what is not in the spool's tree, copied while the daemon runs.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use crate::config::Config;
use crate::control::{Command, Operator, Reply};

/// Copy users, keys and counters into a directory, while the daemon runs
///
/// The spool itself is copied with rsync, before or after. Together they are everything.
#[derive(Args)]
pub(super) struct Backup {
    /// Made where it is missing; an earlier backup in it is replaced once the new one is whole
    dir: PathBuf,
}

impl Backup {
    pub(super) async fn run(self, config: &Config, operator: &mut Operator) -> anyhow::Result<()> {
        let Reply::Snapshot { file } = operator.ask(Command::Snapshot).await? else {
            bail!("the daemon answered something else")
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))?;
        // The key first: a database whose PINs nobody can read is no backup.
        let copied = copy(&config.state.join("pin.key"), &self.dir, "pin.key")
            .and_then(|()| copy(&file, &self.dir, "state.db"));
        // Only a copy of what was just copied.
        let _ = fs::remove_file(&file);
        copied.with_context(|| format!("cannot write to {}", self.dir.display()))?;
        println!(
            "state.db and pin.key are in {}; copy {} with rsync -a",
            self.dir.display(),
            config.spool.display()
        );
        Ok(())
    }
}

/// Beside, then over: a backup is whole or the one before.
fn copy(from: &Path, dir: &Path, name: &str) -> io::Result<()> {
    let beside = dir.join(format!(".{name}.new"));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()?;
    fs::rename(&beside, dir.join(name))?;
    File::open(dir)?.sync_all()
}
