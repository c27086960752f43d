//! What a read must see: the one function that floors come from.

use super::core::Core;
use super::plan::Plan;
use crate::clock::Tick;
use crate::config::settings::{Consistency, Routing};
use crate::engine::seam::Engine;

/// What a read must see, as long as it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    /// The level that it is for.
    pub(super) level: Consistency,
    /// Every write before this instant: what the replica that the session read from last must have seen. Others must have seen what the
    /// session last read, too.
    pub(super) written: Tick,
}

/// The floor of what `plan` reads, as of now: a statement has one from its beginning to its end, however long it waits. Floors per table will
/// look at the plan here, and at nothing else.
pub(super) fn floor<E: Engine>(core: &Core<E>, plan: &Plan, routing: &Routing) -> Floor {
    let level = plan.level.or(core.consistency).unwrap_or(routing.consistency);
    Floor { level, written: written(level, core.login, core.last_write, core.lane.writes.get()) }
}

fn written(level: Consistency, login: Tick, own: Tick, database: Tick) -> Tick {
    match level {
        Consistency::Eventual => Tick::ZERO,
        Consistency::Session => own.max(login),
        // What other sessions were told before this one came is in the database's floor. A second proxy of the cluster would have told
        // its own clients: where one is known to serve, the login counts here, too.
        Consistency::Causal | Consistency::Strong => own.max(database),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_its_own_floor() {
        let at = |level, login, own, database| written(level, Tick(login), Tick(own), Tick(database)).0;
        assert_eq!(at(Consistency::Eventual, 10, 20, 40), 0);
        assert_eq!(at(Consistency::Session, 10, 0, 40), 10, "others' writes do not bind it, its login does");
        assert_eq!(at(Consistency::Session, 10, 20, 40), 20);
        assert_eq!(at(Consistency::Causal, 10, 0, 5), 5, "its login does not bind it");
        assert_eq!(at(Consistency::Causal, 10, 20, 40), 40, "others' writes do");
    }
}
