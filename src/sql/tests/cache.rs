//! The cache: what shares a shape, what never comes from it, what is learnt.

use super::*;

fn shape(verdicts: &Verdicts, text: &str) -> u64 {
    let names = names();
    verdicts.shape(text.as_bytes(), &context(&names))
}

#[test]
fn literals_blanks_comments_and_case_of_keywords_do_not_change_a_shape() {
    let verdicts = Verdicts::new(16);
    for (a, b) in [
        ("SELECT 1", "select  2 "),
        ("SELECT * FROM t WHERE a = 'x'", "SELECT * /* c */ FROM T -- c\n WHERE a = E'it\\'s'"),
        ("SELECT $1", "SELECT $2"),
        ("SELECT $$a$$", "SELECT 'b'"),
    ] {
        assert_eq!(shape(&verdicts, a), shape(&verdicts, b), "{a} {b}");
    }
}

#[test]
fn whatever_may_change_a_verdict_changes_the_shape() {
    let verdicts = Verdicts::new(16);
    for (a, b) in [
        ("SELECT 1", "SELECT 'x'"),
        ("SELECT a", "SELECT b"),
        ("SELECT ab", "SELECT a b"),
        ("SELECT \"a\"", "SELECT \"A\""),
        ("SELECT a", "SELECT \"a\""),
        ("SELECT a", "SELECT a;"),
        ("SELECT f(1)", "SELECT f (1, 2)"),
        ("SELECT abcdefg", "SELECT abcdefgh"),
        ("SELECT É", "SELECT é"),
        ("SELECT a < b", "SELECT a > b"),
        ("SELECT current_setting('a')", "SELECT current_setting('b')"),
        ("SELECT \"current_setting\"('a')", "SELECT \"current_setting\"('b')"),
    ] {
        assert_ne!(shape(&verdicts, a), shape(&verdicts, b), "{a} {b}");
    }
}

#[test]
fn circumstances_are_part_of_the_key() {
    let verdicts = Verdicts::new(64);
    let names = names();
    let base = context(&names);
    let mut lexing = base.lexing;
    lexing.standard_conforming_strings = false;
    let others = [
        Context { generation: 1, ..base },
        Context { path: 1, ..base },
        Context { server_major: 17, ..base },
        Context { names: None, ..base },
        Context { lexing, ..base },
        Context { lexing: Lexing::new(Dialect::Mysql), ..base },
    ];
    let first = verdicts.shape(b"SELECT 1", &base);
    for other in others {
        assert_ne!(first, verdicts.shape(b"SELECT 1", &other), "{other:?}");
    }
}

#[test]
fn like_texts_are_judged_once() {
    let verdicts = Verdicts::new(16);
    let names = names();
    let context = context(&names);
    for number in 0..10 {
        let verdict = verdicts.judge(format!("SELECT * FROM t WHERE a = {number}").as_bytes(), &context);
        assert_eq!(verdict.class, Class::Read);
    }
    assert_eq!(verdicts.stats(), VerdictStats { hits: 9, misses: 1, learnt: 0 });
}

#[test]
fn session_state_never_comes_from_the_cache() {
    let verdicts = Verdicts::new(16);
    let names = names();
    let context = context(&names);
    for value in ["a", "b"] {
        let text = format!("SET application_name = '{value}'");
        let expected = Change::Set { name: "application_name".into(), value: Value::Constant(value.into()) };
        assert_eq!(verdicts.judge(text.as_bytes(), &context).effect, Effect::Changes([expected].into()));
    }
    verdicts.learn_write(b"SELECT set_config('a.b', 'c', false)", &context);
    let again = verdicts.judge(b"SELECT set_config('a.b', 'd', false)", &context);
    let expected = Change::Set { name: "a.b".into(), value: Value::Constant("d".into()) };
    assert_eq!(again.effect, Effect::Changes([expected].into()));
    assert_eq!(verdicts.stats().hits, 0);
}

#[test]
fn a_refused_shape_is_a_write_from_then_on() {
    let verdicts = Verdicts::new(16);
    let names = names();
    let context = context(&names);
    assert_eq!(verdicts.judge(b"SELECT * FROM v WHERE a = 1", &context).class, Class::Read);
    verdicts.learn_write(b"SELECT * FROM v WHERE a = 2", &context);
    let verdict = verdicts.judge(b"SELECT * FROM v WHERE a = 3", &context);
    assert_eq!((verdict.class, verdict.reason.clone()), (Class::Write, Reason::Learnt));
    assert_eq!(verdicts.stats().learnt, 1);
    verdicts.learn_write(b"SELECT * FROM v WHERE a = 3", &context);
    assert_eq!(verdicts.stats().learnt, 1);
}
