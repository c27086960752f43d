//! From the raw file to `Settings`: defaults, units, secrets, and what must fit together. Every fault is noted with
//! its place; none stops the others from being found.

mod address;
mod cluster;
mod nodes;
mod secret;
mod sections;
mod users;

use super::decode::Context;
use super::mask::Mask;
use super::place::{In, Leaf};
use super::problem::{ConfigErrors, Problem};
use super::raw::{RawAdmin, RawFile, RawLog, RawRuntime};
use super::scalar::{FilePath, LogLevel, Scalar};
use super::schema::known_words;
use super::settings::*;
use super::tree::{Broken, Kind, NodeIndex, Tree};
use address::Taken;
use std::path::{Path, PathBuf};

/// More clusters than this are a generated file gone wrong.
const MAX_CLUSTERS: usize = 256;

/// Reads a whole file. `origin` is its name: for errors, and the place that relative paths start from.
pub(crate) fn resolve(
    text: &str,
    origin: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, ConfigErrors> {
    let mut mask = Mask::of(text);
    let (tree, root) = match Tree::read(text, &mut mask) {
        Ok(read) => read,
        Err(broken) => return Err(not_a_tree(text, origin, mask, broken)),
    };
    let base = Path::new(origin).parent().unwrap_or(Path::new("")).to_path_buf();
    let resolver = Resolver { context: Context::new(&tree, &mask), env, base };
    let settings = resolver.file(root);
    let (problems, hidden) = resolver.context.into_problems();
    if problems.is_empty() {
        return Ok(settings);
    }
    for span in hidden {
        mask.hide(span);
    }
    Err(ConfigErrors::render(origin, text, &mask, problems))
}

fn not_a_tree(text: &str, origin: &str, mut mask: Mask, broken: Broken) -> ConfigErrors {
    let Broken { mark, message, is_yaml } = broken;
    if !is_yaml {
        let known = known_words();
        mask.hide_unknown_words(text, mark.line_of(text), &|word| known.contains(word));
    }
    let problem = Problem { mark, path: String::new(), found: message, allowed: String::new(), help: None };
    ConfigErrors::render(origin, text, &mask, vec![problem])
}

struct Resolver<'a> {
    context: Context<'a>,
    env: &'a dyn Fn(&str) -> Option<String>,
    base: PathBuf,
}

impl Resolver<'_> {
    fn file(&self, root: NodeIndex) -> Settings {
        let raw: RawFile = self.context.decode(root);
        let mut taken = Taken::default();
        let named = raw.clusters.as_ref().map_or(&[][..], |clusters| &clusters.value.0);
        if named.is_empty() {
            self.missing(root, "clusters", "name at least one cluster under `clusters:`");
        }
        if named.len() > MAX_CLUSTERS {
            self.context.note(root, format!("{} clusters", named.len()), "at most 256 clusters", None);
        }
        let mut clusters = Vec::with_capacity(named.len());
        for (name, section) in named.iter().take(MAX_CLUSTERS) {
            clusters.push(self.cluster(name, section, &mut taken).into());
        }
        let admin = self.admin(raw.admin.as_ref(), &mut taken);
        Settings {
            clusters,
            admin,
            runtime: self.runtime(raw.runtime.as_ref()),
            log: self.log(raw.log.as_ref()),
        }
    }

    fn admin(&self, raw: Option<&In<RawAdmin>>, taken: &mut Taken) -> Admin {
        let default = Admin::default();
        let Some(In { value: raw, .. }) = raw else { return default };
        Admin {
            listen: self.admin_listen(raw, default.listen, taken),
            token: raw.token.as_ref().and_then(|token| self.secret(token.0)),
            database: self.name_or(raw.database.as_ref(), &default.database),
            users: self.texts(raw.users.as_deref()),
            stats_users: self.texts(raw.stats_users.as_deref()),
        }
    }

    fn runtime(&self, raw: Option<&In<RawRuntime>>) -> Runtime {
        let workers = raw.and_then(|raw| self.read(raw.value.workers.as_ref()));
        match workers.and_then(|workers| usize::try_from(workers).ok()) {
            None | Some(0) => Runtime::default(),
            Some(workers) => Runtime { workers },
        }
    }

    fn log(&self, raw: Option<&In<RawLog>>) -> Log {
        let default = Log::default();
        let Some(In { value: raw, .. }) = raw else { return default };
        Log {
            level: self.read(raw.level.as_ref()).map_or(default.level, |LogLevel(level)| level),
            format: self.or(raw.format.as_ref(), default.format),
            slow_query: self.or(raw.slow_query.as_ref(), default.slow_query),
        }
    }

    /// Reads a leaf; `None` when it is not written or not right, which is then noted.
    fn read<S: Scalar>(&self, leaf: Option<&Leaf<S>>) -> Option<S::Out> {
        self.read_at::<S>(leaf?.0)
    }

    fn or<S: Scalar>(&self, leaf: Option<&Leaf<S>>, default: S::Out) -> S::Out {
        self.read(leaf).unwrap_or(default)
    }

    fn read_at<S: Scalar>(&self, node: NodeIndex) -> Option<S::Out> {
        let Kind::Scalar(text) = &self.context.tree.node(node).kind else {
            let allowed =
                S::read("").err().map_or_else(|| "expected text".to_owned(), |refusal| refusal.allowed);
            self.context.wrong(node, "cannot stand here", &allowed);
            return None;
        };
        match S::read(text) {
            Ok(value) => Some(value),
            Err(refusal) => {
                let found = format!("{} {}", self.context.found(node), refusal.what);
                self.context.note(node, found, &refusal.allowed, refusal.help);
                None
            }
        }
    }

    /// A file that must be there; relative to the configuration file.
    fn existing_file(&self, leaf: Option<&Leaf<FilePath>>) -> Option<PathBuf> {
        let path = self.base.join(self.read(leaf)?);
        let node = leaf?.0;
        let fault = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => return Some(path),
            Ok(_) => "is not a file".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        self.context.wrong(node, &fault, "expected the path of a file");
        None
    }

    /// Notes that `section` lacks `key`.
    fn missing(&self, section: NodeIndex, key: &str, help: &str) {
        let place = self.context.tree.key_of(section);
        let found = format!("`{key}` is missing");
        self.context.note(place, found, &format!("needs `{key}`"), Some(help.to_owned()));
    }
}
