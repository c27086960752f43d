//! Random operations on three pools of one node; after each, what must always be true.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Ask { pool: usize, key: u64, write: bool },
    Poll { nth: usize, opens: bool },
    Leave { nth: usize },
    GiveBack { nth: usize, usable: bool },
    Close { nth: usize },
    Fulfil { nth: usize },
    Fail { nth: usize },
    Pin { nth: usize },
    Unpin { nth: usize },
    Pause { pool: usize },
    Resume { pool: usize },
    Invalidate { pool: usize },
    Reap { pool: usize },
    Spare { pool: usize },
    Size { pool: usize, size: u32 },
    Users { limit: u32 },
    Node { connections: u32, pinned: u32 },
    Pass { millis: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let nth = || 0_usize..20;
    let pool = || 0_usize..3;
    prop_oneof![
        8 => (pool(), 0_u64..3, any::<bool>()).prop_map(|(pool, key, write)| Op::Ask { pool, key, write }),
        8 => (nth(), any::<bool>()).prop_map(|(nth, opens)| Op::Poll { nth, opens }),
        2 => nth().prop_map(|nth| Op::Leave { nth }),
        6 => (nth(), prop::bool::weighted(0.8)).prop_map(|(nth, usable)| Op::GiveBack { nth, usable }),
        1 => nth().prop_map(|nth| Op::Close { nth }),
        3 => nth().prop_map(|nth| Op::Fulfil { nth }),
        1 => nth().prop_map(|nth| Op::Fail { nth }),
        1 => nth().prop_map(|nth| Op::Pin { nth }),
        1 => nth().prop_map(|nth| Op::Unpin { nth }),
        1 => pool().prop_map(|pool| Op::Pause { pool }),
        1 => pool().prop_map(|pool| Op::Resume { pool }),
        1 => pool().prop_map(|pool| Op::Invalidate { pool }),
        1 => pool().prop_map(|pool| Op::Reap { pool }),
        1 => pool().prop_map(|pool| Op::Spare { pool }),
        1 => (pool(), 1_u32..5).prop_map(|(pool, size)| Op::Size { pool, size }),
        1 => (1_u32..5).prop_map(|limit| Op::Users { limit }),
        1 => (1_u32..8, 0_u32..3).prop_map(|(connections, pinned)| Op::Node { connections, pinned }),
        3 => prop_oneof![1_u64..50, 100_u64..2000, 300_000_u64..400_000].prop_map(|millis| Op::Pass { millis }),
    ]
}

struct World {
    node: Arc<NodeBudget>,
    server: Server,
    pools: Vec<Arc<Pool<Fake>>>,
    waiters: Vec<(usize, Session)>,
    leases: Vec<Lease<Fake>>,
    permits: Vec<Permit<Fake>>,
    now: Tick,
}

/// Takes the nth element, counted round and round.
fn nth<T>(of: &mut Vec<T>, nth: usize) -> Option<T> {
    if of.is_empty() { None } else { Some(of.remove(nth % of.len())) }
}

impl World {
    fn new() -> Self {
        let node = NodeBudget::new();
        node.set_limits(5, 2);
        let shared = Limits { min_idle: 1, user_limit: Some(3), ..limits(3) };
        let pools = vec![
            pool_on(&node, "app", "shop", shared),
            pool_on(&node, "app", "bank", shared),
            pool_on(&node, "root", "shop", limits(4)),
        ];
        let (server, now) = (Server::default(), at(0));
        Self { node, server, pools, waiters: Vec::new(), leases: Vec::new(), permits: Vec::new(), now }
    }

    fn poll(&mut self, pool: usize, mut session: Session, opens: bool) {
        match session.poll(&self.pools[pool], self.now) {
            None => self.waiters.push((pool, session)),
            Some(Ok(Taken::Ready(mut lease))) => {
                let customs = &session.want.customs;
                assert!(customs.cover(&lease.customs), "it was set by another: {:?}", lease.customs);
                lease.customs = customs.clone();
                self.leases.push(lease);
            }
            Some(Ok(Taken::Open(permit))) if opens => {
                let mut fake = self.server.connect(session.want.state_key, self.now);
                fake.customs = session.want.customs;
                self.leases.push(permit.fulfil(fake));
            }
            Some(Ok(Taken::Open(permit))) => self.permits.push(permit),
            Some(Err(error)) => panic!("{error}"),
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Ask { pool, key, write } => {
                let purpose = if write { Purpose::Write } else { Purpose::Read };
                self.poll(pool, Session::new(Want { state_key: key, customs: customs(key), purpose }), true);
            }
            Op::Poll { nth: n, opens } => {
                if let Some((pool, session)) = nth(&mut self.waiters, n) {
                    self.poll(pool, session, opens);
                }
            }
            Op::Leave { nth: n } => drop(nth(&mut self.waiters, n)),
            Op::GiveBack { nth: n, usable } => {
                if let Some(mut lease) = nth(&mut self.leases, n) {
                    lease.usable = usable;
                    lease.give_back(self.now);
                }
            }
            Op::Close { nth: n } => drop(nth(&mut self.leases, n)),
            Op::Fulfil { nth: n } => {
                if let Some(permit) = nth(&mut self.permits, n) {
                    self.leases.push(permit.fulfil(self.server.connect(0, self.now)));
                }
            }
            Op::Fail { nth: n } => drop(nth(&mut self.permits, n)),
            Op::Pin { nth: n } => {
                if let Some(mut lease) = nth(&mut self.leases, n) {
                    let (Ok(()) | Err(_)) = lease.pin();
                    self.leases.push(lease);
                }
            }
            Op::Unpin { nth: n } => {
                if let Some(mut lease) = nth(&mut self.leases, n) {
                    lease.unpin();
                    self.leases.push(lease);
                }
            }
            Op::Node { connections, pinned } => self.node.set_limits(connections, pinned),
            Op::Pass { millis } => self.now = self.now.plus(Duration::from_millis(millis)),
            other => self.tend(other),
        }
    }

    fn tend(&mut self, op: Op) {
        match op {
            Op::Pause { pool } => self.pools[pool].pause(),
            Op::Resume { pool } => self.pools[pool].resume(),
            Op::Invalidate { pool } => self.pools[pool].invalidate(),
            Op::Reap { pool } => drop(self.pools[pool].reap(self.now)),
            Op::Spare { pool } => self.permits.extend(self.pools[pool].spare()),
            Op::Size { pool, size } => {
                let limits = self.pools[pool].limits();
                self.pools[pool].set_limits(Limits { size, ..limits });
            }
            Op::Users { limit } => {
                for pool in &self.pools[..2] {
                    pool.set_limits(Limits { user_limit: Some(limit), ..pool.limits() });
                }
            }
            _ => unreachable!(),
        }
    }

    fn check(&self) {
        let stats: Vec<_> = self.pools.iter().map(|pool| pool.stats(self.now)).collect();
        let places: u32 = stats.iter().map(|s| s.idle + s.active + s.opening + s.pinned).sum();
        assert_eq!(self.node.connections(), places, "the node's books agree with the pools'");
        let backends: u32 = stats.iter().map(|s| s.idle + s.active + s.pinned).sum();
        // What must be closed before another is opened in its place may still be there.
        let opening: u32 = stats.iter().map(|s| s.opening).sum();
        let counted = i64::from(backends)..=i64::from(backends + opening);
        assert!(counted.contains(&self.server.open()), "what is open is counted");
        assert_eq!(self.node.pinned(), stats.iter().map(|s| s.pinned).sum::<u32>());
        let app: u32 = stats[..2].iter().map(|s| s.idle + s.active + s.opening + s.pinned).sum();
        if app > self.app_limit() {
            assert_eq!(
                stats[0].idle + stats[1].idle,
                0,
                "more is open than the user may have, and some of it idles"
            );
        }
        if places > self.node.limit() {
            assert_eq!(
                stats.iter().map(|s| s.idle).sum::<u32>(),
                0,
                "more is open than the node may have, and some of it idles"
            );
        }
        for (pool, stats) in self.pools.iter().zip(&stats) {
            let (limits, total) = (pool.limits(), stats.idle + stats.active + stats.opening);
            assert!(stats.idle == 0 || total <= limits.size, "surplus idles");
            if stats.waiting > 0 && !stats.paused {
                assert_eq!(stats.idle, 0, "somebody waits beside an idle backend");
                if total < limits.size {
                    self.check_blocked(pool, &stats_of(&self.pools, self.now));
                }
            }
        }
    }

    fn app_limit(&self) -> u32 {
        self.pools[0].limits().user_limit.unwrap()
    }

    /// A pool that has room and waiters is blocked by a limit that is reached, and no idle backend could give way.
    fn check_blocked(&self, pool: &Arc<Pool<Fake>>, all: &[(PoolKey, PoolStats)]) {
        let used = |which: &dyn Fn(&PoolKey) -> bool| -> u32 {
            all.iter()
                .filter(|(key, _)| which(key))
                .map(|(_, s)| s.idle + s.active + s.opening + s.pinned)
                .sum()
        };
        let user = pool.key().user.clone();
        let user_full = *user == *"app" && used(&|key| key.user == user) >= self.app_limit();
        let node_full = used(&|_| true) >= self.node.limit();
        assert!(user_full || node_full, "a place is free and somebody waits: {all:?}");
        let idle =
            all.iter().filter(|(key, _)| !user_full || key.user == user).map(|(_, s)| s.idle).sum::<u32>();
        assert_eq!(idle, 0, "an idle backend could give way: {all:?}");
    }

    /// All locks lifted, everybody is served, and everything comes back.
    fn drain(mut self) {
        self.node.set_limits(5, 2);
        self.pools.iter().for_each(|pool| pool.resume());
        let mut rounds = 0;
        while !(self.waiters.is_empty() && self.leases.is_empty() && self.permits.is_empty()) {
            self.now = self.now.plus(Duration::from_millis(200));
            for (pool, session) in std::mem::take(&mut self.waiters) {
                self.poll(pool, session, true);
            }
            self.permits.clear();
            self.leases.drain(..).for_each(|lease| lease.give_back(self.now));
            self.check();
            rounds += 1;
            assert!(rounds < 1000, "somebody waits for ever");
        }
        let node = Arc::clone(&self.node);
        let server = self.server.clone();
        drop(self);
        assert_eq!((node.connections(), node.pinned(), server.open()), (0, 0, 0));
    }
}

fn stats_of(pools: &[Arc<Pool<Fake>>], now: Tick) -> Vec<(PoolKey, PoolStats)> {
    pools.iter().map(|pool| (pool.key().clone(), pool.stats(now))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaks_nobody_is_forgotten(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.drain();
    }

    /// Of those who want the same, the earlier is served the earlier, whoever leaves meanwhile.
    #[test]
    fn equals_are_served_in_order(size in 1_u32..4, leaves in prop::collection::vec(any::<bool>(), 1..30)) {
        let (pool, server) = (pool(limits(size)), Server::default());
        let held: Vec<_> = (0..size).map(|_| take(&pool, &server, READ, at(0))).collect();
        let mut waiters: Vec<_> = leaves.iter().map(|_| Some(wait(&pool, READ, at(1)))).collect();
        for (waiter, leaves) in waiters.iter_mut().zip(&leaves) {
            if *leaves {
                *waiter = None;
            }
        }
        let mut order = Vec::new();
        held.into_iter().for_each(|lease| lease.give_back(at(2)));
        while order.len() < leaves.iter().filter(|leaves| !**leaves).count() {
            let mut served = Vec::new();
            for (index, waiter) in waiters.iter_mut().enumerate() {
                if let Some(lease) = waiter.as_mut().and_then(|waiter| waiter.lease(&pool, &server, at(3))) {
                    order.push(index);
                    served.push(lease);
                    *waiter = None;
                }
            }
            prop_assert!(!served.is_empty());
            served.into_iter().for_each(|lease| lease.give_back(at(4)));
        }
        prop_assert!(order.is_sorted());
    }
}
