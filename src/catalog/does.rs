//! What running a piece of users' code does, as far as routing and pooling must know.

/// A set of deeds. Of several pieces of code the union counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Does(u8);

impl Does {
    /// It only reads, alike on every node.
    pub const NOTHING: Self = Self(0);
    /// It may write, or act on the server: the primary runs it.
    pub const WRITES: Self = Self(1);
    /// Its answer describes the server, or only the primary has it.
    pub const LOCAL: Self = Self(2);
    /// It is not cleared of leaving something behind in the session.
    pub const PINS: Self = Self(4);
    /// It is written in C or an untrusted language and on no list of ours: it may act outside the database, so it is never run twice.
    pub const OUTSIDE: Self = Self(8);
    /// What it answers belongs to the transaction that it runs in: it asks when that began.
    pub const BOUND: Self = Self(16);
    /// Nothing is known of it.
    pub const UNKNOWN: Self = Self(Self::WRITES.0 | Self::PINS.0 | Self::OUTSIDE.0);

    /// This and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This without what `other` has.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it has anything of `other`.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
