//! Promise: a text of several statements is run whole, whatever the proxy could have answered of it by itself.

use crate::support::{Config, Database, Primacy, Servers, shared};
use futures_util::future::poll_fn;
use std::sync::Arc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

async fn start() -> (&'static Servers, Database, Primacy) {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    (servers, database, Primacy::start(Config::new(&servers.yaml())).await)
}

async fn count(client: &Client) -> i64 {
    client.query_one("/* primacy:primary */ SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_stands_beside_statements_of_ours_is_run() {
    let (_, database, primacy) = start().await;
    let client =
        shared::connect("127.0.0.1", primacy.port, &database.name, &database.user, &database.password)
            .await
            .unwrap();
    client.batch_execute("CREATE TABLE t (i int)").await.unwrap();
    let texts = [
        "DEALLOCATE ALL; INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1); DEALLOCATE ALL",
        "RESET ALL; INSERT INTO t VALUES (1)",
        "BEGIN; INSERT INTO t VALUES (1); COMMIT; DEALLOCATE ALL",
    ];
    for (done, text) in (1..).zip(texts) {
        client.batch_execute(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(count(&client).await, done, "after {text}");
    }
    let refused =
        client.batch_execute("SET primacy.route = 'primary'; INSERT INTO t VALUES (1)").await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code().to_owned()), Some("0A000".to_owned()), "{refused}");
    assert_eq!(count(&client).await, 4);
}

#[tokio::test]
async fn a_channel_less_leaves_the_others() {
    let (_, database, primacy) = start().await;
    let config = format!(
        "host=127.0.0.1 port={} dbname={} user={} password={}",
        primacy.port, database.name, database.user, database.password
    );
    let (client, mut connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    let (sender, mut notified) = tokio::sync::mpsc::unbounded_channel();
    let driver = async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                sender.send(notification).ok();
            }
        }
    };
    let client = Arc::new(client);
    let work = async {
        client.batch_execute("LISTEN a; LISTEN b").await.unwrap();
        client.batch_execute("UNLISTEN a").await.unwrap();
        let other =
            shared::connect("127.0.0.1", primacy.port, &database.name, &database.user, &database.password);
        let other = other.await.unwrap();
        other.batch_execute("NOTIFY a; NOTIFY b, 'seen'").await.unwrap();
        let notification = notified.recv().await.unwrap();
        assert_eq!((notification.channel(), notification.payload()), ("b", "seen"));
    };
    tokio::select! { () = driver => panic!("the connection ended"), () = work => {} }
}

/// Drivers prepare a text, and run it in another unit: what we answer ourselves, we answer in that way, too.
#[tokio::test]
async fn settings_of_ours_can_be_prepared() {
    let (_, database, primacy) = start().await;
    let client =
        shared::connect("127.0.0.1", primacy.port, &database.name, &database.user, &database.password)
            .await
            .unwrap();
    let show = client.prepare("SHOW primacy.route").await.unwrap();
    let route = async || client.query_one(&show, &[]).await.unwrap().get::<_, String>(0);
    let set = client.prepare("SET primacy.route = 'primary'").await.unwrap();
    assert_eq!(route().await, "auto", "it was only prepared");
    client.execute(&set, &[]).await.unwrap();
    assert_eq!(route().await, "primary");
    let explained = client.query("EXPLAIN ROUTE SELECT 1", &[]).await.unwrap_err();
    assert_eq!(explained.code().map(|code| code.code().to_owned()), Some("0A000".to_owned()), "{explained}");
}
