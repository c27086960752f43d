//! Session state in SQL: what brings a backend's settings to those of the session that gets it.

use crate::engine::tracked::Tracked;
use std::fmt::Write;

/// The text (one simple Query) that takes a backend from `from` to `to`; `None` when there is nothing to do. Everything that `to` lacks returns
/// to the server's own value first, so that the text is the same whatever the order of the settings was.
#[must_use]
pub fn carry(from: &Tracked, to: &Tracked) -> Option<String> {
    if from == to {
        return None;
    }
    let mut text = String::new();
    let dropped: Vec<&str> =
        from.iter().map(|(name, _)| name).filter(|name| to.get(name).is_none()).collect();
    for name in dropped {
        match name {
            // Neither is reset by RESET ALL; NONE is the session user.
            "role" => text.push_str("RESET ROLE;"),
            name => {
                let _infallible = write!(text, "RESET {};", identifier(name));
            }
        }
    }
    let changed: Vec<(&str, &str)> =
        to.iter().filter(|(name, value)| from.get(name) != Some(*value)).collect();
    // A role's rights decide which settings may be given: it comes last.
    let (roles, others): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(name, _)| *name == "role");
    let mut calls = others.iter().chain(&roles).peekable();
    if calls.peek().is_some() {
        text.push_str("SELECT ");
    }
    while let Some((name, value)) = calls.next() {
        let _infallible = write!(text, "pg_catalog.set_config({},{},false)", literal(name), literal(value));
        if calls.peek().is_some() {
            text.push(',');
        }
    }
    Some(text)
}

/// A string constant that means the same whatever `standard_conforming_strings` says.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A quoted identifier; the parts of a dotted (custom) name are quoted each.
#[must_use]
pub fn identifier(name: &str) -> String {
    name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_settings_need_nothing() {
        let settings = Tracked::new([("work_mem", "1MB")]);
        assert_eq!(carry(&settings, &settings.clone()), None);
    }

    #[test]
    fn what_is_dropped_is_reset_and_roles_come_last() {
        let from = Tracked::new([("work_mem", "1MB"), ("role", "alice")]);
        let to = Tracked::new([("role", "bob"), ("search_path", "a, \"B\"")]);
        assert_eq!(
            carry(&from, &to).unwrap(),
            "RESET \"work_mem\";SELECT pg_catalog.set_config(E'search_path',E'a, \"B\"',false),pg_catalog.set_config(E'role',E'bob',false)"
        );
        assert_eq!(carry(&from, &Tracked::default()).unwrap(), "RESET ROLE;RESET \"work_mem\";");
    }

    #[test]
    fn constants_are_safe_in_every_lexing_mode() {
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
