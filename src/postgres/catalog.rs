//! Reads PostgreSQL's catalog: the code that users gave to a database, and what hangs on relations. The statements beside this
//! file ask; what they find is judged elsewhere.

use super::connections::{Account, Connections, Nodes, Query, QueryError};
use crate::catalog::source::{Hangs, Source, Stamp, Teller, Uses};
use crate::catalog::{Relation, SearchPath};
use crate::config::units::Secret;
use crate::engine::CatalogLoader;
use parking_lot::Mutex;
use rows::words;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

#[path = "catalog/rows.rs"]
mod rows;

const WRITES: &str = include_str!("catalog/writes.sql");
const DIGEST: &str = include_str!("catalog/digest.sql");
const FUNCTIONS: &str = concat!(include_str!("catalog/known.sql"), include_str!("catalog/functions.sql"));
const TYPES: &str = concat!(include_str!("catalog/known.sql"), include_str!("catalog/types.sql"));
const NAMES: &str = include_str!("catalog/names.sql");
const RELATIONS: &str = include_str!("catalog/relations.sql");
const RECOVERY: &str = "select pg_is_in_recovery()";

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

    async fn ask(&self, database: &str, sql: &[&str]) -> Result<(Arc<str>, Vec<Vec<Row>>), Arc<str>> {
        let queries: Vec<_> = sql.iter().map(|sql| Query { sql, parameters: &[] }).collect();
        let answer: Result<_, QueryError> = self.connections(database).ask_somebody(&queries).await;
        answer.map_err(|error| words(&error))
    }
}

impl CatalogLoader for Loader {
    async fn code(&self, database: &str) -> Result<(Source, Stamp, Teller), Arc<str>> {
        let (node, answer) = self.ask(database, &[WRITES, DIGEST, FUNCTIONS, TYPES, NAMES]).await?;
        let (source, digest, writes) = rows::code(&answer).map_err(|error| words(&error))?;
        Ok(match writes {
            Some(writes) => (source, Stamp { writes, digest }, Teller::Primary),
            None => (source, Stamp { writes: None, digest }, Teller::Replica(node)),
        })
    }

    async fn relations(
        &self,
        database: &str,
        path: &str,
        relations: &[Relation],
        uses: Uses,
    ) -> Result<(Vec<Hangs>, Teller), Arc<str>> {
        let both: Vec<bool> = relations.iter().map(|r| uses == Uses::Both || r.written).collect();
        let schemas: Vec<&str> = relations.iter().map(|r| &*r.schema).collect();
        let names: Vec<&str> = relations.iter().map(|r| &*r.name).collect();
        let path = SearchPath::parse(path);
        let (path, own) = path.map_or((None, false), |path| (Some(path.schemas), path.user));
        let asked = Query {
            sql: RELATIONS,
            parameters: &[
                (&schemas, Type::TEXT_ARRAY),
                (&names, Type::TEXT_ARRAY),
                (&path, Type::TEXT_ARRAY),
                (&own, Type::BOOL),
                (&both, Type::BOOL_ARRAY),
            ],
        };
        let queries = [Query { sql: RECOVERY, parameters: &[] }, asked];
        let answer = self.connections(database).ask_somebody(&queries).await;
        let (node, answer) = answer.map_err(|error| words(&error))?;
        let (hangs, replica) = rows::relations(&answer, relations.len()).map_err(|error| words(&error))?;
        Ok((hangs, if replica { Teller::Replica(node) } else { Teller::Primary }))
    }

    fn let_go(&self, database: &str) {
        let connections = self.databases.lock().remove(database);
        drop(connections);
    }

    async fn stamp(&self, database: &str, known: Stamp) -> Result<Option<Stamp>, Arc<str>> {
        let Some(writes) =
            rows::writes(&self.ask(database, &[WRITES]).await?.1).map_err(|error| words(&error))?
        else {
            return Ok(None);
        };
        if writes.is_some() && writes == known.writes {
            return Ok(Some(known));
        }
        let (_, answer) = self.ask(database, &[DIGEST]).await?;
        let digest = rows::digest(answer.first()).map_err(|error| words(&error))?;
        Ok(Some(Stamp { writes, digest }))
    }
}
