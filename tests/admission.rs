//! Promise: who may come in, and with which proof, is what the servers' own pg_hba.conf says.

use crate::support::{Config, Primacy, Servers, own_cluster};
use primacy::engine::embedded::Embedded as _;
use primacy::postgres::embedded::Cluster;
use std::process::Output;

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
