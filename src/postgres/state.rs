//! Session state in SQL: what brings a backend's settings to those of the session that gets it.

use crate::engine::tracked::Tracked;
use std::fmt::Write;

/// The setting that says how texts are to be read.
pub const ENCODING: &str = "client_encoding";

/// Who the session acts as: neither is reset by `RESET ALL`, and the rights that they give decide what else may be set.
pub const WHO: [&str; 2] = ["session_authorization", "role"];

/// The text (one simple Query) that takes a backend from `from` to `to`; `None` when there is nothing to do. Everything that `to` lacks returns
/// to the server's own value first, so that the text is the same whatever the order of the settings was. A custom setting on `from` that `to`
/// lacks cannot be taken away: such a backend is not lent.
#[must_use]
pub fn carry(from: &Tracked, to: &Tracked) -> Option<String> {
    if from == to {
        return None;
    }
    let mut text = String::new();
    // What is set is set with the login's own rights: who acts for somebody else returns to itself first, and takes its part again last. To change
    // the session's authorization resets the role.
    let who_changes = WHO.map(|name| from.get(name) != to.get(name));
    let others_change = from.iter().any(|(name, value)| !WHO.contains(&name) && to.get(name) != Some(value))
        || to.iter().any(|(name, _)| !WHO.contains(&name) && from.get(name).is_none());
    let acts = |name| from.get(name).is_some();
    let [session, role] = WHO;
    let resets_session = acts(session) && (who_changes[0] || others_change);
    let resets_role = acts(role) && (who_changes.contains(&true) || others_change);
    if resets_session {
        text.push_str("RESET SESSION AUTHORIZATION;");
    }
    if resets_role {
        text.push_str("RESET ROLE;");
    }
    for (name, _) in from.iter().filter(|(name, _)| !WHO.contains(name) && to.get(name).is_none()) {
        let _infallible = write!(text, "RESET {};", identifier(name));
    }
    let others = to.iter().filter(|(name, value)| !WHO.contains(name) && from.get(name) != Some(*value));
    let again =
        [who_changes[0] || resets_session, who_changes.contains(&true) || resets_role || resets_session];
    let who = WHO.into_iter().zip(again).filter(|(_, again)| *again);
    let who = who.filter_map(|(name, _)| Some((name, to.get(name)?)));
    let mut calls = others.chain(who).peekable();
    if calls.peek().is_some() {
        text.push_str("SELECT ");
    }
    while let Some((name, value)) = calls.next() {
        let _infallible = write!(text, "pg_catalog.set_config({},{},false)", literal(name), literal(value));
        if calls.peek().is_some() {
            text.push(',');
        }
    }
    (!text.is_empty()).then_some(text)
}

/// The texts that ask for settings, a row for each; with `origins` a last row names those (of the server's own) that the session gave a value.
#[must_use]
pub fn ask(names: &[&str], origins: bool) -> Vec<String> {
    let list: Vec<String> = names.iter().map(|name| literal(name)).collect();
    let mut texts = vec![format!(
        "SELECT pg_catalog.current_setting(name, true) FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) AS asked(name)",
        list.join(",")
    )];
    if origins {
        texts.push(
            "SELECT pg_catalog.string_agg(pg_catalog.lower(name), E'\\n') FROM pg_catalog.pg_settings \
             WHERE source OPERATOR(pg_catalog.=) 'session'"
                .to_owned(),
        );
    }
    texts
}

/// Settings that are lists of names, each of which is quoted by itself (`GUC_LIST_QUOTE` in the server's sources).
const LISTS: [&str; 4] =
    ["local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"];

/// The statement that gives a setting a value and takes no snapshot. A list that is not spelt as the server would spell it is set by a function,
/// which takes one, so that it reads as it was given.
#[must_use]
pub fn set(name: &str, value: &str) -> String {
    match assignment(name, value) {
        Some(assignment) => format!("SET {assignment}"),
        None => format!("SELECT {}", call(name, value, false)),
    }
}

/// The same, by one statement that has no result; `local`: to the transaction's end.
#[must_use]
pub fn set_silently(name: &str, value: &str, local: bool) -> String {
    let set = if local { "SET LOCAL" } else { "SET" };
    match assignment(name, value) {
        Some(assignment) => format!("{set} {assignment}"),
        None => block(&format!("PERFORM {};", call(name, value, local))),
    }
}

/// One statement that runs these, each with its semicolon.
#[must_use]
pub fn block(statements: &str) -> String {
    format!("DO LANGUAGE plpgsql {}", literal(&format!("BEGIN {statements} END")))
}

fn call(name: &str, value: &str, local: bool) -> String {
    format!("pg_catalog.set_config({},{},{local})", literal(name), literal(value))
}

fn assignment(name: &str, value: &str) -> Option<String> {
    if !LISTS.contains(&name) {
        return Some(format!("{} TO {}", identifier(name), literal(value)));
    }
    let parts: Vec<String> = split(value)?.iter().map(|part| literal(part)).collect();
    Some(format!("{} TO {}", identifier(name), parts.join(",")))
}

// The names in a list that is spelt as the server spells it: plain names, or quoted ones, with a comma and a space between.
fn split(list: &str) -> Option<Vec<String>> {
    let part = |part: &str| match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
        // A quoted one that needed no quotes, or with quotes or commas in it, is left to the function.
        Some(name) => {
            let odd = |c: char| c.is_ascii_uppercase() || matches!(c, '$' | ' ' | '-');
            (name.chars().any(odd) && !name.contains('"')).then(|| name.to_owned())
        }
        None => {
            let mut chars = part.chars();
            let first = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
            (first && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
                .then(|| part.to_owned())
        }
    };
    list.split(", ").map(part).collect()
}

/// Asks a backend, in the order of [`crate::engine::PROBED`], whether objects are left in its schema for temporary ones (each depends on it), advisory locks
/// of its session, channels that it listens to, cursors that outlive transactions.
pub const LEFT: &str = "SELECT \
    EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
        AND refobjid = pg_catalog.pg_my_temp_schema()), \
    EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()), \
    EXISTS (SELECT FROM pg_catalog.pg_listening_channels()), \
    EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)";

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
            "RESET ROLE;RESET \"work_mem\";SELECT pg_catalog.set_config(E'search_path',E'a, \"B\"',false),pg_catalog.set_config(E'role',E'bob',false)"
        );
        assert_eq!(carry(&from, &Tracked::default()).unwrap(), "RESET ROLE;RESET \"work_mem\";");
    }

    #[test]
    fn what_is_set_is_set_with_the_logins_own_rights() {
        let acting = |work_mem, who: &[(&'static str, &'static str)]| {
            Tracked::new([("work_mem", work_mem)].into_iter().chain(who.iter().copied()))
        };
        let role = acting("1MB", &[("role", "alice")]);
        assert_eq!(
            carry(&role, &acting("2MB", &[("role", "alice")])).unwrap(),
            "RESET ROLE;SELECT pg_catalog.set_config(E'work_mem',E'2MB',false),pg_catalog.set_config(E'role',E'alice',false)"
        );
        let both = acting("1MB", &[("role", "alice"), ("session_authorization", "carol")]);
        assert_eq!(
            carry(&both, &acting("1MB", &[("role", "bob"), ("session_authorization", "carol")])).unwrap(),
            "RESET ROLE;SELECT pg_catalog.set_config(E'role',E'bob',false)"
        );
        assert_eq!(
            carry(&role, &both).unwrap(),
            "RESET ROLE;SELECT pg_catalog.set_config(E'session_authorization',E'carol',false),pg_catalog.set_config(E'role',E'alice',false)"
        );
        assert_eq!(
            carry(&both, &role).unwrap(),
            "RESET SESSION AUTHORIZATION;RESET ROLE;SELECT pg_catalog.set_config(E'role',E'alice',false)"
        );
        assert_eq!(
            carry(&both, &acting("2MB", &[("role", "alice"), ("session_authorization", "carol")])).unwrap(),
            "RESET SESSION AUTHORIZATION;RESET ROLE;SELECT pg_catalog.set_config(E'work_mem',E'2MB',false),\
             pg_catalog.set_config(E'session_authorization',E'carol',false),pg_catalog.set_config(E'role',E'alice',false)"
        );
    }

    #[test]
    fn a_list_is_set_as_it_reads() {
        assert_eq!(set("work_mem", "1'MB"), "SET \"work_mem\" TO E'1''MB'");
        assert_eq!(set("app.x", ""), "SET \"app\".\"x\" TO E''");
        assert_eq!(set("search_path", "a, \"$user\", b_1"), "SET \"search_path\" TO E'a',E'$user',E'b_1'");
        for odd in ["a,b", "A", "\"a\"", "\"a, b\"", "", "\"\""] {
            assert!(set("search_path", odd).starts_with("SELECT pg_catalog.set_config("), "{odd}");
        }
    }

    #[test]
    fn constants_are_safe_in_every_lexing_mode() {
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
