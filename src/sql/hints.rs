//! What a client says to the proxy around its statement: `/* primacy:replica */`, `EXPLAIN ROUTE`. Read outside the shape.

use super::context::{Dialect, Lexing};
use super::lexer::{Kind, Lexer};
use memchr::memmem;
use std::sync::LazyLock;

/// What a hint asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// `primacy:primary`: the primary, whatever the text does.
    Primary,
    /// `primacy:replica`: a replica, if the text is not known to write.
    Replica,
    /// `primacy:consistency=…`: another level for this text.
    Consistency(HintedLevel),
}

/// A level of consistency, as a hint names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintedLevel {
    /// `eventual`.
    Eventual,
    /// `session`.
    Session,
    /// `causal`.
    Causal,
    /// `strong`.
    Strong,
}

const MARK: &[u8] = b"primacy:";
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(MARK));

/// The first hint in a comment of `text`; `None` when there is none, or only words that are not known.
#[must_use]
pub fn hint(text: &[u8]) -> Option<Hint> {
    // Texts without the mark, all but a few, cost one search.
    let mut from = 0;
    while let Some(at) = FINDER.find(text.get(from..)?) {
        let start = from + at;
        if opens_comment(text.get(..start)?) && !in_token(text, start) {
            let word = text.get(start + MARK.len()..)?;
            let end = word
                .iter()
                .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_')))
                .unwrap_or(word.len());
            if let Some(hint) = word.get(..end).and_then(meaning) {
                return Some(hint);
            }
        }
        from = start + MARK.len();
    }
    None
}

/// The statement of `EXPLAIN ROUTE statement`, which the proxy answers itself; `None` for every other text.
#[must_use]
pub fn explained_route(text: &[u8], lexing: Lexing) -> Option<&[u8]> {
    let mut lexer = Lexer::new(text, lexing);
    for keyword in ["EXPLAIN", "ROUTE"] {
        let token = lexer.next_token().filter(|token| token.kind == Kind::Word)?;
        text.get(token.start..token.end).filter(|word| word.eq_ignore_ascii_case(keyword.as_bytes()))?;
    }
    let first = lexer.next_token()?;
    text.get(first.start..)
}

/// Whether a comment opens last before the mark, with nothing but blanks between them.
fn opens_comment(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let before = before.strip_suffix(b"+").unwrap_or(before);
    before.ends_with(b"/*") || before.ends_with(b"--")
}

/// Whether that comment is only the content of a literal or a quoted name.
fn in_token(text: &[u8], at: usize) -> bool {
    Lexer::new(text, Lexing::new(Dialect::Postgres))
        .take_while(|token| token.start <= at)
        .any(|token| token.end > at && token.kind != Kind::Operator)
}

fn meaning(word: &[u8]) -> Option<Hint> {
    Some(match word.to_ascii_lowercase().as_slice() {
        b"primary" => Hint::Primary,
        b"replica" => Hint::Replica,
        b"consistency=eventual" => Hint::Consistency(HintedLevel::Eventual),
        b"consistency=session" => Hint::Consistency(HintedLevel::Session),
        b"consistency=causal" => Hint::Consistency(HintedLevel::Causal),
        b"consistency=strong" => Hint::Consistency(HintedLevel::Strong),
        _ => return None,
    })
}
