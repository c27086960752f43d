//! The door's connections: so many at once, and who has one must ask in time.

use super::{Door, router};
use crate::task;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Connections at once; more wait in the listener's queue.
const CONNECTIONS_MAX: u32 = 256;

/// So long answers that were begun are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// After a failed accept (no file descriptor is left, as a rule).
const BREATH: Duration = Duration::from_millis(100);

/// Answers until `until` is over, then ends what it has begun.
pub async fn serve(listener: TcpListener, door: Arc<Door>, until: impl Future<Output = ()> + Send) {
    let (patience, router) = (door.patience, router(door));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let (ending, ended) = watch::channel(());
    let mut until = pin!(until);
    loop {
        tokio::select! {
            () = &mut until => break,
            (stream, place) = accept(&listener, &places) => {
                task::spawn("admin connection", connection(stream, router.clone(), patience, place, ended.clone()));
            }
        }
    }
    drop((listener, ending));
    // All places free again: every connection is over.
    if tokio::time::timeout(LAST_ANSWERS, places.acquire_many(CONNECTIONS_MAX)).await.is_err() {
        tracing::info!("admin connections that were still at work are cut");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    patience: Duration,
    place: Option<OwnedSemaphorePermit>,
    mut ended: watch::Receiver<()>,
) {
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    let http = http.timer(TokioTimer::new()).header_read_timeout(patience);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
    let over = tokio::select! {
        over = &mut serving => over,
        _ = ended.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = over {
        tracing::debug!(%error, "an admin connection broke");
    }
    drop(place);
}
