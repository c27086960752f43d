//! Where clients connect: binds TCP and unix sockets, and hands over what the firewall admits.

use super::firewall::{Firewall, Verdict};
use super::stream::Stream;
use crate::clock;
use crate::config::settings::ListenAddress;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 1024;
/// After an error that accepting again at once would only repeat (no file descriptor is left).
const BACK_OFF: Duration = Duration::from_millis(100);

/// An address cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {source}")]
pub struct BindError {
    /// As in the configuration.
    pub address: String,
    /// Why.
    pub source: io::Error,
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    bound: Bound,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, OwnFile),
}

impl Listener {
    /// Binds. A unix socket that a dead process left behind is replaced; one that is answered is not.
    ///
    /// # Errors
    /// Names the address and the reason.
    pub fn bind(address: &ListenAddress) -> Result<Self, BindError> {
        let (bound, name) = match address {
            ListenAddress::Tcp(address) => (bind_tcp(*address).map(Bound::Tcp), address.to_string()),
            ListenAddress::Unix(path) => (
                bind_unix(path).map(|(socket, file)| Bound::Unix(socket, file)),
                format!("unix:{}", path.display()),
            ),
        };
        bound.map(|bound| Self { bound }).map_err(|source| BindError { address: name, source })
    }

    /// Where it listens: the port that was chosen when port 0 was asked for.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match &self.bound {
            Bound::Tcp(socket) => socket.local_addr().map(ListenAddress::Tcp),
            Bound::Unix(_, file) => Ok(ListenAddress::Unix(file.path.clone())),
        }
    }

    /// Accepts until `stop` becomes true (or its sender is gone) and gives each admitted connection to `admitted`,
    /// with its address unless it is a unix socket's. No error of the network ends it.
    pub async fn run<F>(self, firewall: &Mutex<Firewall>, mut stop: watch::Receiver<bool>, mut admitted: F)
    where
        F: FnMut(Stream, Option<SocketAddr>),
    {
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    is_failing = false;
                    if passes(firewall, peer) {
                        admitted(stream, peer);
                    }
                }
                Err(error) if concerns_one_connection(&error) => {
                    tracing::debug!(%error, "a client left before it was accepted");
                }
                Err(error) => {
                    if !is_failing {
                        tracing::error!(%error, "no connection can be accepted for now");
                    }
                    is_failing = true;
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.bound {
            Bound::Tcp(socket) => {
                let (socket, peer) = socket.accept().await?;
                // Options are refused by a socket whose client has left already.
                let stream = Stream::tcp(socket).map_err(|_| io::ErrorKind::ConnectionAborted)?;
                Ok((stream, Some(peer)))
            }
            Bound::Unix(socket, _) => Ok((Stream::Unix(socket.accept().await?.0), None)),
        }
    }
}

fn passes(firewall: &Mutex<Firewall>, peer: Option<SocketAddr>) -> bool {
    let Some(peer) = peer else { return true };
    let verdict = firewall.lock().admit(peer.ip(), clock::now());
    if verdict != Verdict::Admitted {
        tracing::debug!(%peer, ?verdict, "the firewall refused a connection");
    }
    verdict == Verdict::Admitted
}

/// The kernel reports what became of one connection by failing the accept.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::NotConnected
            | Kind::Interrupted
            | Kind::PermissionDenied
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    )
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<(UnixListener, OwnFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let file = OwnFile { path: path.to_owned(), inode: fs::symlink_metadata(path)?.ino() };
    // As the servers do: who may log in is decided by the login, not by the file.
    fs::set_permissions(path, Permissions::from_mode(0o777))?;
    socket.listen(BACKLOG)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is not a socket"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        },
    }
}

/// The file of a unix socket: removed with the listener, unless somebody has put another in its place.
#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the socket file stays behind");
        }
    }
}

#[cfg(test)]
mod tests;
