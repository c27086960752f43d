//! WHAT the database says of its functions, operators, types and relations: one snapshot per database, loaded when it
//! is first asked, dropped when the catalog may have changed. Holds no socket: an engine's `CatalogLoader` asks.

mod database;
mod does;
pub mod names;
mod path;
mod relation;
pub mod source;

pub use database::{Catalog, Catalogs, Keep, Loaded, Request, Still};
pub use does::Does;
pub use names::Names;
pub use path::SearchPath;
pub use relation::{Answer, Cleared, Facts, Relation};

#[cfg(test)]
mod tests;
