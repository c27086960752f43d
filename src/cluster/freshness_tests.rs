//! The frontier against a model that knows the truth: it never runs ahead of it, whatever the schedule.

use super::*;
use proptest::prelude::*;

const REPLICAS: usize = 2;

/// One step of the world, or of the monitor.
#[derive(Debug, Clone)]
enum Step {
    /// The primary writes so many bytes, and may make them durable.
    Write { bytes: u8, durable: bool },
    /// A write is acknowledged: only what is durable, unless writes are acknowledged early.
    Acknowledge { early: bool },
    /// A replica replays so many durable bytes more.
    Replay { replica: usize, bytes: u8 },
    /// A replica comes back with less than it had shown; the monitor's connection breaks.
    Crash { replica: usize, bytes: u8 },
    /// The monitor reads the clock, and its question is on the way to the primary.
    AskPrimary,
    /// The primary reads its position.
    PrimaryLooks,
    /// Its answer arrives.
    PrimaryAnswers,
    /// A replica reads its position.
    ReplicaLooks { replica: usize },
    /// Its answer arrives, perhaps much later.
    ReplicaAnswers { replica: usize },
    /// A replica is promoted; the others follow when they are not past the fork.
    Promote { replica: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let replica = 0..REPLICAS;
    prop_oneof![
        4 => (1u8..=200, any::<bool>()).prop_map(|(bytes, durable)| Step::Write { bytes, durable }),
        4 => any::<bool>().prop_map(|early| Step::Acknowledge { early }),
        4 => (replica.clone(), 1u8..=200).prop_map(|(replica, bytes)| Step::Replay { replica, bytes }),
        1 => (replica.clone(), 1u8..=200).prop_map(|(replica, bytes)| Step::Crash { replica, bytes }),
        3 => Just(Step::AskPrimary),
        3 => Just(Step::PrimaryLooks),
        3 => Just(Step::PrimaryAnswers),
        4 => replica.clone().prop_map(|replica| Step::ReplicaLooks { replica }),
        4 => replica.clone().prop_map(|replica| Step::ReplicaAnswers { replica }),
        1 => replica.prop_map(|replica| Step::Promote { replica }),
    ]
}

struct World {
    now: u64,
    timeline: u32,
    written: u64,
    durable: u64,
    early: bool,
    /// (acknowledged at, end of the write), of the present history only: what a promotion lost is lost.
    acknowledged: Vec<(u64, u64)>,
    shown: [u64; REPLICAS],
    follows: [u32; REPLICAS],
    question: Option<Tick>,
    looked: Option<(Tick, Position)>,
    replies: [Option<Position>; REPLICAS],
    frontier: Frontier,
}

impl World {
    fn new() -> Self {
        Self {
            now: 1,
            timeline: 1,
            written: 0,
            durable: 0,
            early: false,
            acknowledged: Vec::new(),
            shown: [0; REPLICAS],
            follows: [1; REPLICAS],
            question: None,
            looked: None,
            replies: [None; REPLICAS],
            frontier: Frontier::new(REPLICAS),
        }
    }

    fn at(&self, lsn: u64) -> Position {
        Position::Lsn { timeline: self.timeline, lsn }
    }

    fn run(&mut self, step: &Step) {
        self.now += 1;
        match *step {
            Step::Write { bytes, durable } => {
                self.written += u64::from(bytes);
                if durable {
                    self.durable = self.written;
                }
            }
            Step::Acknowledge { early } => {
                // The session raises the flag before an early acknowledgement can happen.
                self.early |= early;
                let end = if early { self.written } else { self.durable };
                self.acknowledged.push((self.now, end));
            }
            Step::Replay { replica, bytes } if self.follows[replica] == self.timeline => {
                self.shown[replica] = (self.shown[replica] + u64::from(bytes)).min(self.durable);
            }
            Step::Replay { .. } => {}
            Step::Crash { replica, bytes } => {
                self.shown[replica] = self.shown[replica].saturating_sub(u64::from(bytes));
                self.replies[replica] = None;
                self.frontier.forget(id(replica));
            }
            Step::AskPrimary if self.looked.is_none() => self.question = Some(Tick(self.now)),
            Step::AskPrimary => {}
            Step::PrimaryLooks => {
                // Either position is decided on when the answer arrives; both were read here.
                if let Some(sent) = self.question.take() {
                    self.looked = Some((sent, self.at(if self.early { self.written } else { self.durable })));
                }
            }
            Step::PrimaryAnswers => {
                if let Some((sent, at)) = self.looked.take() {
                    self.frontier.lead(sent, at);
                }
            }
            Step::ReplicaLooks { replica } => {
                let timeline = self.follows[replica];
                self.replies[replica] = Some(Position::Lsn { timeline, lsn: self.shown[replica] });
            }
            Step::ReplicaAnswers { replica } => {
                if let Some(at) = self.replies[replica].take() {
                    self.frontier.follow(id(replica), at);
                }
            }
            Step::Promote { replica } if self.follows[replica] == self.timeline => self.promote(replica),
            Step::Promote { .. } => {}
        }
    }

    fn promote(&mut self, replica: usize) {
        let fork = self.shown[replica];
        self.acknowledged.retain(|(_, end)| *end <= fork);
        (self.written, self.durable) = (fork, fork);
        self.timeline += 1;
        (self.question, self.looked) = (None, None);
        for (shown, follows) in self.shown.iter().zip(&mut self.follows) {
            if *shown <= fork {
                *follows = self.timeline;
            }
        }
        self.frontier.new_primary();
    }

    fn check(&self) {
        for replica in 0..REPLICAS {
            let fresh = self.frontier.fresh_as_of(id(replica));
            for (at, end) in &self.acknowledged {
                assert!(
                    *at >= fresh.0 || *end <= self.shown[replica],
                    "replica {replica} is said to be fresh as of {fresh:?}, and misses a write of {at} that ends at {end}"
                );
            }
        }
    }
}

fn id(replica: usize) -> NodeId {
    NodeId(u8::try_from(replica).unwrap())
}

fn lsn(lsn: u64) -> Position {
    Position::Lsn { timeline: 1, lsn }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_frontier_never_runs_ahead_of_the_truth(steps in prop::collection::vec(step(), 1..400)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
            world.check();
        }
    }

    #[test]
    fn it_reaches_the_last_round_once_all_is_replayed(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.now += 1;
        world.durable = world.written;
        let sent = Tick(world.now);
        world.frontier.lead(sent, world.at(world.written));
        for replica in 0..REPLICAS {
            world.frontier.follow(id(replica), world.at(world.written));
            prop_assert_eq!(world.frontier.fresh_as_of(id(replica)), sent);
            let behind = world.frontier.behind(id(replica), Tick(world.now + 1));
            prop_assert_eq!(behind, Behind { bytes: Some(0), time: Duration::ZERO });
        }
    }
}

#[test]
fn a_paused_replica_falls_behind_and_catches_up() {
    let mut frontier = Frontier::new(1);
    frontier.follow(id(0), lsn(100));
    frontier.lead(Tick(10), lsn(100));
    assert_eq!(frontier.fresh_as_of(id(0)), Tick(10));
    frontier.lead(Tick(20), lsn(150));
    frontier.lead(Tick(30), lsn(150));
    frontier.lead(Tick(40), lsn(200));
    assert_eq!(frontier.fresh_as_of(id(0)), Tick(10));
    let behind = frontier.behind(id(0), Tick(50));
    assert_eq!(behind, Behind { bytes: Some(100), time: Duration::from_nanos(30) });
    frontier.follow(id(0), lsn(160));
    assert_eq!(frontier.fresh_as_of(id(0)), Tick(30));
    frontier.follow(id(0), lsn(200));
    assert_eq!(frontier.fresh_as_of(id(0)), Tick(40));
}

#[test]
fn pending_pairs_are_bounded_and_the_oldest_is_kept() {
    let mut frontier = Frontier::new(1);
    frontier.follow(id(0), lsn(0));
    for round in 1..=10_000u64 {
        frontier.lead(Tick(round), lsn(round));
        assert!(frontier.followers[0].pending.len() <= PENDING_MAX);
    }
    assert_eq!(frontier.behind(id(0), Tick(10_000)).time, Duration::from_nanos(9_999));
    frontier.follow(id(0), lsn(9_000));
    let fresh = frontier.fresh_as_of(id(0));
    assert!(fresh > Tick(1) && fresh <= Tick(9_000), "{fresh:?}");
    frontier.follow(id(0), lsn(10_000));
    assert_eq!(frontier.fresh_as_of(id(0)), Tick(10_000));
}

#[test]
fn another_timeline_proves_nothing() {
    let mut frontier = Frontier::new(1);
    frontier.follow(id(0), lsn(100));
    frontier.lead(Tick(10), lsn(100));
    frontier.new_primary();
    frontier.lead(Tick(20), Position::Lsn { timeline: 2, lsn: 50 });
    assert_eq!(frontier.fresh_as_of(id(0)), Tick(10));
    assert_eq!(frontier.behind(id(0), Tick(30)).bytes, None);
    frontier.lead(Tick(25), Position::Unordered);
    frontier.follow(id(0), Position::Lsn { timeline: 2, lsn: 50 });
    assert_eq!(frontier.fresh_as_of(id(0)), Tick(20));
}
