//! The servers of one embedded cluster as processes: which run, which is the primary, how one is started and ended.

use super::machine::{Machine, POLL, Process, free_port, runs, tail};
use super::{EmbeddedError, Endpoint, PATIENCE};
use crate::clock;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The servers of one cluster.
#[derive(Debug)]
pub struct Servers {
    // Dropped first: the reaper ends the servers in order before their handles kill what is left.
    machine: Machine,
    endpoints: Vec<Endpoint>,
    // By node; None = stopped.
    processes: Vec<Mutex<Option<Arc<Process>>>>,
    primary: AtomicUsize,
}

impl Servers {
    /// A directory per node and a port for each; nothing runs yet. Nodes are called `prefix` and a number from 1.
    ///
    /// # Errors
    /// When the machine has no place for them.
    pub fn prepare(accounts: &[&str], prefix: &str, count: usize) -> Result<Self, EmbeddedError> {
        let machine = Machine::prepare(accounts)?;
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for node in 0..count {
            machine.make_directory(&format!("n{node}"))?;
            let mut port = free_port()?;
            while endpoints.iter().any(|other| other.port == port) {
                port = free_port()?;
            }
            endpoints.push(Endpoint {
                name: format!("{prefix}{}", node + 1),
                host: "127.0.0.1".into(),
                port,
            });
        }
        let processes = endpoints.iter().map(|_| Mutex::new(None)).collect();
        Ok(Self { machine, endpoints, processes, primary: AtomicUsize::new(0) })
    }

    /// Where they live.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// All of them.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn endpoint(&self, node: usize) -> Result<&Endpoint, EmbeddedError> {
        self.endpoints
            .get(node)
            .ok_or_else(|| EmbeddedError::State { node: node.to_string(), what: "no such node" })
    }

    /// A node's own directory; its log is `log` in it.
    #[must_use]
    pub fn home(&self, node: usize) -> PathBuf {
        self.machine.directory().join(format!("n{node}"))
    }

    /// The node that was made primary last.
    #[must_use]
    pub fn primary(&self) -> usize {
        self.primary.load(Ordering::Acquire)
    }

    /// From now on this is the primary.
    pub fn set_primary(&self, node: usize) {
        self.primary.store(node, Ordering::Release);
    }

    /// Whether a node was started and not stopped since.
    #[must_use]
    pub fn running(&self, node: usize) -> bool {
        self.processes.get(node).is_some_and(|process| process.lock().is_some())
    }

    /// Every running node but the primary.
    pub fn replicas(&self) -> impl Iterator<Item = usize> + '_ {
        let primary = self.primary();
        (0..self.endpoints.len()).filter(move |node| *node != primary && self.running(*node))
    }

    /// A node's process.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn process(&self, node: usize) -> Result<Arc<Process>, EmbeddedError> {
        let node_name = self.endpoint(node)?.name.clone();
        let process = self.processes.get(node).and_then(|process| process.lock().clone());
        process.ok_or(EmbeddedError::State { node: node_name, what: "it is stopped" })
    }

    fn set_process(&self, node: usize, process: Option<Arc<Process>>) {
        if let Some(slot) = self.processes.get(node) {
            *slot.lock() = process;
        }
    }

    /// Ends a node by a signal and waits for its end. A frozen node is thawed first: it could not obey.
    ///
    /// # Errors
    /// When it is stopped already, or does not end.
    pub async fn end(&self, node: usize, signal: Signal) -> Result<(), EmbeddedError> {
        let process = self.process(node)?;
        let killed = signal == Signal::SIGKILL && process.ended().is_none();
        if signal != Signal::SIGKILL && process.ended().is_none() {
            process.set_frozen(false)?;
        }
        let children = if killed { process.children()? } else { Vec::new() };
        process.signal(signal)?;
        if process.wait(&self.machine, PATIENCE).await?.is_none() {
            return Err(EmbeddedError::Late { what: format!("the end of {}", self.endpoint(node)?.name) });
        }
        self.set_process(node, None);
        // Children of a killed parent notice a moment later, and until then the server cannot be started again.
        self.until("the end of the children", node, async || Ok(!children.iter().any(|pid| runs(*pid)))).await
    }

    /// Starts a node's server, its output to the node's log, and waits until `ready`.
    ///
    /// # Errors
    /// When it runs already, ends, or does not become ready.
    pub async fn launch<R: Future<Output = bool> + Send>(
        &self,
        node: usize,
        mut command: Command,
        ready: impl Fn() -> R + Send,
    ) -> Result<(), EmbeddedError> {
        let name = self.endpoint(node)?.name.clone();
        if self.running(node) {
            return Err(EmbeddedError::State { node: name, what: "it runs already" });
        }
        let path = self.home(node).join("log");
        let log = File::options().create(true).append(true).read(true).open(&path);
        let log = log.map_err(EmbeddedError::io(format!("opening {}", path.display())))?;
        let handle = || log.try_clone().map_err(EmbeddedError::io("duplicating a log's handle"));
        command.stdout(handle()?).stderr(handle()?);
        let process = Arc::new(self.machine.spawn(&name, command)?);
        self.set_process(node, Some(process.clone()));
        let since = clock::now();
        while !ready().await {
            let late = clock::now().since(since) > PATIENCE;
            if late || process.wait(&self.machine, POLL).await?.is_some() {
                self.set_process(node, None);
                let what = if late { "is not ready" } else { "ended" };
                return Err(EmbeddedError::Program {
                    what: format!("starting {name} ({what})"),
                    output: tail(log),
                });
            }
        }
        Ok(())
    }

    /// Asks until the answer is yes.
    ///
    /// # Errors
    /// Those of the question, or when the answer stays no.
    pub async fn until<A: Future<Output = Result<bool, EmbeddedError>> + Send>(
        &self,
        what: &str,
        node: usize,
        ask: impl Fn() -> A + Send,
    ) -> Result<(), EmbeddedError> {
        let since = clock::now();
        while !ask().await? {
            if clock::now().since(since) > PATIENCE {
                return Err(EmbeddedError::Late { what: format!("{what} on {}", self.endpoint(node)?.name) });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// The first column of the first row; empty when there is none, or NULL.
#[must_use]
pub fn first(rows: super::Rows) -> String {
    rows.into_iter().flatten().next().flatten().unwrap_or_default()
}
