//! Binding and accepting on real sockets.

use super::*;
use crate::config::settings;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

fn open_firewall(deny: &[&str]) -> Arc<Mutex<Firewall>> {
    Arc::new(Mutex::new(Firewall::new(settings::Firewall {
        allow: Vec::new(),
        deny: deny.iter().map(|net| net.parse().unwrap()).collect(),
        connections_per_second: 0,
        failed_logins_limit: 0,
        failed_logins_block: Duration::ZERO,
    })))
}

type Admitted = mpsc::UnboundedReceiver<(Stream, Option<SocketAddr>)>;

fn running(
    listener: Listener,
    firewall: Arc<Mutex<Firewall>>,
) -> (watch::Sender<bool>, Admitted, tokio::task::JoinHandle<()>) {
    let (stop, stopped) = watch::channel(false);
    let (send, admitted) = mpsc::unbounded_channel();
    let task = crate::task::spawn("listener", async move {
        listener.run(&firewall, stopped, |stream, peer| send.send((stream, peer)).unwrap()).await;
    });
    (stop, admitted, task)
}

fn any_port() -> ListenAddress {
    ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())
}

#[tokio::test]
async fn tcp_clients_are_handed_over_until_it_stops() {
    let listener = Listener::bind(&any_port()).unwrap();
    let ListenAddress::Tcp(address) = listener.address().unwrap() else { panic!("TCP was asked for") };
    let (stop, mut admitted, task) = running(listener, open_firewall(&[]));
    let client = TcpStream::connect(address).await.unwrap();
    let (stream, peer) = admitted.recv().await.unwrap();
    assert_eq!(peer, Some(client.local_addr().unwrap()));
    assert_eq!(stream.peer(), peer);
    stop.send(true).unwrap();
    task.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_denied_client_is_closed_and_never_seen() {
    let listener = Listener::bind(&any_port()).unwrap();
    let ListenAddress::Tcp(address) = listener.address().unwrap() else { panic!("TCP was asked for") };
    let (stop, mut admitted, task) = running(listener, open_firewall(&["127.0.0.0/8"]));
    let mut client = TcpStream::connect(address).await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    stop.send(true).unwrap();
    task.await.unwrap();
    assert!(admitted.recv().await.is_none());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = Listener::bind(&any_port()).unwrap();
    let address = first.address().unwrap();
    let error = Listener::bind(&address).unwrap_err();
    assert!(error.to_string().starts_with("cannot listen at 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn unix_sockets_are_cleaned_up_and_never_stolen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".s.PGSQL.6432");
    let address = ListenAddress::Unix(path.clone());

    // What a killed process leaves: a file that nobody listens at.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::bind(&address).unwrap();
    assert!(Listener::bind(&address).unwrap_err().to_string().contains("another process listens there"));

    let (stop, mut admitted, task) = running(listener, open_firewall(&["127.0.0.0/8"]));
    let _client = UnixStream::connect(&path).await.unwrap();
    let (stream, peer) = admitted.recv().await.unwrap();
    assert!(stream.is_unix() && peer.is_none());
    stop.send(true).unwrap();
    task.await.unwrap();
    assert!(!path.exists());

    fs::write(&path, "not a socket").unwrap();
    assert!(Listener::bind(&address).is_err());
    assert!(path.exists());
}
