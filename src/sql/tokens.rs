//! A text's tokens as the judge reads them on a miss: words folded, names unquoted, constants decoded.

use super::context::Lexing;
use super::lexer::{Kind, Lexer};
use std::borrow::Cow;
use std::ops::Range;

/// A token with its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tok<'a> {
    pub(super) kind: Kind,
    /// The text, ASCII letters folded to lower case (`\u{fffd}` when it is no UTF-8).
    pub(super) word: &'a str,
    /// The text as it stands.
    pub(super) raw: &'a [u8],
    /// Where it begins in the text.
    pub(super) start: usize,
}

/// The longest name that PostgreSQL keeps, in bytes.
const NAME_MAX: usize = 63;

impl<'a> Tok<'a> {
    /// Where it stands in the text.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.start + self.raw.len()
    }

    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.word == keyword
    }

    /// Whether it is one of these keywords.
    pub(super) fn is_any(&self, keywords: &[&str]) -> bool {
        self.kind == Kind::Word && keywords.contains(&self.word)
    }

    /// Whether it is this operator.
    pub(super) fn is_operator(&self, operator: &str) -> bool {
        self.kind == Kind::Operator && self.word == operator
    }

    /// The name that it stands for: unquoted, folded, cut as the server cuts.
    pub(super) fn name(&self) -> Option<Cow<'a, str>> {
        let name: Cow<'a, str> = match self.kind {
            Kind::Word => Cow::Borrowed(self.word),
            Kind::Quoted => {
                let raw = std::str::from_utf8(self.raw).ok()?;
                let quote = raw.chars().next()?;
                let inner = raw.strip_prefix(quote)?.strip_suffix(quote)?;
                if inner.contains(quote) {
                    let twice: String = [quote, quote].iter().collect();
                    Cow::Owned(inner.replace(&twice, quote.encode_utf8(&mut [0; 4])))
                } else {
                    Cow::Borrowed(inner)
                }
            }
            _ => return None,
        };
        if name.len() <= NAME_MAX {
            return Some(name);
        }
        let mut end = NAME_MAX;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        Some(match name {
            Cow::Borrowed(name) => Cow::Borrowed(name.get(..end)?),
            Cow::Owned(name) => Cow::Owned(name.get(..end)?.to_owned()),
        })
    }

    /// The value of a literal that is written plainly; `None` for bit strings and escapes beyond the simple ones.
    pub(super) fn constant(&self, lexing: Lexing) -> Option<String> {
        if self.kind != Kind::Literal {
            return None;
        }
        let raw = std::str::from_utf8(self.raw).ok()?;
        if let Some(tagged) = raw.strip_prefix('$') {
            let tag = tagged.find('$')? + 2;
            return Some(raw.get(tag..raw.len().checked_sub(tag)?)?.to_owned());
        }
        let (body, escapes) = match raw.strip_prefix(['e', 'E']) {
            Some(body) => (body, true),
            None if lexing.dialect == super::Dialect::Postgres => (raw, !lexing.standard_conforming_strings),
            None => (raw, !lexing.no_backslash_escapes),
        };
        let quote = body.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let body = body.strip_prefix(quote)?.strip_suffix(quote)?;
        if escapes && body.contains('\\') {
            return None;
        }
        let twice: String = [quote, quote].iter().collect();
        // A lone quote inside can only be a string that goes on in the next line.
        let value = body.replace(&twice, "\u{0}");
        if value.contains(quote) {
            return None;
        }
        Some(value.replace('\u{0}', quote.encode_utf8(&mut [0; 4])))
    }
}

/// Reads all tokens of `text`; `folded` is the text with ASCII letters in lower case.
pub(super) fn read<'a>(text: &'a [u8], folded: &'a [u8], lexing: Lexing) -> Vec<Tok<'a>> {
    Lexer::new(text, lexing)
        .map(|token| Tok {
            kind: token.kind,
            word: folded
                .get(token.start..token.end)
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
                .unwrap_or("\u{fffd}"),
            raw: text.get(token.start..token.end).unwrap_or_default(),
            start: token.start,
        })
        .collect()
}

/// A name of several parts: `a`, `a.b`, `"A".b.c`.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) parts: Vec<Cow<'a, str>>,
    /// The index behind it.
    pub(super) next: usize,
}

impl Chain<'_> {
    /// The last part.
    pub(super) fn name(&self) -> &str {
        self.parts.last().map_or("", |name| name)
    }

    /// The part before the last, empty when there is none.
    pub(super) fn schema(&self) -> &str {
        self.parts.len().checked_sub(2).and_then(|at| self.parts.get(at)).map_or("", |name| name)
    }
}

/// The chain that begins at `at`.
pub(super) fn chain<'a>(toks: &[Tok<'a>], at: usize) -> Option<Chain<'a>> {
    let mut parts = vec![toks.get(at)?.name()?];
    let mut next = at + 1;
    while toks.get(next).is_some_and(|tok| tok.kind == Kind::Dot)
        && let Some(part) = toks.get(next + 1).and_then(Tok::name)
    {
        parts.push(part);
        next += 2;
    }
    Some(Chain { parts, next })
}

/// The index of the bracket that closes the one at `open`.
pub(super) fn closing(toks: &[Tok<'_>], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, tok) in toks.iter().enumerate().skip(open) {
        match tok.kind {
            Kind::Open => depth += 1,
            Kind::Close => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Reads keywords one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'t, 'a> {
    pub(super) toks: &'t [Tok<'a>],
    pub(super) at: usize,
}

impl<'t, 'a> Reader<'t, 'a> {
    pub(super) fn new(toks: &'t [Tok<'a>], at: usize) -> Self {
        Self { toks, at }
    }

    pub(super) fn peek(&self) -> Option<&'t Tok<'a>> {
        self.toks.get(self.at)
    }

    pub(super) fn next(&mut self) -> Option<&'t Tok<'a>> {
        let tok = self.toks.get(self.at);
        self.at += usize::from(tok.is_some());
        tok
    }

    /// Takes `keyword` when it comes next.
    pub(super) fn eat(&mut self, keyword: &str) -> bool {
        let there = self.peek().is_some_and(|tok| tok.is(keyword));
        self.at += usize::from(there);
        there
    }

    /// Takes all of `keywords` when they come next in this order, else none.
    pub(super) fn eat_all(&mut self, keywords: &[&str]) -> bool {
        let there = keywords
            .iter()
            .enumerate()
            .all(|(ahead, keyword)| self.toks.get(self.at + ahead).is_some_and(|tok| tok.is(keyword)));
        if there {
            self.at += keywords.len();
        }
        there
    }

    /// Takes one of `keywords` when it comes next.
    pub(super) fn eat_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.eat(keyword))
    }

    /// Takes a token of `kind` when it comes next.
    pub(super) fn eat_kind(&mut self, kind: Kind) -> bool {
        let there = self.peek().is_some_and(|tok| tok.kind == kind);
        self.at += usize::from(there);
        there
    }

    /// Takes a name of one or more parts.
    pub(super) fn chain(&mut self) -> Option<Chain<'a>> {
        let chain = chain(self.toks, self.at)?;
        self.at = chain.next;
        Some(chain)
    }

    pub(super) fn done(&self) -> bool {
        self.at >= self.toks.len()
    }
}
