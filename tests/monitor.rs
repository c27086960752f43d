//! Promise: what is published of the nodes is true: roles, freshness, lag; a changed primary is followed, a missing one is waited for.

use crate::support::{eventually, own_cluster, own_cluster_with, shared};
use primacy::clock::{self, Tick};
use primacy::cluster::{self, ClusterState, ClusterView, Health, MonitorHandle, Role};
use primacy::config::Settings;
use primacy::config::settings::Cluster as ClusterSettings;
use primacy::engine::embedded::{APP, DATABASE, Embedded, Options, Stop};
use primacy::engine::{Epoch, NodeId};
use primacy::failover::Pass;
use primacy::postgres::embedded::Cluster;
use primacy::postgres::probe::PostgresProbe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A monitor of an embedded cluster.
struct Watched {
    servers: Cluster,
    state: Arc<ClusterState>,
    settings: ClusterSettings,
    handle: MonitorHandle,
}

impl Watched {
    async fn start(servers: Cluster, change: impl FnOnce(&mut ClusterSettings)) -> Self {
        let text = format!("clusters:\n  main:\n    listen: 127.0.0.1:1\n{}", servers.yaml());
        let settings = Settings::parse(&text, "test", &|_| None).unwrap();
        let mut settings = ClusterSettings::clone(settings.cluster("main").unwrap());
        settings.monitor.interval = Duration::from_millis(50);
        change(&mut settings);
        let state = Arc::new(ClusterState::new(&settings));
        let handle = cluster::start(PostgresProbe, Arc::new(settings.clone()), state.clone());
        Self { servers, state, settings, handle }
    }

    /// Waits for a view of which `wanted` holds.
    async fn view(&self, what: &str, wanted: impl Fn(&ClusterView) -> bool) -> Arc<ClusterView> {
        eventually(what, || async { Some(self.state.view.load_full()).filter(|view| wanted(view)) }).await
    }

    async fn healthy(&self) -> Arc<ClusterView> {
        let up = |view: &ClusterView| {
            view.nodes.iter().all(|node| node.health == Health::Up && node.unfit.is_none())
        };
        self.view("all nodes up and fit", |view| view.primary.is_some() && up(view)).await
    }

    /// Asks for freshness, as a reader does, until `node` has seen everything up to now.
    async fn fresh(&self, node: usize) {
        let floor = clock::now();
        let view = self.state.view.load_full();
        eventually("a fresh replica", || async {
            self.state.rounds.ask();
            self.state.rounds.after(self.state.rounds.completed()).await;
            (view.nodes[node].live.fresh_as_of() >= floor).then_some(())
        })
        .await;
    }

    async fn rounds(&self, n: u64) {
        let rounds = &self.state.rounds;
        rounds.after(rounds.completed() + n - 1).await;
    }

    async fn write(&self, node: usize, text: &str) {
        self.servers.sql(node, DATABASE, text).await.unwrap();
    }

    async fn count(&self, node: usize) -> String {
        self.servers.sql(node, DATABASE, "SELECT count(*) FROM t").await.unwrap()[0][0].clone().unwrap()
    }
}

#[tokio::test]
async fn roles_freshness_and_lag() {
    let watched = Watched::start(own_cluster(2).await, |_| ()).await;
    let view = watched.healthy().await;
    assert_eq!(view.primary, Some(NodeId(0)));
    assert_eq!(view.epoch, Epoch(1));
    let roles: Vec<_> = view.nodes.iter().map(|node| node.role).collect();
    assert_eq!(roles, [Role::Primary, Role::Replica, Role::Replica]);
    assert_eq!(watched.state.gate.now(), Some(Pass { node: NodeId(0), epoch: Epoch(1) }));
    assert!(view.nodes.iter().all(|node| node.identity == view.nodes[0].identity && node.identity != 0));
    assert!(view.nodes.iter().all(|node| node.slots > 0 && node.timeline == 1 && node.start > 0));
    let start = "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::int8";
    let start = watched.servers.sql(1, DATABASE, start).await.unwrap()[0][0].clone().unwrap();
    assert_eq!(view.nodes[1].start.to_string(), start);

    watched.write(0, "CREATE TABLE t AS SELECT 1 AS n").await;
    for rows in 2..20 {
        watched.write(0, "INSERT INTO t VALUES (1)").await;
        watched.fresh(1).await;
        assert_eq!(watched.count(1).await, rows.to_string(), "fresh means visible");
    }
    eprintln!("a replica is fresh {:?} after asking", watched.state.rounds.expected());
    assert!(watched.state.rounds.expected() < Duration::from_millis(100));

    let live = view.nodes[1].live.clone();
    watched.fresh(1).await;
    watched.servers.set_replay_paused(1, true).await.unwrap();
    watched.rounds(2).await;
    watched.write(0, "INSERT INTO t VALUES (1)").await;
    let written = clock::now();
    watched.fresh(2).await;
    watched.rounds(3).await;
    assert!(live.fresh_as_of() < written, "a paused replica is not fresh");
    assert!(live.lag_bytes.load(Ordering::Relaxed) > 0);
    let lag = live.lag();
    watched.rounds(3).await;
    assert!(live.lag() > lag && lag > Duration::ZERO, "lag grows");
    watched.servers.set_replay_paused(1, false).await.unwrap();
    watched.fresh(1).await;
    eventually("no lag", || async { (live.lag() == Duration::ZERO).then_some(()) }).await;
    watched.handle.stop().await;
}

#[tokio::test]
async fn a_promotion_is_followed_and_the_old_primary_is_barred() {
    let watched = Watched::start(own_cluster(2).await, |_| ()).await;
    watched.healthy().await;
    watched.servers.stop(0, Stop::Immediate).await.unwrap();
    watched.view("no primary", |view| view.primary.is_none()).await;
    assert_eq!(watched.state.gate.now(), None);

    watched.servers.promote(1).await.unwrap();
    let view = watched.view("the promoted node", |view| view.primary == Some(NodeId(1))).await;
    assert_eq!(view.epoch, Epoch(2));
    assert_eq!(watched.state.gate.now(), Some(Pass { node: NodeId(1), epoch: Epoch(2) }));
    let behind = watched.view("an unfit replica", |view| view.nodes[2].unfit.is_some()).await;
    assert_eq!(behind.nodes[2].health, Health::Up);

    // The other replica follows, and is fresh again.
    watched.servers.follow(2).await.unwrap();
    watched
        .view("a fit replica", |view| view.nodes[2].health == Health::Up && view.nodes[2].unfit.is_none())
        .await;
    watched.write(1, "CREATE TABLE t AS SELECT 1 AS n").await;
    watched.fresh(2).await;
    assert_eq!(watched.count(2).await, "1");

    // The old primary comes back as if nothing had happened.
    watched.servers.start_node(0).await.unwrap();
    let quarantined = |view: &ClusterView| matches!(view.nodes[0].health, Health::Quarantined(_));
    let view = watched.view("the old primary barred", quarantined).await;
    assert_eq!(view.primary, Some(NodeId(1)));
    watched.servers.follow(0).await.unwrap();
    let view = watched.healthy().await;
    assert_eq!((view.primary, view.epoch), (Some(NodeId(1)), Epoch(2)));
    watched.handle.stop().await;
}

#[tokio::test]
async fn a_killed_primary_closes_the_gate_and_opens_it_again() {
    let watched = Watched::start(own_cluster(1).await, |settings| {
        settings.monitor.interval = Duration::from_secs(3600)
    })
    .await;
    let before = watched.healthy().await;
    watched.servers.stop(0, Stop::Kill).await.unwrap();
    // Nothing but the suspicion can bring this about: the next round is an hour away.
    watched.state.suspect(NodeId(0), "connection refused");
    let view = watched.view("no primary", |view| view.primary.is_none()).await;
    assert!(matches!(view.nodes[0].health, Health::Down(_)));
    assert!(view.no_primary.is_some());
    assert_eq!(watched.state.gate.now(), None);

    watched.servers.start_node(0).await.unwrap();
    let pass = watched.state.gate.opened().await;
    assert_eq!(pass, Pass { node: NodeId(0), epoch: before.epoch }, "the same primary, the same epoch");
    let after = watched.view("another start", |view| view.nodes[0].start != before.nodes[0].start).await;
    assert_eq!(after.nodes[0].identity, before.nodes[0].identity);
    assert!(after.nodes[0].since > Tick::ZERO);
    watched.handle.stop().await;
}

#[tokio::test]
async fn a_restarted_replica_proves_its_freshness_anew() {
    let watched = Watched::start(own_cluster(1).await, |_| ()).await;
    let before = watched.healthy().await;
    watched.fresh(1).await;
    watched.servers.stop(1, Stop::Kill).await.unwrap();
    let live = before.nodes[1].live.clone();
    eventually("freshness forgotten", || async { (live.fresh_as_of() == Tick::ZERO).then_some(()) }).await;
    // The replica is down, and nothing listens at its address: the primary goes on.
    watched.view("the replica down", |view| matches!(view.nodes[1].health, Health::Down(_))).await;
    watched.rounds(3).await;
    assert!(watched.state.gate.now().is_some());
    watched.servers.start_node(1).await.unwrap();
    let after = watched.healthy().await;
    assert_ne!(after.nodes[1].start, before.nodes[1].start);
    watched.fresh(1).await;
    watched.handle.stop().await;
}

#[tokio::test]
async fn a_frozen_replica_delays_nobody_and_blocks_writes_only_without_a_witness() {
    let change = |settings: &mut ClusterSettings| {
        settings.monitor.timeout = Duration::from_millis(300);
        settings.failover.witness = Duration::from_secs(1);
    };
    let watched = Watched::start(own_cluster(2).await, change).await;
    watched.healthy().await;
    watched.servers.pause(1).unwrap();
    watched.view("the frozen replica down", |view| matches!(view.nodes[1].health, Health::Down(_))).await;
    watched.fresh(2).await;
    assert!(watched.state.gate.now().is_some(), "the other replica is a witness");
    watched.servers.pause(2).unwrap();
    let view = watched.view("no witness", |view| view.primary.is_none()).await;
    assert!(view.no_primary.as_ref().unwrap().contains("silent"), "{:?}", view.no_primary);
    watched.servers.resume(1).unwrap();
    watched.servers.resume(2).unwrap();
    let view = watched.healthy().await;
    assert_eq!(view.epoch, Epoch(1));
    watched.handle.stop().await;
}

#[tokio::test]
async fn early_acknowledgement_is_noticed_and_the_log_is_nudged() {
    let options = Options { settings: vec![("bgwriter_delay".into(), "10s".into())], ..Options::replicas(1) };
    let watched = Watched::start(own_cluster_with(options).await, |_| ()).await;
    watched.healthy().await;
    assert!(!watched.state.async_commit_seen.load(Ordering::Acquire));
    watched.write(0, "CREATE TABLE t (n int); ALTER TABLE t OWNER TO app").await;
    watched.write(0, "ALTER ROLE app SET synchronous_commit = off").await;
    eventually("the role's setting seen", || async {
        watched.state.async_commit_seen.load(Ordering::Acquire).then_some(())
    })
    .await;
    // An open transaction leaves a tail in the log that nobody flushes.
    let port = watched.servers.endpoints()[0].port;
    let client = shared::connect("127.0.0.1", port, DATABASE, APP.user, APP.password).await.unwrap();
    for _ in 0..5 {
        client.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
        watched.fresh(1).await;
        client
            .batch_execute("ROLLBACK; SET synchronous_commit = off; INSERT INTO t VALUES (2)")
            .await
            .unwrap();
        watched.fresh(1).await;
    }
    assert_eq!(watched.count(1).await, "5", "acknowledged early, and visible on the fresh replica");
    watched.handle.stop().await;
}

#[tokio::test]
async fn an_operator_drains_and_the_file_is_reloaded() {
    let watched = Watched::start(own_cluster(1).await, |_| ()).await;
    let before = watched.healthy().await;
    watched.state.drain(NodeId(1), true);
    watched.view("drained", |view| view.nodes[1].draining).await;
    watched.state.drain(NodeId(1), false);
    watched.view("back", |view| !view.nodes[1].draining).await;

    let mut settings = watched.settings.clone();
    let mut node = primacy::config::settings::Node::clone(&settings.nodes[1]);
    node.weight = 7;
    settings.nodes[1] = Arc::new(node);
    watched.handle.reload(Arc::new(settings.clone()));
    let view = watched.view("another weight", |view| view.nodes[1].weight == 7).await;
    assert_eq!((view.epoch, view.primary), (before.epoch, before.primary));
    assert!(Arc::ptr_eq(&view.nodes[1].live, &before.nodes[1].live));
    watched.fresh(1).await;
    settings.nodes.truncate(1);
    watched.handle.reload(Arc::new(settings));
    let view = watched.view("one node", |view| view.nodes.len() == 1).await;
    assert_eq!((view.epoch, view.primary), (before.epoch, before.primary));
    watched.handle.stop().await;
}
