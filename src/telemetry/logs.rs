//! The log: where it goes, in which form, how loud. The one place that sets it up.

use crate::config::settings::{Log, LogFormat};
use std::time::Duration;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The longest statement text that a log line carries, in bytes.
const STATEMENT_MAX: usize = 1024;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// This process has a log already.
    #[error("the log of this process is set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// The log that was set up is gone.
    #[error("the log's level cannot be changed any more: {0}")]
    Gone(#[from] reload::Error),
}

/// The log of this process, once it is set up.
#[derive(Debug, Clone)]
pub struct Logs(reload::Handle<Targets, Registry>);

impl Logs {
    /// Sets up the log of this process, on standard error.
    ///
    /// # Errors
    /// When it is set up already.
    pub fn init(log: &Log) -> Result<Self, LogError> {
        let (filter, handle) = reload::Layer::new(targets(log.level));
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        let lines = match log.format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
        Ok(Self(handle))
    }

    /// Changes how loud it is.
    ///
    /// # Errors
    /// When the log is gone.
    pub fn set_level(&self, level: Level) -> Result<(), LogError> {
        Ok(self.0.reload(targets(level))?)
    }
}

// What the libraries say is wanted from `debug` on only: at `info` they are kept to warnings.
fn targets(level: Level) -> Targets {
    let theirs = if level >= Level::DEBUG { level } else { level.min(Level::WARN) };
    Targets::new().with_default(LevelFilter::from_level(theirs)).with_target("primacy", level)
}

/// A statement that took longer than `log.slow_query`.
#[derive(Debug, Clone, Copy)]
pub struct SlowQuery<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The database, as the client names it.
    pub database: &'a str,
    /// The user.
    pub user: &'a str,
    /// The node that served it.
    pub node: &'a str,
    /// How long it took, waiting included.
    pub took: Duration,
    /// Its text.
    pub statement: &'a str,
}

impl SlowQuery<'_> {
    /// Writes the line.
    pub fn log(&self) {
        let statement = clip(self.statement);
        let took_ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let Self { cluster, database, user, node, .. } = *self;
        tracing::info!(cluster, database, user, node, took_ms, statement, "slow query");
    }
}

fn clip(text: &str) -> &str {
    let end = (0..=STATEMENT_MAX.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quieter_than_we_are() {
        let info = targets(Level::INFO);
        assert!(info.would_enable("primacy::session", &Level::INFO));
        assert!(!info.would_enable("hyper::client", &Level::INFO));
        assert!(info.would_enable("hyper::client", &Level::WARN));
        let error = targets(Level::ERROR);
        assert!(
            !error.would_enable("primacy::session", &Level::WARN)
                && !error.would_enable("rustls", &Level::WARN)
        );
        assert!(targets(Level::DEBUG).would_enable("rustls", &Level::DEBUG));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(clip("SELECT 1"), "SELECT 1");
        let long = format!("{}é", "x".repeat(STATEMENT_MAX - 1));
        assert_eq!(clip(&long).len(), STATEMENT_MAX - 1);
    }
}
