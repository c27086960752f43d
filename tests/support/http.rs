//! Just enough of HTTP to ask the admin port.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Status and body of a GET.
pub async fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    request(port, "GET", path, "").await
}

/// Status and body of a POST with that token.
pub async fn post(port: u16, path: &str, token: &str) -> std::io::Result<(u16, String)> {
    request(port, "POST", path, &format!("Authorization: Bearer {token}\r\nContent-Length: 0\r\n")).await
}

/// Status and body of any request; `headers` are whole lines.
pub async fn request(port: u16, method: &str, path: &str, headers: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| std::io::Error::other(format!("not HTTP: {reply:?}")))
}
