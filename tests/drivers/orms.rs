//! ORMs work whole through Primacy, pin nothing by what they send at connect, query and release, and read from replicas where they run in
//! autocommit.

use super::{Bed, file, ok, python};
use crate::pooling::primacy_pins;
use crate::support::eventually;

/// Runs one part of a driver's program; `None` when there is no Python for it.
async fn part(bed: &Bed, program: &str, what: &str, more: &[&str]) -> Option<tokio::process::Child> {
    let mut command = python()?;
    command.arg(file(program)).arg(bed.dsn()).arg(what).args(more);
    Some(ok(command).await)
}

/// The same for its reads alone; prints and returns which share of all that was routed went to replicas, in percent.
async fn share_of_reads(bed: &Bed, whose: &str, program: &str, more: &[&str]) -> Option<f64> {
    let before = bed.routed().await;
    let _alive = part(bed, program, "reads", more).await?;
    let after = bed.routed().await;
    let (primary, replicas) = (after.0 - before.0, after.1 - before.1);
    let share = 100.0 * replicas / (primary + replicas);
    eprintln!("{whose}: {share:.1} % on replicas ({replicas} there, {primary} on the primary)");
    Some(share)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlalchemy_works_whole_pins_nothing_and_reads_from_replicas() {
    for dialect in ["psycopg", "asyncpg"] {
        for mode in ["autocommit", "transactions", "deferred"] {
            let bed = match mode {
                "deferred" => Bed::with("routing: { reads_in_transactions: until_first_write }").await,
                _ => Bed::new().await,
            };
            let (more, whose) = ([dialect, mode], format!("SQLAlchemy with {dialect}, {mode}"));
            let program = "sqlalchemy_driver.py";
            let Some(alive) = part(&bed, program, "release", &more).await else { return };
            bed.no_pins(&whose).await;
            drop(alive);
            let share = share_of_reads(&bed, &whose, program, &more).await.unwrap();
            // In a transaction everything is the primary's, unless it waits for its first write.
            assert!(if mode == "transactions" { share < 10.0 } else { share >= 90.0 }, "{whose}: {share}");
            bed.no_pins(&whose).await;
            let _alive = part(&bed, program, "whole", &more).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_works_whole_pins_nothing_and_reads_from_replicas() {
    let bed = Bed::new().await;
    let program = "django_driver.py";
    let Some(alive) = part(&bed, program, "release", &[]).await else { return };
    bed.no_pins("Django").await;
    drop(alive);
    drop(part(&bed, program, "whole", &[]).await);
    // A cursor WITH HOLD pins while it is open, and at the latest until its client has gone.
    eventually("no pin is left", async || (primacy_pins(&bed.primacy).await == 0).then_some(())).await;
    let share = share_of_reads(&bed, "Django", program, &[]).await.unwrap();
    assert!(share >= 90.0, "{share}");
}
