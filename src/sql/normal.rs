//! A text without its literals, short, for people: what statistics show of a shape. One pass; the key costs no allocation.

use super::context::Lexing;
use super::lexer::{Kind, Lexer};
use std::hash::{BuildHasher, Hasher};

/// What is read of a text: two that differ only behind it are one.
const READ_MAX: usize = 4 * 1024;
const LITERAL: &[u8] = b"?";

/// What all texts have in common that differ only in their literals, in the length of a list of them, in blanks and comments.
#[must_use]
pub fn normal_key(text: &[u8], lexing: Lexing) -> u64 {
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    pieces(text, lexing, |piece| {
        hasher.write(piece);
        hasher.write_u8(0xff);
        true
    });
    hasher.finish()
}

/// The text with `?` for each literal and list of literals, one blank between tokens, and no comments; at most `max` bytes.
#[must_use]
pub fn normal(text: &[u8], lexing: Lexing, max: usize) -> String {
    let mut out = String::new();
    let mut whole = true;
    pieces(text, lexing, |piece| {
        let word = String::from_utf8_lossy(piece);
        let tight = out.is_empty() || matches!(piece, b"," | b")" | b"." | b";") || out.ends_with(['(', '.']);
        whole = out.len() + word.len() + usize::from(!tight) <= max.saturating_sub("…".len());
        if whole {
            out.push_str(if tight { "" } else { " " });
            out.push_str(&word);
        }
        whole
    });
    if !whole || text.len() > READ_MAX {
        out.push('…');
    }
    out
}

// Calls `each` with what is shown of each token, until it has had enough.
fn pieces(text: &[u8], lexing: Lexing, mut each: impl FnMut(&[u8]) -> bool) {
    let text = text.get(..READ_MAX).unwrap_or(text);
    // A list of literals is one: a comma behind a literal waits for what follows it.
    let (mut literal, mut comma) = (false, false);
    for token in Lexer::new(text, lexing) {
        let shown = match token.kind {
            Kind::Literal | Kind::Number => LITERAL,
            Kind::Comma if literal && !comma => {
                comma = true;
                continue;
            }
            // Neither is known to hold no literal.
            Kind::Broken | Kind::Executable => break,
            _ => text.get(token.start..token.end).unwrap_or_default(),
        };
        let is_literal = shown == LITERAL && token.kind != Kind::Operator;
        if std::mem::take(&mut comma) {
            if is_literal {
                continue;
            }
            if !each(b",") {
                return;
            }
        }
        literal = is_literal;
        if !each(shown) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Dialect;

    const POSTGRES: Lexing = Lexing::new(Dialect::Postgres);

    #[test]
    fn no_literal_is_shown() {
        for (text, shown) in [
            ("SELECT f(1, 'secret'), $1", "SELECT f (?), $1"),
            ("select  f( E'a\\'b' ) -- secret\n;", "select f (?);"),
            ("SELECT $q$secret$q$ /* secret */ FROM \"T\".x", "SELECT ? FROM \"T\".x"),
            ("SELECT g(a, 1, 2, b), h(3) + 4.5e6", "SELECT g (a, ?, b), h (?) + ?"),
            ("SELECT 'secret", "SELECT"),
            ("SELECT f(1,)", "SELECT f (?,)"),
        ] {
            assert_eq!(normal(text.as_bytes(), POSTGRES, 200), shown);
        }
    }

    #[test]
    fn its_length_is_bounded() {
        let long = format!("SELECT {}", "äöü, ".repeat(2000));
        let shown = normal(long.as_bytes(), POSTGRES, 60);
        assert!(shown.len() <= 60 && shown.ends_with('…'), "{shown}");
    }

    #[test]
    fn the_key_is_the_shown_texts() {
        let key = |text: &str| normal_key(text.as_bytes(), POSTGRES);
        assert_eq!(key("SELECT f(1,2,3)"), key("SELECT  f( 'x' ) -- y"));
        assert_ne!(key("SELECT f(1)"), key("SELECT g(1)"));
        assert_ne!(key("SELECT ab"), key("SELECT a b"));
    }
}
