//! The tables of statements with their expected class and effect.

use super::*;

/// Checks every row of `table`; returns how many there are.
fn check(table: &str, judge: impl Fn(&str) -> Verdict) -> usize {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut columns = line.splitn(3, " | ");
        let (Some(class), Some(effect), Some(text)) = (columns.next(), columns.next(), columns.next()) else {
            panic!("not three columns: {line}");
        };
        rows += 1;
        let text = text.replace("\\n", "\n");
        let verdict = judge(&text);
        let found = (verdict.class.to_string(), effect_word(&verdict.effect));
        if found != (class.to_owned(), effect.to_owned()) {
            wrong.push(format!(
                "{text}\n    expected {class} {effect}, found {found:?}: {:?}",
                verdict.reason
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {rows} wrong:\n{}", wrong.len(), wrong.join("\n"));
    rows
}

#[test]
fn every_statement_of_postgres_has_its_class() {
    assert!(check(include_str!("../../../tests/statements/postgres.txt"), judge) >= 300);
}
