//! `afterbeep serve` and `afterbeep check-config`.

use std::process::ExitCode;

use super::{Place, told};
use crate::config::Config;
use crate::control::Stores;
use crate::daemon::{self, Daemon};

pub(super) async fn serve(config: Config) -> anyhow::Result<()> {
    let problems = crate::call::terms::problems(&config);
    anyhow::ensure!(problems.is_empty(), "menus.keys: {}", problems.join("; "));
    Daemon::start(&config).await?.serve().await
}

/// Tells all that is wrong; 0 when nothing is.
pub(super) fn check(place: &Place) -> anyhow::Result<ExitCode> {
    let config = match place.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{}", told(&error));
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut problems = daemon::loose(&config);
    problems.extend(daemon::filter(&config.log.level).err().map(|error| told(&error)));
    problems.extend(daemon::certificates(&config.sip).check().err().map(|e| e.to_string()));
    problems.extend(daemon::https(&config).err().map(|error| error.to_string()));
    let keys = crate::call::terms::problems(&config);
    problems.extend(keys.into_iter().map(|why| format!("menus.keys: {why}")));
    if config.spool.exists() && config.state.exists() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(Stores::look(&config.spool, &config.state)) {
            Ok(found) => problems.extend(found),
            Err(error) => problems.push(told(&error)),
        }
    } else {
        println!(
            "{} and {} are made at the first start",
            config.spool.display(),
            config.state.display()
        );
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() {
        println!("The configuration is in order.");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
