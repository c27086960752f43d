//! `primacy schema`: the configuration file's JSON schema, for editors and for `config/schema.json`.

use std::io::Write;
use std::process::ExitCode;

/// Prints the schema.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(crate::config::schema().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
