//! Commands on whole databases: which one nobody may be connected to for them.

use crate::sql::tokens::{Reader, Tok};

/// What CREATE DATABASE copies unless it says something else.
const TEMPLATE: &str = "template1";

/// The database that the command needs without connections, as far as its text says so by a name: a literal is not part of a statement's shape.
pub(super) fn emptied(toks: &[Tok<'_>]) -> Option<Box<str>> {
    let mut reader = Reader::new(toks, 1);
    if !reader.eat("database") {
        return None;
    }
    match toks.first()?.word {
        "drop" => {
            reader.eat_all(&["if", "exists"]);
            name(&mut reader)
        }
        "alter" => {
            let name = name(&mut reader)?;
            (reader.eat_all(&["rename", "to"]) || reader.eat_all(&["set", "tablespace"])).then_some(name)
        }
        "create" => {
            name(&mut reader)?;
            template(reader)
        }
        _ => None,
    }
}

fn name(reader: &mut Reader<'_, '_>) -> Option<Box<str>> {
    Some(reader.next()?.name()?.as_ref().into())
}

fn template(mut options: Reader<'_, '_>) -> Option<Box<str>> {
    while let Some(option) = options.next() {
        if !option.is("template") {
            continue;
        }
        if options.peek().is_some_and(|tok| tok.is_operator("=")) {
            options.next();
        }
        return if options.eat("default") { Some(TEMPLATE.into()) } else { name(&mut options) };
    }
    Some(TEMPLATE.into())
}

#[cfg(test)]
mod tests {
    use crate::sql::{Context, Dialect, judge_uncached};

    #[test]
    fn the_database_that_must_be_empty_is_named() {
        let of = |text: &str| {
            let verdict = judge_uncached(text.as_bytes(), &Context::bare(Dialect::Postgres, 15));
            verdict.empties.map(String::from)
        };
        for (text, database) in [
            ("DROP DATABASE shop", Some("shop")),
            ("drop database if exists \"The Shop\" with (force)", Some("The Shop")),
            ("DROP DATABASE if", Some("if")),
            ("ALTER DATABASE Shop RENAME TO other", Some("shop")),
            ("ALTER DATABASE shop SET TABLESPACE fast", Some("shop")),
            ("ALTER DATABASE shop SET work_mem = '1MB'", None),
            ("ALTER DATABASE shop OWNER TO me", None),
            ("CREATE DATABASE a", Some("template1")),
            ("CREATE DATABASE a OWNER me TEMPLATE = shop ENCODING 'utf8'", Some("shop")),
            ("CREATE DATABASE a WITH TEMPLATE shop", Some("shop")),
            ("CREATE DATABASE a TEMPLATE DEFAULT", Some("template1")),
            ("CREATE DATABASE a TEMPLATE 'shop'", None),
            ("CREATE DATABASE template", Some("template1")),
            ("DROP TABLE database", None),
            ("DROP DATABASE a; DROP DATABASE b", None),
        ] {
            assert_eq!(of(text).as_deref(), database, "{text}");
        }
    }
}
