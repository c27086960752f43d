//! Memory is bounded by settings, not by what clients send, ask for or fail to read.

use super::{all_clean, instance, memory, said};
use crate::support::{Database, Raw, Servers, eventually};
use primacy::postgres::wire;

const MIB: u64 = 1024;

/// Waits until the server has more for a client of this database than anybody takes.
async fn is_stuck(servers: &Servers, database: &Database) {
    let admin = servers.admin(0, "postgres").await;
    let stuck = "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'ClientWrite'";
    eventually("the server waits for its reader", async || {
        admin.query_opt(stuck, &[&database.name]).await.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_leave_nothing() {
    let (_, database, primacy) = instance(&["timeouts: { login: 10m }"]).await;
    let storm = async |rounds: usize| {
        for _ in 0..rounds {
            said(primacy.port, b"GET / HTTP/1.1\r\n\r\n", true).await;
            said(primacy.port, b"\x00\x00\x20\x00\x00\x03\x00\x00user\x00", true).await;
            let mut startup = Vec::new();
            wire::startup(&mut startup, [("user", "nobody"), ("database", "d")]);
            said(primacy.port, &startup, true).await;
        }
        for _ in 0..rounds / 10 {
            let mut client = Raw::connect(&database, primacy.port).await;
            client.run("SELECT repeat('x', 100000)").await;
            client.send(&[b'Q', 0, 1, 0, 0, b'S']).await;
        }
    };
    storm(200).await;
    let before = memory(&primacy, "VmRSS");
    storm(1000).await;
    let after = memory(&primacy, "VmRSS");
    assert!(after < before + 16 * MIB, "{before} KiB, then {after} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_200_megabytes_passes_through() {
    let (_, database, primacy) = instance(&[]).await;
    let mut client = Raw::connect(&database, primacy.port).await;
    client
        .send(&{
            let mut out = Vec::new();
            wire::query(&mut out, "SELECT repeat('x', 200000000)");
            out
        })
        .await;
    let row = loop {
        let message = client.read().await.unwrap();
        assert_ne!(message.tag, b'E', "{:?}", message.field(b'M'));
        if message.tag == b'D' {
            break message.body.len();
        }
    };
    assert_eq!(row, 200_000_006);
    client.read_until("Z").await;
    // And one of the client's own.
    client.run("CREATE TABLE t (a text)").await;
    let mut out = Vec::new();
    wire::query(&mut out, &format!("INSERT INTO t VALUES ('{}')", "y".repeat(8_000_000)));
    for _ in 0..3 {
        client.send(&out).await;
        assert_eq!(super::sqlstate(&client.read_until("Z").await), None);
    }
    assert_eq!(client.value("/* primacy:primary */ SELECT sum(length(a)) FROM t").await, "24000000");
    let most = memory(&primacy, "VmHWM");
    assert!(most < 64 * MIB, "{most} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_up_itself_only() {
    let (servers, database, primacy) = instance(&["pool: { size: 3 }"]).await;
    let mut bystander = Raw::connect(&database, primacy.port).await;
    // One result that nobody takes; and many, asked for without end.
    let mut one = Raw::connect(&database, primacy.port).await;
    let mut out = Vec::new();
    wire::query(&mut out, "/* primacy:primary */ SELECT repeat('x', 1000) FROM generate_series(1, 1000000)");
    one.send(&out).await;
    is_stuck(servers, &database).await;
    assert_eq!(bystander.value("SELECT 1").await, "1");
    drop(one);
    all_clean(servers, &database).await;
    let mut many = Raw::connect(&database, primacy.port).await;
    let mut out = Vec::new();
    for _ in 0..100 {
        wire::query(&mut out, "/* primacy:primary */ SELECT repeat('x', 100000000)");
    }
    many.send(&out).await;
    is_stuck(servers, &database).await;
    assert_eq!(bystander.value("/* primacy:primary */ SELECT 1").await, "1");
    drop(many);
    all_clean(servers, &database).await;
    let most = memory(&primacy, "VmHWM");
    assert!(most < 64 * MIB, "{most} KiB");
}
