//! From answers to what is published, step by step.

use super::*;
use crate::cluster::{Health, Role};
use crate::config::Settings;
use crate::engine::Epoch;

const FILE: &str = "clusters:
  main:
    engine: postgres
    listen: 127.0.0.1:1
    monitor: { user: m, password: p }
    nodes:
      n1: { address: \"10.0.0.1:5432\" }
      n2: { address: \"10.0.0.2:5432\" }
";

fn watch() -> Watch {
    let settings = Settings::parse(FILE, "test", &|_| None).unwrap();
    let settings = settings.cluster("main").unwrap().clone();
    let state = Arc::new(ClusterState::new(&settings));
    Watch::new(settings, state)
}

fn at(timeline: u32, lsn: u64) -> Position {
    Position::Lsn { timeline, lsn }
}

fn said(timeline: u32, part: Part) -> Observation {
    Observation { identity: 7, system: 7, start: 1, version: "15.1".into(), timeline, part, slots: 97 }
}

fn writable(timeline: u32, written: u64, durable: u64) -> Observation {
    let (written, durable) = (at(timeline, written), at(timeline, durable));
    said(
        timeline,
        Part::Writable {
            written,
            durable,
            early_acknowledgement: false,
            quorum_lost: false,
            followers: Some(1),
        },
    )
}

fn follows(timeline: u32, lsn: u64) -> Observation {
    let here = at(timeline, lsn);
    let part = Part::Follows {
        received: here,
        replayed: here,
        streaming: true,
        upstream: Some("10.0.0.1:5432".into()),
        replay_age: Some(Duration::from_secs(60)),
    };
    said(timeline, part)
}

/// An answer that took one tick.
fn take(watch: &mut Watch, node: u8, now: u64, anew: bool, result: Result<Observation, ProbeError>) {
    watch.take(Answer { node: NodeId(node), sent: Tick(now - 1), anew, result }, Tick(now));
}

/// Both nodes are well: the primary at 100, the replica too.
fn healthy() -> Watch {
    let mut watch = watch();
    take(&mut watch, 0, 10, true, Ok(writable(1, 100, 100)));
    assert_eq!(watch.primary(), None, "the other node was not heard yet");
    take(&mut watch, 1, 12, true, Ok(follows(1, 100)));
    take(&mut watch, 0, 20, false, Ok(writable(1, 100, 100)));
    watch
}

fn refused() -> ProbeError {
    ProbeError::Refused("connection refused".into())
}

#[test]
fn a_healthy_cluster_is_published_once() {
    let mut watch = healthy();
    let view = watch.state.view.load_full();
    assert_eq!((view.primary, view.epoch), (Some(NodeId(0)), Epoch(1)));
    assert_eq!(watch.state.gate.now(), Some(Pass { node: NodeId(0), epoch: Epoch(1) }));
    assert_eq!((view.nodes[0].role, view.nodes[1].role), (Role::Primary, Role::Replica));
    assert_eq!(view.nodes[1].upstream.as_deref(), Some("10.0.0.1:5432"));
    assert_eq!(view.nodes[1].since, Tick::ZERO, "up from the start: its full share at once");
    assert_eq!(view.nodes[1].live.fresh_as_of(), Tick(19));
    for now in 30..40 {
        take(&mut watch, 0, now, false, Ok(writable(1, now * 10, now * 10)));
        take(&mut watch, 1, now, false, Ok(follows(1, now * 10)));
    }
    assert_eq!(watch.state.view.load().number, view.number);
    assert_eq!(view.nodes[1].live.fresh_as_of(), Tick(38), "figures move without a new view");
}

#[test]
fn one_lost_answer_is_not_the_end() {
    let mut watch = healthy();
    let timeout = || ProbeError::Timeout(Duration::from_secs(1));
    for _ in 0..2 {
        take(&mut watch, 0, 30, false, Err(timeout()));
        assert!(watch.primary().is_some() && watch.has_doubts());
    }
    take(&mut watch, 0, 31, true, Ok(writable(1, 100, 100)));
    assert!(!watch.has_doubts());
    for _ in 0..3 {
        take(&mut watch, 0, 40, false, Err(timeout()));
    }
    assert_eq!(watch.primary(), None);
}

#[test]
fn a_refusing_primary_closes_the_gate_and_comes_back_under_the_same_epoch() {
    let mut watch = healthy();
    take(&mut watch, 0, 30, false, Err(ProbeError::Lost("reset".into())));
    take(&mut watch, 0, 31, true, Err(refused()));
    let view = watch.state.view.load_full();
    assert_eq!((view.primary, watch.state.gate.now()), (None, None));
    assert!(matches!(view.nodes[0].health, Health::Down(_)));
    assert_eq!(view.nodes[1].live.fresh_as_of(), Tick(19), "what was proved stays proved");
    take(&mut watch, 0, 50, true, Ok(Observation { start: 2, ..writable(1, 200, 200) }));
    let view = watch.state.view.load_full();
    assert_eq!(watch.state.gate.now(), Some(Pass { node: NodeId(0), epoch: Epoch(1) }));
    assert_eq!((view.nodes[0].start, view.nodes[0].since), (2, Tick(50)));
}

#[test]
fn a_promotion_starts_the_frontier_anew() {
    let mut watch = healthy();
    for _ in 0..2 {
        take(&mut watch, 0, 30, true, Err(refused()));
    }
    take(&mut watch, 1, 40, false, Ok(writable(2, 110, 110)));
    assert_eq!(watch.state.gate.now(), Some(Pass { node: NodeId(1), epoch: Epoch(2) }));
    // The old one returns as a replica whose history has not got to the fork yet, then on the new one.
    take(&mut watch, 0, 50, true, Ok(follows(1, 500)));
    let view = watch.state.view.load_full();
    assert!(view.nodes[0].unfit.is_some());
    assert_eq!(view.nodes[0].live.fresh_as_of(), Tick::ZERO);
    take(&mut watch, 0, 60, false, Ok(follows(2, 110)));
    let view = watch.state.view.load_full();
    assert!(view.nodes[0].unfit.is_none());
    assert_eq!(view.nodes[0].live.fresh_as_of(), Tick(39));
}

#[test]
fn a_new_connection_forgets_what_the_old_one_saw() {
    let mut watch = healthy();
    let live = watch.state.view.load().nodes[1].live.clone();
    take(&mut watch, 1, 30, true, Ok(Observation { start: 2, ..follows(1, 50) }));
    assert_eq!(live.fresh_as_of(), Tick::ZERO);
    assert_eq!(watch.state.view.load().nodes[1].watched, Tick(30));
    take(&mut watch, 0, 40, false, Ok(writable(1, 100, 100)));
    take(&mut watch, 1, 50, false, Ok(follows(1, 90)));
    assert_eq!(live.fresh_as_of(), Tick::ZERO);
    assert_eq!(live.lag_bytes.load(Ordering::Relaxed), 10);
    assert_eq!(live.lag(), Duration::from_secs(60), "never seen fresh: the age of its last write counts");
    take(&mut watch, 1, 60, false, Ok(follows(1, 100)));
    assert_eq!((live.fresh_as_of(), live.lag()), (Tick(39), Duration::ZERO));
}

#[test]
fn early_acknowledgement_asks_for_the_position_written() {
    let mut watch = healthy();
    let live = watch.state.view.load().nodes[1].live.clone();
    take(&mut watch, 1, 25, false, Ok(follows(1, 150)));
    take(&mut watch, 0, 30, false, Ok(writable(1, 200, 150)));
    assert_eq!(live.fresh_as_of(), Tick(29), "all that was acknowledged is durable");
    watch.state.async_commit_seen.store(true, Ordering::Release);
    take(&mut watch, 0, 40, false, Ok(writable(1, 200, 150)));
    assert_eq!(live.fresh_as_of(), Tick(29));
    assert!(watch.wants_nudge());
    take(&mut watch, 1, 45, false, Ok(follows(1, 200)));
    assert_eq!(live.fresh_as_of(), Tick(39));
    let Observation { part: Part::Writable { written, durable, followers, .. }, .. } = writable(1, 300, 200)
    else {
        unreachable!()
    };
    let part =
        Part::Writable { written, durable, followers, early_acknowledgement: false, quorum_lost: true };
    for at in [47, 48] {
        take(&mut watch, 0, at, false, Ok(said(1, part.clone())));
    }
    assert!(!watch.wants_nudge(), "nobody would receive it");
    take(&mut watch, 0, 50, false, Ok(writable(1, 200, 200)));
    assert!(!watch.wants_nudge());
}

#[test]
fn reload_keeps_what_is_the_same() {
    let mut watch = healthy();
    let text = FILE.replace("10.0.0.2", "10.0.0.3");
    let settings = Settings::parse(&text, "test", &|_| None).unwrap();
    let changed = watch.reload(settings.cluster("main").unwrap().clone(), Tick(30));
    assert_eq!(changed, NodeSet::EMPTY.with(NodeId(1)));
    let view = watch.state.view.load_full();
    assert_eq!((&view.nodes[0].health, &view.nodes[1].health), (&Health::Up, &Health::Unknown));
    assert_eq!(watch.primary(), None, "until the new node was heard");
    take(&mut watch, 1, 40, true, Ok(follows(1, 100)));
    assert_eq!(watch.state.gate.now(), Some(Pass { node: NodeId(0), epoch: Epoch(1) }));
}
