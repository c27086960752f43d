//! MySQL's `KILL` of a session that the proxy knows by the id that it gave: of its statement, by the same user, as the server itself would do it.
//! Ids that the proxy did not give are the server's own business.

use super::cancel;
use super::core::Core;
use crate::engine::seam::{Answer, Engine, Exchange, Kill};
use crate::error::ClientError;

/// What the framed unit wants killed, when that is a session of ours.
pub(super) fn wanted<E: Engine>(core: &Core<E>, exchange: &E::Exchange) -> Option<Kill> {
    exchange.kill().filter(|kill| core.shared.registry.get(kill.id).is_some())
}

/// Answers the unit.
pub(super) async fn answer<E: Engine>(core: &mut Core<E>, exchange: &mut Box<E::Exchange>, kill: Kill) {
    match run(core, kill).await {
        Ok(()) => exchange.answer(&[(0, Answer::Done("KILL"))], core.tx),
        Err(error) => exchange.refuse(&error, core.tx),
    }
}

async fn run<E: Engine>(core: &Core<E>, Kill { id, connection }: Kill) -> Result<(), ClientError> {
    let entry = core.shared.registry.get(id).ok_or_else(|| {
        // It left just now.
        ClientError::new("HY000", 1094, format!("Unknown thread id: {id}"))
    })?;
    if entry.user != core.place.user {
        return Err(ClientError::new("HY000", 1095, format!("You are not owner of thread {id}")));
    }
    if connection {
        return Err(ClientError::new("42000", 1235, "the proxy kills statements, not connections")
            .hint("use KILL QUERY, or the proxy's own console"));
    }
    if id == core.place.id {
        return Err(ClientError::new("70100", 1317, "Query execution was interrupted"));
    }
    // The answer follows when the server has taken it: what the other session runs next is not meant.
    if let Some(sent) = cancel::cancel(&core.shared, &entry) {
        drop(sent.await);
    }
    Ok(())
}
