//! The gate: what every statement to a primary asks before it leaves, and every success of a write before it is passed on.

use crate::engine::{Epoch, NodeId};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Which node may be spoken to as the primary *now*, under which epoch. One atomic load on the hot path.
#[derive(Debug, Default)]
pub struct Gate {
    /// Epoch in the upper 56 bits, node + 1 in the lower 8; lower bits 0 = closed.
    word: AtomicU64,
    changed: Notify,
}

/// A leave to speak to the primary, good while the gate still shows the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The primary.
    pub node: NodeId,
    /// Under which epoch.
    pub epoch: Epoch,
}

impl Gate {
    /// The primary that may be spoken to now; `None` = wait.
    #[must_use]
    pub fn now(&self) -> Option<Pass> {
        Self::unpack(self.word.load(Ordering::Acquire))
    }

    /// Whether `pass` is still good: asked before the success of a write is passed on.
    #[must_use]
    pub fn holds(&self, pass: Pass) -> bool {
        self.now() == Some(pass)
    }

    /// Opens for `pass`, and wakes who waits.
    pub fn open(&self, pass: Pass) {
        self.word.store(pass.epoch.0 << 8 | (u64::from(pass.node.0) + 1), Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Closes: nobody may speak to a primary until it opens again.
    pub fn close(&self) {
        self.word.fetch_and(!0xff, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Waits until `pass` is not good any more. Cancel safe.
    pub async fn lost(&self, pass: Pass) {
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if !self.holds(pass) {
                return;
            }
            notified.await;
        }
    }

    /// Waits until the gate is open. Cancel safe.
    pub async fn opened(&self) -> Pass {
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(pass) = self.now() {
                return pass;
            }
            notified.await;
        }
    }

    fn unpack(word: u64) -> Option<Pass> {
        let node = u8::try_from(word & 0xff).unwrap_or(0).checked_sub(1)?;
        Some(Pass { node: NodeId(node), epoch: Epoch(word >> 8) })
    }
}
