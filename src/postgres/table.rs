//! A result of our own in PostgreSQL's form: RowDescription, DataRows, CommandComplete.

use super::wire;
use crate::engine::table::{Cell, Column, Kind as Cells, Table};
use std::borrow::Cow;

const OID_INT8: u32 = 20;

/// Appends `table` and its end with `tag` (`SHOW`, `EXPLAIN`); ReadyForQuery is the caller's.
pub fn table(out: &mut Vec<u8>, table: &Table, tag: &str) {
    row_description(out, &table.columns);
    for row in &table.rows {
        let values: Vec<_> = row.iter().map(value).collect();
        wire::data_row(out, values.iter().map(Option::as_deref));
    }
    wire::command_complete(out, tag);
}

/// Types of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `int4`.
    Int4,
    /// `bool`.
    Bool,
}

/// RowDescription of one column that comes from no table.
pub fn column_description(out: &mut Vec<u8>, name: &str, kind: Kind, binary: bool) {
    let (oid, size) = match kind {
        Kind::Int4 => (23_u32, 4_i16),
        Kind::Bool => (16, 1),
    };
    wire::message(out, b'T', |out| {
        out.extend(1_u16.to_be_bytes());
        wire::cstr(out, name);
        out.extend([0; 6]); // no table, no column of it
        out.extend(oid.to_be_bytes());
        out.extend(size.to_be_bytes());
        out.extend((-1_i32).to_be_bytes()); // no modifier
        out.extend(u16::from(binary).to_be_bytes());
    });
}

fn value(cell: &Cell) -> Option<Cow<'_, [u8]>> {
    match cell {
        Cell::Null => None,
        Cell::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
        Cell::Int(number) => Some(Cow::Owned(number.to_string().into_bytes())),
    }
}

fn row_description(out: &mut Vec<u8>, columns: &[Column]) {
    wire::message(out, b'T', |out| {
        out.extend(u16::try_from(columns.len()).unwrap_or(u16::MAX).to_be_bytes());
        for column in columns {
            let (oid, size) = match column.kind {
                Cells::Text => (wire::OID_TEXT, -1_i16),
                Cells::Int => (OID_INT8, 8),
            };
            wire::cstr(out, &column.name);
            out.extend([0; 6]); // no table, no column of it
            out.extend(oid.to_be_bytes());
            out.extend(size.to_be_bytes());
            out.extend((-1_i32).to_be_bytes()); // no modifier
            out.extend([0; 2]); // text format
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        let mut rows = Table::new(&[("name", Cells::Text), ("n", Cells::Int)]);
        rows.push(vec!["é".into(), Cell::Int(-12)]);
        rows.push(vec![Cell::Null]);
        let mut out = Vec::new();
        table(&mut out, &rows, "SHOW");
        let expected: [&[u8]; 5] = [
            b"T\0\0\0\x31\0\x02name\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
            b"n\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0",
            b"D\0\0\0\x13\0\x02\0\0\0\x02\xc3\xa9\0\0\0\x03-12",
            b"D\0\0\0\x0e\0\x02\xff\xff\xff\xff\xff\xff\xff\xff",
            b"C\0\0\0\x09SHOW\0",
        ];
        assert_eq!(out, expected.concat());
    }

    #[tokio::test]
    async fn a_driver_reads_what_the_table_held() {
        use crate::engine::TxState;
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut rows = Table::new(&[("name", Cells::Text), ("n", Cells::Int)]);
        rows.push(vec!["a".into(), Cell::Null]);
        rows.push(vec![Cell::Null, Cell::Int(i64::MIN)]);
        let (client, mut server) = tokio::io::duplex(4096);
        let serve = async {
            let mut greeting = Vec::new();
            wire::authentication_ok(&mut greeting);
            wire::ready_for_query(&mut greeting, TxState::Idle);
            let mut answer = Vec::new();
            table(&mut answer, &rows, "SHOW");
            wire::ready_for_query(&mut answer, TxState::Idle);
            for reply in [greeting, answer] {
                assert!(server.read(&mut [0; 1024]).await.unwrap() > 0);
                server.write_all(&reply).await.unwrap();
            }
        };
        let ask = async {
            let config = tokio_postgres::Config::new().user("ann").clone();
            let (client, connection) = config.connect_raw(client, tokio_postgres::NoTls).await.unwrap();
            let connection = crate::task::spawn("connection", connection);
            let messages = client.simple_query("SHOW NODES").await.unwrap();
            connection.abort();
            messages
        };
        let ((), messages) = tokio::join!(serve, ask);
        let rows = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some((row.get("name"), row.get("n"))),
            _ => None,
        });
        assert_eq!(rows.collect::<Vec<_>>(), [(Some("a"), None), (None, Some("-9223372036854775808"))]);
    }
}
