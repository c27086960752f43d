//! The workload of `primacy demo --check`: sessions that write, think, and read back what they wrote.

use crate::clock;
use crate::engine::embedded::{APP, DATABASE};
use crate::task;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, Statement};

/// A session thinks for less than so many milliseconds between a write and the read of it.
const THINK_MS: u16 = 51;
const READ: &str = "SELECT n FROM primacy_demo WHERE id = $1";
/// Reads after each write.
const READS: usize = 3;

/// What sessions saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Reads by the node that served them.
    pub(super) reads: BTreeMap<String, u64>,
    /// Writes that were acknowledged.
    pub(super) writes: u64,
    /// Reads that did not show the session's own last write.
    pub(super) stale: u64,
    /// Reads on another connection that did not show it.
    pub(super) elsewhere: u64,
    /// Reads that showed less than an earlier one of the same session.
    pub(super) backwards: u64,
    /// Statements and logins that failed.
    pub(super) errors: u64,
    /// What the first of them said.
    pub(super) first_error: Option<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        for (node, reads) in other.reads {
            *self.reads.entry(node).or_default() += reads;
        }
        self.writes += other.writes;
        self.stale += other.stale;
        self.elsewhere += other.elsewhere;
        self.backwards += other.backwards;
        self.failed(other.errors, other.first_error);
    }

    /// The reads that other nodes than `primary` served, in percent of all.
    pub(super) fn on_replicas(&self, primary: &str) -> f64 {
        let all: u64 = self.reads.values().sum();
        let there = self.reads.get(primary).copied().unwrap_or(0);
        percent(all.saturating_sub(there), all)
    }

    fn failed(&mut self, errors: u64, first: Option<String>) {
        self.errors += errors;
        self.first_error = self.first_error.take().or(first);
    }
}

pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// A client of the demo's.
pub(super) struct Session {
    client: Client,
    read: Statement,
    write: Statement,
    /// Another connection of the same program, which only reads.
    other: (Client, Statement),
    /// The row that only this session writes …
    row: i32,
    /// … what it last wrote there …
    written: i32,
    /// … and the most that it has seen there.
    seen: i32,
    tally: Tally,
}

impl Session {
    /// Logs in through Primacy. The row exists.
    pub(super) async fn open(port: u16, row: i32) -> Result<Self, tokio_postgres::Error> {
        let (client, other) = (connect(port).await?, connect(port).await?);
        let read = client.prepare(READ).await?;
        let other_read = other.prepare(READ).await?;
        let write = client.prepare("UPDATE primacy_demo SET n = $1 WHERE id = $2").await?;
        Ok(Self {
            client,
            read,
            write,
            other: (other, other_read),
            row,
            written: 0,
            seen: 0,
            tally: Tally::default(),
        })
    }

    /// Writes, thinks, and reads it back, so many times.
    pub(super) async fn pairs(&mut self, times: usize) {
        for _ in 0..times {
            self.write().await;
            self.read_elsewhere().await;
            for _ in 0..READS {
                think().await;
                self.reads(1).await;
            }
        }
    }

    /// Reads on the other connection what was just written.
    async fn read_elsewhere(&mut self) {
        let (client, read) = &self.other;
        match client.query_one(read, &[&self.row]).await.and_then(|row| row.try_get::<_, i32>(0)) {
            Ok(value) => self.tally.elsewhere += u64::from(value < self.written),
            Err(error) => self.tally.failed(1, Some(text(&error))),
        }
    }

    /// Writes one more than before.
    pub(super) async fn write(&mut self) {
        let next = self.written.saturating_add(1);
        match self.client.execute(&self.write, &[&next, &self.row]).await {
            Ok(_) => {
                self.written = next;
                self.tally.writes += 1;
            }
            Err(error) => self.tally.failed(1, Some(text(&error))),
        }
    }

    /// Reads, one after the other without a pause.
    pub(super) async fn reads(&mut self, times: usize) {
        let own = self.row;
        let row: [&(dyn ToSql + Sync); 1] = [&own];
        for _ in 0..times {
            // Sent in one go; the second is answered by Primacy itself: it is not one more read for the servers.
            let value = self.client.query_one(&self.read, &row);
            let node = self.client.simple_query("SHOW primacy.node");
            let both = futures_util::future::try_join(value, node).await;
            match both.and_then(|(value, node)| Ok((value.try_get(0)?, node))) {
                Ok((value, node)) => self.saw(value, &node),
                Err(error) => self.tally.failed(1, Some(text(&error))),
            }
        }
    }

    fn saw(&mut self, value: i32, node: &[SimpleQueryMessage]) {
        let name = node.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        *self.tally.reads.entry(name.unwrap_or("nobody").to_owned()).or_default() += 1;
        self.tally.stale += u64::from(value < self.written);
        self.tally.backwards += u64::from(value < self.seen);
        self.seen = self.seen.max(value);
    }

    /// What it saw, to the end.
    pub(super) fn close(self) -> Tally {
        self.tally
    }
}

/// A connection through Primacy.
pub(super) async fn connect(port: u16) -> Result<Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).dbname(DATABASE).user(APP.user).password(APP.password);
    let (client, connection) = config.connect(NoTls).await?;
    task::spawn("demo client", connection);
    Ok(client)
}

/// So many sessions at the same time, each with so many pairs.
pub(super) async fn sessions(port: u16, count: i32, pairs: usize) -> Tally {
    let running: Vec<_> = (1..=count)
        .map(|row| {
            task::spawn("demo session", async move {
                match Session::open(port, row).await {
                    Ok(mut session) => {
                        session.pairs(pairs).await;
                        session.close()
                    }
                    Err(error) => failure(text(&error)),
                }
            })
        })
        .collect();
    let mut all = Tally::default();
    for session in running {
        all.add(session.await.unwrap_or_else(|error| failure(error.to_string())));
    }
    all
}

fn failure(text: String) -> Tally {
    Tally { errors: 1, first_error: Some(text), ..Tally::default() }
}

fn text(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

async fn think() {
    let mut random = [0; 2];
    // Without randomness nobody thinks.
    clock::random(&mut random).unwrap_or_default();
    let pause = Duration::from_millis(u64::from(u16::from_le_bytes(random) % THINK_MS));
    tokio::time::sleep_until(clock::deadline(pause)).await;
}
