//! The names that a database's users gave to code, and what using each of them does.

use super::does::Does;
use super::path::SearchPath;
use std::collections::HashMap;

/// One function, procedure, aggregate or window function of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Routine {
    /// Index into [`Names::schemas`].
    schema: u32,
    /// Arguments that a call has at least.
    least: u16,
    /// … and at most; `u16::MAX` = any number.
    most: u16,
    does: Does,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Schema {
    name: Box<str>,
    /// Whether a role has this name, so that `"$user"` may stand for it.
    role: bool,
}

/// User-defined code of one database: what did not come with the server, extensions included.
///
/// Operators, types and attributes count by bare name, wherever they live; routines by schema and number of arguments, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    schemas: Vec<Schema>,
    routines: HashMap<Box<str>, Box<[Routine]>>,
    /// Routines that can be called with one argument of a row type: `t.f`, without parentheses.
    attributes: HashMap<Box<str>, Does>,
    operators: HashMap<Box<str>, Does>,
    /// Types whose input, cast or check does anything of note. Built-in types by their catalog name (`int4`, not `integer`).
    types: HashMap<Box<str>, Does>,
    /// What may run without any name in the text: implicit casts, comparisons that sorting and grouping use.
    everywhere: Does,
    /// What any DDL may run.
    events: Does,
    /// By the server's number of the function, ascending.
    functions: Box<[(u32, Does)]>,
}

/// A call as a text writes it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Empty when the text gives none.
    pub schema: &'a str,
    /// The function's name.
    pub name: &'a str,
    /// How many arguments it gives; `None` = not counted: any candidate may be meant.
    pub arguments: Option<u16>,
    /// Where it is looked up when it has no schema; `None` = not known: in all of them.
    pub path: Option<&'a SearchPath>,
}

/// A routine as it is added to [`Names`].
#[derive(Debug, Clone, Copy)]
pub struct NewRoutine<'a> {
    /// Where it lives.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Arguments that a call has at least and at most; `u16::MAX` = any number.
    pub arguments: (u16, u16),
    /// What a call does.
    pub does: Does,
}

impl Names {
    /// What calling one of the candidates does, of several the union; `None`: users have none.
    #[must_use]
    pub fn routine(&self, call: &Call<'_>) -> Option<Does> {
        let fits = |routine: &&Routine| {
            call.arguments.is_none_or(|given| routine.least <= given && given <= routine.most)
                && self
                    .schemas
                    .get(usize::try_from(routine.schema).unwrap_or(usize::MAX))
                    .is_none_or(|schema| schema.meant(call))
        };
        let found = self.routines.get(call.name)?.iter().filter(fits);
        found.map(|routine| routine.does).reduce(Does::with)
    }

    /// Whether users have a routine of this name anywhere.
    #[must_use]
    pub fn has_routine(&self, name: &str) -> bool {
        self.routines.contains_key(name)
    }

    /// What `t.name` does when it is a call; `None`: it is none of users'.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Does> {
        self.attributes.get(name).copied()
    }

    /// What an operator of this name does; `None`: users have none.
    #[must_use]
    pub fn operator(&self, name: &str) -> Option<Does> {
        self.operators.get(name).copied()
    }

    /// Whether users have any operator of note.
    #[must_use]
    pub fn has_operators(&self) -> bool {
        self.operators.values().any(|does| *does != Does::NOTHING)
    }

    /// What giving a value this type does.
    #[must_use]
    pub fn of_type(&self, name: &str) -> Does {
        self.types.get(name).copied().unwrap_or_default()
    }

    /// Whether any type does anything of note.
    #[must_use]
    pub fn has_types(&self) -> bool {
        !self.types.is_empty()
    }

    /// What any query may do without naming it.
    #[must_use]
    pub fn everywhere(&self) -> Does {
        self.everywhere
    }

    /// What any DDL may do.
    #[must_use]
    pub fn events(&self) -> Does {
        self.events
    }

    /// What the function with the server's number `oid` does.
    #[must_use]
    pub fn function(&self, oid: u32) -> Does {
        let found = self.functions.binary_search_by_key(&oid, |(oid, _)| *oid).ok();
        found.and_then(|at| self.functions.get(at)).map_or(Does::UNKNOWN, |(_, does)| *does)
    }

    /// Bytes that it holds, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        // A name is an allocation of its own; 16 and 48: a slot of a table at its usual filling, an allocation's overhead.
        let name = |name: &str| name.len() + 16;
        let routines: usize =
            self.routines.iter().map(|(key, all)| name(key) + 48 + size_of_val::<[Routine]>(all)).sum();
        let others = self.attributes.keys().chain(self.operators.keys()).chain(self.types.keys());
        routines
            + others.map(|key| name(key) + 48).sum::<usize>()
            + self.schemas.iter().map(|schema| name(&schema.name) + size_of::<Schema>()).sum::<usize>()
            + size_of_val::<[(u32, Does)]>(&self.functions)
    }

    /// Adds routines.
    pub fn add_routines<'a>(&mut self, routines: impl IntoIterator<Item = NewRoutine<'a>>) {
        let mut numbers: HashMap<Box<str>, u32> =
            (0..).zip(&self.schemas).map(|(number, schema)| (schema.name.clone(), number)).collect();
        let mut found: HashMap<Box<str>, Vec<Routine>> =
            std::mem::take(&mut self.routines).into_iter().map(|(name, all)| (name, all.into())).collect();
        for new in routines {
            let schema = numbers.get(new.schema).copied().unwrap_or_else(|| {
                let number = u32::try_from(self.schemas.len()).unwrap_or(u32::MAX);
                self.schemas.push(Schema { name: new.schema.into(), role: false });
                numbers.insert(new.schema.into(), number);
                number
            });
            let (least, most) = new.arguments;
            let routine = Routine { schema, least, most, does: new.does };
            match found.get_mut(new.name) {
                Some(all) => all.push(routine),
                None => drop(found.insert(new.name.into(), vec![routine])),
            }
        }
        self.routines = found.into_iter().map(|(name, all)| (name, all.into())).collect();
    }

    /// Says that a role has the name of `schema`.
    pub fn set_role(&mut self, schema: &str) {
        for known in self.schemas.iter_mut().filter(|known| *known.name == *schema) {
            known.role = true;
        }
    }

    /// Adds what `t.name` does.
    pub fn add_attribute(&mut self, name: &str, does: Does) {
        add(&mut self.attributes, name, does);
    }

    /// Adds what an operator does.
    pub fn add_operator(&mut self, name: &str, does: Does) {
        add(&mut self.operators, name, does);
    }

    /// Adds what a type does.
    pub fn add_type(&mut self, name: &str, does: Does) {
        if does != Does::NOTHING {
            add(&mut self.types, name, does);
        }
    }

    /// Adds what any query may do.
    pub fn add_everywhere(&mut self, does: Does) {
        self.everywhere = self.everywhere.with(does);
    }

    /// Adds what any DDL may do.
    pub fn add_events(&mut self, does: Does) {
        self.events = self.events.with(does);
    }

    /// Says what functions do, by the server's numbers.
    pub fn set_functions(&mut self, mut functions: Vec<(u32, Does)>) {
        functions.sort_unstable_by_key(|(oid, _)| *oid);
        self.functions = functions.into();
    }
}

fn add(map: &mut HashMap<Box<str>, Does>, name: &str, does: Does) {
    match map.get_mut(name) {
        Some(known) => *known = known.with(does),
        None => drop(map.insert(name.into(), does)),
    }
}

impl Schema {
    /// Whether a call may mean a routine of this schema.
    fn meant(&self, call: &Call<'_>) -> bool {
        if !call.schema.is_empty() {
            return *self.name == *call.schema;
        }
        call.path.is_none_or(|path| {
            *self.name == *"pg_catalog"
                || path.user && self.role
                || path.schemas.iter().any(|known| **known == *self.name)
        })
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
