//! `afterbeep menu`: the keys of all menus, as they are configured. `afterbeep prompts`: what a
//! sound pack lacks.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::call::{sounds, terms};
use crate::config::Config;

/// Show the keys of all menus
///
/// The card is made from the menus themselves, with the keys that the configuration gives them.
#[derive(Args)]
pub(super) struct Menu {
    /// Print the card (what it does without it, too)
    #[arg(long)]
    print: bool,
    /// Print the names that [menus.keys] uses: menus, keys and deeds
    #[arg(long, conflicts_with = "print")]
    names: bool,
}

impl Menu {
    pub(super) fn run(&self, config: &Config) -> anyhow::Result<()> {
        let keys = terms::keys(&config.menus)
            .map_err(|problems| anyhow::anyhow!("menus.keys: {}", problems.join("; ")))?;
        print!("{}", if self.names { keys.names() } else { keys.card() });
        Ok(())
    }
}

#[derive(Subcommand)]
pub(super) enum Prompts {
    /// Tell which prompts a sound pack lacks: those fall back to the built-in English
    Check {
        /// Folder of one language, with vm-intro.wav in it [default: what is built in]
        pack: Option<PathBuf>,
        #[arg(long, default_value = "en")]
        language: String,
    },
}

impl Prompts {
    /// 0 where nothing is lacking.
    pub(super) fn run(&self) -> ExitCode {
        let Self::Check { pack, language } = self;
        let missing = sounds::missing(pack.as_deref(), language);
        for name in &missing {
            println!("{name}");
        }
        let known = sounds::names(language).count();
        eprintln!("{} of {known} prompts are there", known - missing.len());
        if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
