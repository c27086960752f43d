//! How commands reach a running Primacy: its admin address, its token, one request.

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;

/// Longer than any answer can take that the door gives at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer, in bytes.
const ANSWER_MAX: usize = 64 << 20;

/// Where the running Primacy is, and what opens it.
#[derive(Debug, clap::Args)]
pub(super) struct Admin {
    /// Where Primacy's admin listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9632")]
    admin: Uri,
    /// The admin token (anybody on this machine can read a running program's arguments: prefer --token-file)
    #[arg(long, conflicts_with = "token_file")]
    token: Option<String>,
    /// The file that holds the admin token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Admin {
    /// The answer to a GET of `path` (its query included), when it is a good one.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a refusal; the text says what to check.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<String> {
        let token = self.token()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = async { tokio::time::timeout(PATIENCE, self.ask(path, token)).await };
        let (status, body) = runtime.block_on(answer).with_context(|| {
            format!("{} took the connection but did not answer within 10 s", self.admin)
        })??;
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the token cannot be read from {}", path.display()))?;
        Ok(Some(text.trim().to_owned()))
    }

    async fn ask(&self, path: &str, token: Option<String>) -> anyhow::Result<(StatusCode, String)> {
        let (host, port) = self.target()?;
        let stream = TcpStream::connect((host, port)).await.with_context(|| {
            format!(
                "no Primacy answers at {}; check that it is running, that its admin.listen is this address (its log says so at \
                 start), or name another one with --admin",
                self.admin
            )
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = crate::task::spawn("admin client", connection);
        let authority = self.admin.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::get(path).header(header::HOST, authority);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let speaks = || format!("what listens at {} does not speak HTTP as Primacy does", self.admin);
        let response =
            sender.send_request(request.body(Empty::<Bytes>::new())?).await.with_context(speaks)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed).with_context(speaks)?.to_bytes();
        connection.abort();
        Ok((status, String::from_utf8(body.into()).with_context(speaks)?))
    }

    fn target(&self) -> anyhow::Result<(&str, u16)> {
        let given = &self.admin;
        match given.scheme_str() {
            Some("http") => {}
            Some("https") => {
                bail!("{given}: TLS to the admin address is not built yet; use http:// on the same machine")
            }
            _ => bail!("{given} is not an address such as http://127.0.0.1:9632"),
        }
        ensure!(matches!(given.path(), "" | "/"), "{given}: only the address is wanted, without a path");
        let host = given.host().context("the admin address names no host")?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok((host, given.port_u16().unwrap_or(80)))
    }
}

fn refusal(status: StatusCode, body: &str) -> anyhow::Error {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    match (json["error"].as_str(), json["hint"].as_str()) {
        (Some(error), Some(hint)) => anyhow::anyhow!("{error}; {hint}"),
        (Some(error), None) => anyhow::anyhow!("{error}"),
        (None, _) => anyhow::anyhow!("the answer was {status}: this is not Primacy's admin address"),
    }
}

/// `text` as one value in a URL's query.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Rows below their heads, each column as wide as its widest value.
pub(super) fn columns(indent: &str, rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|value| value.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(value, &width)| format!("{value:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        out.push_str(indent);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
