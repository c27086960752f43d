//! What the catalog asks of an engine.

use crate::catalog::Relation;
use crate::catalog::source::{Hangs, Source, Stamp, Teller, Uses};
use std::future::Future;
use std::sync::Arc;

/// Reads what a database says of its functions, types and relations. `database` is its name on the servers. Errors are words for logs
/// and `EXPLAIN ROUTE`: no server could be asked, or the answer is not usable.
pub trait CatalogLoader: Send + Sync + 'static {
    /// The code that users gave to the database, in one round trip once connected; what the catalog was like before it was read; and who
    /// says so.
    ///
    /// # Errors
    /// See [`CatalogLoader`].
    fn code(&self, database: &str) -> impl Future<Output = Result<(Source, Stamp, Teller), Arc<str>>> + Send;

    /// What hangs on `relations`, looked up by `path` (empty: in every schema), in their order; and who says so. One round trip.
    ///
    /// # Errors
    /// See [`CatalogLoader`].
    fn relations(
        &self,
        database: &str,
        path: &str,
        relations: &[Relation],
        uses: Uses,
    ) -> impl Future<Output = Result<(Vec<Hangs>, Teller), Arc<str>>> + Send;

    /// Closes the connections to `database`: nobody needs them now.
    fn let_go(&self, database: &str);

    /// What the catalog is like now, `known` being what it was like; `None`: a server answered that may be behind.
    ///
    /// # Errors
    /// See [`CatalogLoader`].
    fn stamp(
        &self,
        database: &str,
        known: Stamp,
    ) -> impl Future<Output = Result<Option<Stamp>, Arc<str>>> + Send;
}
