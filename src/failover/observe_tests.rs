//! Who is primary, case by case.

use super::*;
use crate::engine::Position;

const WITNESS: Duration = Duration::from_secs(10);
const NOW: Tick = Tick(100_000_000_000);
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

fn said(timeline: u32, part: Part) -> Observation {
    Observation { identity: 7, system: 7, start: 1, version: "15".into(), timeline, part, slots: 97 }
}

fn writable(timeline: u32) -> Observation {
    let at = Position::Lsn { timeline, lsn: 1000 };
    said(
        timeline,
        Part::Writable {
            written: at,
            durable: at,
            early_acknowledgement: false,
            quorum_lost: false,
            followers: None,
        },
    )
}

fn follows(timeline: u32, streaming: bool) -> Observation {
    let at = Position::Lsn { timeline, lsn: 1000 };
    said(timeline, Part::Follows { received: at, replayed: at, streaming, upstream: None, replay_age: None })
}

/// A replica that streams was seen to do so a second ago.
fn nodes(all: &[(Reach, Option<Observation>)]) -> Vec<Known<'_>> {
    let second_ago = Tick(NOW.0 - 1_000_000_000);
    all.iter()
        .zip(NAMES)
        .map(|((reach, said), name)| {
            let said = said.as_ref();
            let streams = said.filter(|said| matches!(said.part, Part::Follows { streaming: true, .. }));
            Known { name, reach: *reach, said, streamed: streams.map(|said| (second_ago, said.timeline)) }
        })
        .collect()
}

fn decided(memory: Memory, all: &[(Reach, Option<Observation>)]) -> Decision {
    decide(FailoverMode::Observe, WITNESS, memory, &nodes(all), NOW)
}

fn why(decision: &Decision) -> &str {
    decision.primary.as_ref().expect_err("there should be no primary")
}

fn was(node: u8, timeline: u32) -> Memory {
    Memory { epoch: Epoch(1), primary: Some(NodeId(node)), system: 7, timeline }
}

use Reach::{Answers, Refuses, Silent};

#[test]
fn the_only_writable_node_of_a_healthy_cluster() {
    let decision = decided(
        Memory::default(),
        &[(Answers, Some(writable(1))), (Answers, Some(follows(1, true))), (Answers, Some(follows(1, true)))],
    );
    assert_eq!(decision, Decision { primary: Ok(NodeId(0)), barred: vec![] });
}

#[test]
fn a_single_node_needs_nobody() {
    assert_eq!(decided(Memory::default(), &[(Answers, Some(writable(4)))]).primary, Ok(NodeId(0)));
}

#[test]
fn one_node_down_at_boot_blocks_nothing() {
    for down in [Silent, Refuses] {
        let all = [(Answers, Some(writable(1))), (Answers, Some(follows(1, true))), (down, None)];
        assert_eq!(decided(Memory::default(), &all).primary, Ok(NodeId(0)), "{down:?}");
    }
    // All replicas are down, and nothing listens at their addresses.
    let all = [(Answers, Some(writable(1))), (Refuses, None), (Refuses, None)];
    assert_eq!(decided(Memory::default(), &all).primary, Ok(NodeId(0)));
    // A replica that answers and does not stream just now is no danger.
    let all = [(Answers, Some(writable(1))), (Answers, Some(follows(1, false)))];
    assert_eq!(decided(Memory::default(), &all).primary, Ok(NodeId(0)));
}

#[test]
fn a_primary_without_witness_beside_silent_nodes_is_not_written_to() {
    let all = [(Answers, Some(writable(1))), (Silent, Some(follows(1, false))), (Refuses, None)];
    let decision = decided(was(0, 1), &all);
    assert!(why(&decision).contains("n2 is silent"), "{decision:?}");
    assert_eq!(
        decide(FailoverMode::Observe, Duration::ZERO, was(0, 1), &nodes(&all), NOW).primary,
        Ok(NodeId(0))
    );
    assert_eq!(decide(FailoverMode::Off, WITNESS, was(0, 1), &nodes(&all), NOW).primary, Ok(NodeId(0)));
    // A replica streams, but from somebody else.
    let mut lonely = writable(1);
    if let Part::Writable { followers, .. } = &mut lonely.part {
        *followers = Some(0);
    }
    let all = [(Answers, Some(lonely)), (Answers, Some(follows(1, true))), (Silent, None)];
    assert!(decided(was(0, 1), &all).primary.is_err());
    // The replica streamed a moment ago: it holds for as long as the witness is good.
    let all = [(Answers, Some(writable(1))), (Silent, Some(follows(1, true)))];
    assert_eq!(decided(was(0, 1), &all).primary, Ok(NodeId(0)));
    let mut late = nodes(&all);
    late[1].streamed = Some((Tick(NOW.0 - 10_000_000_001), 1));
    assert!(decide(FailoverMode::Observe, WITNESS, was(0, 1), &late, NOW).primary.is_err());
}

#[test]
fn a_promotion_is_followed_once_the_old_primary_is_gone() {
    let all =
        [(Refuses, Some(writable(1))), (Answers, Some(writable(2))), (Answers, Some(follows(1, false)))];
    let decision = decided(was(0, 1), &all);
    assert_eq!(decision.primary, Ok(NodeId(1)));
    let mut memory = was(0, 1);
    assert!(memory.learn(NodeId(1), &writable(2)));
    assert_eq!(memory, Memory { epoch: Epoch(2), primary: Some(NodeId(1)), system: 7, timeline: 2 });
    assert!(!memory.learn(NodeId(1), &writable(2)));
    // The old primary is silent, not dead: its history is the older one, so it does not matter.
    let all = [(Silent, Some(writable(1))), (Answers, Some(writable(2)))];
    assert_eq!(decided(was(0, 1), &all).primary, Ok(NodeId(1)));
}

#[test]
fn of_two_the_newer_history_with_a_replica() {
    let alone =
        [(Answers, Some(writable(1))), (Answers, Some(writable(2))), (Answers, Some(follows(1, true)))];
    assert!(why(&decided(was(0, 1), &alone)).contains("no replica streams from n2"));
    let followed =
        [(Answers, Some(writable(1))), (Answers, Some(writable(2))), (Answers, Some(follows(2, true)))];
    let decision = decided(was(0, 1), &followed);
    assert_eq!(decision.primary, Ok(NodeId(1)));
    assert_eq!(decision.barred.len(), 1);
    assert_eq!(decision.barred[0].0, NodeId(0));
    let same =
        [(Answers, Some(writable(2))), (Answers, Some(writable(2))), (Answers, Some(follows(2, true)))];
    assert!(why(&decided(was(0, 2), &same)).contains("cannot be told apart"));
}

#[test]
fn a_returned_old_primary_is_barred_and_stops_nobody() {
    let all = [(Answers, Some(writable(1))), (Answers, Some(writable(2))), (Refuses, None)];
    let decision = decided(was(1, 2), &all);
    assert_eq!(decision.primary, Ok(NodeId(1)));
    assert_eq!(decision.barred[0].0, NodeId(0));
    // When only the old one is left, it is no primary.
    let all = [(Answers, Some(writable(1))), (Silent, Some(writable(2)))];
    assert!(why(&decided(was(1, 2), &all)).contains("not promoted from the cluster's history"));
}

#[test]
fn an_older_history_than_a_replica_s_is_no_primary_s() {
    let all = [(Answers, Some(writable(1))), (Answers, Some(follows(2, false)))];
    assert!(why(&decided(Memory::default(), &all)).contains("n2 is on timeline 2"));
}

#[test]
fn a_stranger_s_system_is_barred() {
    let stranger = Observation { system: 8, ..writable(9) };
    let all =
        [(Answers, Some(writable(1))), (Answers, Some(stranger.clone())), (Answers, Some(follows(1, true)))];
    let decision = decided(Memory::default(), &all);
    assert_eq!(decision.primary, Ok(NodeId(0)));
    assert_eq!(decision.barred[0].0, NodeId(1));
    let all = [(Answers, Some(writable(1))), (Answers, Some(stranger.clone()))];
    assert!(why(&decided(Memory::default(), &all)).contains("different systems"));
    // Once known, the cluster's system stays.
    assert_eq!(decided(was(0, 1), &all).primary, Ok(NodeId(0)));
    let all = [(Answers, Some(stranger))];
    assert!(decided(was(0, 1), &all).primary.is_err());
}

#[test]
fn nobody_answers() {
    assert_eq!(why(&decided(Memory::default(), &[(Silent, None), (Refuses, None)])), "no node answers");
    let all = [(Refuses, Some(writable(1))), (Answers, Some(follows(1, false)))];
    assert!(why(&decided(was(0, 1), &all)).contains("n1 was the primary"));
}

#[test]
fn off_follows_nobody() {
    let all = [(Refuses, Some(writable(1))), (Answers, Some(writable(2)))];
    let decision = decide(FailoverMode::Off, WITNESS, was(0, 1), &nodes(&all), NOW);
    assert!(why(&decision).contains("failover.mode is off"));
}
