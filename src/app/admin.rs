//! The operator's door over HTTP: on a thread of its own, so that neither load nor a scrape starves the other.

use super::{App, SideThread, StartError};
use crate::admin::http::{self, Door};
use crate::admin::token::{Token, TokenError};
use crate::config::runtime_directory;
use crate::config::settings::Admin;
use crate::task;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The door while it is open.
pub(super) struct Open {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    _thread: SideThread,
}

impl Open {
    /// Ends what was begun, takes nothing new.
    pub(super) async fn close(self) {
        drop(self.stop);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the admin listener ended abnormally");
        }
    }
}

/// Opens the door, if the configuration has one.
pub(super) fn open(app: &Arc<App>) -> Result<Option<Open>, StartError> {
    let settings = app.settings.load_full();
    let Some(address) = settings.admin.listen else { return Ok(None) };
    let taken = |why| StartError::Admin { address, why };
    let listener = std::net::TcpListener::bind(address).map_err(taken)?;
    listener.set_nonblocking(true).map_err(taken)?;
    let token = token(&settings.admin, address).map_err(StartError::Token)?;
    let thread = SideThread::start("admin").map_err(StartError::Runtime)?;
    let door = Door::new(Arc::clone(app) as Arc<dyn crate::admin::Inspect>, token, Vec::new());
    app.door.store(Some(Arc::clone(&door)));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = {
        let _on_its_own_thread = thread.handle.enter();
        let listener = TcpListener::from_std(listener).map_err(taken)?;
        task::spawn("admin", http::serve(listener, door, async { drop(stopped.await) }))
    };
    tracing::info!("admin at http://{address}");
    Ok(Some(Open { stop, serving, _thread: thread }))
}

/// The token that the configuration gives, else one that is made now.
pub(super) fn token(settings: &Admin, address: SocketAddr) -> Result<Token, TokenError> {
    if let Some(secret) = &settings.token {
        return Ok(Token::given(secret.clone()));
    }
    let path = runtime_directory().join(format!("primacy-admin-{}.token", address.port()));
    let token = Token::made(&path)?;
    tracing::info!(path = %path.display(), "admin token made (admin.token is not set)");
    Ok(token)
}
