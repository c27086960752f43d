//! The life of a session: asleep until its client (or the backend that it keeps) says something, then one unit after the other.
//!
//! Invariant: an asleep session owns no buffer, and its task is no larger than 1 KiB (`session::run::tests`).

use super::core::Core;
use super::registry::Activity;
use super::{listen, unit};
use crate::clock;
use crate::engine::seam::{Backend, Engine, Exchange, Inbound};
use crate::engine::{TxState, Unasked};
use crate::error::ClientError;
use crate::net::stream::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Why a session is over.
#[derive(Debug)]
pub(super) enum End {
    /// The client has left.
    Left,
    /// It is sent away, with this.
    Sent(Box<ClientError>),
}

/// What woke an idle session.
enum Wake {
    Client,
    Backend,
    /// The shared listener has heard something for it.
    News,
    TimedOut,
    Doomed(Box<ClientError>),
}

/// A logged-in session.
pub struct Session<E: Engine> {
    pub(super) client: Stream,
    pub(super) core: Box<Core<E>>,
}

impl<E: Engine> Session<E> {
    /// Serves the client until it leaves or is sent away.
    pub async fn run(mut self) {
        let end = self.live().await;
        if let End::Sent(error) = end {
            tracing::info!(client = self.core.place.id, user = %self.core.place.user, %error, "client sent away");
            let mut exchange = self.core.exchange.take().unwrap_or_else(|| self.core.take_exchange());
            exchange.refuse(&error.fatal(), self.core.client_tx());
            let farewell = poll_fn(|cx| exchange.poll_flush(cx, &mut self.client));
            // A client that does not read is not waited for.
            drop(tokio::time::timeout(Duration::from_secs(1), farewell).await);
        }
        super::settle::leave(&mut self.core);
    }

    async fn live(&mut self) -> End {
        loop {
            if let Err(end) = self.serve().await {
                return end;
            }
            match self.idle().await {
                Wake::Client => {}
                Wake::Backend => {
                    if let Err(end) = self.unsolicited().await {
                        return end;
                    }
                }
                Wake::News => {
                    if let Err(end) = self.tell().await {
                        return end;
                    }
                }
                Wake::TimedOut => return End::Sent(Box::new(idle_error(&self.core))),
                Wake::Doomed(why) => return End::Sent(why),
            }
        }
    }

    // One unit after the other until nothing of the client is left.
    async fn serve(&mut self) -> Result<(), End> {
        let mut exchange = match self.core.exchange.take() {
            Some(exchange) => exchange,
            None => self.core.take_exchange(),
        };
        loop {
            // In a block: what it is made of is not kept while the unit is served.
            let inbound = {
                let mut patience = None;
                poll_fn(|cx| match exchange.poll_segment(cx, &mut self.client) {
                    Poll::Pending if exchange.is_idle() => Poll::Ready(None),
                    Poll::Pending => match self.core.place.poll_doom(cx) {
                        Some(why) => Poll::Ready(Some(Err(why))),
                        // Half a message, and then nothing.
                        None if is_over(&mut patience, idle_limit(&self.core), cx) => {
                            Poll::Ready(Some(Err(idle_error(&self.core))))
                        }
                        None => Poll::Pending,
                    },
                    Poll::Ready(inbound) => Poll::Ready(Some(inbound)),
                })
                .await
            };
            match inbound {
                None => break,
                Some(Ok(Inbound::Goodbye)) => return Err(End::Left),
                Some(Err(violation)) => {
                    self.core.exchange = Some(exchange);
                    return Err(End::Sent(Box::new(violation)));
                }
                Some(Ok(Inbound::Segment)) => {
                    let now = clock::now();
                    if let Some(pinned) = &self.core.pin_entry {
                        pinned.busy();
                    }
                    self.core.place.last_request.store(now.0, Ordering::Relaxed);
                    let served = unit::serve(&mut self.core, &mut exchange, &mut self.client, now).await;
                    if matches!(served, Err(End::Sent(_))) {
                        // It knows where in the protocol the last word belongs.
                        self.core.exchange = Some(exchange);
                        return served;
                    }
                    served?;
                }
            }
            if let Some(why) = self.core.place.doom().filter(|_| self.core.client_tx() == TxState::Idle) {
                self.core.exchange = Some(exchange);
                return Err(End::Sent(Box::new(why)));
            }
        }
        let idle = self.core.client_tx() == TxState::Idle;
        let idle = if idle { Activity::Idle } else { Activity::IdleInTransaction };
        self.core.place.set_activity(idle);
        if let Some(pinned) = &self.core.pin_entry {
            pinned.idle(clock::now());
        }
        exchange.shrink();
        self.core.shared.return_exchange(exchange);
        Ok(())
    }

    async fn idle(&mut self) -> Wake {
        let limit = idle_limit(&self.core);
        let mut sleep = None;
        poll_fn(|cx| {
            if let Some(why) = self.core.place.poll_doom(cx) {
                return Poll::Ready(Wake::Doomed(Box::new(why)));
            }
            if self.client.poll_readable(cx).is_ready() {
                return Poll::Ready(Wake::Client);
            }
            if listen::has_news(&self.core) {
                return Poll::Ready(Wake::News);
            }
            if let Some(held) = &mut self.core.held
                && held.lease.poll_readable(cx).is_ready()
            {
                return Poll::Ready(Wake::Backend);
            }
            if is_over(&mut sleep, limit, cx) { Poll::Ready(Wake::TimedOut) } else { Poll::Pending }
        })
        .await
    }

    // What the shared listener has heard goes on to the client. A client that does not read is not waited for here.
    async fn tell(&mut self) -> Result<(), End> {
        let mut exchange = self.core.take_exchange();
        listen::tell_idle(&mut self.core, &mut exchange).map_err(|error| End::Sent(Box::new(error)))?;
        let told = poll_fn(|cx| Poll::Ready(exchange.poll_flush(cx, &mut self.client))).await;
        match told {
            Poll::Ready(Ok(())) => self.core.shared.return_exchange(exchange),
            Poll::Ready(Err(_)) => return Err(End::Left),
            Poll::Pending => self.core.exchange = Some(exchange),
        }
        Ok(())
    }

    // A backend that the session keeps said something by itself: notifications go on to the client; a goodbye ends the session, for what
    // the backend held for it (a lock, a temporary table) must not seem to be there.
    async fn unsolicited(&mut self) -> Result<(), End> {
        let mut exchange = match self.core.exchange.take() {
            Some(exchange) => exchange,
            None => self.core.take_exchange(),
        };
        let said = loop {
            exchange.mute(self.core.ears.as_deref().map(listen::Ears::active));
            let Some(held) = &mut self.core.held else { return Ok(()) };
            let said = poll_fn(|cx| match exchange.poll_unsolicited(cx, &mut self.client, &mut held.lease) {
                Poll::Pending => Poll::Ready(None),
                Poll::Ready(said) => Poll::Ready(Some(said)),
            })
            .await;
            let Some(Ok(Unasked::News)) = said else { break said };
            // Somebody's commit came before it.
            self.core.wrote();
            exchange.noted();
        };
        match said {
            None if exchange.is_idle() => {
                self.core.shared.return_exchange(exchange);
                Ok(())
            }
            // Part of a message: the rest is read with whatever comes next.
            None => {
                self.core.exchange = Some(exchange);
                Ok(())
            }
            Some(Ok(_)) => Err(End::Left),
            Some(Err(lost)) => {
                let node = self.core.last_node;
                if let Some(node) = node {
                    self.core.shared.state.suspect(node, &lost.reason);
                }
                let error = match lost.sqlstate {
                    // A time-out of the server's own: its words say it best.
                    Some(sqlstate) if matches!(&sqlstate, b"25P03" | b"25P04" | b"57P05") => {
                        ClientError::server(sqlstate, 0, lost.reason).fatal()
                    }
                    _ => super::lost::lost_while_kept(&self.core, &lost.reason),
                };
                self.core.drop_backend();
                Err(End::Sent(Box::new(error)))
            }
        }
    }
}

fn idle_limit<E: Engine>(core: &Core<E>) -> Duration {
    let timeouts = core.shared.settings.load().timeouts;
    if core.client_tx() == TxState::Idle { timeouts.client_idle } else { timeouts.idle_in_transaction }
}

// Whether `limit` (zero = none) has passed since this was asked first.
fn is_over(sleep: &mut Option<Pin<Box<Sleep>>>, limit: Duration, cx: &mut Context<'_>) -> bool {
    let arm = || Box::pin(tokio::time::sleep_until(clock::deadline(limit)));
    !limit.is_zero() && sleep.get_or_insert_with(arm).as_mut().poll(cx).is_ready()
}

fn idle_error<E: Engine>(core: &Core<E>) -> ClientError {
    if core.client_tx() == TxState::Idle {
        ClientError::new("57P05", 4031, "terminating connection due to idle-session timeout")
            .hint("timeouts.client_idle of the proxy's configuration sets it")
    } else {
        ClientError::new("25P03", 4031, "terminating connection due to idle-in-transaction timeout")
            .hint("timeouts.idle_in_transaction of the proxy's configuration sets it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Postgres;

    fn size_of_future<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_sessions_task_is_at_most_a_kilobyte() {
        let size = size_of_future(Session::<Postgres>::run);
        assert!(size <= 1024, "{size} bytes");
    }
}
