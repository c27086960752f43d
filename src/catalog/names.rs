//! The names that a database's users gave to code: what a statement may run although the server did not come with it.

use std::collections::HashSet;

/// User-defined code of one database, by bare name as the catalog stores it (no schema: a name counts wherever it lives).
/// Statements that use one of these names are judged as writes that may leave state behind.
///
/// "User-defined" means outside `pg_catalog` and `information_schema`, extensions included. The precision of the last four
/// sets decides how much is sent to the primary: only what can run code of unknown effect belongs there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Every function, procedure, aggregate and window function.
    pub functions: HashSet<Box<str>>,
    /// Functions of exactly one argument of a row type: they can be called as `t.f`, without parentheses.
    pub attributes: HashSet<Box<str>>,
    /// Operators whose function is user-defined, except non-volatile functions in C of an installed extension
    /// (else `citext` or `hstore` would make every `=` of the database a write).
    pub operators: HashSet<Box<str>>,
    /// Types whose input, cast or check may run code of users: domains with a check or a base type of that kind, base types and
    /// targets of `CREATE CAST … WITH FUNCTION` whose function is no non-volatile C function of an extension.
    /// Built-in types by their catalog name (`int4`, not `integer`).
    pub types: HashSet<Box<str>>,
    /// Whether an enabled event trigger exists: then any DDL may run unknown code.
    pub event_triggers: bool,
}
