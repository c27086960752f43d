//! Garbage never panics, and no text that begins with a modifying word is ever a read.

use super::*;
use proptest::prelude::*;

const ALL: &str = include_str!("../../../tests/statements/postgres.txt");

fn statements() -> Vec<&'static str> {
    ALL.lines().filter_map(|line| line.splitn(3, " | ").nth(2)).collect()
}

fn lexings() -> [Lexing; 5] {
    let plain = Lexing::new(Dialect::Postgres);
    let mysql = Lexing::new(Dialect::Mysql);
    [
        plain,
        Lexing { standard_conforming_strings: false, ..plain },
        mysql,
        Lexing { ansi_quotes: true, no_backslash_escapes: true, ..mysql },
        Lexing { dialect: Dialect::Mariadb, ..mysql },
    ]
}

/// Judges `text` under every lexing; the tokens must lie in order inside the text.
fn survive(text: &[u8]) {
    let names = names();
    for lexing in lexings() {
        let context = Context { lexing, ..context(&names) };
        let cached = Verdicts::new(4);
        let verdict = cached.judge(text, &context);
        assert_eq!(*verdict, judge_uncached(text, &context));
        assert!(hint(text).is_none() || text.len() > 8);
        let mut end = 0;
        for token in lexer::Lexer::new(text, lexing) {
            assert!(token.start >= end && token.end > token.start && token.end <= text.len(), "{token:?}");
            end = token.end;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        survive(&text);
    }

    #[test]
    fn sql_like_garbage_never_panics(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "select", "from", "with", "as", "(", ")", ",", ";", "'", "\"", "$$", "$a$", "--", "\n", "/*", "*/", "/*!",
                "insert", "into", "update", "set", "delete", "merge", "using", "on", "for", "table", "explain", "analyze",
                "copy", "to", "stdout", "declare", "cursor", "hold", "create", "temp", "begin", "atomic", "end", "set_config",
                "recursive", "materialized", "[", "]", "::", ".", "*", "=", "###", "a", "b", "touch", "1", "$1", "E'", "U&\"",
                "@", "@@x", "`", "operator", "tablesample", "rows", "values", "not", "in", "local", "names", "time", "zone",
            ]),
            0..24,
        )
    ) {
        survive(words.join(" ").as_bytes());
        survive(words.concat().as_bytes());
    }

    #[test]
    fn mutated_statements_never_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        kind in 0..3_u8,
    ) {
        let statements = statements();
        let mut text = which.get(&statements).as_bytes().to_vec();
        if !text.is_empty() {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => text.truncate(at),
            }
        }
        survive(&text);
    }

    /// Blanks and comments before it, another statement before or behind it, any case: a write stays one.
    #[test]
    fn a_modifying_head_is_never_a_read(
        head in proptest::sample::select(vec![
            "insert into t values (1)", "update t set a = 1", "delete from t", "merge into t using s on true when matched then delete",
            "truncate t", "create table t (a int)", "drop table t", "alter table t add b int", "grant select on t to r",
            "copy t from stdin", "call p()", "do 'x'", "vacuum", "lock table t", "notify c", "listen c", "execute p(nextval('s'))",
            "select 1 for update", "select 1 into t", "with x as (delete from t returning 1) select 1",
        ]),
        before in proptest::sample::select(vec!["", " ", "\n\t", "/* c */", "-- c\n", ";", "select 1;", "begin;", "set a.b = 'c';", "/*/**/*/"]),
        behind in proptest::sample::select(vec!["", ";", "; select 1", " -- c", "/* c */", ";;"]),
        upper in any::<bool>(),
    ) {
        let head = if upper { head.to_ascii_uppercase() } else { head.to_owned() };
        let verdict = judge(&format!("{before}{head}{behind}"));
        prop_assert_eq!(verdict.class, Class::Write);
    }

    /// Whatever stands in a literal or comment cannot make a read of a write, nor a write of a read.
    #[test]
    fn content_of_literals_does_not_matter(content in "[^'\\\\\0]{0,40}") {
        let read = judge(&format!("SELECT '{content}' FROM t"));
        prop_assert_eq!(read.class, Class::Read);
        let write = judge(&format!("SELECT '{content}'; DELETE FROM t"));
        prop_assert_eq!(write.class, Class::Write);
    }

    /// Whatever a worker remembers of other texts, a shape is that of the text's tokens alone.
    #[test]
    fn a_shape_does_not_depend_on_what_is_remembered(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "a", "select", "current_setting", "$", "$", "$a$", "$$", "$1", "1", "1.", ".5", "1e", "e'", "u&\"", "'", "'", "''", "\"", "\\",
                "+", "-", "=", "@", "/", "*", "/*", "*/", "--", "\n", " ", " ", "        ", "(", ")", ",", ".", "::", ":", ";", "@@x", "`", "#",
                "abcdefghijklmnopqrstuvwxyz0123456789", "'a literal of some length'", "++++++++++++++++", "-+-+-+-+-+-+-+-+", "\u{e9}",
            ]),
            20..120,
        ),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
    ) {
        let names = names();
        let secret = shape::Secret::new();
        let mut texts = vec![words.clone()];
        for (to, from) in changes {
            let mut changed = texts.last().unwrap().clone();
            *to.get_mut(&mut changed) = *from.get(&words);
            texts.push(changed);
        }
        for lexing in lexings() {
            let start = secret.start(&Context { lexing, ..context(&names) });
            // The second time round everything is remembered that may be.
            for text in texts.iter().chain(&texts).map(|words| words.concat()) {
                let text = text.as_bytes();
                prop_assert_eq!(start.shape(text, lexing), start.shape_anew(text, lexing));
            }
        }
    }

    /// Texts that the cache takes for one have one verdict.
    #[test]
    fn one_shape_has_one_verdict(a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let statements = statements();
        let (a, b) = (*a.get(&statements), *b.get(&statements));
        let names = names();
        let context = context(&names);
        let verdicts = Verdicts::new(4);
        if verdicts.shape(a.as_bytes(), &context) == verdicts.shape(b.as_bytes(), &context) {
            let (a, b) = (judge(a), judge(b));
            let stateless = a.effect.changes().is_empty();
            prop_assert_eq!(a.class, b.class);
            prop_assert!(!stateless || a == b);
        }
    }
}
