//! `primacy run`: the proxy.

use crate::app;
use crate::config::Settings;
use crate::telemetry::logs::Logs;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file
    config: PathBuf,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let logs = Logs::init(&settings.log)?;
    app::run(args.config, settings, logs, |_| tracing::info!("ready"))?;
    Ok(ExitCode::SUCCESS)
}
