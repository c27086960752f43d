//! `primacy explain --cluster C "SQL"`: why a statement goes where it goes.

use super::admin::{Admin, columns, escaped};
use crate::admin::Explanation;
use anyhow::Context;
use std::io::Write;
use std::process::ExitCode;

/// The arguments of `primacy explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    admin: Admin,
    /// The cluster, as the configuration names it
    #[arg(long)]
    cluster: String,
    /// The database that the statement would run in
    #[arg(long)]
    database: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The statement
    sql: String,
}

/// Prints each step of the decision.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/clusters/{}/explain?sql={}", escaped(&args.cluster), escaped(&args.sql));
    if let Some(database) = &args.database {
        path.push_str(&format!("&database={}", escaped(database)));
    }
    let body = args.admin.get(&path)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{body}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let explanation: Explanation =
        serde_json::from_str(&body).context("the answer is not an explanation: is it the same version?")?;
    let rows: Vec<_> = explanation.rows.into_iter().map(|(step, found)| vec![step, found]).collect();
    write!(out, "{}", columns("", &rows))?;
    Ok(ExitCode::SUCCESS)
}
