//! The functions, operators, settings and views that a server comes with, by what using them does. The tables are data files.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// What a call of a built-in function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// It only reads.
    Harmless,
    /// It describes the server or the backend.
    Local,
    /// It acts on the server or the data; the session is as before.
    Write,
    /// The session's own sequence values.
    Sequence,
    /// A session-level advisory lock.
    Advisory,
    /// The session's random numbers.
    Seed,
    /// `current_setting`: depends on which.
    Setting,
    /// `set_config`.
    Config,
    /// No function: grammar, or a type.
    Keyword,
    /// MySQL: the connection's own values (`LAST_INSERT_ID`).
    Connection,
}

struct Entry {
    deed: Deed,
    since: u16,
}

type Table = HashMap<&'static str, Entry>;

fn lines(data: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    data.lines().filter(|line| !line.starts_with('#')).flat_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().unwrap_or_default();
        words.map(move |word| (kind, word))
    })
}

fn table(data: &'static str) -> Table {
    let mut table = Table::new();
    for (kind, word) in lines(data) {
        let deed = match kind {
            "harmless" => Deed::Harmless,
            "local" => Deed::Local,
            "write" => Deed::Write,
            "sequence" => Deed::Sequence,
            "advisory" => Deed::Advisory,
            "seed" => Deed::Seed,
            "setting" => Deed::Setting,
            "config" => Deed::Config,
            "keyword" => Deed::Keyword,
            "connection" => Deed::Connection,
            // A kind that is not known proves nothing: the name stays unknown, which is the safe side.
            _ => continue,
        };
        let (name, since) = word.split_once('@').unwrap_or((word, "0"));
        let Ok(since) = since.parse() else { continue };
        // The first entry wins, so that a real function is not shadowed by its keyword's.
        table.entry(name).or_insert(Entry { deed, since });
    }
    table
}

static POSTGRES: LazyLock<Table> = LazyLock::new(|| table(include_str!("data/postgres_functions.txt")));
static MYSQL: LazyLock<Table> = LazyLock::new(|| table(include_str!("data/mysql_functions.txt")));

struct Names {
    operators: HashSet<&'static str>,
    settings: HashSet<&'static str>,
    views: HashSet<&'static str>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let of = |wanted: &str| {
        lines(include_str!("data/postgres_names.txt"))
            .filter(|(kind, _)| *kind == wanted)
            .map(|(_, word)| word)
            .collect::<HashSet<_>>()
    };
    Names { operators: of("operator"), settings: of("setting"), views: of("local_view") }
});

/// What a call of PostgreSQL's function `name` does on a server of version `major`; `None` = not known.
pub(super) fn postgres(name: &str, major: u16) -> Option<Deed> {
    if let Some(entry) = POSTGRES.get(name) {
        return (entry.since <= major).then_some(entry.deed);
    }
    name.starts_with("pg_stat_get_").then_some(Deed::Local)
}

/// PostgreSQL's functions whose answers, or what they leave, belong to the transaction that they run in: when it began, and the descriptors of large objects.
const BOUND: [&str; 9] = [
    "now",
    "transaction_timestamp",
    "age",
    "lo_close",
    "loread",
    "lo_lseek",
    "lo_lseek64",
    "lo_tell",
    "lo_tell64",
];

/// The same of its keywords.
const BOUND_WORDS: [&str; 5] =
    ["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"];

/// What a literal says that stands for a time of its transaction's.
const NOW: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

/// Whether what PostgreSQL's function `name` answers, or leaves, belongs to the transaction that it runs in.
pub(super) fn is_bound(name: &str) -> bool {
    BOUND.contains(&name)
}

/// The same of a keyword, in lower case.
pub(super) fn is_bound_word(word: &str) -> bool {
    BOUND_WORDS.contains(&word)
}

/// Whether in `bytes` there is a word that, given as a date or a time, is one of its transaction's.
#[must_use]
pub fn speaks_of_now(bytes: &[u8]) -> bool {
    let is_letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphabetic);
    let starts = |at: usize| at.checked_sub(1).is_none_or(|before| !is_letter(before));
    let word = |at: usize| {
        NOW.iter().any(|word| {
            let end = at + word.len();
            bytes.get(at..end).is_some_and(|there| there.eq_ignore_ascii_case(word)) && !is_letter(end)
        })
    };
    let first = |byte: &u8| matches!(byte, b'n' | b'N' | b't' | b'T' | b'y' | b'Y');
    bytes.iter().enumerate().any(|(at, byte)| first(byte) && starts(at) && word(at))
}

/// What a call of MySQL's function `name` (lower case) does; `None` = not known.
pub(super) fn mysql(name: &str) -> Option<Deed> {
    MYSQL.get(name).map(|entry| entry.deed)
}

/// Whether PostgreSQL comes with an operator of this name.
pub(super) fn operator(name: &str) -> bool {
    NAMES.operators.contains(name)
}

/// Whether a setting belongs to the session (else it describes the server). Custom settings are the session's.
pub(super) fn session_setting(name: &str) -> bool {
    name.contains('.') || NAMES.settings.contains(name)
}

/// Whether a system view describes the server or the backend.
pub(super) fn local_view(name: &str) -> bool {
    name.starts_with("pg_stat_") || name.starts_with("pg_statio_") || NAMES.views.contains(name)
}

/// Whether `name` is one of PostgreSQL's own relations, when the text gives no schema.
pub(super) fn system_relation(name: &str) -> bool {
    local_view(name) || SYSTEM.contains(&name)
}

const SYSTEM: [&str; 75] = [
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_attrdef",
    "pg_attribute",
    "pg_auth_members",
    "pg_authid",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_database",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_group",
    "pg_index",
    "pg_indexes",
    "pg_inherits",
    "pg_init_privs",
    "pg_language",
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_matviews",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_parameter_acl",
    "pg_partitioned_table",
    "pg_policies",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_publication_tables",
    "pg_range",
    "pg_replication_origin",
    "pg_rewrite",
    "pg_roles",
    "pg_rules",
    "pg_seclabel",
    "pg_sequence",
    "pg_shadow",
    "pg_shdepend",
    "pg_shdescription",
    "pg_statistic",
    "pg_statistic_ext",
    "pg_stats",
    "pg_subscription",
    "pg_subscription_rel",
    "pg_tables",
    "pg_tablespace",
    "pg_timezone_abbrevs",
    "pg_timezone_names",
    "pg_transform",
    "pg_trigger",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_type",
    "pg_user",
    "pg_user_mapping",
    "pg_user_mappings",
    "pg_views",
];
