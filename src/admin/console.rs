//! The console: what an operator types over the database's own protocol, and what comes back. Pure but for what [`Inspect`] does.

mod members;
mod parse;
mod show;
mod stats;

use super::command::{Command, CommandError, Scope};
use super::status::Inspect;
pub use crate::engine::table::Reply as Answer;
use crate::error::ClientError;
use parse::{Action, Line};
use std::sync::Arc;

/// What somebody may do on the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Everything (`admin.users`).
    Commands,
    /// `SHOW` only (`admin.stats_users`, the monitor's user).
    Look,
}

/// Whose columns the tables have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// PgBouncer's columns first, then ours; every cluster and node.
    Primacy,
    /// PgBouncer's columns exactly, of the one cluster that was connected to: one row where PgBouncer has one.
    PgBouncer,
}

/// The console of one cluster's listener: commands without a name are about this cluster.
#[derive(Debug, Clone)]
pub struct Console {
    cluster: Arc<str>,
}

impl Console {
    /// The console behind the listener of `cluster`.
    #[must_use]
    pub fn new(cluster: Arc<str>) -> Self {
        Self { cluster }
    }

    /// Carries out one line of text. Some commands take as long as what they wait for (a pause). Not cancel safe: a command that has
    /// begun may go on.
    pub async fn execute(&self, inspect: &dyn Inspect, who: Rights, flavour: Flavour, text: &str) -> Answer {
        let line = match parse::parse(text) {
            Ok(line) => line,
            Err(error) => return Answer::Error(error),
        };
        let action = match line {
            Line::Empty => return Answer::Empty,
            Line::Set => return Answer::Done("SET"),
            Line::One => return Answer::Table(show::one()),
            Line::Fixed(name, value) => return Answer::Table(show::fixed(name, value)),
            Line::Show(topic) => {
                let view = show::View { inspect, flavour, cluster: &self.cluster };
                return Answer::Table((topic.table)(&view));
            }
            Line::Do(action) => action,
        };
        if who != Rights::Commands {
            let message = format!("permission denied: {} is for the users of admin.users", action.tag());
            return Answer::Error(ClientError::new("42501", 1227, message).hint("you may use SHOW"));
        }
        let tag = action.tag();
        tracing::info!(cluster = &*self.cluster, command = tag, "console command");
        match inspect.command(self.command(action)).await {
            Ok(_) => Answer::Done(tag),
            Err(error) => Answer::Error(told(&error)),
        }
    }

    fn command(&self, action: Action) -> Command {
        let cluster = self.cluster.to_string();
        let scope = |database| Scope { cluster: Some(self.cluster.to_string()), database };
        match action {
            Action::Reload => Command::Reload,
            Action::Pause(database) => Command::Pause(scope(database)),
            Action::Resume(database) => Command::Resume(scope(database)),
            Action::Kill(database) => Command::Kill(scope(database)),
            Action::Reconnect(database) => Command::Reconnect(scope(database)),
            Action::KillClient(id) => Command::KillClient { id },
            Action::Drain(node) => Command::Drain { cluster, node },
            Action::Undrain(node) => Command::Undrain { cluster, node },
            Action::Shutdown { drain } => Command::Shutdown { drain },
        }
    }
}

fn told(error: &CommandError) -> ClientError {
    let (sqlstate, errno) = match error {
        CommandError::Unknown { what: "database", .. } => ("3D000", 1049),
        CommandError::Unknown { .. } => ("42704", 1105),
        CommandError::Refused { .. } => ("55000", 1105),
        CommandError::Failed(_) => ("58000", 1105),
    };
    let told = ClientError::new(sqlstate, errno, error.to_string());
    match error.hint() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

#[cfg(test)]
mod tests;
