//! From the rows of the catalog's statements to what they say.

use crate::catalog::source::{Function, Hang, Hangs, Language, Listed, Source, Type};
use std::sync::Arc;
use tokio_postgres::Row;

/// So many functions, and so many other rows, of one database are kept; the statements stop one later.
const FUNCTIONS_MAX: usize = 100_000;
const ROWS_MAX: usize = 200_000;

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("an answer is missing")]
    Missing,
    #[error(
        "the database has more than {FUNCTIONS_MAX} functions, or {ROWS_MAX} operators and uses of types, of users"
    )]
    TooMany,
    #[error("{0}")]
    Row(#[from] tokio_postgres::Error),
}

pub(super) fn words(error: &impl std::fmt::Display) -> Arc<str> {
    error.to_string().into()
}

type Answer = [Vec<Row>];

/// The rows that were ever written to the catalogs (`None`: not counted); outer `None`: a replica answered.
pub(super) fn writes(answer: &Answer) -> Result<Option<Option<i64>>, Unusable> {
    let row = answer.first().and_then(|rows| rows.first()).ok_or(Unusable::Missing)?;
    let replica: bool = row.try_get(0)?;
    Ok(if replica { None } else { Some(row.try_get(1)?) })
}

pub(super) fn digest(rows: Option<&Vec<Row>>) -> Result<i64, Unusable> {
    let row = rows.and_then(|rows| rows.first()).ok_or(Unusable::Missing)?;
    Ok(row.try_get(0)?)
}

/// What hangs on `count` relations, and whether a replica says so.
pub(super) fn relations(answer: &Answer, count: usize) -> Result<(Vec<Hangs>, bool), Unusable> {
    let recovery = answer.first().and_then(|rows| rows.first()).ok_or(Unusable::Missing)?;
    let mut all = vec![Hangs::default(); count];
    for row in answer.get(1).ok_or(Unusable::Missing)? {
        let number = usize::try_from(row.try_get::<_, i32>(0)?).unwrap_or_default();
        let Some(hangs) = number.checked_sub(1).and_then(|index| all.get_mut(index)) else {
            return Err(Unusable::Missing);
        };
        let hang =
            Hang { function: row.try_get(2)?, why: row.try_get::<_, Option<&str>>(3)?.map(Into::into) };
        if row.try_get(1)? { hangs.write.push(hang) } else { hangs.read.push(hang) }
    }
    Ok((all, recovery.try_get(0)?))
}

/// The code of users, and what the catalog was like before it was read: its digest, and as [`writes`] says.
pub(super) fn code(answer: &Answer) -> Result<(Source, i64, Option<Option<i64>>), Unusable> {
    let (digest, written) = (digest(answer.get(1))?, writes(answer)?);
    let [_, _, functions, types, names] = answer else { return Err(Unusable::Missing) };
    if functions.len() > FUNCTIONS_MAX || types.len() > ROWS_MAX || names.len() > ROWS_MAX {
        return Err(Unusable::TooMany);
    }
    let mut source = Source {
        functions: functions.iter().map(function).collect::<Result<_, _>>()?,
        types: types.iter().map(a_type).collect::<Result<_, _>>()?,
        ..Source::default()
    };
    for row in names {
        let (name, oid) = (row.try_get::<_, &str>(1)?, row.try_get(2)?);
        match row.try_get::<_, &str>(0)? {
            "operator" => source.operators.push((name.into(), oid)),
            "unnamed" => source.everywhere.push(oid),
            "event" => source.events.push(oid),
            "role" => source.roles.push(name.into()),
            _ => source.builtins.push(name.into()),
        }
    }
    Ok((source, digest, written))
}

fn function(row: &Row) -> Result<Function, Unusable> {
    let arguments = |at| Ok::<_, Unusable>(u16::try_from(row.try_get::<_, i32>(at)?).unwrap_or(u16::MAX));
    let text = |at| Ok::<_, Unusable>(row.try_get::<_, Option<&str>>(at)?.map(Into::into));
    Ok(Function {
        oid: row.try_get(0)?,
        schema: row.try_get::<_, &str>(1)?.into(),
        name: row.try_get::<_, &str>(2)?.into(),
        arguments: (arguments(3)?, arguments(4)?),
        volatile: row.try_get(5)?,
        attribute: row.try_get::<_, Option<bool>>(6)?.unwrap_or(false),
        language: match row.try_get(7)? {
            "" => Language::None,
            "sql" => Language::Sql,
            "plpgsql" => Language::Plpgsql,
            _ => Language::Outside,
        },
        body: text(8)?,
        defaults: text(9)?,
        settings: row.try_get::<_, Vec<&str>>(10)?.into_iter().map(Into::into).collect(),
        uses: row.try_get::<_, Vec<u32>>(11)?.into(),
        types: row.try_get::<_, Vec<u32>>(12)?.into(),
        listed: match row.try_get::<_, Option<&str>>(13)? {
            Some("harmless") => Some(Listed::Harmless),
            Some("writes") => Some(Listed::Writes),
            Some("local") => Some(Listed::Local),
            _ => None,
        },
    })
}

fn a_type(row: &Row) -> Result<Type, Unusable> {
    Ok(Type { oid: row.try_get(0)?, name: row.try_get::<_, &str>(1)?.into(), function: row.try_get(2)? })
}
