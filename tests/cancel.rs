//! A cancel request stops the very query that it was meant for, and never another.

use crate::support::raw::{Message, cancel};
use crate::support::{Config, Database, Primacy, Raw, Servers, eventually};
use primacy::postgres::wire;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

async fn instance(size: usize) -> (&'static Servers, Database, Primacy) {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let config = Config::new(&servers.yaml()).cluster(&format!("pool: {{ size: {size} }}"));
    (servers, database, Primacy::start(config).await)
}

fn sqlstate(answer: &[Message]) -> Option<String> {
    answer.iter().find(|message| message.tag == b'E').and_then(|message| message.field(b'C'))
}

async fn start(client: &mut Raw, text: &str) {
    let mut out = Vec::new();
    wire::query(&mut out, text);
    client.send(&out).await;
}

async fn runs(servers: &Servers, database: &Database, word: &str) {
    let admin = servers.admin(0, "postgres").await;
    let active = "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND state = 'active' AND query LIKE $2";
    let like = format!("%{word}%");
    eventually("the query runs", async || admin.query_opt(active, &[&database.name, &like]).await.unwrap())
        .await;
}

const LONG: &str = "/* primacy:primary */ SELECT pg_sleep(300)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_query_is_cancelled_and_the_session_goes_on() {
    let (servers, database, primacy) = instance(2).await;
    let mut client = Raw::connect(&database, primacy.port).await;
    start(&mut client, LONG).await;
    runs(servers, &database, "pg_sleep").await;
    client.cancel(&client.key.clone()).await;
    assert_eq!(sqlstate(&client.read_until("Z").await).as_deref(), Some("57014"));
    assert_eq!(client.value("SELECT 1").await, "1");
    // In a block it fails the block, as with the server.
    client.run("BEGIN").await;
    start(&mut client, LONG).await;
    runs(servers, &database, "pg_sleep").await;
    client.cancel(&client.key.clone()).await;
    assert_eq!(sqlstate(&client.read_until("Z").await).as_deref(), Some("57014"));
    assert_eq!(client.status, b'E');
    client.run("ROLLBACK").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_and_an_idle_session_do_nothing() {
    let (servers, database, primacy) = instance(1).await;
    let mut client = Raw::connect(&database, primacy.port).await;
    let mut other = Raw::connect(&database, primacy.port).await;
    for _ in 0..20 {
        client.cancel(&client.key.clone()).await;
        assert_eq!(client.value("SELECT 1").await, "1");
        assert_eq!(other.value("SELECT 2").await, "2");
    }
    start(&mut client, "/* primacy:primary */ SELECT pg_sleep(1), 'done'").await;
    runs(servers, &database, "pg_sleep").await;
    let wrong: Vec<u8> = client.key.iter().map(|byte| byte ^ 1).collect();
    for key in [wrong.as_slice(), &[], &[0; 4], &[0; 32]] {
        cancel(primacy.port, client.pid, key).await;
        cancel(primacy.port, client.pid + 1_000_000, key).await;
    }
    // The other session's secret is not this one's.
    cancel(primacy.port, client.pid, &other.key).await;
    other.cancel(&other.key.clone()).await;
    assert_eq!(sqlstate(&client.read_until("Z").await), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_waits_for_a_backend_is_cancelled_alone() {
    let (_, database, primacy) = instance(1).await;
    let mut holder = Raw::connect(&database, primacy.port).await;
    let mut waiter = Raw::connect(&database, primacy.port).await;
    holder.run("BEGIN").await;
    start(&mut waiter, "BEGIN").await;
    // It may take a moment until it waits: a cancel that comes before is for nothing, as with a server.
    let (pid, key) = (waiter.pid, waiter.key.clone());
    let done = Arc::new(AtomicBool::new(false));
    let (stop, port) = (Arc::clone(&done), primacy.port);
    let canceller = async move {
        while !stop.load(Ordering::Relaxed) {
            cancel(port, pid, &key).await;
        }
    };
    let wait = async {
        let answer = waiter.read_until("Z").await;
        done.store(true, Ordering::Relaxed);
        answer
    };
    let (answer, ()) = tokio::join!(wait, canceller);
    assert_eq!(sqlstate(&answer).as_deref(), Some("57014"), "{answer:?}");
    assert_eq!(holder.value("SELECT 1").await, "1");
    holder.run("COMMIT").await;
    waiter.run("BEGIN; COMMIT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cancel_ever_meets_another_clients_query() {
    let (_, database, primacy) = instance(1).await;
    let mut client = Raw::connect(&database, primacy.port).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut others = JoinSet::new();
    for _ in 0..3 {
        let (database, port, done) = (database.clone(), primacy.port, Arc::clone(&done));
        others.spawn(async move {
            let mut other = Raw::connect(&database, port).await;
            let (mut queries, mut victims) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let answer =
                    other.query("/* primacy:primary */ SELECT count(*) FROM generate_series(1, 2000)").await;
                queries += 1;
                victims += u32::from(sqlstate(&answer).is_some());
            }
            (queries, victims)
        });
    }
    let mut hits = 0;
    for _ in 0..300 {
        start(&mut client, "/* primacy:primary */ SELECT count(*) FROM generate_series(1, 20000)").await;
        // At once: it may come before the query, in its midst, or when another client has the backend already.
        let (key, pid, port) = (client.key.clone(), client.pid, primacy.port);
        let cancelling = primacy::task::spawn("cancel", async move { cancel(port, pid, &key).await });
        hits += u32::from(sqlstate(&client.read_until("Z").await).is_some());
        cancelling.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for (queries, victims) in others.join_all().await {
        assert!(queries > 0);
        assert_eq!(victims, 0, "of {queries} queries of others, while {hits} of 300 were cancelled");
    }
}

/// Servers from 18 on give long secrets to those who ask for protocol 3.2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_as_long_as_the_servers() {
    let (servers, database, primacy) = instance(2).await;
    for version in [wire::PROTOCOL_3_0, wire::PROTOCOL_3_0 | 1, wire::PROTOCOL_3_2] {
        let of = async |port| Raw::try_connect_speaking(version, &database, port, &[]).await.unwrap();
        let direct = of(servers.endpoints[0].port).await;
        let mut client = of(primacy.port).await;
        assert_eq!(client.key.len(), direct.key.len(), "{version:x}");
        start(&mut client, LONG).await;
        runs(servers, &database, "pg_sleep").await;
        // Half of it is a wrong one.
        client.cancel(&client.key[..client.key.len() / 2]).await;
        client.cancel(&client.key.clone()).await;
        assert_eq!(sqlstate(&client.read_until("Z").await).as_deref(), Some("57014"));
        assert_eq!(client.value("SELECT 1").await, "1");
    }
}

/// The id that a session knows itself by is the one that it was greeted with, in every form; and others can cancel and end it by that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_named_by_the_ids_that_they_know() {
    let (servers, database, primacy) = instance(2).await;
    let mut client = Raw::connect(&database, primacy.port).await;
    let mut other = Raw::connect(&database, primacy.port).await;
    let id = client.pid;
    for text in [
        "SELECT pg_backend_pid()",
        "select pg_catalog.pg_backend_pid() AS me;",
        "BEGIN; SELECT 1",
        "SELECT pg_backend_pid()",
        "ROLLBACK",
    ] {
        if text.contains("pid") {
            assert_eq!(client.value(text).await, id.to_string(), "{text}");
        } else {
            client.run(text).await;
        }
    }
    // A driver that asks for binary results.
    let driver = database.connect("127.0.0.1", primacy.port).await.unwrap();
    let own: i32 = driver.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    assert_eq!(other.value(&format!("SELECT pg_cancel_backend({own})")).await, "t");
    let ended: bool = driver.query_one(&format!("SELECT pg_cancel_backend({id})"), &[]).await.unwrap().get(0);
    assert!(ended, "an idle session is there, and nothing is cancelled");

    start(&mut client, LONG).await;
    runs(servers, &database, "pg_sleep").await;
    assert_eq!(other.value(&format!("SELECT pg_cancel_backend({id})")).await, "t");
    assert_eq!(sqlstate(&client.read_until("Z").await).as_deref(), Some("57014"));
    // Nobody's, a server's own process, a stranger's.
    assert_eq!(other.value("SELECT pg_cancel_backend(2147483646)").await, "f");
    assert_eq!(other.fails("SELECT pg_terminate_backend(1)").await, "0A000");
    let strange = servers.fresh_database().await;
    let mut stranger = Raw::connect(&strange, primacy.port).await;
    assert_eq!(stranger.fails(&format!("SELECT pg_terminate_backend({id})")).await, "42501");
    assert_eq!(other.fails(&format!("SELECT pg_cancel_backend({})", other.pid)).await, "57014");

    assert_eq!(other.value(&format!("SELECT pg_terminate_backend({id}) AS gone")).await, "t");
    assert_eq!(sqlstate(&client.read_until("E$").await).as_deref(), Some("57P01"));
    let said = other.query(&format!("SELECT pg_terminate_backend({})", other.pid)).await;
    assert_eq!(sqlstate(&said).as_deref(), Some("57P01"));
}
