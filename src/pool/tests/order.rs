//! Who is handed what, and in which order.

use super::*;

#[test]
fn prefers_equal_state_then_the_last_used() {
    let (pool, server) = (pool(limits(3)), Server::default());
    let want = |state_key| Want { state_key, customs: Customs::NONE, purpose: Purpose::Read };
    let leases: Vec<_> = [1, 2, 3].map(|key| take(&pool, &server, want(key), at(0))).into();
    leases.into_iter().for_each(|lease| lease.give_back(at(1)));
    let second = pool.try_take(&want(2), at(2)).unwrap();
    assert_eq!(second.key, 2);
    let other = pool.try_take(&want(9), at(2)).unwrap();
    assert_eq!(other.key, 3, "the last used");
    assert_eq!(pool.stats(at(2)).idle, 1);
}

#[test]
fn a_backend_with_custom_settings_is_lent_only_to_who_has_set_them() {
    let (pool, server) = (pool(limits(2)), Server::default());
    let want = |customs: &Customs| Want { state_key: 7, customs: customs.clone(), purpose: Purpose::Read };
    let (none, a, ab) = (Customs::NONE, Customs::new(["app.a"]), Customs::new(["app.a", "app.b"]));
    let mut lease = take(&pool, &server, want(&a), at(0));
    lease.customs = a.clone();
    let (marked, plain) = (lease.id, take(&pool, &server, want(&none), at(0)));
    let plain_id = plain.id;
    plain.give_back(at(1));
    lease.give_back(at(1));
    // The marked one is the last used, and of equal state.
    let lease = pool.try_take(&want(&none), at(2)).unwrap();
    assert_eq!(lease.id, plain_id);
    assert!(pool.try_take(&want(&none), at(2)).is_none(), "rather none than a stranger's");
    let other = pool.try_take(&want(&ab), at(2)).unwrap();
    assert_eq!(other.id, marked);
    other.give_back(at(3));
    // Where its place is needed, it is closed, and another is opened in its stead.
    let opened = take(&pool, &server, want(&none), at(4));
    assert_eq!((server.open(), pool.stats(at(4)).idle), (2, 0));
    lease.give_back(at(5));
    opened.give_back(at(5));
    // Equal names go before what was used last.
    let mut first = pool.try_take(&want(&a), at(6)).unwrap();
    first.customs = a.clone();
    first.key = 1;
    first.give_back(at(7));
    let marked = pool.try_take(&want(&none), at(8)).unwrap();
    marked.give_back(at(8));
    let another = Want { state_key: 9, ..want(&a) };
    assert_eq!(pool.try_take(&another, at(9)).unwrap().key, 1);
}

#[test]
fn waiters_are_served_in_order_and_nobody_passes_them() {
    let (pool, server) = (pool(limits(1)), Server::default());
    let lease = take(&pool, &server, READ, at(0));
    let mut waiters: Vec<_> = (1..=3).map(|millis| wait(&pool, READ, at(millis))).collect();
    assert_eq!(pool.stats(at(11)).longest_wait, Duration::from_millis(10));
    assert_eq!(waiters[0].slot.waiting_since(), Some(at(1)));
    lease.give_back(at(20));
    assert!(pool.try_take(&READ, at(20)).is_none(), "a newcomer passes nobody");
    for index in 0..3 {
        for later in &mut waiters[index + 1..] {
            assert!(later.lease(&pool, &server, at(21)).is_none());
        }
        let lease = waiters[index].lease(&pool, &server, at(21)).expect("its turn");
        assert_eq!(waiters[index].slot.waiting_since(), None);
        lease.give_back(at(22));
    }
    assert_eq!(server.open(), 1);
    assert_eq!(pool.stats(at(22)).idle, 1);
}

#[test]
fn who_leaves_passes_on_what_was_handed_over() {
    let (pool, server) = (pool(limits(1)), Server::default());
    let lease = take(&pool, &server, READ, at(0));
    let [first, second, mut third] = [1, 2, 3].map(|millis| wait(&pool, READ, at(millis)));
    drop(second);
    lease.give_back(at(4));
    drop(first);
    assert!(third.lease(&pool, &server, at(5)).is_some(), "handed on");
    assert_eq!(pool.stats(at(5)).waiting, 0);
}

#[test]
fn a_failed_open_gives_the_place_to_the_next() {
    let (pool, server) = (pool(limits(1)), Server::default());
    let Some(Ok(Taken::Open(permit))) = Session::new(READ).poll(&pool, at(0)) else { panic!("a permit") };
    assert_eq!(pool.stats(at(0)).opening, 1);
    let mut next = wait(&pool, READ, at(1));
    let third = wait(&pool, READ, at(1));
    drop(permit);
    let Some(Ok(Taken::Open(permit))) = next.poll(&pool, at(2)) else { panic!("its own permit") };
    drop(third);
    permit.fulfil(server.connect(0, at(2))).give_back(at(3));
    assert_eq!(pool.stats(at(3)).idle, 1);
}

#[test]
fn a_dropped_lease_is_closed_and_its_place_is_free() {
    let (pool, server) = (pool(limits(1)), Server::default());
    let lease = take(&pool, &server, READ, at(0));
    let mut waiter = wait(&pool, READ, at(1));
    drop(lease);
    assert_eq!(server.open(), 0);
    assert!(matches!(waiter.poll(&pool, at(2)), Some(Ok(Taken::Open(_)))));
    assert_eq!((pool.stats(at(2)).opening, pool.node().connections()), (0, 0));
}

#[test]
fn what_died_is_not_handed_out() {
    let (pool, server) = (pool(limits(2)), Server::default());
    let mut lease = take(&pool, &server, READ, at(0));
    let good = take(&pool, &server, READ, at(0));
    let good_id = good.id;
    good.give_back(at(1));
    lease.usable = false;
    lease.give_back(at(2));
    let lease = pool.try_take(&READ, at(3)).unwrap();
    assert_eq!((lease.id, server.open()), (good_id, 1));

    let mut dying = take(&pool, &server, WRITE, at(3));
    let mut waiter = wait(&pool, WRITE, at(4));
    dying.usable = false;
    dying.give_back(at(5));
    let Some(Ok(Taken::Open(permit))) = waiter.poll(&pool, at(6)) else { panic!("the place of what died") };
    let stats = pool.stats(at(6));
    assert_eq!((stats.active, stats.opening), (1, 1));
    permit.fulfil(server.connect(0, at(6))).give_back(at(7));
}

#[test]
fn a_read_that_waited_for_a_second_passes_writes_that_hold_their_share() {
    let (pool, server) = (pool(limits(4)), Server::default());
    let mut held: Vec<_> = (0..4).map(|_| take(&pool, &server, WRITE, at(0))).collect();
    let mut writes: Vec<_> = (0..4).map(|_| wait(&pool, WRITE, at(1))).collect();
    let mut read = wait(&pool, READ, at(2));
    held.pop().unwrap().give_back(at(1001));
    assert!(
        writes[0].lease(&pool, &server, at(1001)).map(|lease| held.push(lease)).is_some(),
        "not yet a second"
    );
    held.pop().unwrap().give_back(at(1002));
    // Three of four places serve writes: that is their share.
    let reading = read.lease(&pool, &server, at(1002)).expect("passes three writes");
    assert!(writes[1].lease(&pool, &server, at(1002)).is_none());
    reading.give_back(at(1003));
    assert!(writes[1].lease(&pool, &server, at(1003)).is_some(), "no read waits: the whole pool is theirs");
}

#[test]
fn a_pause_makes_wait_and_ends() {
    let (pool, server) = (pool(limits(2)), Server::default());
    let lease = take(&pool, &server, READ, at(0));
    pool.pause();
    let mut waiter = wait(&pool, READ, at(1));
    let mut quiet = Box::pin(pool.quiet());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(quiet.as_mut().poll(&mut cx).is_pending());
    lease.give_back(at(2));
    assert!(quiet.as_mut().poll(&mut cx).is_ready());
    drop(quiet);
    assert!(pool.stats(at(2)).paused && waiter.lease(&pool, &server, at(2)).is_none());
    pool.resume();
    assert!(waiter.lease(&pool, &server, at(3)).is_some());
}

#[test]
fn a_closed_pool_says_so() {
    let (pool, server) = (pool(limits(1)), Server::default());
    let lease = take(&pool, &server, READ, at(0));
    let mut waiter = wait(&pool, READ, at(1));
    pool.close();
    assert!(matches!(waiter.poll(&pool, at(2)), Some(Err(TakeError::Closed))));
    assert!(matches!(Session::new(READ).poll(&pool, at(2)), Some(Err(TakeError::Closed))));
    lease.give_back(at(3));
    assert_eq!((server.open(), pool.node().connections()), (0, 0));
}
