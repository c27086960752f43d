//! The lexer's tokens, one by one.

use super::*;
use lexer::{Kind, Lexer};

fn kinds(text: &str, lexing: Lexing) -> Vec<(Kind, &str)> {
    Lexer::new(text.as_bytes(), lexing)
        .map(|token| (token.kind, text.get(token.start..token.end).unwrap()))
        .collect()
}

fn postgres(text: &str) -> Vec<(Kind, &str)> {
    kinds(text, Lexing::new(Dialect::Postgres))
}

#[test]
fn strings_end_where_the_server_ends_them() {
    for text in [
        "'a'",
        "'it''s'",
        "'a\\'",
        "E'a\\'b'",
        "e'\\\\'",
        "$$a'b$$",
        "$a$ $$ $b$ $a$",
        "U&'d\\0061'",
        "B'01'",
        "x'ff'",
        "''",
        "E'a'\n'b\\'c'",
    ] {
        assert_eq!(postgres(text), [(Kind::Literal, text)], "{text}");
    }
    for text in ["'a", "E'a\\'", "$a$ b $$", "\"a", "/* a /* b */", "'a''", "U&\"a"] {
        assert_eq!(postgres(text), [(Kind::Broken, text)], "{text}");
    }
}

#[test]
fn names_and_operators_are_cut_like_the_servers() {
    use Kind::{Cast, Escaped, Number, Operator, Other, Parameter, Quoted, Word};
    for (text, expected) in [
        ("a$1 é \"x\"\"y\"", vec![(Word, "a$1"), (Word, "é"), (Quoted, "\"x\"\"y\"")]),
        ("U&\"d\"", vec![(Escaped, "U&\"d\"")]),
        ("a<-1", vec![(Word, "a"), (Operator, "<"), (Operator, "-"), (Number, "1")]),
        ("a@-1", vec![(Word, "a"), (Operator, "@-"), (Number, "1")]),
        ("a+-b", vec![(Word, "a"), (Operator, "+"), (Operator, "-"), (Word, "b")]),
        ("a<=>b", vec![(Word, "a"), (Operator, "<=>"), (Word, "b")]),
        ("a*/*c*/b", vec![(Word, "a"), (Operator, "*"), (Word, "b")]),
        ("a--c", vec![(Word, "a")]),
        ("$1::int", vec![(Parameter, "$1"), (Cast, "::"), (Word, "int")]),
        (
            "1.5e-3 .5 0x1F 1_000",
            vec![(Number, "1.5e-3"), (Number, ".5"), (Number, "0x1F"), (Number, "1_000")],
        ),
        ("a[1]", vec![(Word, "a"), (Other, "["), (Number, "1"), (Other, "]")]),
    ] {
        assert_eq!(postgres(text), expected, "{text}");
    }
}

#[test]
fn mysql_has_its_own_quotes_and_comments() {
    use Kind::{Executable, Literal, Operator, Quoted, Variable, Word};
    let plain = Lexing::new(Dialect::Mysql);
    for (lexing, text, expected) in [
        (plain, "`a``b` # c", vec![(Quoted, "`a``b`")]),
        (plain, "\"it\\\"s\"", vec![(Literal, "\"it\\\"s\"")]),
        (Lexing { ansi_quotes: true, ..plain }, "\"a\"", vec![(Quoted, "\"a\"")]),
        (Lexing { no_backslash_escapes: true, ..plain }, "'a\\' b", vec![(Literal, "'a\\'"), (Word, "b")]),
        (plain, "a--b", vec![(Word, "a"), (Operator, "-"), (Operator, "-"), (Word, "b")]),
        (plain, "a -- b", vec![(Word, "a")]),
        (
            plain,
            "/*! a */ /*M!100100 b */ /* c */",
            vec![(Executable, "/*! a */"), (Executable, "/*M!100100 b */")],
        ),
        (plain, "@a @@b @'c d'", vec![(Variable, "@a"), (Variable, "@@b"), (Variable, "@'c d'")]),
    ] {
        assert_eq!(kinds(text, lexing), expected, "{text}");
    }
}
