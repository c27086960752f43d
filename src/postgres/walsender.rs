//! A server connection for one replication client: opened with the client's own start-up packet.

use super::backend::Connector;
use super::login::{self, OpenError};
use crate::config::settings::Node;
use crate::engine::door::Through;
use crate::engine::seam::{CancelTarget, Identity};
use crate::error::{ClientError, Retry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use tokio::sync::Notify;

/// Opens it; `kind` is the value of `replication`.
///
/// # Errors
/// What the client is to be told, in the server's words where it has said any, and whether another try may do.
pub(super) async fn open(
    connector: &Connector,
    node: &Node,
    identity: &Identity,
    kind: &str,
    parameters: &[(Box<str>, Box<str>)],
) -> Result<Through, (Retry, ClientError)> {
    let Some(target) = connector.target(&node.name) else {
        let text = format!("node {} is not configured", node.name);
        return Err((Retry::Never, ClientError::new("57P03", 1053, text)));
    };
    let own = [("user", &*identity.user), ("database", &*identity.database), ("replication", kind)];
    let theirs = parameters.iter().map(|(name, value)| (&**name, &**value));
    let all: Vec<(&str, &str)> = own.into_iter().chain(theirs).collect();
    let opened = login::start(target, &all, &identity.credentials).await;
    let opened = opened.map_err(|error| refused(node, &error))?;
    let target = CancelTarget {
        pid: opened.pid,
        key: opened.key.into(),
        tls: opened.stream.is_tls(),
        identity: identity.clone(),
        coming: AtomicU32::new(0),
        deaf: AtomicBool::new(false),
        arrived: Notify::new(),
    };
    Ok(Through { server: opened.stream, settings: opened.parameters, target: Arc::new(target) })
}

fn refused(node: &Node, error: &OpenError) -> (Retry, ClientError) {
    let Some(refusal) = error.refusal() else {
        let text = format!("node {} at {}:{}: {error}", node.name, node.host, node.port);
        return (error.retry(), ClientError::new("57P03", 1053, text));
    };
    // Its places are full, and will be: the client decides how long it tries.
    let retry = if &*refusal.sqlstate == "53300" { Retry::Never } else { error.retry() };
    let sqlstate = refusal.sqlstate.as_bytes().try_into().unwrap_or(*b"XX000");
    let told = ClientError::server(sqlstate, 0, &*refusal.message);
    let words = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    (retry, ClientError { detail: words(&refusal.detail), hint: words(&refusal.hint), ..told }.fatal())
}
