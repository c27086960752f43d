//! The only way to start a task: named for the log, never detached without a name.

use std::future::Future;
use tokio::task::JoinHandle;

/// Starts `future` on the current runtime. `name` says in one word what the task is for.
#[expect(clippy::disallowed_methods, reason = "this module is where tasks start")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tracing::trace!(task = name, "task started");
    tokio::spawn(future)
}

/// Runs a computation that would keep an I/O thread busy (password hashing, parsing of long texts) on the blocking pool.
pub fn blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work)
}
