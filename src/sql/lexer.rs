//! Cuts a text into tokens, in one pass and without allocation, exactly as the server would: the authority on what is code,
//! what is a literal and what is a comment.

use super::context::{Dialect, Lexing};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// An unquoted name or keyword.
    Word = 1,
    /// `"…"` (and MySQL's `` `…` ``).
    Quoted,
    /// A quoted name with escapes of its own (`U&"…"`): its text is not its name.
    Escaped,
    /// A string, bit string or dollar-quoted string.
    Literal,
    /// A number.
    Number,
    /// `$1`, MySQL's `?`.
    Parameter,
    /// MySQL's `@x` and `@@x`.
    Variable,
    /// One operator.
    Operator,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// `,`.
    Comma,
    /// `;`.
    Semicolon,
    /// `.`.
    Dot,
    /// `::`.
    Cast,
    /// `[`, `]`, `:`, `{`, `}` and what else has no meaning here.
    Other,
    /// A comment whose content the server runs.
    Executable,
    /// A quote or comment that does not end, or a byte that no text may have.
    Broken,
}

/// A token: its kind and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

const START: u8 = 1;
const DIGIT: u8 = 2;
const DOLLAR: u8 = 4;
const OPERATOR: u8 = 8;
const BLANK: u8 = 16;
/// What may follow in a name.
const PART: u8 = START | DIGIT | DOLLAR;

const fn class_of(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => START,
        b'0'..=b'9' => DIGIT,
        b'$' => DOLLAR,
        b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*' | b'/' | b'%'
        | b'<' | b'>' | b'=' => OPERATOR,
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => BLANK,
        _ => 0,
    }
}

static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class_of(byte as u8);
        byte += 1;
    }
    table
};

fn is(byte: u8, classes: u8) -> bool {
    CLASSES[usize::from(byte)] & classes != 0
}

/// Where the first `quote`, or backslash when asked, stands. Most strings and names are short: a plain loop over their first bytes
/// is cheaper than the set-up of a vectorised search.
#[inline]
fn find_quote(rest: &[u8], quote: u8, backslash: bool) -> Option<usize> {
    const NEAR: usize = 16;
    let ends = |byte: &u8| *byte == quote || (backslash && *byte == b'\\');
    let near = rest.get(..NEAR).unwrap_or(rest);
    if let Some(step) = near.iter().position(ends) {
        return Some(step);
    }
    let far = rest.get(NEAR..)?;
    let found = if backslash { memchr::memchr2(quote, b'\\', far) } else { memchr::memchr(quote, far) };
    found.map(|step| step + NEAR)
}

/// The tokens of a text.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    lexing: Lexing,
    mysql: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], lexing: Lexing) -> Self {
        Self { text, at: 0, lexing, mysql: lexing.dialect != Dialect::Postgres }
    }

    /// Where the next token, or what stands before it, begins.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Leaves out so many bytes, which end with a token that was met before.
    #[inline]
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    #[inline]
    fn peek(&self, ahead: usize) -> u8 {
        // 0 never starts anything: it stands for the end too.
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    #[inline]
    fn skip_while(&mut self, classes: u8) {
        while let Some(&byte) = self.text.get(self.at) {
            if !is(byte, classes) {
                break;
            }
            self.at += 1;
        }
    }

    #[inline]
    fn token(&self, kind: Kind, start: usize) -> Token {
        Token { kind, start, end: self.at.min(self.text.len()) }
    }

    /// Gives up: everything from here is one broken token.
    fn broken(&mut self, start: usize) -> Token {
        self.at = self.text.len();
        self.token(Kind::Broken, start)
    }

    /// Skips to the end of the line.
    fn skip_line(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = if self.mysql { memchr::memchr(b'\n', rest) } else { memchr::memchr2(b'\n', b'\r', rest) };
        self.at = end.map_or(self.text.len(), |end| self.at + end + 1);
    }

    /// Skips a `/*` comment; `false` when it does not end. PostgreSQL's nest.
    fn skip_comment(&mut self) -> bool {
        self.at += 2;
        let mut depth = 1;
        while let Some(step) = self.text.get(self.at..).and_then(|rest| memchr::memchr2(b'*', b'/', rest)) {
            self.at += step;
            match (self.peek(0), self.peek(1)) {
                (b'*', b'/') => {
                    self.at += 2;
                    depth -= 1;
                    if depth == 0 {
                        return true;
                    }
                }
                (b'/', b'*') if !self.mysql => {
                    self.at += 2;
                    depth += 1;
                }
                _ => self.at += 1,
            }
        }
        false
    }

    /// Goes behind the quote that ends what began before `at`; `false` when there is none. Doubled quotes and, when asked,
    /// backslashes are content.
    fn skip_quoted(&mut self, quote: u8, backslash: bool) -> bool {
        loop {
            let Some(rest) = self.text.get(self.at..) else { return false };
            let found = find_quote(rest, quote, backslash);
            let Some(step) = found else { return false };
            self.at += step + 1;
            // An escaped byte, or the second of two quotes, is content.
            if rest.get(step) == Some(&b'\\') || self.peek(0) == quote {
                self.at += 1;
            } else {
                return true;
            }
        }
    }

    fn string(&mut self, start: usize, backslash: bool) -> Token {
        if !self.skip_quoted(b'\'', backslash) {
            return self.broken(start);
        }
        // Where backslashes count, the next line's segment belongs to this string and is read the same way.
        while backslash && !self.mysql && self.continues() {
            if !self.skip_quoted(b'\'', true) {
                return self.broken(start);
            }
        }
        self.token(Kind::Literal, start)
    }

    /// Whether a string goes on behind blanks with a line end among them; then `at` is behind its quote.
    fn continues(&mut self) -> bool {
        let before = self.at;
        let mut line_end = false;
        loop {
            match self.peek(0) {
                b'\n' | b'\r' => line_end = true,
                b'-' if self.peek(1) == b'-' => {
                    self.skip_line();
                    line_end = true;
                    continue;
                }
                byte if is(byte, BLANK) => {}
                b'\'' if line_end => {
                    self.at += 1;
                    return true;
                }
                _ => {
                    self.at = before;
                    return false;
                }
            }
            self.at += 1;
        }
    }

    fn quoted(&mut self, start: usize, quote: u8, kind: Kind) -> Token {
        if self.skip_quoted(quote, false) { self.token(kind, start) } else { self.broken(start) }
    }

    fn number(&mut self, start: usize) -> Token {
        // Digits, point, exponent, and whatever letters are glued to them: 0x1f, 1_000, 1e10.
        self.skip_while(DIGIT);
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
        }
        self.skip_while(DIGIT);
        if matches!(self.peek(0), b'e' | b'E')
            && (is(self.peek(1), DIGIT) || (matches!(self.peek(1), b'+' | b'-') && is(self.peek(2), DIGIT)))
        {
            self.at += 2;
            self.skip_while(DIGIT);
        } else if matches!(self.peek(0), b'x' | b'X' | b'o' | b'O' | b'b' | b'B' | b'_') {
            self.skip_while(START | DIGIT);
        }
        self.token(Kind::Number, start)
    }

    #[inline]
    fn word(&mut self, start: usize) -> Token {
        self.at += 1;
        self.skip_while(PART);
        if self.at - start == 1 {
            let first = self.text.get(start).copied().unwrap_or(0) | 0x20;
            match (first, self.peek(0), self.peek(1)) {
                (b'e', b'\'', _) if !self.mysql => {
                    self.at += 1;
                    return self.string(start, true);
                }
                (b'b' | b'x', b'\'', _) => {
                    self.at += 1;
                    return self.string(start, false);
                }
                (b'u', b'&', b'\'') if !self.mysql => {
                    self.at += 2;
                    return self.string(start, false);
                }
                (b'u', b'&', b'"') if !self.mysql => {
                    self.at += 2;
                    return self.quoted(start, b'"', Kind::Escaped);
                }
                _ => {}
            }
        }
        self.token(Kind::Word, start)
    }

    fn dollar(&mut self, start: usize) -> Token {
        self.at += 1;
        if is(self.peek(0), DIGIT) {
            self.skip_while(DIGIT);
            return self.token(Kind::Parameter, start);
        }
        if is(self.peek(0), START) {
            self.skip_while(START | DIGIT);
        }
        if self.peek(0) != b'$' {
            self.at = start + 1;
            return self.token(Kind::Other, start);
        }
        self.at += 1;
        let Some(tag) = self.text.get(start..self.at) else { return self.broken(start) };
        let end = self.text.get(self.at..).and_then(|rest| memchr::memmem::find(rest, tag));
        match end {
            Some(end) => {
                self.at += end + tag.len();
                self.token(Kind::Literal, start)
            }
            None => self.broken(start),
        }
    }

    #[inline]
    fn operator(&mut self, start: usize) -> Token {
        // Nearly all operators of everyday are one byte.
        if !is(self.peek(1), OPERATOR) {
            return self.single(Kind::Operator);
        }
        while is(self.peek(0), OPERATOR) {
            // A comment ends an operator.
            if matches!((self.peek(0), self.peek(1)), (b'-', b'-') | (b'/', b'*')) {
                break;
            }
            self.at += 1;
        }
        // Like the server's scanner: only an operator with one of these characters may end in a sign.
        let taken = self.text.get(start..self.at).unwrap_or_default();
        if !taken
            .iter()
            .any(|b| matches!(b, b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%'))
        {
            while self.at - start > 1 && matches!(self.text.get(self.at - 1), Some(b'+' | b'-')) {
                self.at -= 1;
            }
        }
        self.token(Kind::Operator, start)
    }

    #[inline]
    fn single(&mut self, kind: Kind) -> Token {
        self.at += 1;
        self.token(kind, self.at - 1)
    }

    /// MySQL's own beginnings; `None` when `byte` means the same as in PostgreSQL.
    fn mysql_token(&mut self, byte: u8, start: usize) -> Option<Token> {
        let backslash = !self.lexing.no_backslash_escapes;
        Some(match byte {
            b'`' => {
                self.at += 1;
                self.quoted(start, b'`', Kind::Quoted)
            }
            b'\'' => {
                self.at += 1;
                self.string(start, backslash)
            }
            b'"' if !self.lexing.ansi_quotes => {
                self.at += 1;
                if self.skip_quoted(b'"', backslash) {
                    self.token(Kind::Literal, start)
                } else {
                    self.broken(start)
                }
            }
            b'?' => self.single(Kind::Parameter),
            b'@' => {
                self.at += 1 + usize::from(self.peek(1) == b'@');
                match self.peek(0) {
                    quote @ (b'`' | b'\'' | b'"') => {
                        self.at += 1;
                        return Some(self.quoted(start, quote, Kind::Variable));
                    }
                    _ => self.skip_while(PART),
                }
                self.token(Kind::Variable, start)
            }
            b'$' => self.word(start),
            byte if is(byte, OPERATOR) => {
                self.at += 1;
                // No operators of users here: one byte at a time, but the known pairs.
                if matches!(
                    (byte, self.peek(0)),
                    (b'<', b'=' | b'>' | b'<')
                        | (b'>', b'=' | b'>')
                        | (b'!', b'=')
                        | (b'|', b'|')
                        | (b'&', b'&')
                        | (b'-', b'>')
                ) {
                    self.at += 1;
                }
                self.token(Kind::Operator, start)
            }
            _ => return None,
        })
    }

    /// Skips the comment that may begin here: `None` when none does, `Some(Some(_))` when it does not end or is code.
    fn comment(&mut self, byte: u8) -> Option<Option<Token>> {
        let start = self.at;
        match (byte, self.peek(1)) {
            (b'-', b'-') if !self.mysql || self.peek(2) <= b' ' => self.skip_line(),
            (b'#', _) if self.mysql => self.skip_line(),
            (b'/', b'*') => {
                let code = self.mysql
                    && (self.peek(2) == b'!'
                        || (matches!(self.peek(2), b'M' | b'm') && self.peek(3) == b'!'));
                if !self.skip_comment() {
                    return Some(Some(self.broken(start)));
                }
                if code {
                    return Some(Some(self.token(Kind::Executable, start)));
                }
            }
            _ => return None,
        }
        Some(None)
    }

    /// The next token; `None` at the end.
    #[inline]
    pub(super) fn next_token(&mut self) -> Option<Token> {
        loop {
            let byte = *self.text.get(self.at)?;
            if is(byte, START) {
                return Some(self.word(self.at));
            }
            if is(byte, BLANK) {
                self.at += 1;
                continue;
            }
            if matches!(byte, b'-' | b'/' | b'#')
                && let Some(comment) = self.comment(byte)
            {
                match comment {
                    Some(token) => return Some(token),
                    None => continue,
                }
            }
            return Some(self.mark(byte));
        }
    }

    /// A token that begins with `byte`, no name and no comment.
    #[inline]
    fn mark(&mut self, byte: u8) -> Token {
        let start = self.at;
        if self.mysql
            && let Some(token) = self.mysql_token(byte, start)
        {
            return token;
        }
        match byte {
            b'0'..=b'9' => self.number(start),
            b'.' if is(self.peek(1), DIGIT) => self.number(start),
            b'\'' => {
                self.at += 1;
                self.string(start, !self.lexing.standard_conforming_strings)
            }
            b'"' => {
                self.at += 1;
                self.quoted(start, b'"', Kind::Quoted)
            }
            b'(' => self.single(Kind::Open),
            b')' => self.single(Kind::Close),
            b',' => self.single(Kind::Comma),
            b';' => self.single(Kind::Semicolon),
            b'.' => self.single(Kind::Dot),
            b':' if self.peek(1) == b':' => {
                self.at += 2;
                self.token(Kind::Cast, start)
            }
            b'$' => self.dollar(start),
            0 => self.broken(start),
            byte if is(byte, OPERATOR) => self.operator(start),
            _ => self.single(Kind::Other),
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.next_token()
    }
}
