//! Promise: a throwaway cluster starts, replicates, obeys, and leaves nothing behind.

use crate::support::{Servers, own_cluster, shared};
use primacy::engine::embedded::{DATABASE, Embedded, Endpoint, Stop};

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
    let stranger = shared::connect(host, *port, &other.name, &other.user, &one.password).await;
    assert!(stranger.is_err(), "each user has a password of its own");
}
