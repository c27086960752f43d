//! Promise: `primacy check --connect` tells before the start what will work, what will not, and what to do.

use crate::support::{Config, Servers};
use std::process::Command;

/// The exit code and everything that was said.
fn check(text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("primacy.yaml");
    std::fs::write(&path, text).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_primacy")).arg("check").arg(&path).arg("--connect").output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[tokio::test]
async fn a_good_cluster_is_called_good() {
    let servers = Servers::postgres().await;
    let (code, said) = check(&Config::new(&servers.yaml()).text(6432, 9632));
    let [primary, replica, _] = &*servers.endpoints else { panic!("three nodes") };
    let version = servers.version.split(' ').next().unwrap();
    let lines = [
        format!("ok       {}: PostgreSQL {version}, primary", primary.name),
        format!("ok       {}: PostgreSQL {version}, replica", replica.name),
        "all that answer are of one system".to_owned(),
        "log in by the verifier".to_owned(),
        "primacy may not read pg_hba.conf".to_owned(),
        "reads: causal".to_owned(),
        "no problem".to_owned(),
    ];
    says(&said, &lines.each_ref().map(|line| &**line));
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn what_is_broken_is_told_with_its_next_step() {
    let servers = Servers::postgres().await;
    let good = Config::new(&servers.yaml()).text(6432, 9632);
    let port = servers.endpoints[1].port.to_string();
    let (code, said) = check(&good.replace(&format!(":{port}"), ":1"));
    says(
        &said,
        &["PROBLEM", "onnection refused", "-> start the server, or correct the address", "1 problem"],
    );
    assert_eq!(code, Some(2), "{said}");

    let admin = servers.admin(0, "postgres").await;
    let poor = crate::support::unique("poor");
    admin.batch_execute(&format!("CREATE ROLE {poor} LOGIN PASSWORD 'poor'")).await.unwrap();
    let mut as_poor = String::new();
    for line in good.lines() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("monitor:") {
            as_poor.push_str(&format!("{}monitor: {{ user: {poor}, password: poor }}\n", " ".repeat(indent)));
        } else {
            as_poor.push_str(&format!("{line}\n"));
        }
    }
    let (code, said) = check(&as_poor);
    says(&said, &["may not read verifiers", "docs/verifier.md", &format!("GRANT pg_monitor TO {poor}")]);
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = check(&as_poor.replace("password: poor", "password: wrong"));
    says(&said, &["28P01", "monitor.password", "3 problems"]);
    assert_eq!(code, Some(2), "{said}");
    admin.batch_execute(&format!("DROP ROLE {poor}")).await.unwrap();
}
