//! One timer a session, re-armed only when it went off too early: a wait that ends in time costs no timer at all.

use crate::clock::{self, Tick};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// A session's timer.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when `deadline` has come. An earlier deadline of a wait that is over may wake the task for nothing once.
    pub(super) fn poll(&mut self, deadline: Tick, cx: &mut Context<'_>) -> Poll<()> {
        let at = clock::instant(deadline);
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}
