//! Age, idleness, generations, and limits that change.

use super::*;

#[test]
fn the_old_are_closed_at_return_and_by_the_reaper() {
    let server = Server::default();
    let pool = pool(Limits { max_age: Duration::from_secs(100), idle_timeout: Duration::ZERO, ..limits(4) });
    let leases: Vec<_> = (0..4).map(|_| take(&pool, &server, READ, at(0))).collect();
    let mut leases = leases.into_iter();
    leases.by_ref().take(3).for_each(|lease| lease.give_back(at(89_000)));
    assert_eq!(server.open(), 4, "a tenth at most is taken off");
    leases.for_each(|lease| lease.give_back(at(100_000)));
    assert_eq!(server.open(), 3);
    let reaped = pool.reap(at(100_000));
    assert_eq!((reaped.len(), pool.stats(at(100_000)).idle), (3, 0));
    assert_eq!(pool.node().connections(), 3, "places are kept until the backends are closed");
    drop(reaped);
    assert_eq!(pool.node().connections(), 0);
}

#[test]
fn ages_differ_by_up_to_a_tenth() {
    let server = Server::default();
    let pool =
        pool(Limits { max_age: Duration::from_secs(100), idle_timeout: Duration::ZERO, ..limits(100) });
    let leases: Vec<_> = (0..100).map(|_| take(&pool, &server, READ, at(0))).collect();
    leases.into_iter().for_each(|lease| lease.give_back(at(0)));
    let gone: Vec<_> = (90..=100).map(|second| pool.reap(at(second * 1000)).len()).collect();
    assert_eq!(gone.iter().sum::<usize>(), 100);
    assert!(gone.iter().all(|count| *count < 20), "all at once: {gone:?}");
}

#[test]
fn the_idle_are_reaped_down_to_min_idle_and_it_is_filled_up() {
    let server = Server::default();
    let pool = pool(Limits { min_idle: 2, idle_timeout: Duration::from_secs(10), ..limits(4) });
    assert_eq!(pool.shortfall(), 2);
    let leases: Vec<_> = (0..3).map(|_| take(&pool, &server, READ, at(0))).collect();
    assert_eq!(pool.shortfall(), 1, "room for one");
    let newest = leases.last().unwrap().id;
    leases.into_iter().for_each(|lease| lease.give_back(at(1)));
    assert_eq!(pool.reap(at(9_000)).len(), 0);
    assert_eq!(pool.reap(at(10_001)).len(), 1);
    let lease = pool.try_take(&READ, at(10_002)).unwrap();
    assert_eq!(lease.id, newest, "those that idle longest go first");
    drop(lease);
    assert_eq!(pool.shortfall(), 1);
    let permit = pool.spare().unwrap();
    assert!(pool.spare().is_none());
    permit.fulfil(server.connect(0, at(3))).give_back(at(3));
    assert_eq!((pool.stats(at(3)).idle, pool.shortfall()), (2, 0));
}

#[test]
fn an_invalidated_pool_keeps_nothing_from_before() {
    let (pool, server) = (pool(limits(3)), Server::default());
    let lease = take(&pool, &server, READ, at(0));
    take(&pool, &server, READ, at(0)).give_back(at(1));
    let mut session = Session::new(READ);
    let second = pool.try_take(&READ, at(1)).unwrap();
    let Some(Ok(Taken::Open(permit))) = session.poll(&pool, at(1)) else { panic!("a permit") };
    second.give_back(at(1));
    pool.invalidate();
    assert_eq!(server.open(), 1, "the idle one is closed at once");
    lease.give_back(at(2));
    permit.fulfil(server.connect(0, at(2))).give_back(at(2));
    assert_eq!((server.open(), pool.node().connections()), (0, 0));
    take(&pool, &server, READ, at(3)).give_back(at(4));
    assert_eq!(pool.stats(at(4)).idle, 1);
}

#[test]
fn limits_can_shrink_and_grow() {
    let (pool, server) = (pool(limits(4)), Server::default());
    let mut leases: Vec<_> = (0..4).map(|_| take(&pool, &server, READ, at(0))).collect();
    leases.pop().unwrap().give_back(at(1));
    pool.set_limits(limits(2));
    assert_eq!(server.open(), 3);
    leases.pop().unwrap().give_back(at(2));
    assert_eq!((server.open(), pool.stats(at(2)).idle), (2, 0));
    let mut waiter = wait(&pool, READ, at(3));
    pool.set_limits(limits(3));
    assert!(waiter.lease(&pool, &server, at(4)).is_some());
}

#[test]
fn idle_ones_can_be_closed_by_choice() {
    let (pool, server) = (pool(limits(3)), Server::default());
    let leases: Vec<_> = (0..3).map(|_| take(&pool, &server, READ, at(0))).collect();
    leases.into_iter().for_each(|lease| lease.give_back(at(1)));
    assert_eq!(pool.close_idle(|backend| backend.id == 1), 1);
    assert_eq!((server.open(), pool.node().connections()), (2, 2));
}

#[test]
fn pools_are_made_once_and_forgotten_when_empty() {
    let (pools, server) = (Pools::<Fake>::new(), Server::default());
    let first = pools.get(NodeId(1), "app", "shop", 0, || limits(2));
    let again = pools.get(NodeId(1), "app", "shop", 0, || limits(9));
    assert!(Arc::ptr_eq(&first, &again));
    assert!(!Arc::ptr_eq(&first, &pools.get(NodeId(2), "app", "shop", 0, || limits(2))));
    take(&first, &server, READ, at(0)).give_back(at(1));
    drop((first, again));
    pools.sweep();
    assert_eq!(pools.all().len(), 1, "one has an idle backend");
    assert_eq!(pools.node(NodeId(1)).connections(), 1);
    pools.invalidate(|key| key.node == NodeId(1));
    pools.sweep();
    assert_eq!((pools.all().len(), pools.node(NodeId(1)).connections(), server.open()), (0, 0, 0));
}
