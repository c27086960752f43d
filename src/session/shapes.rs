//! What is remembered of shapes of statements that met trouble: reads that replay came in the way of, and statements that were running when
//! a server went down.

use super::core::Core;
use super::plan::Plan;
use super::unit::Attempt;
use crate::clock::{self, Tick};
use crate::engine::seam::{Engine, Exchange, Part};
use crate::engine::{NodeId, NodeSet};
use crate::error::ClientError;
use crate::sql::{Verdict, normal_key};
use crate::telemetry::ClusterCount;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A shape that replay came in the way of twice within this time runs on the primary for as long.
const CONFLICTS_FOR: Duration = Duration::from_secs(600);
/// Clients make shapes up: no more of them are remembered.
const SHAPES_MAX: usize = 1000;
/// Verdicts that are remembered to have run well; one that is forgotten has only not been seen lately.
const WELL: usize = 4096;

/// The shapes of one cluster.
#[derive(Debug)]
pub struct Shapes {
    // Whether anything is remembered: nobody else pays for looking.
    any: AtomicBool,
    known: Mutex<HashMap<u64, Trouble>>,
    // Where the verdicts lie under which reads ran well.
    well: Box<[AtomicUsize]>,
}

impl Default for Shapes {
    fn default() -> Self {
        let well = (0..WELL).map(|_| AtomicUsize::new(0)).collect();
        Self { any: AtomicBool::new(false), known: Mutex::default(), well }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Trouble {
    /// The last conflict; `ZERO` = none.
    conflict: Tick,
    /// Its reads are the primary's until then.
    primary_until: Tick,
    /// Nodes that went down under it since it last ran well, and when the last did.
    downed: NodeSet,
    downed_at: Tick,
    /// It is refused until then.
    refused_until: Tick,
}

/// What is to be done about a statement because of its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caution {
    /// It runs on the primary, where nothing is replayed.
    pub primary: bool,
    /// A server went down under it, and it has not run well since.
    pub suspect: bool,
    /// It is refused, for so long from now.
    pub refused: Option<Duration>,
}

impl Shapes {
    /// Whether anything is remembered of any shape.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// What is to be done about a statement of that shape.
    #[must_use]
    pub fn caution(&self, shape: u64, now: Tick) -> Caution {
        let known = self.known.lock();
        let Some(trouble) = known.get(&shape) else { return Caution::default() };
        Caution {
            primary: now < trouble.primary_until,
            suspect: trouble.downed != NodeSet::EMPTY,
            refused: (now < trouble.refused_until).then(|| trouble.refused_until.since(now)),
        }
    }

    /// Replay came in the way of a read of that shape. Whether it is the primary's from now on.
    pub fn conflicted(&self, shape: u64, now: Tick) -> bool {
        self.note(shape, now, CONFLICTS_FOR, |trouble| {
            if trouble.conflict != Tick::ZERO && now.since(trouble.conflict) < CONFLICTS_FOR {
                trouble.primary_until = now.plus(CONFLICTS_FOR);
            }
            trouble.conflict = now;
            now < trouble.primary_until
        })
    }

    /// `node` went down while a statement of that shape ran on it: when a second one does before it has run well, it is refused for
    /// `breaker`. Whether it is.
    pub fn went_down(&self, shape: u64, node: NodeId, now: Tick, breaker: Duration) -> bool {
        self.note(shape, now, breaker, |trouble| {
            if now.since(trouble.downed_at) >= breaker {
                trouble.downed = NodeSet::EMPTY;
            }
            let second = trouble.downed != NodeSet::EMPTY && !trouble.downed.has(node);
            trouble.downed = trouble.downed.with(node);
            trouble.downed_at = now;
            if second {
                trouble.refused_until = now.plus(breaker);
            }
            now < trouble.refused_until
        })
    }

    /// A statement of that shape ran well: what went down under its like did so for another reason.
    pub fn ran_well(&self, shape: u64) {
        let mut known = self.known.lock();
        if let Some(trouble) = known.get_mut(&shape) {
            trouble.downed = NodeSet::EMPTY;
            if *trouble == (Trouble { downed_at: trouble.downed_at, ..Trouble::default() }) {
                known.remove(&shape);
                self.any.store(!known.is_empty(), Ordering::Release);
            }
        }
    }

    // Notes that a read with this verdict was answered.
    fn answered(&self, verdict: &Arc<Verdict>) {
        let (slot, at) = self.slot(verdict);
        if let Some(slot) = slot.filter(|slot| slot.load(Ordering::Relaxed) != at) {
            slot.store(at, Ordering::Relaxed);
        }
    }

    fn was_answered(&self, verdict: &Arc<Verdict>) -> bool {
        let (slot, at) = self.slot(verdict);
        slot.is_some_and(|slot| slot.load(Ordering::Relaxed) == at)
    }

    fn slot(&self, verdict: &Arc<Verdict>) -> (Option<&AtomicUsize>, usize) {
        let at = Arc::as_ptr(verdict).addr();
        (self.well.get((at >> 4) % WELL), at)
    }

    fn note(&self, shape: u64, now: Tick, keep: Duration, change: impl FnOnce(&mut Trouble) -> bool) -> bool {
        let mut known = self.known.lock();
        if known.len() >= SHAPES_MAX {
            known.retain(|_, trouble| trouble.lasts(now, keep));
        }
        if known.len() >= SHAPES_MAX && !known.contains_key(&shape) {
            return false;
        }
        self.any.store(true, Ordering::Release);
        change(known.entry(shape).or_default())
    }
}

impl Trouble {
    // Whether it may matter yet.
    fn lasts(&self, now: Tick, keep: Duration) -> bool {
        let recent = |at: Tick| at != Tick::ZERO && now.since(at) < keep;
        now < self.primary_until
            || now < self.refused_until
            || recent(self.conflict)
            || (self.downed != NodeSet::EMPTY && recent(self.downed_at))
    }
}

// The shape of the framed unit, whatever is prepared in it: what it runs.
fn of<E: Engine>(core: &Core<E>, exchange: &E::Exchange) -> Option<u64> {
    if !exchange.can_rewind() {
        return None;
    }
    let texts = (0..exchange.parts()).filter_map(|index| match exchange.part(index) {
        Part::Text(text) => Some(text),
        Part::Use { name, runs: true } => core.statements.find(name).map(|known| known.prepared.text()),
        _ => None,
    });
    texts.map(|text| normal_key(text, core.reading.lexing)).reduce(|all, one| all.rotate_left(7) ^ one)
}

/// Whether the framed unit is refused because of its shape; else what is to be heeded is noted in `attempt`.
pub(super) fn refuses<E: Engine>(
    core: &Core<E>,
    exchange: &E::Exchange,
    attempt: &mut Attempt,
) -> Option<ClientError> {
    let caution = core.shared.shapes.caution(of(core, exchange)?, clock::now());
    attempt.conflicts = caution.primary;
    caution.refused.map(|left| {
        core.shared.stats.count(ClusterCount::RefusedByShape);
        deadly(left)
    })
}

/// What is said of a statement whose like was running when servers went down.
pub(super) fn deadly(left: Duration) -> ClientError {
    let text = format!(
        "this statement is not run: two servers went down while its like was running; for the next {} s it is refused",
        left.as_secs()
    );
    ClientError::new("57014", 1317, text)
        .hint("find out why it takes a server down; routing.retry.breaker says how long it is refused")
}

/// Replay came in the way of the framed unit. Whether its shape is the primary's from now on.
pub(super) fn conflicted<E: Engine>(core: &Core<E>, exchange: &E::Exchange) -> bool {
    of(core, exchange).is_some_and(|shape| core.shared.shapes.conflicted(shape, clock::now()))
}

/// `node` went down under the framed unit. Whether it is refused from now on.
pub(super) fn went_down<E: Engine>(core: &Core<E>, exchange: &E::Exchange, node: NodeId) -> bool {
    let breaker = core.routing(&core.shared.settings.load()).breaker;
    let Some(shape) = of(core, exchange) else { return false };
    let refused = core.shared.shapes.went_down(shape, node, clock::now(), breaker);
    if refused {
        tracing::warn!(database = %core.lane.alias, user = %core.lane.identity.user, "a statement is refused: two servers went down under its like");
    }
    refused
}

/// Whether the framed unit may run on the primary although a server was just lost under it: its like has run well, and no server went down
/// under them before.
pub(super) fn is_harmless<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> bool {
    let shapes = &core.shared.shapes;
    let suspect = of(core, exchange).is_none_or(|shape| shapes.caution(shape, clock::now()).suspect);
    !suspect && plan.verdict.as_ref().is_some_and(|verdict| shapes.was_answered(verdict))
}

/// The framed unit was answered.
pub(super) fn ran_well<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) {
    let shapes = &core.shared.shapes;
    if let Some(verdict) = &plan.verdict {
        shapes.answered(verdict);
    }
    if shapes.any()
        && let Some(shape) = of(core, exchange)
    {
        shapes.ran_well(shape);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: Duration = Duration::from_secs(300);
    const NOW: Tick = Tick(1_000_000_000_000);

    #[test]
    fn two_conflicts_make_a_shape_the_primarys_for_a_while() {
        let shapes = Shapes::default();
        assert!(!shapes.any());
        assert!(!shapes.conflicted(1, NOW));
        assert!(shapes.any() && !shapes.caution(1, NOW).primary);
        let second = NOW.plus(CONFLICTS_FOR / 2);
        assert!(shapes.conflicted(1, second));
        assert!(shapes.caution(1, second).primary && !shapes.caution(2, second).primary);
        assert!(!shapes.caution(1, second.plus(CONFLICTS_FOR)).primary, "the time is over");
        assert!(
            !shapes.conflicted(3, NOW) && !shapes.conflicted(3, NOW.plus(CONFLICTS_FOR)),
            "long ago is forgotten"
        );
    }

    #[test]
    fn two_nodes_make_a_query_of_death() {
        let shapes = Shapes::default();
        assert!(!shapes.went_down(1, NodeId(1), NOW, BREAKER));
        assert!(shapes.caution(1, NOW).suspect);
        assert!(!shapes.went_down(1, NodeId(1), NOW, BREAKER), "the same node again");
        assert!(shapes.went_down(1, NodeId(2), NOW, BREAKER));
        assert_eq!(shapes.caution(1, NOW.plus(BREAKER / 2)).refused, Some(BREAKER / 2));
        assert_eq!(shapes.caution(1, NOW.plus(BREAKER)).refused, None);
        assert_eq!(shapes.caution(2, NOW), Caution::default());
    }

    #[test]
    fn who_ran_well_in_between_is_no_query_of_death() {
        let shapes = Shapes::default();
        shapes.went_down(1, NodeId(1), NOW, BREAKER);
        shapes.ran_well(1);
        assert!(!shapes.any(), "nothing is remembered any more");
        assert!(!shapes.went_down(1, NodeId(2), NOW, BREAKER));
        let later = NOW.plus(BREAKER);
        assert!(!shapes.went_down(1, NodeId(1), later, BREAKER), "long ago is forgotten");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let shapes = Shapes::default();
        for shape in 0..3 * SHAPES_MAX as u64 {
            shapes.conflicted(shape, NOW);
        }
        assert_eq!(shapes.known.lock().len(), SHAPES_MAX);
        shapes.conflicted(u64::MAX, NOW.plus(CONFLICTS_FOR));
        assert_eq!(shapes.known.lock().len(), 1, "what is over makes room");
    }
}
