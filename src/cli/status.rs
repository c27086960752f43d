//! `primacy status`: the clusters at a glance.

use super::admin::{Admin, columns};
use crate::admin::Status;
use crate::admin::status::{ClusterStatus, NodeStatus, ProcessState};
use anyhow::Context;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// The arguments of `primacy status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    admin: Admin,
    /// Print JSON, as /api/v1/status gives it
    #[arg(long)]
    json: bool,
}

/// Prints the state of a running Primacy.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let body = args.admin.get("/api/v1/status")?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{body}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let status: Status =
        serde_json::from_str(&body).context("the answer is not a status: is it the same version?")?;
    write!(out, "{}", render(&status))?;
    Ok(ExitCode::SUCCESS)
}

/// The status as text for a terminal.
pub(super) fn render(status: &Status) -> String {
    let state = match status.state {
        ProcessState::Starting => "starting",
        ProcessState::Running => "running",
        ProcessState::Draining => "draining",
    };
    let mut out = format!("Primacy {}, {state}, up {}\n", status.version, duration(status.uptime_seconds));
    for reason in status.not_ready() {
        out.push_str(&format!("NOT READY: {reason}\n"));
    }
    for cluster in &status.clusters {
        out.push('\n');
        out.push_str(&render_cluster(cluster));
    }
    out
}

fn render_cluster(cluster: &ClusterStatus) -> String {
    let primary = match &cluster.primary {
        Some(name) => format!("primary {name}"),
        None => "NO PRIMARY".to_owned(),
    };
    let paused = if cluster.paused { "  PAUSED" } else { "" };
    let sessions = cluster.sessions;
    let mut out = format!(
        "cluster {} ({})  {primary}  epoch {}{paused}\n",
        cluster.name, cluster.engine, cluster.epoch
    );
    out.push_str(&format!("  promise   {}\n", cluster.promise));
    out.push_str(&format!(
        "  sessions  {} of {} connected, {} waiting, {} in a transaction, {} pinned\n\n",
        sessions.connected, sessions.limit, sessions.waiting, sessions.in_transaction, sessions.pinned
    ));
    let heads =
        ["NODE", "ADDRESS", "ROLE", "STATE", "LAG", "BEHIND", "FRESH", "CONNS", "ACTIVE", "VERSION", "WHY"];
    let mut nodes = vec![heads.map(str::to_owned).to_vec()];
    nodes.extend(cluster.nodes.iter().map(node_row));
    out.push_str(&columns("  ", &nodes));
    if !cluster.pools.is_empty() {
        out.push('\n');
        out.push_str(&columns("  ", &pool_rows(cluster)));
    }
    out
}

fn node_row(node: &NodeStatus) -> Vec<String> {
    let mut state = node.state.word().to_owned();
    for (is, word) in [(node.draining, "draining"), (node.passive, "standby")] {
        if is {
            state = format!("{state}, {word}");
        }
    }
    let limit = node.connections_limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let dash = || "-".to_owned();
    vec![
        node.name.clone(),
        node.address.clone(),
        node.role.word().to_owned(),
        state,
        node.lag_seconds.map_or_else(dash, duration),
        node.lag_bytes.map_or_else(dash, bytes),
        node.fresh_age_seconds.map_or_else(dash, duration),
        format!("{}/{limit}", node.connections),
        node.active.to_string(),
        node.version.clone(),
        node.why.clone().unwrap_or_default(),
    ]
}

fn pool_rows(cluster: &ClusterStatus) -> Vec<Vec<String>> {
    let heads =
        ["DATABASE", "USER", "NODE", "CLIENTS", "WAITING", "BUSY", "IDLE", "PINNED", "SIZE", "LONGEST WAIT"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(cluster.pools.iter().map(|pool| {
        vec![
            pool.database.clone(),
            pool.user.clone(),
            pool.node.clone().unwrap_or_else(|| "-".to_owned()),
            pool.cl_active.to_string(),
            pool.cl_waiting.to_string(),
            pool.sv_active.to_string(),
            pool.sv_idle.to_string(),
            pool.sv_pinned.to_string(),
            pool.size.to_string(),
            duration(Duration::from_micros(pool.maxwait_us).as_secs_f64()),
        ]
    }));
    rows
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => "0".to_owned(),
        s if s < 0.9995 => format!("{:.0}ms", s * 1000.0),
        s if s < 60.0 => format!("{s:.1}s"),
        s if s < 3600.0 => format!("{:.0}m {:.0}s", (s / 60.0).floor(), (s % 60.0).floor()),
        s if s < 86_400.0 => format!("{:.0}h {:.0}m", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
        s => format!("{:.0}d {:.0}h", (s / 86_400.0).floor(), (s % 86_400.0 / 3600.0).floor()),
    }
}

fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}
