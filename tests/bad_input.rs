//! Promise: whatever a client sends, fails to send or leaves behind, no other client notices, no backend stays dirty and nothing grows.

mod bytes;
mod left;
mod limits;
mod memory;

use crate::support::raw::Message;
use crate::support::{Config, Database, PATIENCE, Primacy, Servers, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A Primacy with these keys of the cluster, and a database behind it.
async fn instance(keys: &[&str]) -> (&'static Servers, Database, Primacy) {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let config = keys.iter().fold(Config::new(&servers.yaml()), |config, key| config.cluster(key));
    (servers, database, Primacy::start(config).await)
}

/// Says this to that port, ends its side if asked to, and returns what it hears until the other side has hung up.
async fn said(port: u16, bytes: &[u8], and_ends: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // Who hung up already does not hear it.
    stream.write_all(bytes).await.unwrap_or_default();
    if and_ends {
        stream.shutdown().await.unwrap_or_default();
    }
    rest(&mut stream).await
}

/// What comes until the other side hangs up; a reset is an end, too.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    end.expect("the connection ends").map(drop).unwrap_or_default();
    heard
}

/// The SQLSTATE of the first error in an answer.
fn sqlstate(answer: &[Message]) -> Option<String> {
    answer.iter().find(|message| message.tag == b'E').and_then(|message| message.field(b'C'))
}

/// Waits until no backend of this database does anything or holds a transaction, on any node.
async fn all_clean(servers: &Servers, database: &Database) {
    let busy = "SELECT state, wait_event, query FROM pg_stat_activity
        WHERE datname = $1 AND backend_type = 'client backend' AND state <> 'idle'";
    for node in 0..servers.endpoints.len() {
        let admin = servers.admin(node, "postgres").await;
        eventually("no backend is left busy", async || {
            admin.query(busy, &[&database.name]).await.unwrap().is_empty().then_some(())
        })
        .await;
    }
}

/// A line of `/proc/PID/status` in KiB: `VmRSS` is the memory that the process has now, `VmHWM` the most that it ever had.
fn memory(primacy: &Primacy, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", primacy.pid())).unwrap();
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    value.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap()
}
