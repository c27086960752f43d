//! The command line: one file per command, each with its `Args` and `run(Args) -> anyhow::Result<ExitCode>`.

mod admin;
mod check;
mod demo;
mod explain;
mod run;
mod schema;
mod status;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// What a command answers when what it was asked to look at is not right (`check`, `demo --check`), and clap when the
/// arguments are not.
const NOT_RIGHT: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "primacy", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

// A new command is two lines: its variant here and its arm in `run`.
#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file; exit code 0 if it is right, 2 if not
    Check(check::Args),
    /// Show the clusters of a running Primacy
    Status(status::Args),
    /// Tell why a statement goes where it goes
    Explain(explain::Args),
    /// Run the proxy
    Run(run::Args),
    /// Start a throwaway cluster of real servers on this machine, with Primacy in front
    Demo(demo::Args),
    /// Print the JSON schema of the configuration file
    #[command(hide = true)]
    Schema,
}

/// Runs the command that `arguments` (the program's name first) ask for.
///
/// # Errors
/// What stopped the command; the caller prints the chain. Wrong arguments are told to the user here.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(usage) => {
            usage.print()?;
            return Ok(if usage.use_stderr() { ExitCode::from(NOT_RIGHT) } else { ExitCode::SUCCESS });
        }
    };
    match arguments.command {
        Command::Check(args) => check::run(args),
        Command::Status(args) => status::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Schema => schema::run(),
    }
}
