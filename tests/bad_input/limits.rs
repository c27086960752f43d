//! Limits: in time, in number, by address; and refusals in the server's own words.

use super::{all_clean, instance, said, sqlstate};
use crate::support::raw::Message;
use crate::support::{Database, Raw, eventually, unique};
use tokio::net::TcpStream;

/// What a client is told that is sent away.
async fn goodbye(client: &mut Raw) -> Option<String> {
    let answer = client.read_until("$").await;
    assert!(answer.last().is_some_and(|last| last.body == b"end"), "{answer:?}");
    sqlstate(&answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_is_sent_away() {
    let (servers, database, primacy) =
        instance(&["timeouts: { client_idle: 1s, idle_in_transaction: 1s }", "pool: { size: 1 }"]).await;
    let mut idle = Raw::connect(&database, primacy.port).await;
    idle.run("CREATE TABLE t (a int)").await;
    assert_eq!(goodbye(&mut idle).await.as_deref(), Some("57P05"));
    let mut half = Raw::connect(&database, primacy.port).await;
    half.send(b"Q\0\0\0\x40SELECT").await;
    assert_eq!(goodbye(&mut half).await.as_deref(), Some("57P05"));
    let mut holds = Raw::connect(&database, primacy.port).await;
    holds.run("BEGIN; INSERT INTO t VALUES (1)").await;
    assert_eq!(goodbye(&mut holds).await.as_deref(), Some("25P03"));
    all_clean(servers, &database).await;
    let mut next = Raw::connect(&database, primacy.port).await;
    assert_eq!(next.value("/* primacy:primary */ SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_too_long_is_stopped() {
    let (servers, database, primacy) = instance(&["timeouts: { query: 1s }", "pool: { size: 1 }"]).await;
    let mut client = Raw::connect(&database, primacy.port).await;
    for text in [
        "SELECT pg_sleep(300)",
        "/* primacy:primary */ SELECT pg_sleep(300)",
        "SELECT 1; SELECT pg_sleep(300)",
    ] {
        assert_eq!(client.fails(text).await, "57014", "{text}");
        assert_eq!(client.value("SELECT 1").await, "1");
    }
    client.run("BEGIN").await;
    assert_eq!(client.fails("SELECT pg_sleep(300)").await, "57014");
    assert_eq!(client.status, b'E');
    client.run("ROLLBACK").await;
    assert_eq!(client.value("/* primacy:primary */ SELECT 1").await, "1");
    all_clean(servers, &database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_denied_is_hung_up_on() {
    let (_, _, primacy) = instance(&["firewall: { deny: [127.0.0.0/8] }"]).await;
    assert_eq!(said(primacy.port, b"", false).await, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_too_often_is_hung_up_on() {
    let (_, database, primacy) = instance(&["firewall: { connections_per_second: 1 }"]).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(TcpStream::connect(("127.0.0.1", primacy.port)).await.unwrap());
    }
    eventually("one is hung up on", async || {
        streams.iter().any(|stream| matches!(stream.try_read(&mut [0]), Ok(0))).then_some(())
    })
    .await;
    drop(streams);
    // Later it is welcome again.
    eventually("a connection is admitted", async || {
        let heard = said(primacy.port, &[0, 0, 0, 8, 4, 210, 22, 47], true).await;
        (heard == b"N").then_some(())
    })
    .await;
    drop(database);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_is_shut_out() {
    let (_, database, primacy) = instance(&["firewall: { failed_logins: { limit: 3, block: 10m } }"]).await;
    primacy.expect_log("address blocked after failed logins");
    let mut inside = Raw::connect(&database, primacy.port).await;
    let wrong = Database { password: "wrong".into(), ..database.clone() };
    for _ in 0..3 {
        let told = Raw::try_connect(&wrong, primacy.port, &[]).await.unwrap_err();
        assert_eq!(told.field(b'C').as_deref(), Some("28P01"));
    }
    eventually("the address is shut out", async || {
        said(primacy.port, &[0, 0, 0, 8, 4, 210, 22, 47], true).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(inside.value("SELECT 1").await, "1", "who is in stays in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_too_many_is_told_so() {
    let (_, database, primacy) = instance(&["pool: { size: 1, max_clients: 2 }"]).await;
    let first = Raw::connect(&database, primacy.port).await;
    let mut second = Raw::connect(&database, primacy.port).await;
    let told = Raw::try_connect(&database, primacy.port, &[]).await.unwrap_err();
    assert_eq!(told.field(b'C').as_deref(), Some("53300"));
    assert_eq!(told.field(b'M').as_deref(), Some("sorry, too many clients already"));
    assert_eq!(second.value("SELECT 1").await, "1");
    drop(first);
    eventually("its place is free", async || Raw::try_connect(&database, primacy.port, &[]).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_hears_the_servers_words() {
    let (servers, database, primacy) = instance(&["firewall: { failed_logins: { limit: 0 } }"]).await;
    let admin = servers.admin(0, "postgres").await;
    let (locked, expired, closed) = (unique("l"), unique("e"), unique("c"));
    for text in [
        format!("CREATE ROLE {locked} NOLOGIN PASSWORD 'pw'"),
        format!("CREATE ROLE {expired} LOGIN PASSWORD 'pw' VALID UNTIL '2001-01-01'"),
        format!("CREATE DATABASE {closed}"),
        format!("REVOKE CONNECT ON DATABASE {closed} FROM PUBLIC"),
    ] {
        admin.batch_execute(&text).await.unwrap();
    }
    let who = |user: &str, password: &str, name: &str| Database {
        user: user.into(),
        password: password.into(),
        name: name.into(),
    };
    let Database { user, password, name } = &database;
    let cases = [
        who(user, "wrong", name),
        who(&unique("nobody"), "pw", name),
        who(user, password, "nowhere"),
        who(user, "wrong", "nowhere"),
        who(&locked, "pw", name),
        who(&locked, "wrong", name),
        who(&expired, "pw", name),
        who(user, password, &closed),
    ];
    let words = |told: &Message| b"SVCMDH".map(|field| told.field(field));
    for case in cases {
        let server = Raw::try_connect(&case, servers.endpoints[0].port, &[]).await.unwrap_err();
        let ours = Raw::try_connect(&case, primacy.port, &[]).await.unwrap_err();
        assert_eq!(words(&ours), words(&server), "{case:?}");
    }
    let parameters = [("work_mem", "nonsense")];
    let server = Raw::try_connect(&database, servers.endpoints[0].port, &parameters).await.unwrap_err();
    let ours = Raw::try_connect(&database, primacy.port, &parameters).await.unwrap_err();
    // The detail is the proxy's own: it says whose settings these are.
    assert_eq!(words(&ours)[..4], words(&server)[..4], "a setting that is none");
}
