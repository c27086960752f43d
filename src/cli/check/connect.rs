//! Asks the servers of a configuration, all at once, and prints a checklist of what was found.

use super::judge::{self, Level, Line};
use crate::config::Settings;
use crate::config::settings::{Cluster, EngineKind};
use crate::postgres::inspect::{Facts, Inspector, Login};
use futures_util::future::join_all;
use std::io::Write;

/// What one node said, or why it said nothing.
pub(super) type Answer = Result<Facts, String>;

/// Prints the checklist of every cluster. True when there is no problem.
pub(super) fn run(settings: &Settings, out: &mut impl Write) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut problems = 0;
    for cluster in &settings.clusters {
        let lines = match cluster.engine {
            EngineKind::Postgres => runtime.block_on(look(cluster)),
            EngineKind::Mysql | EngineKind::Mariadb => {
                vec![Line::warning("its servers were not asked: --connect asks PostgreSQL only")]
            }
        };
        writeln!(out, "\ncluster {}", cluster.name)?;
        lines.iter().try_for_each(|line| write!(out, "{line}"))?;
        problems += lines.iter().filter(|line| line.level == Level::Problem).count();
    }
    match problems {
        0 => writeln!(out, "\nno problem")?,
        1 => writeln!(out, "\n1 problem")?,
        count => writeln!(out, "\n{count} problems")?,
    }
    Ok(problems == 0)
}

async fn look(cluster: &Cluster) -> Vec<Line> {
    let patience = cluster.timeouts.connect;
    let inspectors: Vec<_> =
        cluster.nodes.iter().map(|node| Inspector::new(node, &cluster.monitor, patience)).collect();
    let answers: Vec<Answer> = join_all(inspectors.iter().map(Inspector::facts))
        .await
        .into_iter()
        .map(|answer| answer.map_err(|error| error.to_string()))
        .collect();
    let mut lines: Vec<Line> = cluster
        .nodes
        .iter()
        .zip(&answers)
        .flat_map(|(node, answer)| judge::node(cluster, node, answer))
        .collect();
    lines.extend(judge::together(cluster, &answers));
    // Accounts are the primary's; a replica knows them, too.
    let best = answers.iter().zip(&inspectors).filter_map(|(answer, inspector)| {
        let facts = answer.as_ref().ok()?;
        Some((facts, inspector))
    });
    if let Some((facts, inspector)) = best.min_by_key(|(facts, _)| facts.follows) {
        let logins = inspector.logins(facts.verifiers).await.map_err(|error| error.to_string());
        lines.extend(accounts(cluster, facts, logins));
        lines.extend(judge::hba(cluster, facts));
    }
    lines.extend(judge::promise(cluster, &answers));
    lines
}

fn accounts(cluster: &Cluster, facts: &Facts, logins: Result<Vec<Login>, String>) -> Vec<Line> {
    match logins {
        Ok(logins) => judge::accounts(cluster, facts, &logins),
        Err(why) => vec![Line::problem(
            format!("accounts cannot be read: {why}"),
            "look whether primacy.user_lookup is as docs/verifier.md shows it",
        )],
    }
}
