//! Promise: a throwaway cluster starts, replicates, obeys, and leaves nothing behind.

use crate::support::{
    Servers, environment, eventually, own_cluster, own_cluster_with, own_mysql_dialect, shared,
};
use primacy::config::settings::EngineKind;
use primacy::engine::embedded::{DATABASE, Embedded, Endpoint, Options, Stop, TlsPem};
use primacy::postgres::embedded::Cluster;
use std::path::Path;
use std::process::{Command, Stdio};

#[tokio::test]
async fn postgres_replicates_restarts_and_promotes() {
    let cluster = own_cluster(2).await;
    cluster.sql(0, DATABASE, "CREATE TABLE t (n int)").await.unwrap();
    cluster.sql(0, DATABASE, "INSERT INTO t VALUES (1)").await.unwrap();
    cluster.wait_caught_up().await.unwrap();
    assert_eq!(cluster.sql(2, DATABASE, "SELECT n FROM t").await.unwrap(), [[Some("1".to_owned())]]);

    cluster.set_replay_paused(1, true).await.unwrap();
    cluster.sql(0, DATABASE, "INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(cluster.sql(1, DATABASE, "SELECT max(n) FROM t").await.unwrap(), [[Some("1".to_owned())]]);
    cluster.set_replay_paused(1, false).await.unwrap();

    cluster.restart(0).await.unwrap();
    cluster.stop(1, Stop::Kill).await.unwrap();
    cluster.start_node(1).await.unwrap();
    cluster.wait_caught_up().await.unwrap();

    cluster.pause(0).unwrap();
    cluster.resume(0).unwrap();
    cluster.stop(0, Stop::Immediate).await.unwrap();
    cluster.promote(2).await.unwrap();
    cluster.follow(1).await.unwrap();
    cluster.follow(0).await.unwrap();
    cluster.sql(2, DATABASE, "INSERT INTO t VALUES (3)").await.unwrap();
    cluster.wait_caught_up().await.unwrap();
    for node in 0..3 {
        assert_eq!(
            cluster.sql(node, DATABASE, "SELECT max(n) FROM t").await.unwrap(),
            [[Some("3".to_owned())]]
        );
    }
}

#[tokio::test]
async fn tests_share_servers_and_have_their_own_databases() {
    let servers = Servers::postgres().await;
    let (one, other) = (servers.fresh_database().await, servers.fresh_database().await);
    let Endpoint { host, port, .. } = &servers.endpoints[0];
    let owner = one.connect(host, *port).await.unwrap();
    owner.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    assert_eq!(
        owner.query_one("SELECT current_user::text", &[]).await.unwrap().get::<_, String>(0),
        one.user
    );
    let stranger = shared::connect(host, *port, &other.name, &other.user, &one.password).await;
    assert!(stranger.is_err(), "each user has a password of its own");
}

async fn mysql_replicates_restarts_and_promotes(dialect: EngineKind) {
    let Some(cluster) = own_mysql_dialect(dialect, 2).await else { return };
    cluster.sql(0, DATABASE, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    cluster.wait_caught_up().await.unwrap();
    let largest = async |node, expected: &str| {
        let rows = cluster.sql(node, DATABASE, "SELECT MAX(n) FROM t").await.unwrap();
        assert_eq!(rows, [[Some(expected.to_owned())]], "on node {node}");
    };
    largest(2, "1").await;

    cluster.set_replay_paused(1, true).await.unwrap();
    cluster.sql(0, DATABASE, "INSERT INTO t VALUES (2)").await.unwrap();
    largest(1, "1").await;
    cluster.set_replay_paused(1, false).await.unwrap();

    cluster.restart(0).await.unwrap();
    cluster.stop(1, Stop::Kill).await.unwrap();
    cluster.start_node(1).await.unwrap();
    cluster.wait_caught_up().await.unwrap();

    cluster.stop(0, Stop::Fast).await.unwrap();
    cluster.promote(2).await.unwrap();
    cluster.follow(1).await.unwrap();
    cluster.follow(0).await.unwrap();
    cluster.sql(2, DATABASE, "INSERT INTO t VALUES (3)").await.unwrap();
    cluster.wait_caught_up().await.unwrap();
    for node in 0..3 {
        largest(node, "3").await;
    }
}

#[tokio::test]
async fn mysql_9_replicates_restarts_and_promotes() {
    mysql_replicates_restarts_and_promotes(EngineKind::Mysql).await;
}

#[tokio::test]
async fn mariadb_replicates_restarts_and_promotes() {
    mysql_replicates_restarts_and_promotes(EngineKind::Mariadb).await;
}

#[tokio::test]
async fn servers_speak_tls_when_given_a_certificate() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let tls = TlsPem { certificate: cert.pem(), key: signing_key.serialize_pem() };
    let options =
        Options { tls: Some(tls), settings: vec![("work_mem".into(), "5MB".into())], ..Options::replicas(1) };
    let cluster = own_cluster_with(options).await;
    for node in 0..2 {
        let text = "SELECT current_setting('ssl'), current_setting('work_mem')";
        let rows = cluster.sql(node, DATABASE, text).await.unwrap();
        assert_eq!(rows, [[Some("on".to_owned()), Some("5MB".to_owned())]], "on node {node}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said_clearly() {
    let options = Options { programs: Some("/nowhere".into()), ..Options::default() };
    let error = Cluster::start(&options).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere") && error.contains("PRIMACY_PG_BIN"), "{error}");

    let options =
        Options { settings: vec![("shared_buffers".into(), "nonsense".into())], ..Options::default() };
    let error = Cluster::start(&options).await.unwrap_err().to_string();
    assert!(error.contains("starting pg1") && error.contains("shared_buffers"), "{error}");
}

/// The name of the test below that is its own child, and how the child knows that it is one.
const PARENT: &str = "embedded::nothing_outlives_a_killed_parent";
const CHILD: &str = "PRIMACY_TEST_REAPER";

#[tokio::test]
async fn nothing_outlives_a_killed_parent() {
    if let Some(file) = environment(CHILD) {
        let cluster = own_cluster(1).await;
        // A frozen server is the hardest to end.
        cluster.pause(1).unwrap();
        let directory = cluster.socket_directory().display().to_string();
        std::fs::write(file, directory).unwrap();
        return std::future::pending().await;
    }
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("directory");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", PARENT, "--nocapture"])
        .env(CHILD, &file)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let directory = eventually("the child's cluster", async || {
        std::fs::read_to_string(&file).ok().filter(|directory| !directory.is_empty())
    })
    .await;
    assert!(servers_in(&directory).len() >= 2, "two servers and their children run in {directory}");
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the end of the servers", async || servers_in(&directory).is_empty().then_some(())).await;
    eventually("the end of the directory", async || (!Path::new(&directory).exists()).then_some(())).await;
}

/// The processes that work in that directory.
fn servers_in(directory: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let inside = processes.filter(|process| {
        std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory))
    });
    inside.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}
