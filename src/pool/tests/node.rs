//! Pools of one node that share its connections.

use super::*;

fn node(connections: u32) -> Arc<NodeBudget> {
    let node = NodeBudget::new();
    node.set_limits(connections, 100);
    node
}

#[test]
fn idle_backends_of_other_pools_give_way_the_longest_idle_first() {
    let (node, server) = (node(3), Server::default());
    let [a, b, c] = ["a", "b", "c"].map(|user| pool_on(&node, user, "shop", limits(5)));
    take(&b, &server, READ, at(0)).give_back(at(2));
    take(&a, &server, READ, at(0)).give_back(at(1));
    let _busy = take(&c, &server, READ, at(0));
    let _more = take(&c, &server, READ, at(3));
    assert_eq!((a.stats(at(3)).idle, b.stats(at(3)).idle, node.connections(), server.open()), (0, 1, 3, 3));
}

#[test]
fn a_place_that_comes_free_in_another_pool_is_passed_on() {
    let (node, server) = (node(2), Server::default());
    let [a, b] = ["a", "b"].map(|user| pool_on(&node, user, "shop", limits(5)));
    let [first, second] = [0, 0].map(|_| take(&a, &server, READ, at(0)));
    let [mut one, mut two] = [1, 2].map(|millis| wait(&b, READ, at(millis)));
    first.give_back(at(3));
    let lease = one.lease(&b, &server, at(4)).expect("instead of idling");
    drop(second);
    assert!(two.lease(&b, &server, at(4)).is_some(), "a closed one as well");
    assert_eq!(a.stats(at(4)).idle, 0);
    drop(lease);
    assert_eq!((server.open(), node.connections()), (0, 0));
}

#[test]
fn a_busy_pool_does_not_starve_another() {
    let (node, server) = (node(1), Server::default());
    let [a, b] = ["a", "b"].map(|user| pool_on(&node, user, "shop", limits(5)));
    let lease = take(&a, &server, READ, at(0));
    let mut theirs = wait(&b, READ, at(1));
    let mut ours = wait(&a, READ, at(2));
    lease.give_back(at(50));
    let lease = ours.lease(&a, &server, at(50)).expect("reconnecting for 49 ms is not worth it");
    let mut ours = wait(&a, READ, at(51));
    lease.give_back(at(150));
    assert!(ours.lease(&a, &server, at(150)).is_none());
    assert!(theirs.lease(&b, &server, at(150)).is_some());
    assert!(ours.lease(&a, &server, at(151)).is_some(), "and back again once it is closed");
}

#[test]
fn limits_of_users_and_databases_are_shared() {
    let (node, server) = (node(100), Server::default());
    let capped = Limits { user_limit: Some(2), ..limits(5) };
    let [shop, bank] = ["shop", "bank"].map(|database| pool_on(&node, "app", database, capped));
    let other = pool_on(&node, "root", "shop", Limits { database_limit: Some(2), ..limits(5) });
    let unknowing = pool_on(&node, "app", "farm", limits(5));
    let first = take(&shop, &server, READ, at(0));
    let second = take(&bank, &server, READ, at(0));
    let mut third = wait(&bank, READ, at(1));
    drop(wait(&unknowing, READ, at(1)));
    let root = take(&other, &server, READ, at(1));
    let mut more = wait(&other, READ, at(2));
    first.give_back(at(3));
    assert!(third.lease(&bank, &server, at(4)).is_some(), "the idle one of the same user gave way");
    assert!(more.lease(&other, &server, at(4)).is_some(), "which left room in its database");
    drop((second, root));
    assert_eq!((server.open(), node.connections()), (0, 0));
}

#[test]
fn a_raised_limit_serves_who_waits() {
    let (node, server) = (node(1), Server::default());
    let [a, b] = ["a", "b"].map(|user| pool_on(&node, user, "shop", limits(5)));
    let _lease = take(&a, &server, READ, at(0));
    let mut waiter = wait(&b, READ, at(1));
    node.set_limits(2, 100);
    assert!(waiter.lease(&b, &server, at(2)).is_some());
}

#[test]
fn a_lowered_limit_closes_idle_backends_now_and_others_when_they_come_back() {
    let (node, server) = (node(4), Server::default());
    let [a, b] = ["a", "b"].map(|user| pool_on(&node, user, "shop", limits(5)));
    let held = [&a, &a, &b].map(|pool| take(pool, &server, READ, at(0)));
    take(&b, &server, READ, at(0)).give_back(at(1));
    node.set_limits(2, 100);
    assert_eq!((server.open(), b.stats(at(1)).idle), (3, 0));
    let [first, second, third] = held;
    first.give_back(at(2));
    assert_eq!(server.open(), 2);
    second.give_back(at(3));
    third.give_back(at(3));
    assert_eq!((server.open(), a.stats(at(3)).idle, b.stats(at(3)).idle), (2, 1, 1));
    a.set_limits(Limits { user_limit: Some(0), ..limits(5) });
    assert_eq!((server.open(), a.stats(at(3)).idle), (1, 0));
}
