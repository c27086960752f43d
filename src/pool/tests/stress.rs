//! Many tasks on many threads, and the fairness that they see.

use super::*;
use crate::{clock, task};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, AtomicU64};
use tokio::task::yield_now;

/// A small generator of numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

async fn get(
    pool: &Arc<Pool<Fake>>,
    slot: &mut Slot<Fake>,
    want: Want,
    server: &Server,
) -> Option<Lease<Fake>> {
    match poll_fn(|cx| pool.poll_take(slot, &want, clock::now(), cx)).await.unwrap() {
        Taken::Ready(lease) => Some(lease),
        Taken::Open(permit) => {
            yield_now().await;
            // One connection in eight fails.
            (!clock::now().0.is_multiple_of(8))
                .then(|| permit.fulfil(server.connect(want.state_key, clock::now())))
        }
    }
}

async fn client(number: u64, pools: Arc<[Arc<Pool<Fake>>]>, server: Server, most: Arc<AtomicU32>) {
    let mut dice = Dice(number);
    let mut slot = Slot::new();
    for _ in 0..300 {
        let pool = &pools[usize::try_from(dice.roll(pools.len() as u64)).unwrap()];
        let purpose = if dice.roll(2) == 0 { Purpose::Read } else { Purpose::Write };
        let want = Want { state_key: dice.roll(3), customs: Customs::NONE, purpose };
        if dice.roll(10) == 0 {
            // Gives up after a few polls, at any point of the hand-over.
            let patience = dice.roll(4);
            tokio::select! {
                biased;
                () = async { for _ in 0..patience { yield_now().await } } => slot.clear(),
                lease = get(pool, &mut slot, want, &server) => drop(lease),
            }
            continue;
        }
        let Some(mut lease) = get(pool, &mut slot, want, &server).await else { continue };
        most.fetch_max(u32::try_from(server.open()).unwrap(), Ordering::SeqCst);
        for _ in 0..dice.roll(4) {
            yield_now().await;
        }
        match dice.roll(20) {
            0 => lease.close(),
            1 => {
                lease.usable = false;
                lease.give_back(clock::now());
            }
            2 => {
                let (Ok(()) | Err(_)) = lease.pin();
                yield_now().await;
                lease.give_back(clock::now());
            }
            3 => {
                pool.invalidate();
                lease.give_back(clock::now());
            }
            _ => lease.give_back(clock::now()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_hangs_and_no_limit_is_passed() {
    let node = NodeBudget::new();
    node.set_limits(12, 3);
    let server = Server::default();
    let pools: Arc<[_]> = [("a", "x", 4), ("a", "y", 4), ("b", "x", 10)]
        .map(|(user, database, size)| {
            pool_on(&node, user, database, Limits { user_limit: (user == "a").then_some(6), ..limits(size) })
        })
        .into();
    let most = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..100)
        .map(|number| {
            task::spawn("client", client(number, Arc::clone(&pools), server.clone(), Arc::clone(&most)))
        })
        .collect();
    let all = async {
        for client in clients {
            client.await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("a client waits for ever");
    assert!(most.load(Ordering::SeqCst) <= 12, "{most:?} open at once");
    for pool in pools.iter() {
        let stats = pool.stats(clock::now());
        assert_eq!((stats.active, stats.opening, stats.pinned, stats.waiting), (0, 0, 0, 0));
        pool.close();
    }
    assert_eq!((server.open(), node.connections(), node.pinned()), (0, 0, 0));
}

/// 200 clients on 10 backends, each held for five steps: all are served alike.
#[tokio::test]
async fn two_hundred_on_ten_are_served_alike() {
    let (pool, server) = (pool(limits(10)), Server::default());
    let left = Arc::new(AtomicU64::new(20_000));
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let (pool, server, left) = (Arc::clone(&pool), server.clone(), Arc::clone(&left));
            task::spawn("client", async move {
                let (mut slot, mut served) = (Slot::new(), 0_u64);
                while left.fetch_sub(1, Ordering::SeqCst) > 200 {
                    let Some(lease) = get(&pool, &mut slot, READ, &server).await else { continue };
                    for _ in 0..5 {
                        yield_now().await;
                    }
                    lease.give_back(clock::now());
                    served += 1;
                }
                served
            })
        })
        .collect();
    let mut served = Vec::new();
    for client in clients {
        served.push(client.await.unwrap());
    }
    let (least, most) = (*served.iter().min().unwrap(), *served.iter().max().unwrap());
    assert!(least > 0 && most <= least * 3, "{least} to {most}");
    assert!(server.open() <= 10);
}
