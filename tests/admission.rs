//! Promise: who may come in, and with which proof, is what the servers' own pg_hba.conf says.

use crate::support::raw::Message;
use crate::support::{Config, PATIENCE, Primacy, Servers, eventually, own_cluster};
use primacy::engine::embedded::Embedded as _;
use primacy::postgres::embedded::Cluster;
use primacy::postgres::wire;
use std::process::Output;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// The server's lines, after those by which the harness itself comes in.
async fn hba(cluster: &Cluster, lines: &str) {
    let file = cluster.sql(0, "postgres", "SHOW hba_file").await.unwrap();
    let file = file[0][0].clone().unwrap();
    let text = format!("local all postgres trust\nlocal replication postgres trust\n{lines}\n");
    let write = format!("COPY (SELECT unnest(string_to_array('{text}', E'\\n'))) TO '{file}'");
    cluster.sql(0, "postgres", &write).await.unwrap();
    cluster.sql(0, "postgres", "SELECT pg_reload_conf()").await.unwrap();
    let errors = "SELECT string_agg(error, '; ') FROM pg_hba_file_rules WHERE type IS NULL";
    assert_eq!(cluster.sql(0, "postgres", errors).await.unwrap()[0][0], None, "{lines}");
}

async fn psql(cluster: &Cluster, conninfo: &str, password: &str) -> Output {
    tokio::process::Command::new(cluster.programs().join("psql"))
        .args(["-XAtw", "-c", "SELECT current_user", conninfo])
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", "30")
        .env("LC_ALL", "C")
        .output()
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8(output.stderr.clone()).unwrap()
}

/// What psql says at the server and at Primacy; the port aside they must be the same.
async fn both(cluster: &Cluster, primacy: &Primacy, user: &str, password: &str, more: &str) -> [String; 2] {
    let mut answers = Vec::new();
    for port in [cluster.endpoints()[0].port, primacy.port] {
        let conninfo = format!("host=127.0.0.1 port={port} user={user} dbname=app sslmode=disable {more}");
        let output = psql(cluster, &conninfo, password).await;
        answers.push(said(&output).replace(&port.to_string(), "PORT"));
    }
    answers.try_into().unwrap()
}

const MONITOR: &str = "host all primacy 127.0.0.1/32 scram-sha-256";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_with_md5_passwords_log_in_as_at_the_server() {
    let cluster = own_cluster(0).await;
    let roles = "SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'old';
        CREATE ROLE expired LOGIN PASSWORD 'old' VALID UNTIL '2001-01-01'; CREATE ROLE closed NOLOGIN PASSWORD 'old'";
    cluster.sql(0, "postgres", roles).await.unwrap();
    hba(&cluster, &format!("{MONITOR}\nhost all all 127.0.0.1/32 md5")).await;
    let config = Config::new(&Servers::of_postgres(&cluster).yaml());
    let primacy = Primacy::start(config.cluster("firewall: { failed_logins: { limit: 0 } }")).await;
    for encryption in ["scram-sha-256", "md5"] {
        let alter = format!("ALTER SYSTEM SET password_encryption = '{encryption}'");
        cluster.sql(0, "postgres", &alter).await.unwrap();
        cluster.sql(0, "postgres", "SELECT pg_reload_conf()").await.unwrap();
        for user in ["old", "expired", "closed", "nosuch", "app"] {
            for password in ["old", "wrong", "app"] {
                let [theirs, ours] = both(&cluster, &primacy, user, password, "").await;
                assert_eq!(ours, theirs, "{encryption}: {user}, {password}");
            }
        }
        let [theirs, ours] = both(&cluster, &primacy, "old", "old", "").await;
        assert_eq!([&*theirs, &*ours], ["old\n"; 2]);
    }
}

/// What is said first to a client from that address of this machine: `welcome`, the kind of proof that is asked for, or why not.
async fn first_word(port: u16, from: &str, parameters: &[(&str, &str)]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(format!("127.0.0.1:{port}").parse().unwrap()).await.unwrap();
    let mut startup = Vec::new();
    wire::startup(&mut startup, parameters.iter().copied());
    stream.write_all(&startup).await.unwrap();
    let answer = async {
        let (tag, length) = (stream.read_u8().await.unwrap(), stream.read_u32().await.unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut body).await.unwrap();
        Message { tag, body }
    };
    let message = tokio::time::timeout(PATIENCE, answer).await.unwrap();
    match (message.tag, message.body.get(..4)) {
        (b'R', Some([0, 0, 0, 0])) => "welcome".to_owned(),
        (b'R', Some([0, 0, 0, 5])) => "md5".to_owned(),
        (b'R', Some([0, 0, 0, 10])) => "scram".to_owned(),
        (b'E', _) => {
            let field = |kind| message.field(kind).unwrap_or_default();
            format!("{} {} {}", field(b'C'), field(b'M'), field(b'H')).trim_end().to_owned()
        }
        _ => panic!("{message:?}"),
    }
}

const READS_HBA: &str =
    "GRANT SELECT ON pg_hba_file_rules TO primacy; GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO primacy";

const LINES: &str = "
host    all         primacy 127.0.0.1/32 scram-sha-256
host    app         trusty  127.0.0.1/32 trust
host    app         +team   127.0.0.2/32 reject
host    app         trusty  127.0.0.2/32 trust
host    sameuser    all     127.0.0.2/32 md5
host    app,samerole all    127.0.0.2/32 scram-sha-256
host    replication all     127.0.0.3/32 reject
hostssl all         all     127.0.0.3/32 trust
host    all         app     127.0.0.3/32 trust
host    all         all     127.0.0.4/32 ldap ldapserver=localhost ldapprefix=x
host    app         all     127.0.0.5/32 scram-sha-256
host    all         all     127.0.0.1/32 scram-sha-256";

/// The same client at the server and at Primacy, whose own connections come from another address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_held_against_pg_hba_by_its_own_address() {
    let cluster = own_cluster(0).await;
    let roles =
        "CREATE ROLE trusty LOGIN; CREATE ROLE mate LOGIN PASSWORD 'x'; CREATE ROLE team; GRANT team TO mate;
        CREATE ROLE closed NOLOGIN; SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'x'";
    cluster.sql(0, "postgres", &format!("{roles}; {READS_HBA}")).await.unwrap();
    hba(&cluster, LINES).await;
    let primacy = Primacy::start(Config::new(&Servers::of_postgres(&cluster).yaml())).await;
    let server = cluster.endpoints()[0].port;
    for from in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.5", "127.0.0.6"] {
        for user in ["trusty", "mate", "old", "nosuch"] {
            for database in ["app", "old", "team", "nosuch"] {
                for replication in ["false", "true", "database"] {
                    let parameters = [("user", user), ("database", database), ("replication", replication)];
                    let theirs = first_word(server, from, &parameters).await;
                    let ours = first_word(primacy.port, from, &parameters).await;
                    if theirs == "welcome" && replication == "database" {
                        // It is let in, and then wants a right: here the server says so before anybody is welcome.
                        assert!(ours.starts_with("42501 "), "{from} {user} {database}: {ours}");
                    } else {
                        assert_eq!(ours, theirs, "{from} {user} {database} {replication}");
                    }
                }
            }
        }
    }
    // What stands in the way of a proxy is said.
    let ldap = first_word(primacy.port, "127.0.0.4", &[("user", "app"), ("database", "app")]).await;
    assert!(ldap.starts_with("28000 pg_hba.conf wants method \"ldap\" for host \"127.0.0.4\""), "{ldap}");
    // The server trusts the client's address, but not ours: without a proof nothing could be opened in its name.
    assert_eq!(first_word(server, "127.0.0.3", &[("user", "app"), ("database", "app")]).await, "welcome");
    assert_eq!(first_word(primacy.port, "127.0.0.3", &[("user", "app"), ("database", "app")]).await, "scram");
    // The console is no database of the servers'.
    let console = [("user", "primacy"), ("database", "primacy")];
    assert_eq!(first_word(primacy.port, "127.0.0.5", &console).await, "scram");
    let trusted = format!("host=127.0.0.1 port={} user=trusty dbname=app sslmode=disable", primacy.port);
    assert_eq!(said(&psql(&cluster, &trusted, "").await), "trusty\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_of_pg_hba_holds_and_host_names_are_never_trusted() {
    let cluster = own_cluster(0).await;
    cluster.sql(0, "postgres", READS_HBA).await.unwrap();
    hba(&cluster, &format!("{MONITOR}\nhost all all all scram-sha-256")).await;
    let config = Config::new(&Servers::of_postgres(&cluster).yaml());
    let primacy = Primacy::start(config.clone()).await;
    let app = [("user", "app"), ("database", "app")];
    assert_eq!(first_word(primacy.port, "127.0.0.1", &app).await, "scram");
    for (lines, expected) in [
        ("host all all 127.0.0.0/8 reject", "28000 pg_hba.conf rejects connection for host"),
        ("host all all localhost trust\nhost all all all scram-sha-256", "scram"),
        (
            "host all all .localdomain reject\nhost all all all scram-sha-256",
            "Line 4 of pg_hba.conf may be meant",
        ),
        ("host all all localhost scram-sha-256", "28000 no pg_hba.conf entry for host"),
    ] {
        hba(&cluster, &format!("{MONITOR}\n{lines}")).await;
        eventually(lines, async || {
            let word = first_word(primacy.port, "127.0.0.1", &app).await;
            word.contains(expected).then_some(())
        })
        .await;
    }
    primacy.reload(&config.cluster("users: { pg_hba: off }"));
    eventually("the file is nobody's matter", async || {
        (first_word(primacy.port, "127.0.0.1", &app).await == "scram").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_pg_hba_cannot_be_read_everybody_proves_itself() {
    let cluster = own_cluster(0).await;
    hba(&cluster, &format!("{MONITOR}\nhost all all 127.0.0.2/32 reject\nhost all all all trust")).await;
    let primacy = Primacy::start(Config::new(&Servers::of_postgres(&cluster).yaml())).await;
    for from in ["127.0.0.1", "127.0.0.2"] {
        assert_eq!(first_word(primacy.port, from, &[("user", "app"), ("database", "app")]).await, "scram");
    }
}
