//! `primacy check CONFIG`: is this file right? With `--connect`: are the servers right for it?

mod connect;
mod judge;

use super::NOT_RIGHT;
use crate::config::Settings;
use crate::config::settings::{Admin, Cluster};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `primacy check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Connect to the servers with the monitor's account, and tell what will work, what will not, and what to do
    #[arg(long)]
    connect: bool,
}

/// Prints what the file says, or everything that is wrong with it; and what the servers say.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = match Settings::load(&args.config) {
        Ok(settings) => settings,
        Err(errors) => {
            let count = errors.count();
            let noun = if count == 1 { "error" } else { "errors" };
            writeln!(std::io::stderr(), "{errors}\n{}: {count} {noun}", args.config.display())?;
            return Ok(ExitCode::from(NOT_RIGHT));
        }
    };
    let mut out = std::io::stdout().lock();
    for cluster in &settings.clusters {
        writeln!(out, "OK  {}", describe(cluster))?;
    }
    writeln!(out, "OK  {}", describe_admin(&settings.admin))?;
    writeln!(out, "OK  {}", args.config.display())?;
    if args.connect && !connect::run(&settings, &mut out)? {
        return Ok(ExitCode::from(NOT_RIGHT));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(cluster: &Cluster) -> String {
    let listen: Vec<_> = cluster.listen.iter().map(|listen| listen.address.to_string()).collect();
    let nodes: Vec<_> = cluster.nodes.iter().map(|node| &*node.name).collect();
    format!("cluster {}: listens at {}; nodes {}", cluster.name, listen.join(", "), nodes.join(", "))
}

fn describe_admin(admin: &Admin) -> String {
    match admin.listen {
        Some(address) => format!("admin: http://{address}, console database `{}`", admin.database),
        None => format!("admin: no HTTP, console database `{}`", admin.database),
    }
}
