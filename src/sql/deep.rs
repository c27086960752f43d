//! The parser's opinion, asked on a miss only: does a text write that the lexer took for a read?

use super::context::Dialect;
use sqlparser::ast::{Query, SetExpr, Statement};
use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect};
use sqlparser::parser::Parser;

/// For each statement that the parser finds in `text` whether it writes; `None` when it refuses the text, which is no opinion:
/// sqlparser refuses a quarter of what people send.
pub(super) fn writes(text: &[u8], dialect: Dialect) -> Option<Vec<bool>> {
    let text = std::str::from_utf8(text).ok()?;
    let parsed = if dialect == Dialect::Postgres {
        Parser::parse_sql(&PostgreSqlDialect {}, text)
    } else {
        Parser::parse_sql(&MySqlDialect {}, text)
    };
    Some(parsed.ok()?.iter().map(statement_writes).collect())
}

fn statement_writes(statement: &Statement) -> bool {
    match statement {
        Statement::Query(query) => query_writes(query),
        Statement::Insert(_)
        | Statement::Update { .. }
        | Statement::Delete(_)
        | Statement::Merge { .. }
        | Statement::Truncate { .. }
        | Statement::Call(_)
        | Statement::CreateTable(_)
        | Statement::Drop { .. } => true,
        _ => false,
    }
}

fn query_writes(query: &Query) -> bool {
    let with =
        query.with.as_ref().is_some_and(|with| with.cte_tables.iter().any(|cte| query_writes(&cte.query)));
    with || !query.locks.is_empty() || body_writes(&query.body)
}

fn body_writes(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_some(),
        SetExpr::Query(query) => query_writes(query),
        SetExpr::SetOperation { left, right, .. } => body_writes(left) || body_writes(right),
        SetExpr::Values(_) | SetExpr::Table(_) => false,
        _ => true,
    }
}
