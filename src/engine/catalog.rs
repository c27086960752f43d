//! What the catalog asks of an engine.

use crate::catalog::{Loaded, Request};
use std::future::Future;
use std::sync::Arc;

/// Reads what a database says of its functions, types and relations.
pub trait CatalogLoader: Send + Sync + 'static {
    /// Answers `request` for `database` (its name on the servers), in one round trip once connected.
    ///
    /// # Errors
    /// In words for logs and `EXPLAIN ROUTE`, when no server could be asked or the answer is not usable.
    fn load(&self, database: &str, request: Request)
    -> impl Future<Output = Result<Loaded, Arc<str>>> + Send;
}
