//! A process that is not there: fixed rows to look at, and a record of the commands that it was given.

use super::command::{Command, CommandError};
use super::rows::{DatabaseRow, PinRow, PoolRow, SocketRow};
use super::status::{
    ClusterStatus, Explanation, Inspect, NodeRole, NodeState, NodeStatus, ProcessState, Sessions, Status,
};
use crate::clock::Tick;
use crate::config;
use crate::telemetry::counters::Query;
use crate::telemetry::traffic::{PERIOD, Row, Traffic, Whose};
use crate::telemetry::{ClusterCount, Routed};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Fake {
    pub(crate) status: Mutex<Status>,
    pub(crate) commands: Mutex<Vec<Command>>,
    traffic: Arc<Traffic>,
}

pub(crate) fn node(name: &str, role: NodeRole, lag: Option<f64>) -> NodeStatus {
    NodeStatus {
        name: name.to_owned(),
        address: format!("10.0.0.1{}:5432", name.trim_start_matches("pg")),
        role,
        state: NodeState::Up,
        why: None,
        passive: false,
        draining: false,
        weight: 1,
        lag_bytes: lag.map(|_| 4096),
        lag_seconds: lag,
        position: Some("0/3000060".to_owned()),
        fresh_age_seconds: Some(0.012),
        version: "15.18".to_owned(),
        connections: 7,
        connections_limit: Some(87),
        active: 2,
    }
}

pub(crate) fn pool(cluster: &str, user: &str, node: Option<&str>) -> PoolRow {
    PoolRow {
        cluster: cluster.to_owned(),
        database: "orders".to_owned(),
        user: user.to_owned(),
        node: node.map(str::to_owned),
        cl_active: 3,
        cl_waiting: 1,
        sv_active: 2,
        sv_idle: 4,
        maxwait_us: 1_500_000,
        mode: "transaction".to_owned(),
        size: 20,
        ..PoolRow::default()
    }
}

fn cluster(name: &str) -> ClusterStatus {
    ClusterStatus {
        name: name.to_owned(),
        engine: "postgres".to_owned(),
        epoch: 3,
        promise: "session consistency".to_owned(),
        primary: Some("pg1".to_owned()),
        paused: false,
        nodes: vec![node("pg1", NodeRole::Primary, None), node("pg2", NodeRole::Replica, Some(0.25))],
        pools: vec![pool(name, "ann", Some("pg1")), pool(name, "ann", Some("pg2"))],
        sessions: Sessions {
            connected: 6,
            limit: 10_000,
            waiting: 2,
            in_transaction: 1,
            replicating: 0,
            pinned: 1,
        },
    }
}

fn socket(cluster: &str, id: u64) -> SocketRow {
    SocketRow {
        id,
        cluster: cluster.to_owned(),
        user: "ann".to_owned(),
        database: "orders".to_owned(),
        replication: "none".to_owned(),
        state: "active".to_owned(),
        addr: "127.0.0.1".to_owned(),
        port: 50_000,
        connected_us: 1_795_594_338_000_000,
        wait_us: 2_000_003,
        link: Some(id + 10),
        node: Some("pg1".to_owned()),
        ..SocketRow::default()
    }
}

impl Fake {
    pub(crate) fn new() -> Self {
        let traffic = Traffic::new(2);
        for (cluster, user) in [("shop", "ann"), ("shop", "bob"), ("files", "ann")] {
            let whose = Whose { cluster: cluster.into(), database: "orders".into(), user: user.into() };
            let stats = traffic.of(&whose, Tick(1));
            stats.query(Query { received: 60, sent: 600, took_us: 1200 });
            stats.query(Query { received: 60, sent: 600, took_us: 800 });
        }
        let shop = traffic.cluster(&"shop".into());
        shop.routed(Routed::ReadReplica);
        shop.count(ClusterCount::Reruns);
        shop.query_replica.record(Duration::from_micros(1000));
        let status = Status {
            version: "0.1.0".to_owned(),
            state: ProcessState::Running,
            uptime_seconds: 61.5,
            clusters: vec![cluster("shop"), cluster("files")],
        };
        Self { status: Mutex::new(status), commands: Mutex::new(Vec::new()), traffic: Arc::new(traffic) }
    }
}

impl Inspect for Fake {
    fn status(&self) -> Status {
        self.status.lock().clone()
    }

    fn pools(&self, cluster: Option<&str>) -> Vec<PoolRow> {
        let clusters = self.status().clusters;
        let clusters = clusters.into_iter().filter(|one| cluster.is_none_or(|name| name == one.name));
        clusters.flat_map(|one| one.pools).collect()
    }

    fn clients(&self) -> Vec<SocketRow> {
        vec![socket("shop", 1), socket("files", 2)]
    }

    fn servers(&self) -> Vec<SocketRow> {
        vec![socket("shop", 11)]
    }

    fn pins(&self) -> Vec<PinRow> {
        let pin = PinRow { client: 1, server: 11, reason: "listen".to_owned(), ..PinRow::default() };
        vec![PinRow { cluster: "shop".to_owned(), certainty: "known".to_owned(), age_us: 61_000_000, ..pin }]
    }

    fn stats(&self) -> Vec<Row> {
        self.traffic.rows(Tick(1).plus(PERIOD / 60))
    }

    fn databases(&self) -> Vec<DatabaseRow> {
        let name = "orders".to_owned();
        vec![DatabaseRow { cluster: "shop".to_owned(), name, pool_size: 20, ..DatabaseRow::default() }]
    }

    fn config(&self) -> Vec<config::Row> {
        let (key, value) = ("clusters.shop.pool.size".to_owned(), "20".to_owned());
        vec![config::Row { key, default: value.clone(), value, changeable: true }]
    }

    fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    fn command(&self, command: Command) -> BoxFuture<'_, Result<String, CommandError>> {
        self.commands.lock().push(command.clone());
        Box::pin(async move {
            match command {
                Command::Pause(scope) if scope.database.as_deref() == Some("order") => {
                    let known = vec!["orders".to_owned(), "stock".to_owned()];
                    Err(CommandError::Unknown { what: "database", name: "order".to_owned(), known })
                }
                Command::Resume(_) => Err(CommandError::Refused {
                    message: "nothing is paused".to_owned(),
                    hint: "SHOW STATE says what is".to_owned(),
                }),
                Command::Reload => Err(CommandError::Failed("the file is gone".to_owned())),
                _ => Ok("done".to_owned()),
            }
        })
    }

    fn explain(&self, cluster: &str, database: Option<&str>, sql: &str) -> Result<Explanation, CommandError> {
        self.status().cluster(cluster)?;
        let database = database.unwrap_or("none").to_owned();
        Ok(Explanation {
            rows: vec![("statement".to_owned(), sql.to_owned()), ("database".to_owned(), database)],
        })
    }
}
