//! What makes a query more than a read: row locks, INTO, and data-modifying statements in it.

use super::query::{From, Walker};
use crate::engine::{Certainty, PinReason};
use crate::sql::lexer::Kind;
use crate::sql::tokens::chain;
use crate::sql::verdict::Reason;

impl Walker<'_, '_, '_, '_> {
    /// `FOR UPDATE` and its kin.
    pub(super) fn locking(&mut self, at: usize) -> usize {
        if self.following(at).is_some_and(|tok| tok.is_any(&["update", "no", "share", "key"])) {
            self.out.write(Reason::Locking);
            self.level().from = From::Outside;
            let mut next = at + 1;
            while self.toks.get(next).is_some_and(|tok| tok.is_any(&["update", "no", "share", "key"])) {
                next += 1;
            }
            return next;
        }
        at + 1
    }

    /// An INTO that no INSERT or MERGE took: a table is made.
    pub(super) fn into(&mut self, at: usize) {
        self.out.write(Reason::Into);
        self.out.ddl = true;
        let temporary = self.following(at).is_some_and(|tok| {
            tok.is_any(&["temp", "temporary", "local", "global"])
                || tok.name().is_some_and(|name| name == "pg_temp")
        });
        if temporary {
            self.out.pin(PinReason::TempObject, Certainty::Known);
        }
    }

    /// `INSERT INTO t`, `UPDATE t`, `DELETE FROM t`, `MERGE INTO t`, at the head or in a WITH.
    pub(super) fn modifying(&mut self, at: usize) -> Option<usize> {
        let tok = self.toks.get(at)?;
        let next = self.following(at);
        let begins = self.previous(at).is_none_or(|tok| matches!(tok.kind, Kind::Open | Kind::Close))
            || self.level().with;
        let target = match tok.word {
            "insert" | "merge" if next.is_some_and(|tok| tok.is("into")) => at + 2,
            "delete" if next.is_some_and(|tok| tok.is("from")) => at + 2,
            "update" if begins && next.is_some_and(|tok| !tok.is("set")) => at + 1,
            "insert" | "update" | "delete" if next.is_some_and(|tok| tok.kind != Kind::Open) || !begins => {
                // The action of ON CONFLICT or MERGE, or a column of that name.
                return Some(at + 1);
            }
            _ => {
                self.unreadable();
                return Some(at + 1);
            }
        };
        let nested = at > 0;
        self.out.write(if nested { Reason::ModifyingCte } else { Reason::Command });
        self.level().with = false;
        self.level().query = true;
        Some(self.target(target))
    }

    fn target(&mut self, mut at: usize) -> usize {
        if self.toks.get(at).is_some_and(|tok| tok.is("only")) {
            at += 1;
        }
        let bracket = self.toks.get(at).is_some_and(|tok| tok.kind == Kind::Open);
        match chain(self.toks, at + usize::from(bracket)) {
            Some(chain) => {
                self.relation(at, chain.schema(), chain.name(), true);
                self.after(chain.next + usize::from(bracket));
                chain.next + usize::from(bracket)
            }
            None => {
                self.out.pin(PinReason::Relation, Certainty::Possible);
                at
            }
        }
    }
}
