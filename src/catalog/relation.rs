//! Relations, and what the catalog answers about them.

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
    },
    /// Something may run whose effect is not known: this. Primary, and a possible pin.
    No(Arc<str>),
    /// Not loaded yet: ask [`super::Catalog::load`].
    Unknown,
}

impl Cleared {
    /// No relation, no doubt.
    pub const YES: Self = Self::Yes { primary_only: false };
}

/// What is known of one way of using a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of known effect.
    Yes {
        /// See [`Cleared::Yes`].
        primary_only: bool,
    },
    /// Of unknown effect, because of this.
    No(Arc<str>),
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
    pub const CLEAR: Self =
        Self { read: Answer::Yes { primary_only: false }, write: Answer::Yes { primary_only: false } };

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
