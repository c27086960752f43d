//! Clients that die in the midst of something: what they began is undone, the backend is clean or closed.

use super::{all_clean, instance};
use crate::support::{Raw, eventually};
use primacy::postgres::wire;

fn query(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    wire::query(&mut out, text);
    out
}

fn pipeline(rows: usize, synced: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..rows {
        wire::parse(&mut out, b"", b"INSERT INTO t SELECT 7 FROM pg_sleep(0.01)", &[]);
        wire::bind(&mut out, "", "", [].into_iter());
        wire::execute(&mut out, "", 0);
    }
    if synced {
        wire::sync(&mut out);
    } else {
        wire::flush(&mut out);
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_client_began_is_undone() {
    let (servers, database, primacy) = instance(&["pool: { size: 2, queue_timeout: 60s }"]).await;
    let mut bystander = Raw::connect(&database, primacy.port).await;
    bystander.run("CREATE TABLE t (a int)").await;
    let half = query("INSERT INTO t VALUES (8)");
    // What it says, and up to which answer it listens before it dies.
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("in a transaction", query("BEGIN; INSERT INTO t VALUES (1)"), "Z"),
        ("in a failed transaction", query("BEGIN; INSERT INTO t VALUES (1); SELECT 1/0"), "Z"),
        ("with an answer unread", query("BEGIN; INSERT INTO t VALUES (1)"), ""),
        (
            "in the midst of a message",
            [query("BEGIN; INSERT INTO t VALUES (1)"), half[..9].to_vec()].concat(),
            "Z",
        ),
        ("in a statement", query("INSERT INTO t SELECT 2 FROM pg_sleep(300)"), ""),
        ("in a read", query("SELECT pg_sleep(300)"), ""),
        (
            "in a result",
            query(
                "BEGIN; INSERT INTO t VALUES (1); SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
            ),
            "T",
        ),
        (
            "in a COPY to it",
            query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT"),
            "H",
        ),
        ("at the begin of a COPY from it", query("COPY t FROM STDIN"), "G"),
        ("in a COPY from it", [query("COPY t FROM STDIN"), b"d\0\0\0\x063\n".to_vec()].concat(), "G"),
        ("in a row of a COPY", [query("COPY t FROM STDIN"), b"d\0\x10\0\x0033333".to_vec()].concat(), "G"),
        ("in a pipeline without an end", pipeline(20, false), "1"),
        ("in a pipeline that is one transaction", pipeline(200, true), "1"),
        (
            "holding locks",
            query("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; SELECT pg_advisory_lock(1)"),
            "Z",
        ),
        ("with a session's locks", query("SELECT pg_advisory_lock(2)"), "Z"),
    ];
    for (case, bytes, until) in &cases {
        for _ in 0..2 {
            let mut client = Raw::connect(&database, primacy.port).await;
            client.send(bytes).await;
            client.read_until(until).await;
            drop(client);
            assert_eq!(bystander.value("SELECT 1").await, "1", "{case}");
        }
        all_clean(servers, &database).await;
        // What was complete before the client died may be done, as by the server itself; nothing is done by half.
        let done = bystander.value("/* primacy:primary */ SELECT count(*) % 200 FROM t WHERE a = 7").await;
        let others = bystander.value("/* primacy:primary */ SELECT count(*) FROM t WHERE a <> 7").await;
        assert_eq!((&*done, &*others), ("0", "0"), "died {case}");
    }
    let admin = servers.admin(0, "postgres").await;
    let locks = "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = $1 AND locktype = 'advisory'";
    eventually("no lock stays", async || {
        admin.query(locks, &[&database.name]).await.unwrap().is_empty().then_some(())
    })
    .await;
}
