//! Where secrets come from: the file itself, the environment, other files.

use super::Resolver;
use crate::config::raw::RawSecret;
use crate::config::tree::{Kind, NodeIndex};
use crate::config::units::Secret;
use std::io::Read;

/// A longer secret is a wrong file.
const MAX_SECRET: u64 = 64 << 10;

impl Resolver<'_> {
    /// A literal, `{ env: NAME }` or `{ file: PATH }`.
    pub(super) fn secret(&self, node: NodeIndex) -> Option<Secret> {
        let allowed = "expected the secret itself, `{ env: NAME }` or `{ file: PATH }`";
        match &self.context.tree.node(node).kind {
            Kind::Scalar(text) if text.is_empty() => {
                self.context.note(node, "is empty".to_owned(), allowed, None);
                None
            }
            Kind::Scalar(text) => Some(Secret::new(text.clone())),
            Kind::Map(_) => self.referenced_secret(node, allowed),
            Kind::List(_) | Kind::Null => {
                self.context.wrong(node, "is not a secret", allowed);
                None
            }
        }
    }

    fn referenced_secret(&self, node: NodeIndex, allowed: &str) -> Option<Secret> {
        let raw: RawSecret = self.context.decode(node);
        match (&raw.env, &raw.file) {
            (Some(env), None) => self.secret_from_environment(env.0, &self.read(Some(env))?),
            (None, Some(file)) => self.secret_from_file(file.0),
            _ => {
                let place = self.context.tree.key_of(node);
                self.context.note(place, "names no source, or two".to_owned(), allowed, None);
                None
            }
        }
    }

    fn secret_from_environment(&self, node: NodeIndex, name: &str) -> Option<Secret> {
        let value = (self.env)(name).map(Secret::new);
        let fault = match &value {
            None => "is not set in the environment",
            Some(value) if value.expose().is_empty() => "is set in the environment, but empty",
            Some(_) => return value,
        };
        let help = "set the variable for the process that reads this file".to_owned();
        let found = format!("{} {fault}", self.context.found(node));
        self.context.note(node, found, "the name of an environment variable", Some(help));
        None
    }

    fn secret_from_file(&self, node: NodeIndex) -> Option<Secret> {
        let path = self.base.join(self.context.tree.text(node).unwrap_or_default());
        match read_secret(&path) {
            Ok(secret) => Some(secret),
            Err(fault) => {
                self.context.wrong(node, &fault, "the path of a file that holds the secret");
                None
            }
        }
    }
}

/// One line end at the end is the editor's, not the secret's.
fn read_secret(path: &std::path::Path) -> Result<Secret, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    let read = file.take(MAX_SECRET + 1).read_to_string(&mut text);
    let length = read.map_err(cannot)?;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if line.is_empty() {
        return Err("is an empty file".to_owned());
    }
    if u64::try_from(length).unwrap_or(u64::MAX) > MAX_SECRET {
        return Err("is longer than a secret can be (64 KiB)".to_owned());
    }
    Ok(Secret::new(line.to_owned()))
}
