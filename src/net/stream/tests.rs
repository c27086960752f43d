//! Readiness and silence, on real sockets.

use super::*;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Two ends of a loopback connection.
pub(crate) async fn pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    (Stream::tcp(client.unwrap()).unwrap(), Stream::tcp(server.unwrap().0).unwrap())
}

async fn silence_is_seen((mut here, mut there): (Stream, Stream)) {
    assert!(here.is_quiet() && there.is_quiet());
    there.write_all(b"abc").await.unwrap();
    there.flush().await.unwrap();
    poll_fn(|cx| here.poll_readable(cx)).await.unwrap();
    assert!(!here.is_quiet());
    let mut read = [0; 8];
    assert_eq!(here.read(&mut read).await.unwrap(), 3);
    assert!(here.is_quiet());
    drop(there);
    poll_fn(|cx| here.poll_readable(cx)).await.unwrap();
    assert!(!here.is_quiet());
    assert_eq!(here.read(&mut read).await.unwrap(), 0);
    assert!(!here.is_quiet());
}

#[tokio::test]
async fn tcp() {
    silence_is_seen(pair().await).await;
}

#[tokio::test]
async fn unix() {
    let (here, there) = UnixStream::pair().unwrap();
    silence_is_seen((Stream::Unix(here), Stream::Unix(there))).await;
}

/// A read that fills its buffer leaves the readiness set although nothing more is there.
#[tokio::test]
async fn a_stale_readiness_is_not_taken_for_bytes() {
    let (mut here, mut there) = pair().await;
    there.write_all(b"abc").await.unwrap();
    let mut read = [0; 3];
    assert_eq!(here.read(&mut read).await.unwrap(), 3);
    assert!(here.is_quiet());
}

#[tokio::test]
async fn who_is_there() {
    let (here, there) = pair().await;
    let Stream::Tcp(socket) = &there else { panic!() };
    assert_eq!(here.peer(), Some(socket.local_addr().unwrap()));
    assert!(!here.is_tls() && !here.is_unix());
    assert!(socket.nodelay().unwrap());
}

/// An idle session's future holds two of them.
#[test]
fn a_stream_is_small() {
    assert!(size_of::<Stream>() <= 48, "{}", size_of::<Stream>());
}
