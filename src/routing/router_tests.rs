//! The router and the draw, case by case.

use super::super::{Balancer, explain};
use super::*;
use crate::cluster::NodeLive;
use crate::config::settings::{Balance, ConsistencyWait, ReadsInTransactions, ReadsWithoutPrimary};
use crate::config::units::Bytes;
use crate::engine::Epoch;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const NOW: Tick = Tick(1_000_000_000_000);

fn node(id: u8, role: Role, fresh: u64) -> NodeView {
    let live = NodeLive::default();
    live.fresh_as_of.store(fresh, Ordering::Relaxed);
    NodeView {
        id: NodeId(id),
        name: format!("n{id}").into(),
        role,
        health: Health::Up,
        weight: 1,
        passive: false,
        draining: false,
        identity: 1,
        start: 10 + u64::from(id),
        timeline: 1,
        slots: 97,
        since: Tick::ZERO,
        watched: Tick::ZERO,
        upstream: None,
        unfit: None,
        version: "15".into(),
        live: Arc::new(live),
    }
}

/// A primary and two replicas, fresh as of 100.
fn view() -> ClusterView {
    let nodes = [node(0, Role::Primary, 0), node(1, Role::Replica, 100), node(2, Role::Replica, 100)];
    ClusterView {
        number: 1,
        epoch: Epoch(1),
        primary: Some(NodeId(0)),
        no_primary: None,
        nodes: nodes.into(),
    }
}

fn settings() -> Routing {
    Routing {
        balance: Balance::RoundRobin,
        consistency: Consistency::Session,
        consistency_wait: ConsistencyWait::Auto,
        max_lag: Duration::from_secs(10),
        max_lag_bytes: Bytes(0),
        reads_on_primary: ReadsOnPrimary::Fallback,
        functions: std::sync::Arc::default(),
        reads_without_primary: ReadsWithoutPrimary::Serve,
        reads_in_transactions: ReadsInTransactions::Never,
        breaker: Duration::from_secs(300),
    }
}

fn read() -> Ask {
    Ask::new(Class::Read, Consistency::Session, NOW)
}

fn at(ask: &Ask, view: &ClusterView) -> (Choice, Why) {
    route(ask, view, &settings(), &Balancer::default())
}

fn left_out(ask: &Ask, view: &ClusterView, node: usize) -> Option<LeftOut> {
    explain(ask, view, &settings(), &Balancer::default()).candidates[node].left_out
}

#[test]
fn by_class() {
    let of = |class| at(&Ask::new(class, Consistency::Session, NOW), &view());
    assert_eq!(of(Class::Write), (Choice::Primary, Why::Class));
    assert_eq!(of(Class::NodeLocal), (Choice::Primary, Why::NodeLocal));
    assert_eq!(of(Class::Read), (Choice::Node(NodeId(1)), Why::Drawn));
}

#[test]
fn wishes_go_as_far_as_is_safe() {
    let replica = Some(RouteSetting::Replica);
    assert_eq!(
        at(&Ask { hint: Some(RouteSetting::Primary), ..read() }, &view()),
        (Choice::Primary, Why::Hint)
    );
    assert_eq!(at(&Ask { route: RouteSetting::Primary, ..read() }, &view()), (Choice::Primary, Why::Setting));
    let hinted = Ask { hint: Some(RouteSetting::Auto), route: RouteSetting::Primary, ..read() };
    assert_eq!(at(&hinted, &view()).1, Why::Drawn);
    let write = Ask { class: Class::Write, hint: replica, ..read() };
    assert_eq!(
        at(&write, &view()),
        (Choice::Primary, Why::Class),
        "what is known to write never leaves the primary"
    );
    assert_eq!(at(&Ask { doubt: true, ..write }, &view()), (Choice::Node(NodeId(1)), Why::Hint));
    let local = Ask { class: Class::NodeLocal, route: RouteSetting::Replica, ..read() };
    assert_eq!(at(&local, &view()), (Choice::Node(NodeId(1)), Why::Setting));
    let begin = Ask { class: Class::Write, read_only_tx: true, ..read() };
    assert_eq!(at(&begin, &view()).1, Why::Drawn);
}

#[test]
fn floors_hold() {
    let view = view();
    let ask = Ask { floor: Tick(101), ..read() };
    assert_eq!(at(&ask, &view), (Choice::Primary, Why::NotFresh));
    let patient =
        Ask { patience: Duration::from_millis(3), expected: Duration::from_millis(2), ..ask.clone() };
    assert_eq!(at(&patient, &view), (Choice::Wait, Why::NotFresh));
    let late = Ask { expected: Duration::from_millis(4), ..patient };
    assert_eq!(at(&late, &view), (Choice::Primary, Why::NotFresh));
    view.nodes[2].live.fresh_as_of.store(101, Ordering::Relaxed);
    assert_eq!(at(&ask, &view), (Choice::Node(NodeId(2)), Why::Drawn));
    let eventual = Ask { consistency: Consistency::Eventual, floor: Tick::NEVER, ..read() };
    assert_eq!(at(&eventual, &view).1, Why::Drawn);
}

#[test]
fn a_session_sticks_until_another_replica_is_fresh_enough() {
    let view = view();
    let sticky = Some(Sticky { node: NodeId(2), start: 12 });
    let ask = Ask { sticky, sticky_floor: Tick(50), floor: Tick(150), ..read() };
    assert_eq!(at(&ask, &view), (Choice::Node(NodeId(2)), Why::Sticky));
    let other_start = Ask { sticky: Some(Sticky { node: NodeId(2), start: 13 }), ..ask.clone() };
    assert_eq!(at(&other_start, &view), (Choice::Primary, Why::NotFresh));
    let mut broken = self::view();
    broken.nodes[2].watched = Tick(151);
    assert_eq!(
        at(&ask, &broken),
        (Choice::Primary, Why::NotFresh),
        "it may have crashed since the session read there"
    );
    view.nodes[1].live.fresh_as_of.store(150, Ordering::Relaxed);
    assert_eq!(at(&ask, &view).1, Why::Drawn, "another replica is fresh enough: it draws anew");
    let written = Ask { sticky_floor: Tick(120), ..ask };
    assert_eq!(at(&written, &view), (Choice::Node(NodeId(1)), Why::Drawn));
}

#[test]
fn who_is_left_out_and_why() {
    let with = |change: fn(&mut NodeView)| {
        let mut view = view();
        change(&mut view.nodes[1]);
        left_out(&read(), &view, 1)
    };
    assert_eq!(left_out(&read(), &view(), 0), Some(LeftOut::Primary));
    assert_eq!(left_out(&read(), &view(), 1), None);
    assert_eq!(with(|n| n.passive = true), Some(LeftOut::Passive));
    assert_eq!(with(|n| n.weight = 0), Some(LeftOut::Weight));
    assert_eq!(with(|n| n.draining = true), Some(LeftOut::Draining));
    assert_eq!(with(|n| n.health = Health::Unknown), Some(LeftOut::Unknown));
    assert_eq!(with(|n| n.health = Health::Down("gone".into())), Some(LeftOut::Down));
    assert_eq!(with(|n| n.health = Health::Quarantined("old".into())), Some(LeftOut::Quarantined));
    assert_eq!(with(|n| n.role = Role::Primary), Some(LeftOut::Quarantined));
    assert_eq!(with(|n| n.unfit = Some("timeline".into())), Some(LeftOut::Unfit));
    assert_eq!(with(|n| n.live.lag_nanos.store(10_000_000_001, Ordering::Relaxed)), Some(LeftOut::Lag));
    assert_eq!(
        left_out(&Ask { exclude: NodeSet::EMPTY.with(NodeId(1)), ..read() }, &view(), 1),
        Some(LeftOut::Excluded)
    );
    assert_eq!(left_out(&Ask { floor: Tick(101), ..read() }, &view(), 1), Some(LeftOut::NotFresh));
}

#[test]
fn without_a_primary_lag_limits_rest_and_floors_do_not() {
    let mut view = view();
    (view.primary, view.no_primary) = (None, Some("killed".into()));
    view.nodes[0].health = Health::Down("killed".into());
    for replica in &view.nodes[1..] {
        replica.live.lag_nanos.store(u64::MAX, Ordering::Relaxed);
    }
    assert_eq!(at(&read(), &view).1, Why::Drawn);
    assert_eq!(at(&Ask { floor: Tick(101), ..read() }, &view), (Choice::Primary, Why::NotFresh));
}

#[test]
fn reads_on_the_primary() {
    let mut view = view();
    let with = |how, ask: &Ask, view: &ClusterView| {
        route(ask, view, &Routing { reads_on_primary: how, ..settings() }, &Balancer::default())
    };
    let stale = Ask { floor: Tick(101), ..read() };
    assert_eq!(with(ReadsOnPrimary::Never, &stale, &view), (Choice::Nobody, Why::NotFresh));
    let patient =
        Ask { patience: Duration::from_millis(1), expected: Duration::from_secs(1), ..stale.clone() };
    assert_eq!(with(ReadsOnPrimary::Never, &patient, &view), (Choice::Wait, Why::NotFresh));
    assert_eq!(with(ReadsOnPrimary::Always, &stale, &view), (Choice::Primary, Why::Drawn));
    view.nodes[1].health = Health::Down("x".into());
    view.nodes[2].health = Health::Down("x".into());
    assert_eq!(with(ReadsOnPrimary::Fallback, &read(), &view), (Choice::Primary, Why::ReplicasOut));
    assert_eq!(with(ReadsOnPrimary::Never, &read(), &view), (Choice::Nobody, Why::ReplicasOut));
    view.nodes = view.nodes[..1].into();
    assert_eq!(with(ReadsOnPrimary::Never, &read(), &view), (Choice::Primary, Why::NoReplica));
}

/// Draws `draws` times; how often each node was drawn.
fn shares(view: &ClusterView, settings: &Routing, draws: usize, now: Tick) -> [usize; 3] {
    let balancer = Balancer::default();
    let mut drawn = [0; 3];
    for _ in 0..draws {
        match route(&Ask { now, ..read() }, view, settings, &balancer).0 {
            Choice::Node(id) => drawn[usize::from(id.0)] += 1,
            Choice::Primary => drawn[0] += 1,
            other => panic!("{other:?}"),
        }
    }
    drawn
}

#[test]
fn shares_follow_the_weights() {
    let mut view = view();
    assert_eq!(shares(&view, &settings(), 64, NOW), [0, 32, 32]);
    view.nodes[1].weight = 3;
    assert_eq!(shares(&view, &settings(), 64, NOW), [0, 48, 16]);
    let always = Routing { reads_on_primary: ReadsOnPrimary::Always, ..settings() };
    assert_eq!(shares(&view, &always, 50, NOW), [10, 30, 10]);
}

#[test]
fn a_node_that_came_back_is_let_in_gradually() {
    let mut view = view();
    view.nodes[1].since = NOW;
    let [_, early, _] = shares(&view, &settings(), 1000, NOW.plus(Duration::from_secs(1)));
    assert!((50..=130).contains(&early), "{early}");
    let [_, half, _] = shares(&view, &settings(), 1000, NOW.plus(SLOW_START / 2));
    assert!((300..=360).contains(&half), "{half}");
    assert_eq!(shares(&view, &settings(), 1000, NOW.plus(SLOW_START)), [0, 500, 500]);
}

#[test]
fn least_connections_by_weight_and_even_among_equals() {
    let mut view = view();
    let least = Routing { balance: Balance::LeastConnections, ..settings() };
    assert_eq!(shares(&view, &least, 64, NOW), [0, 32, 32]);
    view.nodes[1].live.active.store(5, Ordering::Relaxed);
    assert_eq!(shares(&view, &least, 64, NOW), [0, 0, 64]);
    view.nodes[1].weight = 7;
    assert_eq!(shares(&view, &least, 64, NOW), [0, 64, 0]);
}

#[test]
fn explaining_does_not_draw() {
    let (view, balancer) = (view(), Balancer::default());
    let first = explain(&read(), &view, &settings(), &balancer);
    assert_eq!(explain(&read(), &view, &settings(), &balancer), first);
    assert_eq!(route(&read(), &view, &settings(), &balancer), (first.choice, first.why));
}
