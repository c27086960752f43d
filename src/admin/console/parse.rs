//! One line of the console's text: what it asks for.

use super::super::command::nearest;
use super::show::{TOPICS, Topic};
use crate::error::ClientError;

/// What a line asks for.
#[derive(Debug, Clone)]
pub(super) enum Line {
    /// Nothing.
    Empty,
    /// A driver's `SET`: accepted, without effect.
    Set,
    /// `SELECT 1`: are you there?
    One,
    /// A setting that drivers ask for: its name and the answer.
    Fixed(&'static str, &'static str),
    /// A table.
    Show(&'static Topic),
    /// A change.
    Do(Action),
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Reload,
    Pause(Option<String>),
    Resume(Option<String>),
    Kill(Option<String>),
    Reconnect(Option<String>),
    KillClient(u64),
    Drain(String),
    Undrain(String),
    Shutdown { drain: bool },
}

impl Action {
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Reload => "RELOAD",
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Kill(_) => "KILL",
            Self::Reconnect(_) => "RECONNECT",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::Drain(_) => "DRAIN",
            Self::Undrain(_) => "UNDRAIN",
            Self::Shutdown { .. } => "SHUTDOWN",
        }
    }
}

/// The commands that change something, as `SHOW HELP` lists them.
pub(super) const VERBS: &[(&str, &str)] = &[
    ("RELOAD", "read the configuration again; applied whole or refused whole"),
    ("PAUSE [database]", "let what runs end, start nothing new; clients wait"),
    ("RESUME [database]", "go on after PAUSE or KILL"),
    ("KILL [database]", "close the servers' connections at once, and pause"),
    ("KILL_CLIENT id", "close one client's connection (SHOW CLIENTS has the id)"),
    ("RECONNECT [database]", "replace the servers' connections as they become free"),
    ("DRAIN node", "take a node out of reads"),
    ("UNDRAIN node", "give it reads again"),
    ("SHUTDOWN", "end running transactions, then stop"),
    ("SHUTDOWN IMMEDIATE", "stop at once"),
];

// What drivers and psql ask for at connect, and PgBouncer's answers to it.
const FIXED: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"),
    ("datestyle", "ISO"),
    ("timezone", "GMT"),
    ("extra_float_digits", "2"),
];

// PgBouncer's commands that have no counterpart, and what to do instead.
const ABSENT: &[(&str, &str)] = &[
    ("DISABLE", "use PAUSE database: clients wait instead of being refused"),
    ("ENABLE", "use RESUME database"),
    ("SUSPEND", "use PAUSE"),
    ("WAIT_CLOSE", "PAUSE returns when nothing is running any more; RECONNECT replaces connections"),
    ("BEGIN", "the console has no transactions: turn your driver's autocommit on"),
    ("START", "the console has no transactions: turn your driver's autocommit on"),
    ("COMMIT", "the console has no transactions: turn your driver's autocommit on"),
    ("ROLLBACK", "the console has no transactions: turn your driver's autocommit on"),
];

/// Reads one line.
pub(super) fn parse(text: &str) -> Result<Line, ClientError> {
    let words = words(text)?;
    let Some((verb, rest)) = words.split_first() else { return Ok(Line::Empty) };
    let verb = verb.to_ascii_uppercase();
    if verb == "SET" {
        return if rest.is_empty() { Err(syntax("SET needs a name and a value")) } else { Ok(Line::Set) };
    }
    let word = match rest {
        [] => None,
        [word] => Some(word.as_str()),
        _ => return Err(syntax(format!("{verb} takes at most one word"))),
    };
    match verb.as_str() {
        "SHOW" => topic(word),
        "SELECT" if word == Some("1") => Ok(Line::One),
        _ => action(&verb, word).map(Line::Do),
    }
}

fn topic(word: Option<&str>) -> Result<Line, ClientError> {
    let Some(word) = word else { return Err(syntax("SHOW needs to know what")) };
    if let Some(topic) = TOPICS.iter().find(|topic| topic.word.eq_ignore_ascii_case(word)) {
        return Ok(Line::Show(topic));
    }
    if let Some(&(name, value)) = FIXED.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
        return Ok(Line::Fixed(name, value));
    }
    if word.eq_ignore_ascii_case("FDS") {
        return Err(absent("SHOW FDS", "there are no connections to hand over this way"));
    }
    let near = nearest(word, TOPICS.iter().map(|topic| topic.word)).map(|near| format!("SHOW {near}"));
    Err(unknown(&format!("SHOW {}", word.to_ascii_uppercase()), near))
}

fn action(verb: &str, word: Option<&str>) -> Result<Action, ClientError> {
    let name = |what: &str| word.map(str::to_owned).ok_or_else(|| syntax(format!("{verb} needs {what}")));
    let database = || word.map(str::to_owned);
    match verb {
        "RELOAD" if word.is_none() => Ok(Action::Reload),
        "RELOAD" => Err(syntax("RELOAD takes no argument: the whole configuration is read")),
        "PAUSE" => Ok(Action::Pause(database())),
        "RESUME" => Ok(Action::Resume(database())),
        "KILL" => Ok(Action::Kill(database())),
        "RECONNECT" => Ok(Action::Reconnect(database())),
        "DRAIN" => name("a node: SHOW NODES lists them").map(Action::Drain),
        "UNDRAIN" => name("a node: SHOW NODES lists them").map(Action::Undrain),
        "KILL_CLIENT" => {
            let id = name("a client's id: SHOW CLIENTS lists them")?;
            let number = id.parse().map_err(|_| syntax(format!("\"{id}\" is not a client's id")))?;
            Ok(Action::KillClient(number))
        }
        "SHUTDOWN" => shutdown(word),
        _ => Err(not_a_verb(verb)),
    }
}

fn shutdown(word: Option<&str>) -> Result<Action, ClientError> {
    match word.map(str::to_ascii_uppercase).as_deref() {
        None | Some("WAIT_FOR_CLIENTS" | "WAIT_FOR_SERVERS") => Ok(Action::Shutdown { drain: true }),
        Some("IMMEDIATE") => Ok(Action::Shutdown { drain: false }),
        Some(word) => Err(syntax(format!("SHUTDOWN does not know \"{word}\""))),
    }
}

fn not_a_verb(verb: &str) -> ClientError {
    if let Some((name, instead)) = ABSENT.iter().find(|(name, _)| *name == verb) {
        return absent(name, instead);
    }
    let verbs = VERBS.iter().filter_map(|(verb, _)| verb.split(' ').next());
    let near = nearest(verb, verbs.chain(["SHOW", "SET"])).map(str::to_owned);
    unknown(verb, near)
}

// A text over the wire is of any length: what is said of it is not.
fn unknown(said: &str, near: Option<String>) -> ClientError {
    let said: String = said.chars().take(64).collect();
    let hint = match near {
        Some(near) => format!("did you mean {near}? SHOW HELP lists the commands"),
        None => "SHOW HELP lists the commands".to_owned(),
    };
    ClientError::new("42601", 1064, format!("the console does not know the command \"{said}\"")).hint(hint)
}

fn syntax(message: impl Into<String>) -> ClientError {
    ClientError::new("42601", 1064, message).hint("SHOW HELP lists the commands")
}

fn absent(name: &str, instead: &str) -> ClientError {
    ClientError::new("0A000", 1235, format!("{name} is not supported")).hint(instead)
}

/// Cuts a line into words: bare ones, "quoted" and 'quoted' ones; comments and the last semicolon are left out.
fn words(text: &str) -> Result<Vec<String>, ClientError> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(skipped);
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let (_, after) = comment.split_once("*/").ok_or_else(|| syntax("a comment has no end"))?;
            rest = after;
        } else if let Some(after) = rest.strip_prefix(';') {
            if !words.is_empty() && !after.trim_matches(|c| skipped(c) || c == ';').is_empty() {
                return Err(syntax("one command at a time"));
            }
            rest = after;
        } else if first == '"' || first == '\'' {
            let (word, after) = quoted(rest, first)?;
            words.push(word);
            rest = after;
        } else {
            let end = rest.find(|c: char| skipped(c) || matches!(c, ';' | '"' | '\'')).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            words.push(word.to_owned());
            rest = after;
        }
        rest = rest.trim_start_matches(skipped);
    }
    Ok(words)
}

// Some clients end the text with a NUL of their own.
fn skipped(c: char) -> bool {
    c.is_whitespace() || c == '\0'
}

fn quoted(text: &str, mark: char) -> Result<(String, &str), ClientError> {
    let mut word = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != mark {
            word.push(c);
        } else if chars.next_if(|&(_, next)| next == mark).is_some() {
            word.push(mark);
        } else {
            return Ok((word, text.get(at + 1..).unwrap_or("")));
        }
    }
    Err(syntax("a quoted name has no end"))
}
