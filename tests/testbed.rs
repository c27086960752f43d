//! The testbed: starts the servers that tests share, writes where they are into the file that it is given, and runs until its standard
//! input ends. `scripts/test` starts it and hands the file to the tests as `PRIMACY_TESTBED`.
#![allow(clippy::disallowed_methods, reason = "the environment says which servers to use")]
#![allow(clippy::print_stderr, reason = "it says what is missing")]

use anyhow::Context as _;
use primacy::engine::embedded::{Embedded, EmbeddedError, Options};
use primacy::{mysql, postgres};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from).context("usage: testbed FILE < pipe")?;
    let (for_postgres, for_mysql) = (options("PRIMACY_PG_BIN", 2), options("PRIMACY_MYSQLD", 1));
    let (postgres, mysql) = tokio::join!(
        postgres::embedded::Cluster::start(&for_postgres),
        mysql::embedded::Cluster::start(&for_mysql)
    );
    let postgres = postgres?;
    let mysql = match mysql {
        Err(error @ EmbeddedError::NotFound { .. }) => {
            eprintln!("testbed: no MySQL for the tests: {error}");
            None
        }
        started => Some(started?),
    };
    let addresses = json!({
        "postgres": addresses("postgres", &postgres, postgres.programs()),
        "mysql": mysql.as_ref().map(|cluster| addresses("mysql", cluster, cluster.programs())),
    });
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

fn addresses<C: Embedded>(engine: &str, cluster: &C, programs: &Path) -> Value {
    json!({
        "engine": engine,
        "version": cluster.version(),
        "endpoints": cluster.endpoints(),
        "programs": programs,
        "admin": C::ADMIN,
    })
}
