//! Check-out and return: our pool beside bb8, with `cargo bench --bench pool`. 64 tasks on two threads take a backend, give others a
//! turn, give it back. Reported: CPU time per check-out of the whole process, what the luckiest and the unluckiest task got, and the
//! longest that one had to wait. `docs/adr/0001-own-pool-for-client-traffic.md` says what follows from it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for the terminal")]

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use primacy::clock::{self, Tick};
use primacy::engine::NodeId;
use primacy::engine::tracked::Customs;
use primacy::pool::{Limits, NodeBudget, Pool, PoolKey, Pooled, Purpose, Slot, Taken, Want};
use primacy::task;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::yield_now;

const TASKS: usize = 64;
const RUN: Duration = Duration::from_secs(1);
const ROUNDS: usize = 3;

struct Backend(Tick);

impl Pooled for Backend {
    fn is_usable(&mut self) -> bool {
        true
    }

    fn state_key(&self) -> u64 {
        0
    }

    fn born(&self) -> Tick {
        self.0
    }
}

struct Manager;

impl bb8::ManageConnection for Manager {
    type Connection = Backend;
    type Error = Infallible;

    async fn connect(&self) -> Result<Backend, Infallible> {
        Ok(Backend(clock::now()))
    }

    async fn is_valid(&self, _: &mut Backend) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Backend) -> bool {
        false
    }
}

/// What one task saw.
#[derive(Default)]
struct Seen {
    taken: u64,
    longest: Duration,
}

impl Seen {
    fn note(&mut self, asked: Tick) {
        self.taken += 1;
        self.longest = self.longest.max(clock::now().since(asked));
    }
}

async fn ours(pool: Arc<Pool<Backend>>, end: Tick) -> Seen {
    let (mut seen, mut slot) = (Seen::default(), Slot::new());
    let want = Want { state_key: 0, customs: Customs::NONE, purpose: Purpose::Read };
    loop {
        let asked = clock::now();
        if asked >= end {
            return seen;
        }
        let lease = match poll_fn(|cx| pool.poll_take(&mut slot, &want, asked, cx)).await.unwrap() {
            Taken::Ready(lease) => lease,
            Taken::Open(permit) => permit.fulfil(Backend(asked)),
        };
        seen.note(asked);
        yield_now().await;
        lease.give_back(asked);
    }
}

async fn theirs(pool: bb8::Pool<Manager>, end: Tick) -> Seen {
    let mut seen = Seen::default();
    loop {
        let asked = clock::now();
        if asked >= end {
            return seen;
        }
        let Ok(lease) = pool.get().await else { continue };
        seen.note(asked);
        yield_now().await;
        drop(lease);
    }
}

/// The loop without any pool: what the tasks themselves cost.
async fn nothing(end: Tick) -> Seen {
    let mut seen = Seen::default();
    loop {
        let asked = clock::now();
        if asked >= end {
            return seen;
        }
        seen.note(asked);
        yield_now().await;
    }
}

fn cpu_nanos() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    (usage.user_time() + usage.system_time()).num_nanoseconds()
}

async fn measure<F>(name: &str, start: impl Fn(Tick) -> F)
where
    F: Future<Output = Seen> + Send + 'static,
{
    let (before, end) = (cpu_nanos(), clock::now().plus(RUN));
    let tasks: Vec<_> = (0..TASKS).map(|_| task::spawn("client", start(end))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    let cpu = u64::try_from(cpu_nanos() - before).unwrap();
    let taken: Vec<_> = all.iter().map(|seen| seen.taken).collect();
    let (most, least) = (taken.iter().max().unwrap(), taken.iter().min().unwrap());
    let longest = all.iter().map(|seen| seen.longest).max().unwrap();
    println!(
        "{name:<22} {:>6} {most:>10} {least:>10} {longest:>12.1?}",
        cpu / taken.iter().sum::<u64>().max(1)
    );
}

fn our_pool(size: u32) -> Arc<Pool<Backend>> {
    let limits = Limits {
        size,
        min_idle: 0,
        reads_reserved: 25,
        idle_timeout: Duration::from_secs(600),
        max_age: Duration::from_secs(3600),
        user_limit: None,
        database_limit: None,
    };
    Pool::new(
        PoolKey { node: NodeId(0), user: "app".into(), database: "shop".into(), terms: 0 },
        limits,
        NodeBudget::new(),
    )
}

async fn their_pool(size: u32, test: bool) -> bb8::Pool<Manager> {
    bb8::Pool::builder().max_size(size).test_on_check_out(test).build(Manager).await.unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("{TASKS} tasks, 2 threads      CPU ns   luckiest unluckiest longest wait");
    for _ in 0..ROUNDS {
        runtime.block_on(async {
            measure("no pool", nothing).await;
            for size in [128, 32, 8] {
                let pool = our_pool(size);
                measure(&format!("ours, {size}"), |end| ours(Arc::clone(&pool), end)).await;
                let pool = their_pool(size, true).await;
                measure(&format!("bb8, {size}"), |end| theirs(pool.clone(), end)).await;
                let pool = their_pool(size, false).await;
                measure(&format!("bb8, no test, {size}"), |end| theirs(pool.clone(), end)).await;
            }
        });
        println!();
    }
}
