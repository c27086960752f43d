//! The configuration: from the file's text to `Settings`, and from one `Settings` to the next.

mod decode;
mod defaults;
mod diff;
mod functions;
mod later;
mod mask;
mod place;
mod problem;
mod raw;
mod resolve;
mod scalar;
mod schema;
pub mod settings;
mod show;
mod tree;
pub mod units;

pub use diff::{Change, NeedsRestart, Part, diff};
pub use problem::ConfigErrors;
pub use schema::schema;
pub use settings::Settings;
pub use show::Row;

use std::path::Path;

/// A file of that size holds more than any cluster needs.
const MAX_FILE: u64 = 16 << 20;

impl Settings {
    /// Reads and checks a configuration file; secrets may come from the environment.
    ///
    /// # Errors
    /// Everything that is wrong with the file, rendered for a terminal without its secrets.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let origin = path.display().to_string();
        let unreadable = |reason: &str| ConfigErrors::unreadable(&origin, reason);
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error.to_string()))?;
        if metadata.len() > MAX_FILE {
            return Err(unreadable("is larger than 16 MiB"));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(&error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("is not UTF-8 text"))?;
        Self::parse(&text, &origin, &environment)
    }

    /// Reads and checks the text of a configuration file. `origin` is the file's name: errors show it, and relative
    /// paths start from its folder. `env` looks up environment variables.
    ///
    /// # Errors
    /// Everything that is wrong with the text, rendered for a terminal without its secrets.
    pub fn parse(
        text: &str,
        origin: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        resolve::resolve(text, origin, env)
    }

    /// The cluster of that name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&std::sync::Arc<settings::Cluster>> {
        self.clusters.iter().find(|cluster| &*cluster.name == name)
    }
}

/// Where files of a running process belong that others of its user may look for: `/run/primacy` where it can be written to (systemd's
/// `RuntimeDirectory=primacy`), else the user's own (`XDG_RUNTIME_DIR`), else the one for temporary files.
#[must_use]
pub fn runtime_directory() -> std::path::PathBuf {
    let run = std::path::PathBuf::from("/run/primacy");
    if nix::unistd::access(&run, nix::unistd::AccessFlags::W_OK).is_ok() {
        return run;
    }
    let own = environment("XDG_RUNTIME_DIR").map(std::path::PathBuf::from).filter(|own| own.is_dir());
    own.unwrap_or_else(std::env::temp_dir)
}

#[expect(clippy::disallowed_methods, reason = "this module is where the environment is read")]
fn environment(name: &str) -> Option<String> {
    // An empty name or one with `=` in it is not a variable; asking for it may panic.
    let is_name = !name.is_empty() && !name.contains(['=', '\0']);
    is_name.then(|| std::env::var(name).ok()).flatten()
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
