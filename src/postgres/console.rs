//! The console over PostgreSQL's protocol: simple queries only.

use super::{table, wire};
use crate::engine::TxState;
use crate::engine::table::Reply;
use crate::error::ClientError;
use std::future::Future;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// No command is longer.
const MESSAGE_MAX: usize = 1 << 20;

/// What drivers look at when they connect.
const SETTINGS: [(&str, &str); 7] = [
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "GMT"),
    ("standard_conforming_strings", "on"),
    ("integer_datetimes", "on"),
    ("is_superuser", "on"),
];

/// Greets a client that has proved who it is, and answers each of its texts by `execute`, until it leaves.
///
/// # Errors
/// The connection broke.
pub(super) async fn serve<S, F, A>(mut client: S, version: &str, execute: F) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(String) -> A,
    A: Future<Output = Reply>,
{
    let mut out = Vec::with_capacity(512);
    wire::authentication_ok(&mut out);
    wire::parameter_status(&mut out, "server_version", version);
    SETTINGS.iter().for_each(|(name, value)| wire::parameter_status(&mut out, name, value));
    // There is nothing to cancel here.
    wire::backend_key_data(&mut out, 0, &[0; 4]);
    wire::ready_for_query(&mut out, TxState::Idle);
    let mut skips = false;
    loop {
        client.write_all(&out).await?;
        client.flush().await?;
        out.clear();
        let Some((tag, body)) = message(&mut client, &mut out).await? else {
            client.write_all(&out).await?;
            return client.shutdown().await;
        };
        match tag {
            b'Q' if !skips => {
                let text = wire::Fields(&body).text().map(String::from);
                let reply = match text {
                    Some(text) => execute(text).await,
                    None => Reply::Error(ClientError::new("08P01", 1105, "a query that is not UTF-8 text")),
                };
                said(&reply, &mut out);
                wire::ready_for_query(&mut out, TxState::Idle);
            }
            b'S' => {
                skips = false;
                wire::ready_for_query(&mut out, TxState::Idle);
            }
            b'P' | b'B' | b'E' | b'D' | b'C' | b'F' if !skips => {
                skips = tag != b'F';
                let error =
                    ClientError::new("0A000", 1235, "the console speaks the simple query protocol only")
                        .hint("tell your driver so, and turn its autocommit on");
                wire::error(&mut out, &error);
                if !skips {
                    wire::ready_for_query(&mut out, TxState::Idle);
                }
            }
            b'X' => return client.shutdown().await,
            // Flush, and what an error makes meaningless until the Sync.
            _ => {}
        }
    }
}

fn said(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Table(rows) => table::table(out, rows, "SHOW"),
        Reply::Done(tag) => wire::command_complete(out, tag),
        Reply::Empty => wire::empty_query_response(out),
        Reply::Error(error) => wire::error(out, error),
    }
}

// `None`: it has left, or must be left; `out` is the last word then.
async fn message<S: AsyncRead + Unpin>(
    client: &mut S,
    out: &mut Vec<u8>,
) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0; wire::HEADER];
    match client.read_exact(&mut header).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let Ok(Some(head)) = wire::head(&header, MESSAGE_MAX) else {
        let error = ClientError::new("08P01", 1105, "a message whose length cannot be").fatal();
        wire::error(out, &error);
        return Ok(None);
    };
    let mut body = vec![0; head.length - wire::HEADER];
    client.read_exact(&mut body).await?;
    Ok(Some((head.tag, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn talk(said: &[u8]) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(4096);
        let ask = async |text: String| match text.as_str() {
            "" => Reply::Empty,
            "fail" => Reply::Error(ClientError::new("42601", 1064, "no")),
            _ => Reply::Done("RELOAD"),
        };
        client.write_all(said).await.unwrap();
        let serving = serve(server, "1", ask);
        let reading = async {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (served, answer) = tokio::join!(serving, reading);
        served.unwrap();
        answer
    }

    fn tags(mut answer: &[u8]) -> String {
        let mut tags = String::new();
        while let Ok(Some(head)) = wire::head(answer, MESSAGE_MAX) {
            tags.push(char::from(head.tag));
            answer = &answer[head.length..];
        }
        assert!(answer.is_empty());
        tags
    }

    #[tokio::test]
    async fn each_message_is_answered_as_the_protocol_wants() {
        let mut said = Vec::new();
        wire::query(&mut said, "reload");
        wire::query(&mut said, "fail");
        wire::query(&mut said, "");
        wire::parse(&mut said, b"", b"SHOW POOLS", &[]);
        wire::describe(&mut said, b'S', b"");
        wire::query(&mut said, "skipped until the Sync");
        wire::sync(&mut said);
        wire::query(&mut said, "reload");
        wire::terminate(&mut said);
        let greeting = format!("R{}KZ", "S".repeat(1 + SETTINGS.len()));
        assert_eq!(tags(&talk(&said).await), format!("{greeting}CZEZIZEZCZ"));
    }

    #[tokio::test]
    async fn a_length_that_cannot_be_ends_it() {
        for said in [&b"Q\xff\xff\xff\xff"[..], b"Q\x7f\xff\xff\xff", b"Q\0\0\0\x03"] {
            assert!(tags(&talk(said).await).ends_with("ZE"));
        }
    }
}
