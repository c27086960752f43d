//! Relations, and what the catalog answers about them.

use super::does::Does;
use super::names::Names;
use super::source::{Hang, Hangs, NOW};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A relation as a text names it, unquoted names folded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relation {
    /// Empty when the text gives none.
    pub schema: Box<str>,
    /// The table's or view's name.
    pub name: Box<str>,
    /// Whether it is written (else only read).
    pub written: bool,
}

/// Whether the relations of a statement are cleared of running unknown code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleared {
    /// Nothing but the server's own code of known effect hangs on them.
    Yes {
        /// A replica cannot serve a read of them as the primary would: unlogged tables, views on what describes the server.
        primary_only: bool,
        /// What they show belongs to the transaction that reads them: a view, or a policy, asks when that began.
        bound: bool,
    },
    /// Reading them runs code that may write, this, but leaves nothing in the session: primary.
    Writes(Arc<str>),
    /// Something may run whose effect is not known: this. Primary, and a possible pin.
    No(Arc<str>),
    /// Not loaded yet: ask [`super::Catalog::load`].
    Unknown,
}

impl Cleared {
    /// No relation, no doubt.
    pub const YES: Self = Self::Yes { primary_only: false, bound: false };

    /// This, and what the next relation adds.
    pub(super) fn and(self, answer: &Answer) -> Self {
        match (self, answer) {
            (Self::No(why), _) => Self::No(why),
            (_, Answer::No(why)) => Self::No(Arc::clone(why)),
            (Self::Writes(why), _) => Self::Writes(why),
            (_, Answer::Writes(why)) => Self::Writes(Arc::clone(why)),
            (Self::Yes { primary_only, bound }, Answer::Yes { primary_only: too, bound: bound_too }) => {
                Self::Yes { primary_only: primary_only || *too, bound: bound || *bound_too }
            }
            (Self::Unknown, Answer::Yes { .. }) => Self::Unknown,
        }
    }
}

/// What is known of one way of using a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of known effect.
    Yes {
        /// See [`Cleared::Yes`].
        primary_only: bool,
        /// See [`Cleared::Yes`].
        bound: bool,
    },
    /// Reading it runs this, which may write and leaves nothing behind.
    Writes(Arc<str>),
    /// Of unknown effect, because of this.
    No(Arc<str>),
}

impl Answer {
    /// Of known effect, on every node, in any transaction.
    pub const CLEAR: Self = Self::Yes { primary_only: false, bound: false };

    /// The answer for what hangs on a use, the functions being known by `names`. Of several reasons the first by name is told.
    fn judge(hangs: &[Hang], written: bool, names: &Names) -> Self {
        let (mut no, mut writes) = (None::<&str>, None::<&str>);
        let (mut primary_only, mut bound) = (false, false);
        let first = |known: Option<&str>, why: &str| known.is_none_or(|known| why < known);
        for hang in hangs {
            let Some(why) = hang.why.as_deref() else {
                primary_only = true;
                continue;
            };
            let does = match hang.function {
                Some(NOW) => Does::BOUND,
                Some(oid) => names.function(oid),
                None => Does::UNKNOWN,
            };
            bound |= does.has(Does::BOUND);
            if does.has(Does::PINS) {
                no = if first(no, why) { Some(why) } else { no };
            } else if does.has(Does::WRITES) && !written {
                writes = if first(writes, why) { Some(why) } else { writes };
            }
            // What may act outside the database is not run where it may be refused and run again.
            primary_only |= does.has(Does::LOCAL.with(Does::OUTSIDE));
        }
        match (no, writes) {
            (Some(why), _) => Self::No(why.into()),
            (None, Some(why)) => Self::Writes(why.into()),
            (None, None) => Self::Yes { primary_only: primary_only && !written, bound },
        }
    }

    /// The reason in it.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Yes { .. } => "",
            Self::Writes(why) | Self::No(why) => why,
        }
    }
}

/// What is known of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// When it is only read.
    pub read: Answer,
    /// When it is written.
    pub write: Answer,
}

impl Facts {
    /// Of known effect, on every node: also what does not exist, for its statement fails before it does anything.
    pub const CLEAR: Self = Self { read: Answer::CLEAR, write: Answer::CLEAR };

    /// The facts of a relation that this hangs on.
    #[must_use]
    pub fn judge(hangs: &Hangs, names: &Names) -> Self {
        Self {
            read: Answer::judge(&hangs.read, false, names),
            write: Answer::judge(&hangs.write, true, names),
        }
    }

    /// The answer for this use.
    #[must_use]
    pub fn of(&self, written: bool) -> &Answer {
        if written { &self.write } else { &self.read }
    }
}

/// Under what a relation's facts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    path: Box<str>,
    schema: Box<str>,
    name: Box<str>,
}

/// The same without owning anything, so that a look-up allocates nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyRef<'a> {
    path: &'a str,
    schema: &'a str,
    name: &'a str,
}

impl<'a> KeyRef<'a> {
    /// The path matters only where no schema is given.
    pub(super) fn new(path: &'a str, relation: &'a Relation) -> Self {
        let path = if relation.schema.is_empty() { path } else { "" };
        Self { path, schema: &relation.schema, name: &relation.name }
    }

    pub(super) fn owned(self) -> Key {
        Key { path: self.path.into(), schema: self.schema.into(), name: self.name.into() }
    }
}

impl Key {
    fn by_ref(&self) -> KeyRef<'_> {
        KeyRef { path: &self.path, schema: &self.schema, name: &self.name }
    }

    /// Bytes of text in it.
    pub(super) fn len(&self) -> usize {
        self.path.len() + self.schema.len() + self.name.len()
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.path, self.schema, self.name).hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.by_ref().hash(state);
    }
}

impl quick_cache::Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.path, self.schema, self.name) == (&*key.path, &*key.schema, &*key.name)
    }
}
