//! Reads PostgreSQL's catalog: which names users gave to code, and what hangs on relations. The statements beside this
//! file do the judging; one round trip asks both.

use super::connections::{Account, Connections, Nodes, Query};
use crate::catalog::{Answer, Facts, Loaded, Names, Relation, Request};
use crate::config::units::Secret;
use crate::engine::CatalogLoader;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

const RELATIONS: &str = concat!(include_str!("catalog/known.sql"), include_str!("catalog/relations.sql"));
const NAMES: &str = concat!(include_str!("catalog/known.sql"), include_str!("catalog/names.sql"));
const RECOVERY: &str = "select pg_is_in_recovery()";

/// So many names of one database are kept; `names.sql` stops one later.
const NAMES_MAX: usize = 100_000;
/// Connections per database: loads of one database run one at a time.
const CONNECTIONS: u32 = 1;
/// Databases that connections are kept for.
const DATABASES_MAX: usize = 100;

/// Reads catalogs with the monitor's account.
pub struct Loader {
    nodes: Nodes,
    user: Arc<str>,
    password: Secret,
    patience: Duration,
    databases: Mutex<HashMap<Arc<str>, Connections>>,
}

impl Loader {
    /// `user` is the monitor's; a load that takes longer than `patience` fails.
    #[must_use]
    pub fn new(nodes: Nodes, user: Arc<str>, password: Secret, patience: Duration) -> Self {
        Self { nodes, user, password, patience, databases: Mutex::new(HashMap::new()) }
    }

    fn connections(&self, database: &str) -> Connections {
        let mut databases = self.databases.lock();
        if let Some(connections) = databases.get(database) {
            return connections.clone();
        }
        if databases.len() >= DATABASES_MAX {
            databases.retain(|_, connections| connections.are_open());
        }
        if databases.len() >= DATABASES_MAX {
            databases.clear();
        }
        let account = Account {
            user: Arc::clone(&self.user),
            password: self.password.clone(),
            database: database.into(),
        };
        let connections = Connections::new(Arc::clone(&self.nodes), account, CONNECTIONS, self.patience);
        databases.insert(database.into(), connections.clone());
        connections
    }
}

impl CatalogLoader for Loader {
    async fn load(&self, database: &str, request: Request) -> Result<Loaded, Arc<str>> {
        let schemas: Vec<&str> = request.relations.iter().map(|r| &*r.schema).collect();
        let names: Vec<&str> = request.relations.iter().map(|r| &*r.name).collect();
        let path = search_path(&request.path);
        let (path, own) = path.map_or((None, false), |path| (Some(path.schemas), path.user));
        let relations = Query {
            sql: RELATIONS,
            parameters: &[
                (&schemas, Type::TEXT_ARRAY),
                (&names, Type::TEXT_ARRAY),
                (&path, Type::TEXT_ARRAY),
                (&own, Type::BOOL),
            ],
        };
        let recovery = Query { sql: RECOVERY, parameters: &[] };
        let names = Query { sql: NAMES, parameters: &[] };
        let queries = [recovery, relations, names];
        let queries = if request.names { &queries[..] } else { &queries[..2] };
        let answer = self.connections(database).ask(queries).await.map_err(|error| words(&error))?;
        loaded(&answer, &request).map_err(|error| words(&error))
    }
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("an answer is missing")]
    Missing,
    #[error("the database has more than {NAMES_MAX} functions, operators and types of users")]
    TooMany,
    #[error("{0}")]
    Row(#[from] tokio_postgres::Error),
}

fn words(error: &impl std::fmt::Display) -> Arc<str> {
    error.to_string().into()
}

fn loaded(answer: &[Vec<Row>], request: &Request) -> Result<Loaded, Unusable> {
    let recovery = answer.first().and_then(|rows| rows.first()).ok_or(Unusable::Missing)?;
    let relations = facts(answer.get(1).ok_or(Unusable::Missing)?, &request.relations)?;
    let names = if request.names { Some(names(answer.get(2).ok_or(Unusable::Missing)?)?) } else { None };
    Ok(Loaded { names, relations, lasting: !recovery.try_get::<_, bool>(0)? })
}

fn facts(rows: &[Row], asked: &[Relation]) -> Result<Vec<Facts>, Unusable> {
    let mut all = vec![Facts::CLEAR; asked.len()];
    for row in rows {
        let number = usize::try_from(row.try_get::<_, i32>(0)?).unwrap_or_default();
        let Some(facts) = number.checked_sub(1).and_then(|index| all.get_mut(index)) else {
            return Err(Unusable::Missing);
        };
        let answer = match row.try_get::<_, Option<&str>>(2)? {
            Some(why) => Answer::No(why.into()),
            None => Answer::Yes { primary_only: row.try_get(3)? },
        };
        if row.try_get(1)? {
            facts.write = answer;
        } else {
            facts.read = answer;
        }
    }
    Ok(all)
}

fn names(rows: &[Row]) -> Result<Names, Unusable> {
    if rows.len() > NAMES_MAX {
        return Err(Unusable::TooMany);
    }
    let mut names = Names::default();
    for row in rows {
        let name: Box<str> = row.try_get::<_, &str>(1)?.into();
        match row.try_get::<_, &str>(0)? {
            "function" => names.functions.insert(name),
            "attribute" => names.attributes.insert(name),
            "operator" => names.operators.insert(name),
            "type" => names.types.insert(name),
            _ => std::mem::replace(&mut names.event_triggers, true),
        };
    }
    Ok(names)
}

/// The schemas of a search path; `$user` apart, for it depends on the role.
#[derive(Debug, PartialEq, Eq)]
struct SearchPath {
    schemas: Vec<String>,
    user: bool,
}

/// Reads a `search_path` as the server does: identifiers split by commas, unquoted ones in lower case. `None` when it is empty
/// (not known) or not to be read: every schema counts then.
fn search_path(text: &str) -> Option<SearchPath> {
    let mut path = SearchPath { schemas: Vec::new(), user: false };
    let mut rest = text.trim_start();
    loop {
        let (name, after) = identifier(rest)?;
        match &*name {
            "$user" => path.user = true,
            _ => path.schemas.push(name),
        }
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(path);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// One identifier off the front, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(text.len());
        let (name, after) = text.split_at_checked(end)?;
        // How letters beyond ASCII are folded depends on the database's encoding.
        let plain = !name.is_empty() && name.is_ascii() && !name.contains('"');
        return plain.then(|| (name.to_ascii_lowercase(), after));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

#[cfg(test)]
#[path = "catalog/tests.rs"]
mod tests;
