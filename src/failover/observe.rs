//! Who is primary when somebody else decides it: roles are followed, never moved. Pure.
//!
//! The primary is the one node that takes writes, is of the cluster's system, and whose history contains that of every node that answers. Of
//! two that take writes, the one of the newer history counts if a configured replica streams from it (or if it already was the primary, and the
//! other has only come back); else nobody is.
//!
//! The other danger is a primary that we still reach while its replicas, which we do not, have been given another one. So a primary also needs a
//! *witness*: a configured replica that was seen streaming on its history within `failover.witness`. A healthy cluster is not stopped for want of
//! one: no witness is needed when every other node is accounted for, that is, it answers and does not claim to be primary, or its address refuses
//! connections (nothing serves there, so nobody was promoted there), or it was a primary of an older history. What is left is a node that is
//! silent. It blocks nothing while a replica streams, and blocks writes when nobody can say that it was not promoted. A `witness` of zero asks for
//! none.

use crate::clock::Tick;
use crate::config::settings::FailoverMode;
use crate::engine::{Epoch, NodeId, Observation, Part};
use std::sync::Arc;
use std::time::Duration;

/// How old a stream may be that decides between two nodes, where no witness is asked for.
const WITHOUT_WITNESS: Duration = Duration::from_secs(10);

/// Whether a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It does.
    Answers,
    /// Its address refuses connections, or says that it serves nobody now.
    Refuses,
    /// It says nothing, or lets the monitor not in; or it was not asked yet.
    Silent,
}

/// What is known of one node.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it answers.
    pub reach: Reach,
    /// What it said last; it may be silent since.
    pub said: Option<&'a Observation>,
    /// When it was last seen streaming, and on which timeline.
    pub streamed: Option<(Tick, u32)>,
}

impl Known<'_> {
    fn answer(&self) -> Option<&Observation> {
        self.said.filter(|_| self.reach == Reach::Answers)
    }
}

/// What was decided before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// How many primaries there were.
    pub epoch: Epoch,
    /// The last one.
    pub primary: Option<NodeId>,
    /// The cluster's system; 0 = not known, or the engine has none.
    pub system: u64,
    /// Its timeline.
    pub timeline: u32,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The primary, or why there is none.
    pub primary: Result<NodeId, Arc<str>>,
    /// Nodes that must not be spoken to, and why.
    pub barred: Vec<(NodeId, Arc<str>)>,
}

impl Memory {
    /// Takes a decision in; whether it is a change of primary (another node, or the same one on another history).
    pub fn learn(&mut self, primary: NodeId, said: &Observation) -> bool {
        let changed = self.primary != Some(primary) || self.timeline != said.timeline;
        if changed {
            self.epoch = Epoch(self.epoch.0 + 1);
            *self = Self { primary: Some(primary), system: said.system, timeline: said.timeline, ..*self };
        }
        changed
    }
}

/// Decides. `nodes` is in the order of their ids.
#[must_use]
pub fn decide(
    mode: FailoverMode,
    witness: Duration,
    memory: Memory,
    nodes: &[Known<'_>],
    now: Tick,
) -> Decision {
    let system = match cluster_system(memory, nodes) {
        Ok(system) => system,
        Err(why) => return Decision { primary: Err(why), barred: Vec::new() },
    };
    let cluster = Cluster { mode, witness, memory, nodes, now };
    let mut barred = strangers(system, nodes);
    let primary = cluster.primary(system);
    if let Ok(primary) = primary {
        barred.extend(cluster.returned(primary, system));
    }
    Decision { primary, barred }
}

/// The cluster's system: as remembered, else that of most nodes that answer.
fn cluster_system(memory: Memory, nodes: &[Known<'_>]) -> Result<u64, Arc<str>> {
    if memory.system != 0 {
        return Ok(memory.system);
    }
    let answers = || nodes.iter().filter_map(Known::answer);
    let votes = |system| answers().filter(|said| said.system == system).count();
    let Some(most) = answers().map(|said| said.system).max_by_key(|system| (votes(*system), *system)) else {
        return Err("no node answers".into());
    };
    if answers().any(|said| said.system != most && votes(said.system) == votes(most)) {
        return Err("the nodes belong to different systems (their system identifiers differ)".into());
    }
    Ok(most)
}

fn strangers(system: u64, nodes: &[Known<'_>]) -> Vec<(NodeId, Arc<str>)> {
    let strange = |said: &Observation| said.system != system;
    ids(nodes)
        .filter_map(|(id, node)| {
            let said = node.answer().filter(|said| strange(said))?;
            let why = format!(
                "it belongs to another system (identifier {}, the cluster's is {system}): restored or initialised anew? \
                 Restart Primacy when that is meant",
                said.system
            );
            Some((id, why.into()))
        })
        .collect()
}

fn ids<'n, 'a>(nodes: &'n [Known<'a>]) -> impl Iterator<Item = (NodeId, &'n Known<'a>)> {
    (0u8..).map(NodeId).zip(nodes)
}

fn is_writable(said: &Observation) -> bool {
    matches!(said.part, Part::Writable { .. })
}

struct Cluster<'n, 'a> {
    mode: FailoverMode,
    witness: Duration,
    memory: Memory,
    nodes: &'n [Known<'a>],
    now: Tick,
}

impl Cluster<'_, '_> {
    /// Nodes that answer and are of the cluster.
    fn members(&self, system: u64) -> impl Iterator<Item = (NodeId, &str, &Observation)> {
        ids(self.nodes).filter_map(move |(id, node)| {
            node.answer().filter(|said| said.system == system).map(|said| (id, node.name, said))
        })
    }

    fn primary(&self, system: u64) -> Result<NodeId, Arc<str>> {
        let writable: Vec<_> = self
            .members(system)
            .filter(|(.., said)| is_writable(said))
            .map(|(id, name, said)| (id, name, said.timeline))
            .collect();
        if self.mode == FailoverMode::Off
            && let Some(fixed) = self.memory.primary
        {
            return match writable.iter().find(|(id, ..)| *id == fixed) {
                Some(_) => Ok(fixed),
                None => {
                    Err(format!("{} takes no writes now (failover.mode is off)", self.name(fixed)).into())
                }
            };
        }
        let (id, name, timeline) = match writable[..] {
            [] => return Err(self.nobody_writes()),
            [only] => only,
            _ => self.of_several(&writable)?,
        };
        self.descends(id, name, timeline, system)?;
        if self.mode == FailoverMode::Observe {
            self.witnessed(id, name, timeline, system)?;
        }
        Ok(id)
    }

    fn nobody_writes(&self) -> Arc<str> {
        match self.memory.primary {
            Some(last) => {
                format!("{} was the primary; no node that answers takes writes now", self.name(last)).into()
            }
            None => "no node that answers takes writes".into(),
        }
    }

    /// More than one node takes writes.
    fn of_several<'w>(
        &self,
        writable: &[(NodeId, &'w str, u32)],
    ) -> Result<(NodeId, &'w str, u32), Arc<str>> {
        let newest = writable.iter().copied().max_by_key(|(.., timeline)| *timeline);
        let Some(top @ (id, name, timeline)) = newest else { return Err(self.nobody_writes()) };
        let alone = writable.iter().filter(|(.., other)| *other == timeline).count() == 1;
        let stays = self.memory.primary == Some(id) && self.memory.timeline == timeline;
        if alone && (stays || self.streams_from(id, timeline)) {
            return Ok(top);
        }
        let names: Vec<_> =
            writable.iter().map(|(_, name, timeline)| format!("{name} (timeline {timeline})")).collect();
        let hint = if alone {
            format!("no replica streams from {name}")
        } else {
            "their histories cannot be told apart".into()
        };
        Err(format!("{} all take writes, and {hint}: stop all but one", names.join(" and ")).into())
    }

    /// Whether the candidate's history contains the others', as far as timelines tell.
    fn descends(&self, id: NodeId, name: &str, timeline: u32, system: u64) -> Result<(), Arc<str>> {
        if let Some((_, other, said)) = self.members(system).find(|(.., said)| said.timeline > timeline) {
            let newer = said.timeline;
            return Err(format!(
                "{name} takes writes on timeline {timeline}, but {other} is on timeline {newer}"
            )
            .into());
        }
        let known = self.memory.timeline;
        match self.memory.primary {
            Some(last) if last != id && timeline <= known => Err(format!(
                "{name} takes writes on timeline {timeline}, which {} had already: it was not promoted from the cluster's history",
                self.name(last)
            )
            .into()),
            Some(_) if timeline < known => {
                Err(format!("{name} is back on timeline {timeline}; the cluster was on {known}").into())
            }
            _ => Ok(()),
        }
    }

    fn witnessed(&self, id: NodeId, name: &str, timeline: u32, system: u64) -> Result<(), Arc<str>> {
        if self.witness.is_zero() || self.streams_from(id, timeline) {
            return Ok(());
        }
        let accounted = |node: &Known<'_>| match node.reach {
            Reach::Answers | Reach::Refuses => true,
            Reach::Silent => node
                .said
                .is_some_and(|said| is_writable(said) && said.system == system && said.timeline < timeline),
        };
        match ids(self.nodes).find(|(other, node)| *other != id && !accounted(node)) {
            None => Ok(()),
            Some((_, silent)) => Err(format!(
                "{name} takes writes, but {} is silent and no configured replica was seen streaming from {name} within {:?}: \
                 another node may have been promoted",
                silent.name, self.witness
            )
            .into()),
        }
    }

    fn streams_from(&self, id: NodeId, timeline: u32) -> bool {
        // A replica that streams on this history from somebody else is no witness.
        let candidate = self.nodes.get(usize::from(id.0)).and_then(Known::answer).map(|said| &said.part);
        if matches!(candidate, Some(Part::Writable { followers: Some(0), .. })) {
            return false;
        }
        ids(self.nodes).any(|(other, node)| {
            let within = if self.witness.is_zero() { WITHOUT_WITNESS } else { self.witness };
            let recent = |(at, on): (Tick, u32)| on == timeline && self.now.since(at) <= within;
            other != id && node.streamed.is_some_and(recent)
        })
    }

    /// Nodes that take writes beside the primary.
    fn returned(&self, primary: NodeId, system: u64) -> impl Iterator<Item = (NodeId, Arc<str>)> {
        let name = self.name(primary);
        self.members(system).filter(move |(id, _, said)| *id != primary && is_writable(said)).map(
            move |(id, _, said)| {
                let why = format!(
                    "it takes writes on timeline {} beside the primary {name}: stop it, and make it follow",
                    said.timeline
                );
                (id, why.into())
            },
        )
    }

    fn name(&self, id: NodeId) -> &str {
        self.nodes.get(usize::from(id.0)).map_or("?", |node| node.name)
    }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
