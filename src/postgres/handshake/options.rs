//! The start-up parameter `options`: command-line switches of the server, of which the settings are taken.

use crate::error::ClientError;

/// A setting's name and value.
pub type Setting = (Box<str>, Box<str>);

/// Reads `options` as the server does: words between white space, `\` takes the next character as it is, and in
/// them `-c a=b`, `-ca=b`, `--a=b` and the server's single letters.
///
/// # Errors
/// With the server's text, SQLSTATE 42601.
pub fn parse(options: &str) -> Result<Vec<Setting>, ClientError> {
    let words = split(options);
    let mut words = words.iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" {
            // What follows is no switch any more, and the server knows no other arguments.
            return words.next().map_or(Ok(settings), |word| Err(invalid(word)));
        }
        if let Some(long) = word.strip_prefix("--") {
            settings.push(assignment(long, &format!("--{long}"))?);
            continue;
        }
        let Some(mut letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return Err(invalid(word));
        };
        while let Some(letter) = letters.chars().next() {
            letters = letters.get(letter.len_utf8()..).unwrap_or_default();
            if !takes_value(letter) {
                settings.extend(flag(letter).ok_or_else(|| invalid(word))?);
                continue;
            }
            // What is wrong with a value is shown of the word that it stands in.
            let (value, shown) = if letters.is_empty() {
                let next = words.next().ok_or_else(|| invalid(word))?;
                (&**next, next)
            } else {
                (letters, word)
            };
            settings.extend(with_value(letter, value, shown)?);
            break;
        }
    }
    Ok(settings)
}

fn invalid(word: &str) -> ClientError {
    ClientError::new("42601", 0, format!("invalid command-line argument for server process: {word}"))
        .hint("Try \"postgres --help\" for more information.")
}

/// `pg_split_opts`.
fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        if is_space(character) {
            words.extend(word.take());
        } else {
            let taken = if character == '\\' { characters.next() } else { Some(character) };
            word.get_or_insert_default().extend(taken);
        }
    }
    words.extend(word);
    words
}

/// C's `isspace`.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

/// `a-b=c` → (`a_b`, `c`).
fn assignment(text: &str, switch: &str) -> Result<Setting, ClientError> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| ClientError::new("42601", 0, format!("{switch} requires a value")))?;
    Ok((name.replace('-', "_").into(), value.into()))
}

fn takes_value(letter: char) -> bool {
    "BcDdfhkNprStvWC".contains(letter)
}

/// Letters without a value; `Some(None)`: known, and without effect on a session.
fn flag(letter: char) -> Option<Option<Setting>> {
    let setting = |name: &str, value: &str| Some(Some((name.into(), value.into())));
    match letter {
        'e' => setting("datestyle", "euro"),
        'F' => setting("fsync", "false"),
        'i' => setting("listen_addresses", "*"),
        'l' => setting("ssl", "true"),
        'O' => setting("allow_system_table_mods", "true"),
        'P' => setting("ignore_system_indexes", "true"),
        's' => setting("log_statement_stats", "true"),
        'b' | 'E' | 'j' | 'n' | 'T' => Some(None),
        _ => None,
    }
}

fn with_value(letter: char, value: &str, shown: &str) -> Result<Option<Setting>, ClientError> {
    let setting = |name: &str| Ok(Some((name.into(), value.into())));
    match letter {
        'c' => assignment(value, &format!("-c {value}")).map(Some),
        'B' => setting("shared_buffers"),
        'h' => setting("listen_addresses"),
        'k' => setting("unix_socket_directories"),
        'N' => setting("max_connections"),
        'p' => setting("port"),
        'S' => setting("work_mem"),
        'W' => setting("post_auth_delay"),
        'd' => Ok(Some(("log_min_messages".into(), format!("debug{value}").into()))),
        'f' => {
            switched_off(value).map(|name| Some((name.into(), "false".into()))).ok_or_else(|| invalid(shown))
        }
        't' => statistics(value).map(|name| Some((name.into(), "true".into()))).ok_or_else(|| invalid(shown)),
        _ => Ok(None),
    }
}

fn switched_off(plan: &str) -> Option<&'static str> {
    Some(match plan {
        "s" => "enable_seqscan",
        "i" => "enable_indexscan",
        "o" => "enable_indexonlyscan",
        "b" => "enable_bitmapscan",
        "t" => "enable_tidscan",
        "n" => "enable_nestloop",
        "m" => "enable_mergejoin",
        "h" => "enable_hashjoin",
        _ => return None,
    })
}

fn statistics(part: &str) -> Option<&'static str> {
    Some(match part {
        _ if part.starts_with("pa") => "log_parser_stats",
        _ if part.starts_with("pl") => "log_planner_stats",
        _ if part.starts_with('e') => "log_executor_stats",
        _ => return None,
    })
}
