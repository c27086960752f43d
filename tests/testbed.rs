//! The testbed: starts the servers that tests share, writes where they are into the file that it is given, and runs until its standard
//! input ends. `scripts/test` starts it and hands the file to the tests as `PRIMACY_TESTBED`.
#![allow(clippy::disallowed_methods, reason = "the environment says which servers to use")]

use anyhow::Context as _;
use primacy::engine::embedded::{Embedded, Options};
use primacy::postgres;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from).context("usage: testbed FILE < pipe")?;
    let postgres = postgres::embedded::Cluster::start(&options("PRIMACY_PG_BIN", 2)).await?;
    let addresses =
        json!({ "postgres": addresses("postgres", &postgres, postgres.programs()), "mysql": null });
    // Whoever waits for the file finds it whole.
    let half = file.with_extension("half");
    std::fs::write(&half, addresses.to_string()).with_context(|| half.display().to_string())?;
    std::fs::rename(&half, &file).with_context(|| file.display().to_string())?;
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await.context("standard input")?;
    Ok(())
}

fn options(variable: &str, replicas: usize) -> Options {
    Options { programs: std::env::var(variable).ok().map(PathBuf::from), ..Options::replicas(replicas) }
}

fn addresses(engine: &str, cluster: &impl Embedded, programs: &Path) -> Value {
    json!({
        "engine": engine,
        "version": cluster.version(),
        "endpoints": cluster.endpoints(),
        "programs": programs,
    })
}
