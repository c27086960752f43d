//! One connection: TCP or a unix socket, in clear or inside TLS in either role, with poll functions for the hot path.

use socket2::{SockRef, TcpKeepalive};
use std::io::{self, BufRead};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A connection that has said nothing for so long is probed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Between two probes that were not answered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// So many unanswered probes, and the connection is dead.
const KEEPALIVE_PROBES: u32 = 6;
/// Sent bytes that nobody acknowledges for so long: the connection is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// TCP in clear.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over either, as server or as client.
    Tls(Box<TlsStream<Socket>>),
}

/// What carries the bytes of a [`Stream`].
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Takes a TCP connection: no Nagle delay, dead peers are noticed.
    ///
    /// # Errors
    /// When the socket does not take the options (it is already dead).
    pub fn tcp(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        options.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(Self::Tcp(socket))
    }

    /// Reads what is there. A partial read clears the readiness, so that no second `recv` is needed to learn that
    /// there is no more.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, into),
        }
    }

    /// Writes what the socket takes; with TLS the bytes may still be in its buffer until [`Self::poll_flush`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
        }
    }

    /// Waits until all written bytes are the kernel's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Waits until a read could give something: decrypted bytes, bytes on the socket, or its end. It may be wrong
    /// about bytes (half a TLS record), never about silence.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
            Self::Tls(tls) => {
                if holds_plaintext(tls) {
                    return Poll::Ready(Ok(()));
                }
                match tls.get_ref().0 {
                    Socket::Tcp(socket) => socket.poll_read_ready(cx),
                    Socket::Unix(socket) => socket.poll_read_ready(cx),
                }
            }
        }
    }

    /// Whether the other end has said nothing that was not read, its end included. Costs no system call while the
    /// runtime has seen no event on the socket. An idle backend that is not quiet must not be used.
    pub fn is_quiet(&mut self) -> bool {
        let waiting = match self {
            Self::Tcp(socket) => peek_tcp(socket),
            Self::Unix(socket) => peek_unix(socket),
            Self::Tls(tls) => {
                if holds_plaintext(tls) {
                    return false;
                }
                match tls.get_ref().0 {
                    Socket::Tcp(socket) => peek_tcp(socket),
                    Socket::Unix(socket) => peek_unix(socket),
                }
            }
        };
        matches!(waiting, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The first byte that waits to be read, which stays there; `None` at the end of the connection, and for all but TCP in clear. Cancel safe.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn peek(&self) -> io::Result<Option<u8>> {
        let Self::Tcp(socket) = self else { return Ok(None) };
        let mut first = [0];
        Ok((socket.peek(&mut first).await? == 1).then_some(first[0]))
    }

    /// Whether the bytes travel encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether the other end is a process on this host, by a unix socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Unix(_) => true,
            Self::Tls(tls) => matches!(tls.get_ref().0, Socket::Unix(_)),
        }
    }

    /// The other end's address; `None` for a unix socket, and when the connection is already gone.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().ok(),
            Self::Unix(_) => None,
            Self::Tls(tls) => match tls.get_ref().0 {
                Socket::Tcp(socket) => socket.peer_addr().ok(),
                Socket::Unix(_) => None,
            },
        }
    }

    /// The socket below, for a TLS handshake.
    ///
    /// # Errors
    /// When it is inside TLS already.
    pub fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(socket) => Ok(Socket::Tcp(socket)),
            Self::Unix(socket) => Ok(Socket::Unix(socket)),
            Self::Tls(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS inside TLS is not supported"))
            }
        }
    }
}

// rustls hands its own end-of-stream and errors to the next read: only an empty buffer means "ask the socket".
fn holds_plaintext(tls: &mut TlsStream<Socket>) -> bool {
    let nothing = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    match tls {
        TlsStream::Client(tls) => !matches!(tls.get_mut().1.reader().fill_buf(), Err(e) if nothing(&e)),
        TlsStream::Server(tls) => !matches!(tls.get_mut().1.reader().fill_buf(), Err(e) if nothing(&e)),
    }
}

fn peek_tcp(socket: &TcpStream) -> io::Result<usize> {
    socket.try_io(Interest::READABLE, || SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]))
}

fn peek_unix(socket: &UnixStream) -> io::Result<usize> {
    socket.try_io(Interest::READABLE, || SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Self::poll_read(self.get_mut(), cx, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => {
                ready!(Pin::new(&mut **tls).poll_flush(cx))?;
                Pin::new(&mut **tls).poll_shutdown(cx)
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
