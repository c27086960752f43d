//! A text's shape: a 64-bit hash of its tokens in which literals count by their kind alone. One pass, no allocation.

use super::context::{Context, Dialect, Lexing};
use super::lexer::{Kind, Lexer, Token};
use super::stride::{self, STRETCH, Stride};
use std::hash::{BuildHasher, RandomState};

/// The secret of this process: nobody outside can make two texts share a shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secret {
    seed: u64,
    factor: u64,
}

impl Secret {
    pub(super) fn new() -> Self {
        let state = RandomState::new();
        // Odd, so that the multiplication loses nothing.
        Self { seed: state.hash_one(0x5eed_u64), factor: state.hash_one(0xfac7_u64) | 1 }
    }

    /// Where a text under `context` starts from.
    pub(super) fn start(self, context: &Context<'_>) -> Hasher {
        let Lexing {
            dialect,
            standard_conforming_strings,
            ansi_quotes,
            no_backslash_escapes,
            ambiguous_bytes,
        } = context.lexing;
        let dialect = match dialect {
            Dialect::Postgres => 0_u64,
            Dialect::Mysql => 1,
            Dialect::Mariadb => 2,
        };
        let flags = u64::from(standard_conforming_strings)
            | u64::from(ansi_quotes) << 1
            | u64::from(no_backslash_escapes) << 2
            | u64::from(ambiguous_bytes) << 3
            | u64::from(context.names.is_some()) << 4
            | dialect << 5
            | u64::from(context.server_major) << 8;
        let mut hasher = Hasher { state: self.seed, factor: self.factor, pending: 0 };
        hasher.mix(flags);
        hasher.mix(context.generation);
        hasher.mix(context.path);
        hasher
    }
}

/// A running hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hasher {
    state: u64,
    factor: u64,
    /// The kinds of the last tokens that have no text of their own.
    pending: u64,
}

impl Hasher {
    #[inline]
    fn mix(&mut self, value: u64) {
        // What is pending is shifted by one: the factor stays odd and the multiplication loses nothing.
        let factor = self.factor ^ self.pending << 1;
        self.pending = 0;
        let product = u128::from(self.state ^ value).wrapping_mul(u128::from(factor));
        // Both halves of the product; truncation is the point.
        self.state = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }

    /// A token that counts by its kind alone waits for the next one that has a text: up to twelve, five bits each.
    #[inline]
    fn plain(&mut self, kind: Kind) {
        if self.pending >> 55 != 0 {
            self.mix(0xfe << 56);
        }
        self.pending = self.pending << 5 | kind as u64;
    }

    /// Seven bytes at a time; the eighth says that more follows or which kind ends here: no two sequences of tokens give the same
    /// words.
    #[inline]
    fn token(&mut self, kind: Kind, text: &[u8], start: usize, end: usize) {
        let fold = kind == Kind::Word;
        let mut at = start;
        while end.saturating_sub(at) > 7 {
            self.mix(load(text, at, 7, fold) | 0xff << 56);
            at += 7;
        }
        self.mix(load(text, at, end.saturating_sub(at), fold) | (kind as u64) << 56);
    }

    /// The hash of the whole text as it stands; `epoch` counts what outdates all of them.
    pub(super) fn raw(mut self, text: &[u8], epoch: u64) -> u64 {
        self.mix(epoch ^ (text.len() as u64).rotate_left(32));
        let (pairs, rest) = text.as_chunks::<16>();
        self.pairs(pairs);
        let mut tail = [0; 16];
        for (slot, byte) in tail.iter_mut().zip(rest) {
            *slot = *byte;
        }
        let whole = u128::from_le_bytes(tail);
        self.mix(whole as u64);
        self.mix((whole >> 64) as u64);
        self.state
    }

    fn pairs(&mut self, pairs: &[[u8; 16]]) {
        for pair in pairs {
            let whole = u128::from_le_bytes(*pair);
            // Both halves of the pair; truncation is the point.
            let product = u128::from(self.state ^ whole as u64)
                .wrapping_mul(u128::from(self.factor ^ (whole >> 64) as u64));
            self.state = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
        }
    }

    /// The hash of the text's tokens.
    pub(super) fn shape(mut self, text: &[u8], lexing: Lexing) -> u64 {
        let mut lexer = Lexer::new(text, lexing);
        // What a setting tells depends on which one is asked for.
        let mut exact = false;
        while let Some(stretch) = text.get(lexer.at()..).and_then(|rest| rest.first_chunk::<STRETCH>()) {
            let key = self.ahead(exact, stretch);
            match stride::get(key) {
                Some(stride) => self.take(stride, &mut exact, &mut lexer),
                None => self.stride(key, &mut exact, text, &mut lexer),
            }
        }
        while let Some(token) = lexer.next_token() {
            self.add(&mut exact, text, token);
        }
        self.mix(0xfd << 56);
        self.state
    }

    /// The same without a memory.
    #[cfg(test)]
    pub(super) fn shape_anew(mut self, text: &[u8], lexing: Lexing) -> u64 {
        let mut exact = false;
        for token in Lexer::new(text, lexing) {
            self.add(&mut exact, text, token);
        }
        self.mix(0xfd << 56);
        self.state
    }

    #[inline]
    fn take(&mut self, stride: Stride, exact: &mut bool, lexer: &mut Lexer<'_>) {
        (self.state, self.pending, *exact) = (stride.state, stride.pending, stride.exact);
        lexer.skip(usize::from(stride.length));
    }

    // Takes in the tokens of a stretch, and remembers what those did that nothing behind it can change.
    #[cold]
    #[inline(never)]
    fn stride(&mut self, key: u64, exact: &mut bool, text: &[u8], lexer: &mut Lexer<'_>) {
        let start = lexer.clone();
        let from = start.at();
        let mut last: Option<Token> = None;
        let mut settled = None;
        while lexer.at() < from + STRETCH {
            let length = lexer.at() - from;
            let Some(token) = lexer.next_token() else { break };
            if token.end + LOOK_AHEAD > from + STRETCH {
                self.add(exact, text, token);
                break;
            }
            if last.is_some_and(|last| ends_for_sure(last, token)) {
                let length = u8::try_from(length).unwrap_or(0);
                settled = Some(Stride { state: self.state, pending: self.pending, length, exact: *exact });
            }
            self.add(exact, text, token);
            last = Some(token);
        }
        if let Some(stride) = settled {
            stride::put(key, stride);
            // As if it had been known: the next stretch is the same each time.
            *lexer = start;
            self.take(stride, exact, lexer);
        }
    }

    // A hash of the hash so far and of what comes next.
    fn ahead(mut self, exact: bool, stretch: &[u8; STRETCH]) -> u64 {
        self.mix(0xfc << 56 | u64::from(exact));
        self.pairs(stretch.as_chunks::<16>().0);
        self.state
    }

    #[inline]
    fn add(&mut self, exact: &mut bool, text: &[u8], token: Token) {
        // One two-way branch instead of a jump table: what comes next is hard to guess for the processor.
        let textual = 1_u32 << token.kind as u32 & TEXTUAL != 0;
        if !(textual || *exact && token.kind == Kind::Literal) {
            return self.plain(token.kind);
        }
        let length = token.end - token.start;
        if length == SETTING.len() || length == SETTING.len() + 2 {
            *exact |= token.kind == Kind::Quoted || is_setting(text, token.start);
        }
        self.token(token.kind, text, token.start, token.end);
    }
}

/// Bytes behind a token's end that the lexer looks at before it lets the token end.
const LOOK_AHEAD: usize = 4;

/// Whether the lexer has looked at nothing behind `next` when it let `token` end. It does where a run of operators is cut, whose end
/// says where; a `$` is one by itself when the name behind it ends without another.
fn ends_for_sure(token: Token, next: Token) -> bool {
    !(token.kind == Kind::Operator && next.kind == Kind::Operator && token.end == next.start)
}

/// The kinds whose text counts.
const TEXTUAL: u32 = 1 << Kind::Word as u32
    | 1 << Kind::Quoted as u32
    | 1 << Kind::Escaped as u32
    | 1 << Kind::Variable as u32
    | 1 << Kind::Operator as u32
    | 1 << Kind::Other as u32;

/// The `length` (at most 7) bytes at `at`, ASCII letters in lower case when `fold`.
#[inline]
fn load(text: &[u8], at: usize, length: usize, fold: bool) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    let word = if let Some(bytes) = rest.first_chunk::<8>() {
        let word = u64::from_le_bytes(*bytes);
        word & ((1 << (length * 8)) - 1)
    } else {
        // Near the text's end.
        let mut bytes = [0; 8];
        for (slot, byte) in bytes.iter_mut().zip(rest.iter().take(length)) {
            *slot = *byte;
        }
        u64::from_le_bytes(bytes)
    };
    if fold { lower(word) } else { word }
}

/// Eight bytes at once: sets the bit that tells `a` from `A` where an ASCII capital stands.
#[inline]
const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (ONES * 0x7f);
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let beyond_z = low + ONES * (0x7f - b'Z' as u64);
    let capitals = (from_a ^ beyond_z) & !word & (ONES * 0x80);
    word | capitals >> 2
}

#[cold]
fn is_setting(text: &[u8], at: usize) -> bool {
    text.get(at..at + SETTING.len()).is_some_and(|word| word.eq_ignore_ascii_case(SETTING))
}

const SETTING: &[u8] = b"current_setting";
