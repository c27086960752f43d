//! Promise: MySQL clients are served through the same seam, one to one with the primary.

mod bytes;

use crate::support::{Config, Primacy, own_mysql};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, OptsBuilder, SslOpts};
use primacy::engine::embedded::{Embedded as _, Stop};
use primacy::mysql::embedded::Cluster;
use tempfile::TempDir;

struct Bed {
    // Ended first: it would miss its servers.
    primacy: Primacy,
    cluster: Cluster,
    _files: TempDir,
}

async fn bed() -> Option<Bed> {
    // Who installs it first wins; it is the same for all.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let cluster = own_mysql(0).await?;
    let files = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let config = Config::new(&cluster.yaml())
        .cluster(&format!(
            "tls: {{ mode: require, certificate: \"{}\", key: \"{}\" }}",
            certificate.display(),
            key.display()
        ))
        .cluster("users: { list: [ { name: app, password: embedded-app } ] }")
        .cluster("failover: { hold: 500ms }");
    let primacy = Primacy::start(config).await;
    Some(Bed { cluster, primacy, _files: files })
}

impl Bed {
    async fn connect(&self, user: &str, password: &str) -> mysql_async::Result<Conn> {
        let tls = SslOpts::default()
            .with_danger_accept_invalid_certs(true)
            .with_danger_skip_domain_validation(true);
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(self.primacy.port);
        let options = options.prefer_socket(false).ssl_opts(tls).db_name(Some("app"));
        Conn::new(options.user(Some(user)).pass(Some(password))).await
    }

    async fn app(&self) -> Conn {
        self.connect("app", "embedded-app").await.unwrap()
    }
}

fn errno(error: &Error) -> u16 {
    match error {
        Error::Server(error) => error.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_statements_transactions_and_errors_pass() {
    let Some(bed) = bed().await else { return };
    let mut client = bed.app().await;
    let version: String = client.query_first("SELECT VERSION()").await.unwrap().unwrap();
    assert_eq!(version, bed.cluster.version());
    client.query_drop("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)").await.unwrap();
    for id in 0..3 {
        client.exec_drop("INSERT INTO t VALUES (?, ?)", (id, format!("v{id}"))).await.unwrap();
    }
    let values: Vec<String> = client.exec("SELECT v FROM t WHERE id > ? ORDER BY id", (0,)).await.unwrap();
    assert_eq!(values, ["v1", "v2"]);
    let error = client.query_drop("INSERT INTO t VALUES (1, '')").await.unwrap_err();
    assert_eq!(errno(&error), 1062);
    let error = client.query_drop("SELEC 1").await.unwrap_err();
    assert_eq!(errno(&error), 1064);
    let mut transaction = client.start_transaction(mysql_async::TxOpts::default()).await.unwrap();
    transaction.query_drop("DELETE FROM t").await.unwrap();
    transaction.rollback().await.unwrap();
    let several: Vec<u8> = client.query("SELECT COUNT(*) FROM t; SELECT 7").await.unwrap();
    assert_eq!(several, [3]);
    client.ping().await.unwrap();
    client.reset().await.unwrap();
    let file = client.query_drop("LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t").await;
    assert!(matches!(file, Err(Error::Server(_))), "{file:?}");
    let database: String = client.query_first("SELECT DATABASE()").await.unwrap().unwrap();
    assert_eq!(database, "app");
    client.disconnect().await.unwrap();
    // Whoever comes next has a clean connection of the same server.
    let mut next = bed.app().await;
    let left: Option<Option<String>> = next.query_first("SELECT @left").await.unwrap();
    assert_eq!(left, Some(None));
}

fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_large_streams() {
    let Some(bed) = bed().await else { return };
    let mut client = bed.app().await;
    let before = resident(bed.primacy.pid());
    let text = "SELECT REPEAT('x', 50000) FROM information_schema.columns AS a, information_schema.columns AS b LIMIT 1000";
    let rows: Vec<String> = client.query(text).await.unwrap();
    assert_eq!(rows.iter().map(String::len).sum::<usize>(), 50_000_000);
    // A value beyond one packet, in both directions.
    let long = "y".repeat(20_000_000);
    let length: Option<u64> = client.exec_first("SELECT LENGTH(?)", (&long,)).await.unwrap();
    assert_eq!(length, Some(20_000_000));
    let back: Option<String> = client.query_first("SELECT REPEAT('z', 17000000)").await.unwrap();
    assert_eq!(back.map(|text| text.len()), Some(17_000_000));
    let grown = resident(bed.primacy.pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_come_in_is_told() {
    let Some(bed) = bed().await else { return };
    for (user, password) in [("app", "wrong"), ("nobody", "embedded-app")] {
        let error = bed.connect(user, password).await.unwrap_err();
        assert_eq!(errno(&error), 1045);
        assert!(error.to_string().contains("users.list"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_primary_is_told() {
    let Some(bed) = bed().await else { return };
    bed.primacy.expect_log("WARN");
    bed.primacy.expect_log("ERROR");
    let mut client = bed.app().await;
    client.query_drop("DO 1").await.unwrap();
    bed.cluster.stop(0, Stop::Immediate).await.unwrap();
    let error = client.query_drop("DO 1").await.unwrap_err();
    assert!(matches!(&error, Error::Server(error) if error.code == 1053), "{error:?}");
}
