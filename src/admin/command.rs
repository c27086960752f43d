//! What an operator can ask for, and why it was not done.

/// What a command is about; `None` = all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// The cluster.
    pub cluster: Option<String>,
    /// The database, as clients name it.
    pub database: Option<String>,
}

/// What an operator can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Read the configuration again and apply it whole, or refuse it whole.
    Reload,
    /// Let what runs end, start nothing new; clients wait.
    Pause(Scope),
    /// Go on.
    Resume(Scope),
    /// Close its backends at once and pause it.
    Kill(Scope),
    /// Close one client's connection.
    KillClient {
        /// As `SHOW CLIENTS` names it.
        id: u64,
    },
    /// Replace every backend by a new one as soon as it is free.
    Reconnect(Scope),
    /// Take a node out of reads.
    Drain {
        /// The cluster.
        cluster: String,
        /// The node.
        node: String,
    },
    /// Give it reads again.
    Undrain {
        /// The cluster.
        cluster: String,
        /// The node.
        node: String,
    },
    /// Stop the process.
    Shutdown {
        /// Wait for running transactions (`timeouts.shutdown`), else stop at once.
        drain: bool,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It names something that is not there.
    #[error("there is no {what} \"{name}\"")]
    Unknown {
        /// cluster, node, database, client.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is instead.
        known: Vec<String>,
    },
    /// It cannot be done as things stand.
    #[error("{message}")]
    Refused {
        /// Why not.
        message: String,
        /// What to do.
        hint: String,
    },
    /// It went wrong.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } if known.is_empty() => None,
            Self::Unknown { what, name, known } => {
                Some(match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("there is: {what} {}", known.join(", ")),
                })
            }
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Failed(_) => Some("the log says more".to_owned()),
        }
    }
}

/// The word of `known` that `word` was most likely meant to be, if any is near.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    known
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(likeness, _)| likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
