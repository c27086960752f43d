//! A `search_path` as the server reads it.

/// The schemas that unqualified names are looked up in; `pg_catalog` is always one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath {
    /// By name.
    pub schemas: Vec<String>,
    /// Whether the role's own schema is one: then every role's schema counts.
    pub user: bool,
}

impl SearchPath {
    /// Reads the text as `SHOW search_path` prints it; `None`: not understood, or empty (nobody said it).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut path = Self { schemas: Vec::new(), user: false };
        let mut rest = text.trim_start();
        loop {
            let (name, after) = identifier(rest)?;
            match &*name {
                "$user" => path.user = true,
                _ => path.schemas.push(name),
            }
            rest = after.trim_start();
            if rest.is_empty() {
                return Some(path);
            }
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }
}
/// One identifier off the front, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(text.len());
        let (name, after) = text.split_at_checked(end)?;
        // How letters beyond ASCII are folded depends on the database's encoding.
        let plain = !name.is_empty() && name.is_ascii() && !name.contains('"');
        return plain.then(|| (name.to_ascii_lowercase(), after));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
