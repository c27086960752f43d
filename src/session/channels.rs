//! The channels that a session listens to by the shared listener: those that it does listen to, and what its open transaction is going to make of them.
//! Pure.

use crate::sql::Savepoint;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a transaction did, in its order.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Listen(Arc<str>),
    /// `None`: to nothing.
    Unlisten(Option<Arc<str>>),
    Savepoint(Box<str>),
    /// What came before may have been undone in part.
    Doubt,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Channels {
    active: Arc<BTreeSet<Arc<str>>>,
    steps: Vec<Step>,
}

impl Channels {
    /// Those that are listened to now.
    pub(super) fn active(&self) -> &Arc<BTreeSet<Arc<str>>> {
        &self.active
    }

    /// Whether the transaction may come to listen to something.
    pub(super) fn are_coming(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Listen(_)))
    }

    /// Those that are listened to, and those that may be.
    pub(super) fn all(&self) -> BTreeSet<Arc<str>> {
        let coming = self.steps.iter().filter_map(|step| match step {
            Step::Listen(channel) => Some(channel),
            _ => None,
        });
        self.active.iter().chain(coming).cloned().collect()
    }

    /// Whether nothing is listened to, or may be.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && !self.are_coming()
    }

    /// `LISTEN`, within a transaction (which decides about it), or outside of one.
    pub(super) fn listen(&mut self, channel: Arc<str>, within: bool) {
        if within {
            self.steps.push(Step::Listen(channel));
        } else {
            Arc::make_mut(&mut self.active).insert(channel);
        }
    }

    /// `UNLISTEN`, likewise; `None`: to nothing any more.
    pub(super) fn unlisten(&mut self, channel: Option<&str>, within: bool) {
        if within {
            self.steps.push(Step::Unlisten(channel.map(Arc::from)));
        } else {
            remove(Arc::make_mut(&mut self.active), channel);
        }
    }

    /// What the transaction did with a savepoint; `None`: nobody knows what it was.
    pub(super) fn savepoint(&mut self, what: Option<Savepoint>) {
        if self.steps.is_empty() {
            return;
        }
        let at = |name: &str| {
            self.steps.iter().rposition(|step| matches!(step, Step::Savepoint(set) if **set == *name))
        };
        match what {
            Some(Savepoint::Set(name)) => self.steps.push(Step::Savepoint(name)),
            // One that was set before the first of these steps leaves none of them.
            Some(Savepoint::Return(name)) => self.steps.truncate(at(&name).map_or(0, |at| at + 1)),
            Some(Savepoint::Release(name)) => {
                let from = at(&name).unwrap_or(0);
                let mut number = 0;
                self.steps.retain(|step| {
                    number += 1;
                    number <= from || !matches!(step, Step::Savepoint(_))
                });
            }
            None => self.steps.push(Step::Doubt),
        }
    }

    /// The transaction is over. In doubt more is listened to than need be, and never less.
    pub(super) fn end(&mut self, committed: bool) {
        let steps = std::mem::take(&mut self.steps);
        if !committed || steps.is_empty() {
            return;
        }
        let sure = steps.iter().rposition(|step| *step == Step::Doubt).map_or(0, |at| at + 1);
        let active = Arc::make_mut(&mut self.active);
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Listen(channel) => {
                    active.insert(channel);
                }
                Step::Unlisten(channel) if at >= sure => remove(active, channel.as_deref()),
                _ => {}
            }
        }
    }
}

fn remove(active: &mut BTreeSet<Arc<str>>, channel: Option<&str>) {
    match channel {
        Some(channel) => {
            active.remove(channel);
        }
        None => active.clear(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: &[&str], committed: bool) -> String {
        let mut channels = Channels::default();
        channels.listen("old".into(), false);
        for step in steps {
            let (what, name) = step.split_once(' ').unwrap_or((step, ""));
            match what {
                "listen" => channels.listen(name.into(), true),
                "unlisten" => channels.unlisten((name != "*").then_some(name), true),
                "set" => channels.savepoint(Some(Savepoint::Set(name.into()))),
                "to" => channels.savepoint(Some(Savepoint::Return(name.into()))),
                "release" => channels.savepoint(Some(Savepoint::Release(name.into()))),
                _ => channels.savepoint(None),
            }
        }
        channels.end(committed);
        assert!(!channels.are_coming());
        channels.active().iter().map(|name| &**name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_transaction_decides_at_its_end() {
        assert_eq!(after(&["listen a"], true), "a old");
        assert_eq!(after(&["listen a"], false), "old");
        assert_eq!(after(&["unlisten *", "listen a"], true), "a");
        assert_eq!(after(&["listen a", "unlisten *"], true), "");
        assert_eq!(after(&["unlisten old", "listen a"], false), "old");
    }

    #[test]
    fn a_return_to_a_savepoint_undoes_what_came_behind_it() {
        assert_eq!(after(&["listen a", "set s", "listen b", "to s"], true), "a old");
        assert_eq!(after(&["listen a", "set s", "unlisten old", "to s", "listen c"], true), "a c old");
        assert_eq!(after(&["listen a", "set s", "listen b", "release s"], true), "a b old");
        // Of two of a name the later one counts; when it is released, the earlier.
        assert_eq!(after(&["listen a", "set s", "listen b", "set s", "listen c", "to s"], true), "a b old");
        assert_eq!(
            after(&["listen a", "set s", "listen b", "set s", "listen c", "release s", "to s"], true),
            "a old"
        );
        // It can be returned to more than once.
        assert_eq!(after(&["listen a", "set s", "listen b", "to s", "listen c", "to s"], true), "a old");
        // It was set before.
        assert_eq!(after(&["listen a", "to earlier"], true), "old");
    }

    #[test]
    fn in_doubt_nothing_is_missed() {
        assert_eq!(after(&["unlisten old", "listen a", "doubt"], true), "a old");
        assert_eq!(after(&["listen a", "doubt", "unlisten old"], true), "a");
        assert_eq!(after(&["listen a", "doubt"], false), "old");
    }
}
