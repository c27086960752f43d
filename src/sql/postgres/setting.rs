//! `SET`, `RESET`, `SHOW`, `DISCARD` and `set_config`: what they change, exactly, or that it is not known.

use super::Env;
use super::query::walk;
use super::transaction::{Modes, modes};
use crate::engine::{Certainty, PinReason};
use crate::sql::functions;
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Reader, Tok, chain};
use crate::sql::verdict::{Change, Isolation, Return, ReturnForm, Value};

/// Settings that are lists of names: each entry is quoted as an identifier (`variable_is_guc_list_quote` in the server's pg_dump).
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// `SET …`; `toks` begins with it.
pub(super) fn set(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    if reader.eat("local") {
        return local(reader, env);
    }
    if reader.eat("transaction") {
        let snapshot = reader.eat("snapshot");
        let mut outcome = Outcome::change("SET", Change::Local);
        let Some(modes) = (if snapshot { Some(Modes::default()) } else { modes(&mut reader) }) else {
            return Outcome::unknown("SET");
        };
        // What is about to write is the primary's.
        if snapshot || modes.read_only == Some(false) {
            outcome.write(crate::sql::Reason::SessionState);
        }
        return outcome;
    }
    if reader.eat("constraints") {
        return Outcome::change("SET", Change::Local);
    }
    if reader.eat_all(&["session", "characteristics", "as", "transaction"]) {
        return characteristics(reader);
    }
    if reader.eat_all(&["session", "authorization"]) {
        return authorization(reader, env);
    }
    reader.eat("session");
    assignment(reader, env).unwrap_or_else(setting_value)
}

/// `SET SESSION AUTHORIZATION …`; the reader is behind it.
fn authorization(mut reader: Reader<'_, '_>, env: &Env<'_>) -> Outcome {
    let name = "session_authorization";
    if reader.peek().is_some_and(|tok| tok.is("default")) && reader.at + 1 == reader.toks.len() {
        return Outcome::change("SET", Change::Reset(name.into()));
    }
    Outcome::change("SET", set_or_touch(name, value(name, &mut reader, env)))
}

fn set_or_touch(name: &str, value: Option<Value>) -> Change {
    match value {
        Some(value) => Change::Set { name: name.into(), value },
        None => Change::Touch(name.into()),
    }
}

/// A setting was given something that is not a plain constant.
fn setting_value() -> Outcome {
    let mut outcome = Outcome::read("SET").pinning(PinReason::SettingValue, Certainty::Known);
    outcome.write(crate::sql::Reason::SessionState);
    outcome
}

/// `SET LOCAL …`: gone with the transaction, except what no transaction undoes.
fn local(mut reader: Reader<'_, '_>, env: &Env<'_>) -> Outcome {
    let local = |name: &str, value| Change::SetLocal { name: name.into(), value };
    if reader.eat_all(&["session", "authorization"]) {
        let name = "session_authorization";
        let value = value(name, &mut reader, env);
        return Outcome::change("SET", local(name, value));
    }
    if reader.peek().is_some_and(|tok| tok.name().is_some_and(|name| name.eq_ignore_ascii_case("seed"))) {
        return seed("SET");
    }
    let Some(mut outcome) = assignment(reader, env) else { return Outcome::unknown("SET") };
    for change in &mut outcome.changes {
        *change = match change {
            Change::Set { name, value } => local(name, Some(value.clone())),
            Change::Reset(name) | Change::Touch(name) => local(name, None),
            // One of ours: it is no transaction's.
            Change::Primacy { name, .. } => local(&format!("primacy.{name}"), None),
            _ => continue,
        };
    }
    outcome
}

fn seed(command: &'static str) -> Outcome {
    let mut outcome = Outcome::read(command).pinning(PinReason::Seed, Certainty::Known);
    outcome.write(crate::sql::Reason::SessionState);
    // In `set_config` the name is a literal, which is no part of a text's shape: such a text is judged each time.
    outcome.changes.push(Change::Local);
    outcome
}

/// `SET SESSION CHARACTERISTICS AS TRANSACTION modes`: the defaults of later transactions.
fn characteristics(mut reader: Reader<'_, '_>) -> Outcome {
    let Some(Modes { read_only, isolation, deferrable }) = modes(&mut reader) else {
        return Outcome::unknown("SET");
    };
    let on_off = |value: bool| if value { "on" } else { "off" };
    let mut outcome = Outcome::change("SET", Change::Local);
    outcome.changes.clear();
    let given = [
        ("default_transaction_isolation", isolation.map(isolation_word)),
        ("default_transaction_read_only", read_only.map(on_off)),
        ("default_transaction_deferrable", deferrable.map(on_off)),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            outcome.changes.push(Change::Set { name: name.into(), value: Value::Constant(value.into()) });
        }
    }
    outcome
}

fn isolation_word(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadUncommitted => "read uncommitted",
        Isolation::ReadCommitted => "read committed",
        Isolation::RepeatableRead => "repeatable read",
        Isolation::Serializable => "serializable",
    }
}

/// `name {= | TO} value`, `TIME ZONE v`, `NAMES v`, `ROLE v`, `SCHEMA v`, `XML OPTION v`; `None` when it is none of these.
fn assignment(mut reader: Reader<'_, '_>, env: &Env<'_>) -> Option<Outcome> {
    let name = if reader.eat_all(&["time", "zone"]) {
        if (reader.eat("local") || reader.eat("default")) && reader.done() {
            return Some(Outcome::change("SET", Change::Reset("timezone".into())));
        }
        "timezone".to_owned()
    } else if reader.eat("names") {
        if reader.done() || reader.eat("default") {
            return Some(Outcome::change("SET", Change::Reset("client_encoding".into())));
        }
        "client_encoding".to_owned()
    } else if reader.peek()?.is("role") && !is_assigned(reader) {
        reader.next();
        "role".to_owned()
    } else if reader.peek()?.is("schema") && !is_assigned(reader) {
        reader.next();
        "search_path".to_owned()
    } else if reader.eat_all(&["xml", "option"]) {
        "xmloption".to_owned()
    } else {
        let chain = reader.chain()?;
        if !(reader.eat("to") || reader.next()?.is_operator("=")) {
            return None;
        }
        current_name(chain.parts.join(".").to_ascii_lowercase())
    };
    if reader.peek()?.is("default") && reader.at + 1 == reader.toks.len() {
        return Some(Outcome::change("SET", reset_change(name)));
    }
    match value(&name, &mut reader, env) {
        Some(value) => Some(changed("SET", name, value)),
        None if name == "seed" => Some(seed("SET")),
        None if name.starts_with("primacy.") => None,
        // `INTERVAL '…'`, an escape that we do not read: the server will say what it has become.
        None => Some(Outcome::change("SET", Change::Touch(name.into()))),
    }
}

/// Names that the server still takes for others (`map_old_guc_names` in its guc.c).
fn current_name(name: String) -> String {
    match name.as_str() {
        "sort_mem" => "work_mem".to_owned(),
        "vacuum_mem" => "maintenance_work_mem".to_owned(),
        _ => name,
    }
}

/// Settings of the transaction that is open: none outlives it, however it is set.
fn is_transactions_own(name: &str) -> bool {
    matches!(name, "transaction_isolation" | "transaction_read_only" | "transaction_deferrable")
}

fn is_assigned(reader: Reader<'_, '_>) -> bool {
    reader.toks.get(reader.at + 1).is_some_and(|tok| tok.is("to") || tok.is_operator("="))
}

fn reset_change(name: String) -> Change {
    match name.strip_prefix("primacy.") {
        Some(own) => Change::Primacy { name: own.into(), value: None },
        None if is_transactions_own(&name) => Change::Local,
        None => Change::Reset(name.into()),
    }
}

/// What setting `name` to `value` amounts to.
fn changed(command: &'static str, name: String, value: Value) -> Outcome {
    if let Some(own) = name.strip_prefix("primacy.") {
        let (Value::Constant(value) | Value::List(value)) = value else { return setting_value() };
        return Outcome::change(command, Change::Primacy { name: own.into(), value: Some(value) });
    }
    if name == "seed" {
        return seed(command);
    }
    if is_transactions_own(&name) {
        return Outcome::change(command, Change::Local);
    }
    let temporary = name == "search_path"
        && matches!(&value, Value::Constant(path) | Value::List(path) if path.contains("pg_temp"));
    let mut outcome = Outcome::change(command, Change::Set { name: name.into(), value });
    if temporary {
        // What is created from now on may be temporary without saying so.
        outcome.pin(PinReason::TempObject, Certainty::Possible);
    }
    outcome
}

/// A value, or values with commas, to the end.
fn value(name: &str, reader: &mut Reader<'_, '_>, env: &Env<'_>) -> Option<Value> {
    let mut values = vec![one_value(reader, env)?];
    while reader.eat_kind(Kind::Comma) {
        values.push(one_value(reader, env)?);
    }
    if !reader.done() {
        return None;
    }
    if LISTS.contains(&name) {
        let quoted: Vec<String> = values.iter().map(|value| as_identifier(value)).collect();
        return Some(Value::List(quoted.join(", ").into()));
    }
    Some(match values.as_slice() {
        [one] => Value::Constant(one.as_str().into()),
        several => Value::List(several.join(", ").into()),
    })
}

fn one_value(reader: &mut Reader<'_, '_>, env: &Env<'_>) -> Option<String> {
    let tok = reader.next()?;
    match tok.kind {
        // `interval '…'` and the like are no plain values.
        Kind::Word | Kind::Quoted if reader.peek().is_none_or(|next| next.kind == Kind::Comma) => {
            tok.name().map(String::from)
        }
        Kind::Literal => tok.constant(env.lexing()),
        Kind::Number => Some(tok.word.to_owned()),
        Kind::Operator if matches!(tok.word, "-" | "+") => {
            let number = reader.next().filter(|number| number.kind == Kind::Number)?;
            let sign = if tok.word == "-" { "-" } else { "" };
            Some(format!("{sign}{}", number.word))
        }
        _ => None,
    }
}

fn as_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// `RESET …`.
pub(super) fn reset(toks: &[Tok<'_>]) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    let change = if reader.eat_all(&["time", "zone"]) {
        Change::Reset("timezone".into())
    } else if reader.eat_all(&["session", "authorization"]) {
        Change::Reset("session_authorization".into())
    } else if reader.eat_all(&["transaction", "isolation", "level"]) {
        Change::Local
    } else if reader.eat("all") {
        Change::ResetAll
    } else {
        match reader.chain() {
            Some(chain) => reset_change(current_name(chain.parts.join(".").to_ascii_lowercase())),
            None => return Outcome::unknown("RESET"),
        }
    };
    if reader.done() { Outcome::change("RESET", change) } else { Outcome::unknown("RESET") }
}

/// `SHOW …`.
pub(super) fn show(toks: &[Tok<'_>]) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    let session = reader.eat_all(&["time", "zone"])
        || reader.eat_all(&["transaction", "isolation", "level"])
        || reader.eat_all(&["session", "authorization"]);
    let mut outcome = Outcome::read("SHOW");
    if session && reader.done() {
        return outcome;
    }
    let Some(chain) = reader.chain() else { return Outcome::unknown("SHOW") };
    if !reader.done() {
        return Outcome::unknown("SHOW");
    }
    let name = chain.parts.join(".").to_ascii_lowercase();
    if let Some(own) = name.strip_prefix("primacy.") {
        return Outcome::change("SHOW", Change::ShowPrimacy(own.into()));
    }
    if !functions::session_setting(&name) {
        outcome.local(&name);
    }
    outcome
}

/// `DISCARD …`.
pub(super) fn discard(toks: &[Tok<'_>]) -> Outcome {
    let change = match toks {
        [_, what] => match what.word {
            "all" => Change::DiscardAll,
            "plans" => Change::DiscardPlans,
            "sequences" => Change::DiscardSequences,
            "temp" | "temporary" => Change::DiscardTemp,
            _ => return Outcome::unknown("DISCARD"),
        },
        _ => return Outcome::unknown("DISCARD"),
    };
    Outcome::change("DISCARD", change)
}

/// A SELECT whose whole effect is one on the session: `set_config` with constants or bound values among other items that
/// only read, or nothing but `pg_advisory_unlock_all()`. `None` when it is anything else.
pub(super) fn select(toks: &[Tok<'_>], env: &Env<'_>) -> Option<Outcome> {
    let names = env.names();
    let own = |name: &str| names.is_some_and(|names| names.has_routine(name));
    let mut outcome = Outcome::read("SELECT");
    outcome.reason = crate::sql::Reason::SessionState;
    for item in items(toks.get(1..)?)? {
        let called =
            chain(item, 0).filter(|chain| item.get(chain.next).is_some_and(|tok| tok.kind == Kind::Open));
        let function = called.as_ref().filter(|chain| match chain.parts.len() {
            1 => !own(chain.name()),
            2 => chain.schema() == "pg_catalog",
            _ => false,
        });
        match function.map(|chain| (chain.name(), chain.next)) {
            Some(("set_config", open)) => {
                let one = set_config(item.get(open..)?, env)?;
                outcome.changes.extend(one.changes);
                outcome.returns.extend(one.returns);
                if let Some(pin) = one.pin {
                    if one.class == crate::engine::Class::Write {
                        outcome.write(one.reason);
                    }
                    outcome.pin(pin.reason, pin.certainty);
                }
            }
            Some(("pg_advisory_unlock_all", open)) if item.len() == open + 2 => {
                outcome.changes.push(Change::AdvisoryUnlockAll);
            }
            _ => {
                let mut rest = Outcome::read("SELECT");
                walk(item, env, &mut rest);
                if rest.class != crate::engine::Class::Read
                    || rest.pin.is_some()
                    || !rest.relations.is_empty()
                {
                    return None;
                }
            }
        }
    }
    Some(outcome)
}

/// The items of a select list that is the whole statement; `None` when more follows, or when no item calls one of the two.
fn items<'t, 'a>(list: &'t [Tok<'a>]) -> Option<Vec<&'t [Tok<'a>]>> {
    if !list.iter().any(|tok| {
        tok.name().is_some_and(|name| matches!(name.as_ref(), "set_config" | "pg_advisory_unlock_all"))
    }) {
        return None;
    }
    let mut depth = 0_usize;
    for tok in list {
        match tok.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.checked_sub(1)?,
            Kind::Word
                if depth == 0
                    && tok.is_any(&[
                        "from",
                        "where",
                        "group",
                        "having",
                        "order",
                        "limit",
                        "offset",
                        "union",
                        "except",
                        "intersect",
                        "into",
                        "for",
                        "window",
                        "fetch",
                        "distinct",
                        "case",
                    ]) =>
            {
                return None;
            }
            _ => {}
        }
    }
    let mut depth = 0_usize;
    Some(
        list.split(|tok| {
            match tok.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && tok.kind == Kind::Comma
        })
        .collect(),
    )
}

/// `(name, value, is_local) [[AS] alias]`; `None` when it is written otherwise.
fn set_config(toks: &[Tok<'_>], env: &Env<'_>) -> Option<Outcome> {
    let mut reader = Reader::new(toks, 1);
    let name = current_name(reader.next()?.constant(env.lexing())?.to_ascii_lowercase());
    skip_cast(&mut reader);
    reader.eat_kind(Kind::Comma).then_some(())?;
    let value_at = reader.next()?;
    let value = config_value(value_at, env)?;
    skip_cast(&mut reader);
    reader.eat_kind(Kind::Comma).then_some(())?;
    let local = is_local(reader.next()?, env)?;
    reader.eat_kind(Kind::Close).then_some(())?;
    reader.eat("as");
    if !reader.done() {
        reader.next()?.name()?;
    }
    reader.done().then_some(())?;
    let returned = value.is_none().then(|| Return {
        name: Some(name.as_str().into()),
        at: value_at.span(),
        statement: 0,
        form: ReturnForm::Null,
    });
    let mut outcome = match value {
        value if local && name != "seed" => {
            Outcome::change("SELECT", Change::SetLocal { name: name.into(), value })
        }
        Some(value) => changed("SELECT", name, value),
        None => Outcome::change("SELECT", reset_change(name)),
    };
    outcome.returns.extend(returned);
    Some(outcome)
}

fn is_local(tok: &Tok<'_>, env: &Env<'_>) -> Option<bool> {
    match tok.kind {
        Kind::Word => tok.word.parse().ok(),
        Kind::Literal => match tok.constant(env.lexing())?.to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "yes" | "1" => Some(true),
            "f" | "false" | "off" | "no" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Skips `::text` and `::varchar`.
fn skip_cast(reader: &mut Reader<'_, '_>) {
    if reader.peek().is_some_and(|tok| tok.kind == Kind::Cast)
        && reader.toks.get(reader.at + 1).is_some_and(|tok| tok.is_any(&["text", "varchar"]))
    {
        reader.at += 2;
    }
}

/// `Some(None)` for NULL, which resets.
fn config_value(tok: &Tok<'_>, env: &Env<'_>) -> Option<Option<Value>> {
    match tok.kind {
        Kind::Literal => Some(Some(Value::Constant(tok.constant(env.lexing())?.into()))),
        Kind::Parameter => {
            let number: u16 = tok.word.strip_prefix('$')?.parse().ok()?;
            Some(Some(Value::Parameter(number.checked_sub(1)?)))
        }
        Kind::Word if tok.word == "null" => Some(None),
        _ => None,
    }
}
