//! What the demo prints: where everything is, and what to try.

use super::Demo;
use super::servers::Servers;
use crate::clock;
use crate::engine::embedded::{APP, DATABASE, Embedded};
use crate::postgres;
use std::fmt::Write;

/// What runs.
pub(super) fn heading(demo: &Demo) -> String {
    let endpoints = demo.servers.endpoints();
    let replicas = match endpoints.len().saturating_sub(1) {
        1 => "a replica".to_owned(),
        n => format!("{n} replicas"),
    };
    let took = clock::now().since(demo.began).as_secs_f64();
    let product = demo.servers.product();
    format!("{product}: a primary and {replicas}, with Primacy in front. Ready after {took:.1} s.\n")
}

/// How to reach it, and what to do with it.
pub(super) fn things_to_try(demo: &Demo) -> String {
    let mut out = String::from("\n");
    let mut line = |name: &str, text: &str| writeln!(out, "  {name:<10}{text}").unwrap_or_default();
    let url = url(demo);
    match &demo.servers {
        Servers::Postgres(_) => line("psql", &format!("psql {url}")),
        Servers::Mysql(_) => line("mysql", &mysql(demo)),
    }
    line("URL", &url);
    line("admin", &format!("http://127.0.0.1:{}", demo.admin));
    for (index, node) in demo.servers.endpoints().iter().enumerate() {
        let role = if index == 0 { "primary" } else { "replica" };
        line(
            if index == 0 { "servers" } else { "" },
            &format!("{} {}:{} ({role})", node.name, node.host, node.port),
        );
    }
    line("config", &demo.config.display().to_string());
    out.push_str("\nTo try, in another terminal:\n");
    match &demo.servers {
        Servers::Postgres(cluster) => postgres_ideas(&mut out, demo, cluster, &url),
        Servers::Mysql(_) => mysql_ideas(&mut out, demo),
    }
    out.push_str("\nCtrl-C stops everything and leaves nothing behind.\n");
    out
}

fn idea(out: &mut String, what: &str, commands: &[String]) {
    writeln!(out, "\n  # {what}").unwrap_or_default();
    for command in commands {
        writeln!(out, "  {command}").unwrap_or_default();
    }
}

fn postgres_ideas(out: &mut String, demo: &Demo, cluster: &postgres::embedded::Cluster, url: &str) {
    idea(
        out,
        "a write goes to the primary; the read after it to a replica, and sees the write",
        &[format!(
            "psql {url} -c 'CREATE TABLE IF NOT EXISTS t (n int)' -c 'INSERT INTO t VALUES (1)' \\\n       \
             -c 'SHOW primacy.node' -c 'SELECT count(*) FROM t' -c 'SHOW primacy.node'"
        )],
    );
    idea(
        out,
        "load: 32 clients share a few connections, their reads the replicas",
        &[format!("pgbench -i -q {url}"), format!("pgbench -n -S -M prepared -c 32 -j 2 -T 10 {url}")],
    );
    idea(
        out,
        "who is what, and how far behind",
        &[format!("primacy status --admin http://127.0.0.1:{}", demo.admin)],
    );
    idea(
        out,
        "the primary dies: reads go on, writes wait for another one (up to 15 s); the replica that you promote is followed",
        &[
            format!("kill -QUIT $(head -1 {})", demo.servers.pid_file(0).display()),
            format!("psql {} -c 'SELECT pg_promote()'", direct(cluster, 1)),
            format!("psql {url} -c 'INSERT INTO t VALUES (2)' -c 'SHOW primacy.node'"),
        ],
    );
}

fn mysql_ideas(out: &mut String, demo: &Demo) {
    let mysql = mysql(demo);
    idea(
        out,
        "a statement goes to the primary",
        &[format!("{mysql} -e 'SELECT @@hostname, @@port, @@read_only'")],
    );
    idea(
        out,
        "who is what, and how far behind",
        &[format!("primacy status --admin http://127.0.0.1:{}", demo.admin)],
    );
}

fn url(demo: &Demo) -> String {
    let scheme = if matches!(demo.servers, Servers::Postgres(_)) { "postgres" } else { "mysql" };
    format!("{scheme}://{}:{}@127.0.0.1:{}/{DATABASE}", APP.user, APP.password, demo.port)
}

fn mysql(demo: &Demo) -> String {
    format!("mysql -h 127.0.0.1 -P {} -u {} -p{} {DATABASE}", demo.port, APP.user, APP.password)
}

/// A superuser's address of a node, past Primacy.
fn direct(cluster: &postgres::embedded::Cluster, node: usize) -> String {
    let admin = postgres::embedded::Cluster::ADMIN;
    let port = cluster.endpoints().get(node).map_or(0, |endpoint| endpoint.port);
    format!("postgres://{}:{}@127.0.0.1:{port}/{DATABASE}", admin.user, admin.password)
}
