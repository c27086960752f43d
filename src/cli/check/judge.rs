//! What follows from what the servers said: a checklist, each item with its next step. Pure.

use super::connect::Answer;
use crate::config::settings::{
    Cluster, Consistency, Node, NodeRole, Passthrough, PgHba, ReadsOnPrimary, UserSecret,
};
use crate::postgres::inspect::{Facts, Login, Stored, Verifiers};
use std::fmt;

/// The oldest server that is supported.
const OLDEST: i32 = 140_000;
/// Clocks that differ by more seconds are worth a word.
const CLOCKS: f64 = 1.0;
/// So many names are listed.
const NAMES: usize = 8;

/// How much an item matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Works, and may surprise.
    Warning,
    /// Does not work.
    Problem,
}

/// One item of the checklist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) text: String,
    /// What to do.
    pub(super) next: Option<String>,
}

impl Line {
    fn ok(text: impl Into<String>) -> Self {
        Self { level: Level::Ok, text: text.into(), next: None }
    }

    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self { level: Level::Warning, text: text.into(), next: None }
    }

    pub(super) fn problem(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { level: Level::Problem, text: text.into(), next: Some(next.into()) }
    }

    fn then(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        writeln!(f, "  {level:<8} {}", self.text)?;
        self.next.iter().try_for_each(|next| writeln!(f, "           -> {next}"))
    }
}

/// What is to be said of one node.
pub(super) fn node(cluster: &Cluster, node: &Node, answer: &Answer) -> Vec<Line> {
    let name = &node.name;
    let facts = match answer {
        Ok(facts) => facts,
        // The reason names the node.
        Err(why) => return vec![Line::problem(why.as_str(), unreachable(cluster, node, why))],
    };
    let role = if facts.follows { "replica" } else { "primary" };
    let mut lines =
        vec![Line::ok(format!("{name}: PostgreSQL {}, {role}, {}:{}", facts.version, node.host, node.port))];
    if facts.number < OLDEST {
        let text = format!("{name}: PostgreSQL {} is too old", facts.version);
        lines.push(Line::problem(text, "14 is the oldest that is supported: upgrade the server"));
    }
    lines.extend(rights(cluster, name, facts));
    lines.push(room(cluster, node, facts));
    if facts.follows {
        lines.extend(replication(name, facts));
    }
    let (difference, error) = facts.clock;
    if difference.abs() - error > CLOCKS {
        let text = format!("{name}: its clock differs from this machine's by {difference:.1} s");
        lines.push(Line::warning(text).then(
            "replicas' lag in time and VALID UNTIL go by the clocks: run an NTP client on all machines",
        ));
    }
    lines
}

fn unreachable(cluster: &Cluster, node: &Node, why: &str) -> String {
    let monitor = &cluster.monitor;
    let has = |code: &str| why.contains(&format!("SQLSTATE {code}"));
    if has("28P01") || has("28000") {
        format!(
            "create the role {} or correct monitor.user and monitor.password; look into the server's pg_hba.conf",
            monitor.user
        )
    } else if has("3D000") {
        format!("create the database {} or name another as monitor.database", monitor.database)
    } else if why.contains("TLS") {
        format!("correct `tls` of node {}, or the server's certificate", node.name)
    } else {
        format!(
            "start the server, or correct the address of node {} ({}:{}); a firewall may be between",
            node.name, node.host, node.port
        )
    }
}

fn rights(cluster: &Cluster, name: &str, facts: &Facts) -> Option<Line> {
    let user = &cluster.monitor.user;
    (!facts.superuser && !facts.monitor).then(|| {
        let text = format!("{name}: {user} has not the rights of pg_monitor: who follows whom is not seen");
        Line::warning(text).then(format!("on the primary: GRANT pg_monitor TO {user}"))
    })
}

/// How many connections we may hold, and how many pools that makes.
fn room(cluster: &Cluster, node: &Node, facts: &Facts) -> Line {
    let name = &node.name;
    let limit = node.max_connections.unwrap_or(facts.slots - facts.slots / 10);
    let size = cluster.pool.size;
    if limit > facts.slots {
        let text = format!(
            "{name}: max_connections is {limit}, and the server gives {} to ordinary users",
            facts.slots
        );
        return Line::problem(text, format!("set the node's max_connections to at most {}", facts.slots));
    }
    let pools = limit / size.max(1);
    let text = format!(
        "{name}: {limit} of its {} connections are ours: room for {pools} full pools of {size} (one for each user and database)",
        facts.connections
    );
    let listed: usize = cluster.users.list.iter().map(|user| user.databases.len().max(1)).sum();
    let wanted = u64::from(size).saturating_mul(u64::try_from(listed.max(1)).unwrap_or(u64::MAX));
    if u64::from(limit) < wanted {
        return Line::warning(text)
            .then("pools will wait for one another: lower pool.size, or raise max_connections");
    }
    Line::ok(text)
}

fn replication(name: &str, facts: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    if !facts.receives {
        let text = format!("{name}: receives nothing at present: its reads grow old");
        lines.push(Line::warning(text).then("look into its log: primary_conninfo, the slot, the network"));
    }
    if facts.replay_delay == "-1" {
        let text =
            format!("{name}: max_standby_streaming_delay is -1: one long query keeps all others' data old");
        lines.push(Line::warning(text).then(
            "set it to at most some seconds; reads that are cancelled for it run again on the primary",
        ));
    }
    let feedback =
        if facts.feedback { "on" } else { "off: long reads may be cancelled, and run again on the primary" };
    lines.push(Line::ok(format!(
        "{name}: max_standby_streaming_delay {}, hot_standby_feedback {feedback}",
        facts.replay_delay
    )));
    lines
}

/// What is to be said of the nodes together.
pub(super) fn together(cluster: &Cluster, answers: &[Answer]) -> Vec<Line> {
    let named = || {
        cluster
            .nodes
            .iter()
            .zip(answers)
            .filter_map(|(node, answer)| Some((&*node.name, answer.as_ref().ok()?)))
    };
    let mut lines = Vec::new();
    let primaries: Vec<_> = named().filter(|(_, facts)| !facts.follows).collect();
    match *primaries {
        [] if named().next().is_some() => lines.push(Line::problem(
            "no node that answers takes writes",
            "start or promote the primary, or add it to `nodes`",
        )),
        [(name, facts)] => lines.extend(primary(name, facts)),
        [] => {}
        _ => {
            let names: Vec<_> = primaries.iter().map(|(name, _)| *name).collect();
            let text = format!("more than one node takes writes: {}", names.join(", "));
            lines.push(Line::problem(
                text,
                "only one is the primary: stop the others, and make replicas of them",
            ));
        }
    }
    let reference = primaries.first().copied().or_else(|| named().next());
    let strangers: Vec<_> = named()
        .filter(|(_, facts)| reference.is_some_and(|(_, reference)| reference.identity != facts.identity))
        .map(|(name, _)| name)
        .collect();
    match reference {
        Some((name, _)) if !strangers.is_empty() => lines.push(Line::problem(
            format!("not of the same system as {name}: {}", strangers.join(", ")),
            "a replica is made by pg_basebackup from its primary: correct its address, or make it anew",
        )),
        Some((_, facts)) if named().count() > 1 => {
            lines.push(Line::ok(format!("all that answer are of one system ({})", facts.identity)));
        }
        _ => {}
    }
    lines
}

fn primary(name: &str, facts: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    if facts.password_encryption != "scram-sha-256" {
        let text = format!(
            "{name}: password_encryption is {}: accounts made from now on log in with md5, which whoever listens can guess against",
            facts.password_encryption
        );
        lines.push(
            Line::warning(text)
                .then("ALTER SYSTEM SET password_encryption = 'scram-sha-256'; SELECT pg_reload_conf()"),
        );
    }
    if facts.synchronous_commit == "off" {
        let text = format!(
            "{name}: synchronous_commit is off: a write that was acknowledged may be lost with the server"
        );
        lines.push(Line::warning(text));
    }
    lines
}

/// Whether clients are held against the primary's pg_hba.conf.
pub(super) fn hba(cluster: &Cluster, facts: &Facts) -> Vec<Line> {
    let user = &cluster.monitor.user;
    if cluster.users.pg_hba == PgHba::Off {
        return vec![Line::ok("pg_hba.conf sees the proxy's address, not the clients' (users.pg_hba: off)")];
    }
    let Some(hba) = facts.hba else {
        let text =
            format!("{user} may not read pg_hba.conf: its rules see the proxy's address, not the clients'");
        let next = format!(
            "in database {}, as a superuser, on the primary: GRANT SELECT ON pg_hba_file_rules TO {user}; GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {user}; or say users.pg_hba: off",
            cluster.monitor.database
        );
        return vec![Line::warning(text).then(next)];
    };
    let mut lines = vec![Line::ok("pg_hba.conf is read: clients are held against it by their own addresses")];
    if hba.broken > 0 {
        let text = format!(
            "{} of pg_hba.conf have errors: the server goes on with what it had",
            lines_of(hba.broken)
        );
        lines.push(Line::warning(text).then("correct what pg_hba_file_rules shows in its column error"));
    }
    if hba.doubtful > 0 {
        let text = format!(
            "{} of pg_hba.conf name hosts or the server's own networks, which cannot be judged from here: the strictest of what may hold is taken",
            lines_of(hba.doubtful)
        );
        lines.push(Line::warning(text).then("use addresses there, or say users.pg_hba: off"));
    }
    lines
}

fn lines_of(count: u32) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

/// Who can log in, and which way.
pub(super) fn accounts(cluster: &Cluster, facts: &Facts, logins: &[Login]) -> Vec<Line> {
    let mut lines: Vec<Line> = cluster
        .users
        .list
        .iter()
        .map(|user| {
            let way = match user.secret {
                UserSecret::Password(_) => "its password stands in the file",
                UserSecret::ScramVerifier(_) => {
                    "its verifier stands in the file: it must be the servers' own"
                }
            };
            let known = facts.verifiers != Verifiers::Directly
                || logins.iter().any(|login| *login.name == *user.name);
            if known {
                Line::ok(format!("user {}: {way}", user.name))
            } else {
                let next = format!("CREATE ROLE {} LOGIN PASSWORD …, or take it out of `users`", user.name);
                Line::problem(format!("user {}: {way}, and the servers have no such role", user.name), next)
            }
        })
        .collect();
    match cluster.users.passthrough {
        Passthrough::Off => {
            lines.push(Line::ok("users that are not listed cannot log in (users.passthrough: off)"))
        }
        Passthrough::Password => {
            lines
                .push(Line::ok("users that are not listed log in with the password itself, inside TLS only"));
        }
        Passthrough::Verifier => lines.extend(verifiers(cluster, facts, logins)),
    }
    lines
}

fn verifiers(cluster: &Cluster, facts: &Facts, logins: &[Login]) -> Vec<Line> {
    let user = &cluster.monitor.user;
    let way = match facts.verifiers {
        Verifiers::Function => "primacy.user_lookup",
        Verifiers::Directly => "pg_authid",
        Verifiers::Hidden => {
            let text = format!("{user} may not read verifiers: only listed users can log in");
            let next = format!(
                "in database {}, as a superuser, on the primary, run what docs/verifier.md shows; or list the users",
                cluster.monitor.database
            );
            return vec![Line::problem(text, next)];
        }
    };
    let listed = |login: &&Login| !cluster.users.list.iter().any(|user| *user.name == *login.name);
    let of = |which: fn(&Login) -> bool| {
        logins
            .iter()
            .filter(listed)
            .filter(|login| which(login))
            .map(|login| &*login.name)
            .collect::<Vec<_>>()
    };
    let good = of(|login| login.password == Some(Stored::Scram) && !login.expired);
    let mut lines =
        vec![Line::ok(format!("{} log in by the verifier ({way}): {}", count(good.len()), names(&good)))];
    let cases: [(Vec<&str>, &str, &str); 3] = [
        (
            of(|login| login.password == Some(Stored::Md5) && !login.expired),
            "can log in with md5 alone, because the password is stored so (and not where pg_hba.conf wants scram-sha-256)",
            "set the password again while password_encryption is scram-sha-256",
        ),
        (
            of(|login| login.password.is_none()),
            "cannot log in, having no password (trust, peer and certificates do not reach through a proxy)",
            "ALTER ROLE … PASSWORD '…', or leave it as it is",
        ),
        (
            of(|login| login.password.is_some() && login.expired),
            "cannot log in, because VALID UNTIL has passed",
            "ALTER ROLE … VALID UNTIL '…', or leave it as it is",
        ),
    ];
    for (who, why, next) in cases.into_iter().filter(|(who, ..)| !who.is_empty()) {
        lines.push(Line::warning(format!("{} {why}: {}", count(who.len()), names(&who))).then(next));
    }
    lines
}

fn count(accounts: usize) -> String {
    if accounts == 1 { "1 account".to_owned() } else { format!("{accounts} accounts") }
}

fn names(all: &[&str]) -> String {
    let shown: Vec<_> = all.iter().take(NAMES).copied().collect();
    let more = if all.len() > NAMES { ", …" } else { "" };
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") + more }
}

/// Which promise will hold, and which nodes serve reads under it.
pub(super) fn promise(cluster: &Cluster, answers: &[Answer]) -> Vec<Line> {
    let routing = &cluster.routing;
    let readers: Vec<_> = cluster
        .nodes
        .iter()
        .zip(answers)
        .filter(|(node, answer)| {
            let follows = answer.as_ref().is_ok_and(|facts| facts.follows && facts.receives);
            follows && node.weight > 0 && node.role != NodeRole::Standby
        })
        .map(|(node, _)| &*node.name)
        .collect();
    let level = match routing.consistency {
        Consistency::Eventual => "eventual: a read may miss writes, within routing.max_lag",
        Consistency::Session => "session: a session's reads see its own writes, and never go back",
        Consistency::Causal => {
            "causal: a read sees every write to its database that a session of this proxy was told of before"
        }
        Consistency::Strong => "strong: the primary serves all reads",
    };
    if !readers.is_empty() {
        let and = if routing.reads_on_primary == ReadsOnPrimary::Always { ", and the primary" } else { "" };
        return vec![Line::ok(format!("reads: {level}; served by {}{and}", readers.join(", ")))];
    }
    if cluster.nodes.len() < 2 {
        return vec![Line::ok("reads: everything is served by the one node")];
    }
    let text = format!("reads: {level}; but no replica can serve any now");
    vec![Line::warning(text).then(
        "see above: a replica must answer, receive, and have a weight; until then the primary serves all",
    )]
}

#[cfg(test)]
mod tests;
