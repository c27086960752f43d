//! Promise: hardly a read goes to the primary only because it is not known to be harmless. Counted is what ran, when all that was to be learnt of
//! the database had been: where reads go because of freshness is another matter.

use super::{Bed, file, ok, python, rails, run};
use crate::support::{Raw, eventually, http};
use std::collections::BTreeMap;

/// Reads by where they went and why: `replica:fresh`, `primary:caution`, …
type Reads = BTreeMap<String, f64>;

async fn reads(bed: &Bed) -> Reads {
    let (_, text) = http::get(bed.primacy.admin_port, "/metrics").await.unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("primacy_routed_total") && line.contains("class=\"read\""));
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let read = |line: &str| {
        let value = line.rsplit(' ').next().unwrap().parse().unwrap();
        (format!("{}:{}", label(line, "role"), label(line, "reason")), value)
    };
    lines.map(read).collect()
}

/// What the proxy says it did not know, for whoever reads a failure.
async fn doubts(bed: &Bed) -> String {
    let (_, text) = http::get(bed.primacy.admin_port, "/metrics").await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with("primacy_doubtful_writes"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Prints where the reads since `before` went; fails when more than `most` percent of them went to the primary by caution, or there were fewer
/// than `least`.
async fn judge(bed: &Bed, whose: &str, before: &Reads, least: f64, most: f64) {
    let after = reads(bed).await;
    let since: Reads = after.iter().map(|(why, count)| (why.clone(), count - before[why])).collect();
    let all: f64 = since.values().sum();
    let share = |why: &str| 100.0 * since[why] / all;
    let told: Vec<_> =
        since.iter().filter(|(_, count)| **count > 0.0).map(|(why, n)| format!("{why} {n}")).collect();
    let (caution, replicas) = (share("primary:caution"), share("replica:fresh"));
    eprintln!(
        "{whose}: {caution:.1} % by caution, {replicas:.1} % on replicas, of {all} reads ({})",
        told.join(", ")
    );
    assert!(all >= least, "{whose}: {all} reads");
    assert!(caution <= most, "{whose}: {caution} % by caution\n{}", doubts(bed).await);
}

/// A built-in script of pgbench, without its transaction.
async fn in_autocommit(bed: &Bed, name: &str) -> String {
    let mut command = bed.program("pgbench", bed.direct());
    let shown = command.arg(format!("--show-script={name}")).output().await.unwrap();
    let text = String::from_utf8(shown.stderr).unwrap();
    assert!(text.contains("SELECT abalance"), "{text}");
    let lines = text.lines().filter(|line| !["BEGIN;", "END;"].contains(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbench_is_not_met_with_caution() {
    let bed = Bed::new().await;
    let mut command = bed.program("pgbench", bed.primacy.port);
    command.args(["-i", "-q", "-s", "1"]);
    run(command).await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["tpcb-like", "simple-update", "select-only"] {
        let path = folder.path().join(name);
        std::fs::write(&path, in_autocommit(&bed, name).await).unwrap();
        for protocol in ["simple", "extended", "prepared"] {
            let bench = async |transactions: &str| {
                let mut command = bed.program("pgbench", bed.primacy.port);
                // A thread each: pgbench prepares without letting its thread's other clients go on, who may hold all backends.
                command
                    .args(["-n", "-c", "4", "-j", "4", "-t", transactions, "-M", protocol, "-f"])
                    .arg(&path);
                run(command).await;
            };
            bench("2").await;
            let before = reads(&bed).await;
            bench("50").await;
            judge(&bed, &format!("pgbench {name}, {protocol}"), &before, 200.0, 2.0).await;
        }
    }
    bed.no_pins("pgbench").await;
}

async fn only_cursors_pinned(bed: &Bed) {
    let (_, text) = http::get(bed.primacy.admin_port, "/metrics").await.unwrap();
    let pins = text.lines().filter(|line| line.starts_with("primacy_pins_total"));
    let others =
        pins.filter(|line| !line.contains("hold_cursor") && !line.ends_with(" 0.0") && !line.ends_with(" 0"));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// An application of Django's with accounts, sessions and the admin's pages, in autocommit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_django_like_program_is_not_met_with_caution() {
    for binding in ["client", "server"] {
        let bed = Bed::new().await;
        let site = async |rounds: &str| {
            let mut command = python()?;
            command.arg(file("django_site.py")).arg(bed.dsn()).args([binding, rounds]);
            let mut child = ok(command).await;
            drop(child.stdin.take());
            assert!(child.wait().await.unwrap().success());
            Some(())
        };
        // Its tables, its data, and every page once.
        let Some(()) = site("0").await else { return };
        let before = reads(&bed).await;
        site("4").await.unwrap();
        judge(&bed, &format!("Django's admin, binding on the {binding}"), &before, 200.0, 5.0).await;
        // Its forms read their choices through cursors WITH HOLD, which pin while they are open; nothing else does.
        only_cursors_pinned(&bed).await;
    }
}

/// A process of an application of Rails': it asks for its tables, then serves requests, each written as its adapter sends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rails_like_program_is_not_met_with_caution() {
    let bed = Bed::new().await;
    bed.database
        .connect("127.0.0.1", bed.primacy.port)
        .await
        .unwrap()
        .batch_execute(rails::SCHEMA)
        .await
        .unwrap();
    let process = async |requests: usize| {
        let client = Raw::connect(&bed.database, bed.primacy.port).await;
        let mut adapter = rails::Adapter::new(client);
        adapter.boot().await;
        for request in 0..requests {
            adapter.request(request).await;
        }
    };
    process(2).await;
    let before = reads(&bed).await;
    for _ in 0..3 {
        process(20).await;
    }
    judge(&bed, "Rails", &before, 500.0, 5.0).await;
    bed.no_pins("Rails").await;
}

/// What is counted as caution is caution: a test of the measure itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caution_shows_where_there_is_some() {
    let bed = Bed::new().await;
    let client = bed.database.connect("127.0.0.1", bed.primacy.port).await.unwrap();
    let function = "CREATE FUNCTION lazy() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RETURN 1; END $f$";
    client.batch_execute(function).await.unwrap();
    let before = reads(&bed).await;
    for _ in 0..10 {
        client.batch_execute("SELECT lazy()").await.unwrap();
    }
    eventually("all of them are counted", async || {
        (reads(&bed).await["primary:caution"] - before["primary:caution"] >= 10.0).then_some(())
    })
    .await;
    assert!(doubts(&bed).await.contains("lazy"), "{}", doubts(&bed).await);
}
