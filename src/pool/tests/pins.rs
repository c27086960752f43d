//! Pinned backends: what they count against, who queues, who is closed.

use super::*;
use crate::engine::{Certainty, Pin, PinReason};

fn pin(reason: PinReason, certainty: Certainty) -> Pin {
    Pin { reason, certainty }
}

#[test]
fn a_pinned_backend_leaves_the_pools_size_and_comes_back() {
    let (pool, server) = (pool(limits(1)), Server::default());
    pool.node().set_limits(10, 1);
    let mut pinned = take(&pool, &server, WRITE, at(0));
    let mut waiter = wait(&pool, WRITE, at(1));
    pinned.pin().unwrap();
    let mut lease = waiter.lease(&pool, &server, at(2)).expect("the place is free");
    assert_eq!(lease.pin(), Err(PinError::Full { limit: 1 }));
    let stats = pool.stats(at(2));
    assert_eq!((stats.active, stats.pinned, pool.node().pinned(), pool.node().connections()), (1, 1, 1, 2));
    pinned.unpin();
    assert!(pinned.is_pinned(), "no room in the pool");
    pinned.give_back(at(3));
    assert_eq!((server.open(), pool.node().pinned()), (1, 0), "closed: the pool is full");
    lease.pin().unwrap();
    lease.unpin();
    assert!(!lease.is_pinned());
    lease.give_back(at(4));
    assert_eq!((pool.stats(at(4)).idle, pool.node().pinned()), (1, 0));
}

#[test]
fn who_finds_the_limit_reached_queues_in_order() {
    let (pool, server) = (pool(limits(3)), Server::default());
    pool.node().set_limits(10, 1);
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = take(&pool, &server, READ, at(0));
    let [mut second, mut third] = [0, 0].map(|_| take(&pool, &server, READ, at(0)));
    first.pin().unwrap();
    {
        let mut second = Box::pin(second.pin_queued());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        let mut third = Box::pin(third.pin_queued());
        assert!(third.as_mut().poll(&mut cx).is_pending());
        drop(first);
        assert!(third.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_ready());
    }
    assert!(second.is_pinned() && !third.is_pinned());
    drop(second);
    third.pin().unwrap();
    assert_eq!(pool.node().pinned(), 1);
}

#[test]
fn the_limit_on_pins_can_change_while_they_are_held() {
    let (pool, server) = (pool(limits(5)), Server::default());
    let node = Arc::clone(pool.node());
    node.set_limits(10, 3);
    let mut leases: Vec<_> = (0..5).map(|_| take(&pool, &server, READ, at(0))).collect();
    leases.iter_mut().take(3).for_each(|lease| lease.pin().unwrap());
    node.set_limits(10, 1);
    leases.remove(0).close();
    leases.remove(0).close();
    assert_eq!(leases[1].pin(), Err(PinError::Full { limit: 1 }), "one is still held");
    node.set_limits(10, 2);
    leases[1].pin().unwrap();
    assert_eq!((node.pinned(), leases[2].pin()), (2, Err(PinError::Full { limit: 2 })));
}

#[test]
fn the_longest_idle_of_those_that_are_only_possibly_pinned_is_the_victim() {
    let table = PinTable::default();
    let possible = pin(PinReason::UserFunction, Certainty::Possible);
    let [a, b, c] = [1, 2, 3].map(|session| table.enter(session, possible, at(session)));
    let minute = Duration::from_secs(60);
    assert_eq!(table.victim(at(200_000), minute), None, "all busy");
    b.idle(at(1_000));
    a.idle(at(2_000));
    c.idle(at(500));
    c.add(pin(PinReason::TempObject, Certainty::Known));
    assert_eq!(table.victim(at(60_000), minute), None);
    assert_eq!(table.victim(at(62_000), minute), Some(2));
    b.busy();
    assert_eq!(table.victim(at(62_000), minute), Some(1));
    c.remove(PinReason::TempObject);
    assert_eq!(table.victim(at(62_000), minute), Some(3));
    c.add(pin(PinReason::Listen, Certainty::Known));
    let rows = table.rows();
    assert_eq!(rows[2].pins, [pin(PinReason::Listen, Certainty::Known), possible]);
    assert_eq!((rows[2].session, rows[2].since, rows[2].idle_since), (3, at(3), Some(at(500))));
    assert_eq!(table.reasons()[0], (possible, 3));
    drop((a, b, c));
    assert!(table.rows().is_empty());
}
