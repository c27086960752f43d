//! Each surprise that servers may hold, and what is said of it.

use super::*;
use crate::config::Settings;
use crate::postgres::inspect::Hba;
use std::sync::Arc;

fn cluster(more: &str) -> Arc<Cluster> {
    let text = format!(
        "clusters:\n  main:\n    engine: postgres\n    listen: 127.0.0.1:6432\n    monitor: {{ user: primacy, password: x }}\n    nodes:\n      \
         n1: {{ address: a:5432 }}\n      n2: {{ address: b:5432 }}\n{more}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("primacy.yaml");
    std::fs::write(&path, text).unwrap();
    Settings::load(&path).unwrap_or_else(|errors| panic!("{errors}")).clusters[0].clone()
}

fn facts(follows: bool) -> Facts {
    Facts {
        version: "15.18".into(),
        number: 150_018,
        follows,
        identity: 7,
        connections: 100,
        slots: 97,
        feedback: true,
        replay_delay: "30s".into(),
        password_encryption: "scram-sha-256".into(),
        synchronous_commit: "on".into(),
        clock: (0.01, 0.02),
        superuser: false,
        monitor: true,
        receives: follows,
        verifiers: Verifiers::Function,
        hba: Some(Hba { broken: 0, doubtful: 0 }),
    }
}

fn login(name: &str, password: Option<Stored>, expired: bool) -> Login {
    Login { name: name.into(), superuser: false, password, expired }
}

fn all(cluster: &Cluster, answers: &[Answer], logins: &[Login]) -> Vec<Line> {
    let mut lines: Vec<Line> =
        cluster.nodes.iter().zip(answers).flat_map(|(of, answer)| node(cluster, of, answer)).collect();
    lines.extend(together(cluster, answers));
    if let Some(Ok(facts)) = answers.first() {
        lines.extend(accounts(cluster, facts, logins));
    }
    lines.extend(promise(cluster, answers));
    lines
}

/// Exactly one line is not ok: of that level, with this in it and in its next step.
fn only(lines: &[Line], level: Level, text: &str, next: &str) {
    let loud: Vec<_> = lines.iter().filter(|line| line.level != Level::Ok).collect();
    let [line] = *loud else { panic!("{loud:?}") };
    assert!(line.level == level && line.text.contains(text), "{line:?}");
    assert!(line.next.as_deref().unwrap_or_default().contains(next), "{line:?}");
}

#[test]
fn a_good_cluster_has_no_surprise() {
    let cluster = cluster("");
    let lines =
        all(&cluster, &[Ok(facts(false)), Ok(facts(true))], &[login("ann", Some(Stored::Scram), false)]);
    assert!(lines.iter().all(|line| line.level == Level::Ok), "{lines:?}");
    let text: String = lines.iter().map(ToString::to_string).collect();
    for part in [
        "n1: PostgreSQL 15.18, primary",
        "room for 4 full pools",
        "1 account log in by the verifier",
        "served by n2",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

type Change = fn(&mut Facts);

#[test]
fn each_surprise_of_a_node_is_told() {
    let cases: [(Change, Change, Level, &str, &str); 9] = [
        (|one| one.number = 130_011, |_| {}, Level::Problem, "too old", "upgrade"),
        (|one| one.monitor = false, |_| {}, Level::Warning, "pg_monitor", "GRANT pg_monitor TO primacy"),
        (|one| one.clock = (-3.0, 0.1), |_| {}, Level::Warning, "-3.0 s", "NTP"),
        (|one| one.slots = 15, |_| {}, Level::Warning, "room for 0", "pool.size"),
        (|one| one.password_encryption = "md5".into(), |_| {}, Level::Warning, "md5", "ALTER SYSTEM"),
        (|one| one.synchronous_commit = "off".into(), |_| {}, Level::Warning, "may be lost", ""),
        (
            |one| one.verifiers = Verifiers::Hidden,
            |_| {},
            Level::Problem,
            "may not read verifiers",
            "docs/verifier.md",
        ),
        (
            |_| {},
            |two| two.replay_delay = "-1".into(),
            Level::Warning,
            "max_standby_streaming_delay is -1",
            "seconds",
        ),
        (|_| {}, |two| two.identity = 8, Level::Problem, "not of the same system as n1: n2", "pg_basebackup"),
    ];
    let cluster = cluster("");
    for (one, two, level, text, next) in cases {
        let (mut first, mut second) = (facts(false), facts(true));
        one(&mut first);
        two(&mut second);
        only(&all(&cluster, &[Ok(first), Ok(second)], &[]), level, text, next);
    }
}

#[test]
fn roles_are_one_primary_and_its_replicas() {
    let cluster = cluster("");
    let lines = together(&cluster, &[Ok(facts(false)), Ok(facts(false))]);
    only(&lines, Level::Problem, "more than one node takes writes: n1, n2", "stop");
    let lines = together(&cluster, &[Ok(facts(true)), Ok(facts(true))]);
    only(&lines, Level::Problem, "takes writes", "promote");
    let lines = promise(&cluster, &[Ok(facts(false)), Ok(Facts { receives: false, ..facts(true) })]);
    only(&lines, Level::Warning, "no replica can serve any", "receive");
}

#[test]
fn who_does_not_answer_is_told_why_and_what_to_do() {
    let cluster = cluster("");
    let cases = [
        ("n1: password authentication failed (SQLSTATE 28P01)", "monitor.password"),
        ("n1: database \"x\" does not exist (SQLSTATE 3D000)", "monitor.database"),
        ("n1: a:5432: connection refused", "start the server"),
        ("n1: a:5432: TLS: unknown issuer", "`tls` of node n1"),
    ];
    for (why, next) in cases {
        only(&node(&cluster, &cluster.nodes[0], &Err(why.into())), Level::Problem, why, next);
    }
}

#[test]
fn accounts_that_would_fail_are_named() {
    let listed = cluster("    users:\n      list: [{ name: eve, password: x }]\n");
    let logins = [
        login("ann", Some(Stored::Scram), false),
        login("bob", Some(Stored::Md5), false),
        login("eve", Some(Stored::Md5), false),
    ];
    only(
        &accounts(&listed, &facts(false), &logins),
        Level::Warning,
        "scram-sha-256): bob",
        "password_encryption",
    );
    let expired = [login("ann", Some(Stored::Scram), true), login("eve", None, false)];
    only(
        &accounts(&listed, &facts(false), &expired),
        Level::Warning,
        "VALID UNTIL has passed: ann",
        "ALTER ROLE",
    );
    only(
        &accounts(&listed, &facts(false), &[login("dan", None, false)]),
        Level::Warning,
        "no password",
        "PASSWORD",
    );
    let direct = Facts { verifiers: Verifiers::Directly, ..facts(false) };
    only(&accounts(&listed, &direct, &logins[..1]), Level::Problem, "user eve", "CREATE ROLE eve");
}

#[test]
fn it_is_said_whether_pg_hba_is_held_against_clients() {
    let auto = cluster("");
    let with = |hba| Facts { hba, ..facts(false) };
    assert!(
        hba(&auto, &with(Some(Hba { broken: 0, doubtful: 0 }))).iter().all(|line| line.level == Level::Ok)
    );
    only(
        &hba(&auto, &with(None)),
        Level::Warning,
        "may not read pg_hba.conf",
        "GRANT SELECT ON pg_hba_file_rules TO",
    );
    only(
        &hba(&auto, &with(Some(Hba { broken: 1, doubtful: 0 }))),
        Level::Warning,
        "1 line of pg_hba.conf",
        "error",
    );
    only(&hba(&auto, &with(Some(Hba { broken: 0, doubtful: 2 }))), Level::Warning, "2 lines", "addresses");
    let off = cluster("    users: { pg_hba: off }\n");
    assert!(hba(&off, &with(None)).iter().all(|line| line.level == Level::Ok));
}
