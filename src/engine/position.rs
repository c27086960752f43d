//! How far a server's history has come, in a form that can be compared without knowing the engine.

use std::fmt;

/// A point in a cluster's history of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Position {
    /// Not known, or of an engine setting that gives no order: covers nothing and is covered by nothing.
    #[default]
    Unordered,
    /// PostgreSQL's: a byte of the write-ahead log, on one timeline. Positions of different timelines are never compared.
    Lsn {
        /// The timeline.
        timeline: u32,
        /// The byte.
        lsn: u64,
    },
}

impl Position {
    /// Whether everything up to `other` lies at or before this position. In doubt it does not.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.distance_to(other) == Some(0)
    }

    /// How many bytes of history `ahead` has beyond this position (0 = none); `None` when the two cannot be compared.
    #[must_use]
    pub fn distance_to(self, ahead: Self) -> Option<u64> {
        match (self, ahead) {
            (Self::Lsn { timeline, lsn }, Self::Lsn { timeline: theirs, lsn: far }) if timeline == theirs => {
                Some(far.saturating_sub(lsn))
            }
            _ => None,
        }
    }

    /// Whether there is a position at all.
    #[must_use]
    pub fn is_ordered(self) -> bool {
        self != Self::Unordered
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unordered => f.write_str("-"),
            Self::Lsn { timeline, lsn } => write!(f, "{timeline}:{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timelines_are_never_compared() {
        let old = Position::Lsn { timeline: 1, lsn: 500 };
        let new = Position::Lsn { timeline: 2, lsn: 100 };
        assert!(!old.covers(new) && !new.covers(old));
        assert_eq!(old.distance_to(new), None);
        assert!(!Position::Unordered.covers(Position::Unordered));
    }

    #[test]
    fn later_covers_earlier() {
        let early = Position::Lsn { timeline: 1, lsn: 0x1_0000_0010 };
        let late = Position::Lsn { timeline: 1, lsn: 0x1_0000_0020 };
        assert!(late.covers(early) && late.covers(late) && !early.covers(late));
        assert_eq!(early.distance_to(late), Some(16));
        assert_eq!(late.to_string(), "1:1/20");
    }
}
