//! A text's shape: a 64-bit hash of its tokens in which literals count by their kind alone. One pass, no allocation.

use super::context::{Context, Dialect, Lexing};
use super::lexer::{Kind, Lexer};
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
        let mut hasher = Hasher { state: self.seed, factor: self.factor };
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
}

impl Hasher {
    #[inline]
    fn mix(&mut self, value: u64) {
        let product = u128::from(self.state ^ value).wrapping_mul(u128::from(self.factor));
        // Both halves of the product; truncation is the point.
        self.state = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }

    /// Seven bytes at a time, the eighth says whether more follows or which kind ends here: no two sequences of tokens
    /// give the same words.
    #[inline]
    fn token(&mut self, kind: Kind, bytes: &[u8], fold: bool) {
        let mut word = 0_u64;
        let mut filled = 0;
        for &byte in bytes {
            if filled == 7 {
                self.mix(word);
                word = 0;
                filled = 0;
            }
            let byte = if fold { byte.to_ascii_lowercase() } else { byte };
            word = word << 8 | u64::from(byte);
            filled += 1;
        }
        self.mix(word | (kind as u64) << 56);
    }

    /// The hash of the text's tokens.
    pub(super) fn shape(mut self, text: &[u8], lexing: Lexing) -> u64 {
        let mut lexer = Lexer::new(text, lexing);
        // What a setting tells depends on which one is asked for.
        let mut exact = false;
        while let Some(token) = lexer.next_token() {
            let bytes = text.get(token.start..token.end).unwrap_or_default();
            match token.kind {
                Kind::Word => {
                    exact |= bytes.len() == SETTING.len() && bytes.eq_ignore_ascii_case(SETTING);
                    self.token(Kind::Word, bytes, true);
                }
                Kind::Literal if exact => self.token(Kind::Literal, bytes, false),
                Kind::Literal | Kind::Number | Kind::Parameter | Kind::Broken | Kind::Executable => {
                    self.mix((token.kind as u64) << 56);
                }
                Kind::Open | Kind::Close | Kind::Comma | Kind::Semicolon | Kind::Dot | Kind::Cast => {
                    self.mix((token.kind as u64) << 56);
                }
                Kind::Quoted => {
                    exact |= bytes.len() == SETTING.len() + 2;
                    self.token(Kind::Quoted, bytes, false);
                }
                kind => self.token(kind, bytes, false),
            }
        }
        self.state
    }
}

const SETTING: &[u8] = b"current_setting";
