//! The leaves of the file: from the text as it stands to a typed value, and what to say when it is not one.

use super::settings::*;
use super::units::{self, Bytes};
use ipnet::IpNet;
use schemars::{Schema, json_schema};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a leaf may be.
pub(crate) trait Scalar {
    /// What it becomes.
    type Out;
    /// Reads the text; the error is the sentence that says what is allowed.
    fn read(text: &str) -> Result<Self::Out, Refusal>;
    /// The same for editors.
    fn schema() -> Schema;
}

/// Why a leaf's text is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What the text is not, after the text itself: "is not a duration".
    pub(crate) what: String,
    /// What is allowed.
    pub(crate) allowed: String,
    /// What to do.
    pub(crate) help: Option<String>,
}

impl Refusal {
    fn new(what: &str, allowed: &str) -> Self {
        Self { what: what.to_owned(), allowed: format!("expected {allowed}"), help: None }
    }
}

/// Any text.
#[derive(Debug)]
pub(crate) struct Text;
/// A name that appears in metrics, URLs and commands.
#[derive(Debug)]
pub(crate) struct Name;
/// A file; relative ones are relative to the configuration file.
#[derive(Debug)]
pub(crate) struct FilePath;
/// A whole number within bounds.
#[derive(Debug)]
pub(crate) struct Number<const MIN: u32, const MAX: u32>;
/// `auto` or a whole number within bounds.
#[derive(Debug)]
pub(crate) struct AutoOr<const MIN: u32, const MAX: u32>;

impl Scalar for Text {
    type Out = Arc<str>;

    fn read(text: &str) -> Result<Arc<str>, Refusal> {
        if text.contains('\0') {
            return Err(Refusal::new("holds a zero byte", "text"));
        }
        Ok(text.into())
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl Scalar for Name {
    type Out = Arc<str>;

    fn read(text: &str) -> Result<Arc<str>, Refusal> {
        let fits = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !fits {
            return Err(Refusal::new("cannot be a name", "1 to 63 of the characters A-Z a-z 0-9 _ - ."));
        }
        Ok(text.into())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,63}$" })
    }
}

impl Scalar for FilePath {
    type Out = PathBuf;

    fn read(text: &str) -> Result<PathBuf, Refusal> {
        if text.is_empty() || text.contains('\0') {
            return Err(Refusal::new("is not a path", "the path of a file"));
        }
        Ok(PathBuf::from(text))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl<const MIN: u32, const MAX: u32> Scalar for Number<MIN, MAX> {
    type Out = u32;

    fn read(text: &str) -> Result<u32, Refusal> {
        let allowed = format!("a whole number from {MIN} to {MAX}");
        let Some(number) = units::digits(text) else {
            return Err(Refusal::new("is not a whole number", &allowed));
        };
        let number = u32::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
        number.ok_or_else(|| Refusal::new("is out of range", &allowed))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl<const MIN: u32, const MAX: u32> Scalar for AutoOr<MIN, MAX> {
    type Out = Option<u32>;

    fn read(text: &str) -> Result<Option<u32>, Refusal> {
        if text == "auto" {
            return Ok(None);
        }
        let or_auto =
            |refusal: Refusal| Refusal { allowed: format!("{}, or `auto`", refusal.allowed), ..refusal };
        Number::<MIN, MAX>::read(text).map(Some).map_err(or_auto)
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": MIN, "maximum": MAX }] })
    }
}

impl Scalar for bool {
    type Out = Self;

    fn read(text: &str) -> Result<Self, Refusal> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Refusal::new("is neither true nor false", "`true` or `false`")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// A percentage from 0 to 90.
#[derive(Debug)]
pub(crate) struct Percent;

impl Scalar for Percent {
    type Out = u8;

    fn read(text: &str) -> Result<u8, Refusal> {
        let percent =
            units::parse_percent(text).ok_or_else(|| Refusal::new("is not a percentage", units::PERCENT))?;
        if percent > 90 {
            return Err(Refusal::new("would leave too little to writes", "at most `90%`"));
        }
        Ok(percent)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{1,2}%$" })
    }
}

impl Scalar for Duration {
    type Out = Self;

    fn read(text: &str) -> Result<Self, Refusal> {
        units::parse_duration(text).ok_or_else(|| Refusal::new("is not a duration", units::DURATION))
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [{ "const": 0 }, { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d)|0)$" }] })
    }
}

impl Scalar for Bytes {
    type Out = Self;

    fn read(text: &str) -> Result<Self, Refusal> {
        units::parse_size(text).ok_or_else(|| Refusal::new("is not a size", units::SIZE))
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [{ "const": 0 }, { "type": "string", "pattern": "^([0-9]+(B|KiB|MiB|GiB|TiB)|0)$" }] })
    }
}

impl Scalar for IpNet {
    type Out = Self;

    fn read(text: &str) -> Result<Self, Refusal> {
        units::parse_network(text).ok_or_else(|| Refusal::new("is not a network", units::NETWORK))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Scalar for ConsistencyWait {
    type Out = Self;

    fn read(text: &str) -> Result<Self, Refusal> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let refusal = || Refusal::new("is not a duration", "`auto`, `0`, or a duration such as `5ms`");
        units::parse_duration(text).map(Self::Fixed).ok_or_else(refusal)
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "const": 0 }, { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d)|0)$" }] })
    }
}

/// A value that is one of a few words.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// Each word with its value.
    const WORDS: &'static [(&'static str, Self)];
    /// Words that this version does not have yet, and what to do until then.
    const LATER: &'static [(&'static str, &'static str)] = &[];

    /// The word of a value.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

/// The leaf of a `Word`.
#[derive(Debug)]
pub(crate) struct OneOf<W>(std::marker::PhantomData<W>);

impl<W: Word> Scalar for OneOf<W> {
    type Out = W;

    fn read(text: &str) -> Result<W, Refusal> {
        if let Some((_, value)) = W::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let words: Vec<_> = W::WORDS.iter().map(|(word, _)| format!("`{word}`")).collect();
        let mut refusal = Refusal::new("is not one of the words allowed here", &words.join(", "));
        if words.len() > 1 {
            refusal.allowed = format!("expected one of {}", words.join(", "));
        }
        if let Some((_, until_then)) = W::LATER.iter().find(|(word, _)| *word == text) {
            "is not in this version yet".clone_into(&mut refusal.what);
            refusal.help = Some(format!("until then: {until_then}"));
        }
        Err(refusal)
    }

    fn schema() -> Schema {
        let words: Vec<_> = W::WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({ "enum": words })
    }
}

macro_rules! words {
    ($($type:ident { $($word:literal => $value:ident),* $(; later $($later:literal: $until:literal),*)? })*) => {
        $(impl Word for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$value)),*];
            $(const LATER: &'static [(&'static str, &'static str)] = &[$(($later, $until)),*];)?
        })*
    };
}

words! {
    EngineKind { "postgres" => Postgres, "mysql" => Mysql;
        later "mariadb": "MariaDB clusters cannot be served" }
    RouteSetting { "auto" => Auto, "primary" => Primary, "replica" => Replica }
    ClientTlsMode { "disable" => Disable, "prefer" => Prefer, "require" => Require;
        later "verify-ca": "use `require`; clients prove themselves by password",
              "verify-full": "use `require`; clients prove themselves by password" }
    ServerTlsMode { "disable" => Disable, "prefer" => Prefer, "require" => Require,
        "verify-ca" => VerifyCa, "verify-full" => VerifyFull }
    NodeRole { "auto" => Auto, "standby" => Standby }
    PgHba { "auto" => Auto, "off" => Off }
    Passthrough { "verifier" => Verifier, "password" => Password, "off" => Off }
    PoolMode { "transaction" => Transaction, "session" => Session }
    Balance { "round_robin" => RoundRobin, "least_connections" => LeastConnections }
    Consistency { "eventual" => Eventual, "session" => Session, "causal" => Causal, "strong" => Strong }
    FunctionClass { "read" => Read, "write" => Write }
    FunctionState { "none" => None, "pin" => Pin }
    ReadsOnPrimary { "never" => Never, "fallback" => Fallback, "always" => Always }
    ReadsWithoutPrimary { "serve" => Serve, "refuse" => Refuse }
    ReadsInTransactions { "never" => Never, "until_first_write" => UntilFirstWrite }
    FailoverMode { "off" => Off, "observe" => Observe;
        later "auto": "use `observe`: promotions are followed, whoever makes them" }
    LogFormat { "text" => Text, "json" => Json }
}

/// The level as a word: `tracing`'s own type is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LogLevel(pub(crate) tracing::Level);

impl Word for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self(tracing::Level::ERROR)),
        ("warn", Self(tracing::Level::WARN)),
        ("info", Self(tracing::Level::INFO)),
        ("debug", Self(tracing::Level::DEBUG)),
        ("trace", Self(tracing::Level::TRACE)),
    ];
}
