//! A Primacy of a test's own: the real binary, on free ports, watched. A WARN or ERROR that the test did not name fails the test.

use super::{eventually, http};
use primacy::engine::embedded::machine::free_port;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// What to write into the configuration file.
#[derive(Debug, Clone)]
pub struct Config {
    cluster: String,
    admin: String,
    top: String,
}

impl Config {
    /// In front of these servers (`Servers::yaml`, `Embedded::yaml`), everything else by default.
    pub fn new(servers_yaml: &str) -> Self {
        Self { cluster: servers_yaml.to_owned(), admin: String::new(), top: String::new() }
    }

    /// One more key of the cluster, on one line: `pool: { size: 2 }`.
    pub fn cluster(mut self, line: &str) -> Self {
        self.cluster.push_str(&format!("    {line}\n"));
        self
    }

    /// One more key of `admin`: `users: [ops]`.
    pub fn admin(mut self, key: &str) -> Self {
        self.admin.push_str(&format!(", {key}"));
        self
    }

    /// One more key of the file, on one line: `runtime: { workers: 1 }`.
    pub fn top(mut self, line: &str) -> Self {
        self.top.push_str(&format!("{line}\n"));
        self
    }

    /// The file's text.
    pub fn text(&self, port: u16, admin_port: u16) -> String {
        format!(
            "clusters:\n  main:\n    listen: \"127.0.0.1:{port}\"\n{}admin: {{ listen: \"127.0.0.1:{admin_port}\", token: {TOKEN}{} }}\n\
             log: {{ format: json, slow_query: 200ms }}\n{}",
            self.cluster, self.admin, self.top
        )
    }
}

/// The admin token of every instance.
pub const TOKEN: &str = "test-token";

/// A running instance; stopped when dropped.
#[derive(Debug)]
pub struct Primacy {
    child: Child,
    /// Where clients connect, on 127.0.0.1.
    pub port: u16,
    /// Where operators ask, on 127.0.0.1.
    pub admin_port: u16,
    log: Arc<parking_lot::Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    expected: parking_lot::Mutex<Vec<String>>,
    directory: TempDir,
}

impl Primacy {
    /// Starts one and waits until it says that it is ready.
    pub async fn start(config: Config) -> Self {
        let (port, admin_port) = (free_port().unwrap(), free_port().unwrap());
        let directory = tempfile::Builder::new().prefix("primacy-test-").tempdir().unwrap();
        let path = directory.path().join("primacy.yaml");
        std::fs::write(&path, config.text(port, admin_port)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_primacy"))
            .arg("run")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
        let reader = Some(std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| into.lock().push(line))
        }));
        // What the machine allows is not the test's.
        let expected = parking_lot::Mutex::new(vec!["the limit of open files is low".to_owned()]);
        let mut started = Self { child, port, admin_port, log, reader, expected, directory };
        started.wait_ready().await;
        started
    }

    async fn wait_ready(&mut self) {
        let (child, log, port) = (&mut self.child, &self.log, self.admin_port);
        eventually("Primacy is ready", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("primacy run ended with {status}:\n{}", log.lock().join("\n"));
            }
            async move { http::get(port, "/readyz").await.ok().filter(|(status, _)| *status == 200) }
        })
        .await;
    }

    /// Its configuration file.
    pub fn config_path(&self) -> std::path::PathBuf {
        self.directory.path().join("primacy.yaml")
    }

    /// Writes another configuration and asks for a reload by SIGHUP; that it is done shows in the log or the status.
    pub fn reload(&self, config: &Config) {
        std::fs::write(self.config_path(), config.text(self.port, self.admin_port)).unwrap();
        self.signal(nix::sys::signal::Signal::SIGHUP);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = primacy::engine::embedded::machine::pid_of(self.child.id());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far, one JSON object a line.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// A warning or error that has this in its line is part of the test.
    pub fn expect_log(&self, fragment: &str) {
        self.expected.lock().push(fragment.to_owned());
    }

    /// Waits for a line with this in it; such a line is then expected.
    pub async fn wait_log(&self, fragment: &str) -> String {
        self.expect_log(fragment);
        eventually(&format!("a log line with {fragment:?}"), async || {
            self.log.lock().iter().find(|line| line.contains(fragment)).cloned()
        })
        .await
    }

    /// Stops it in order (SIGTERM) and returns whether it ended well.
    pub async fn stop(&mut self) -> bool {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.ended().await
    }

    /// Waits until it ends by itself and returns whether it ended well.
    pub async fn ended(&mut self) -> bool {
        let child = &mut self.child;
        eventually("Primacy ends", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await
        .success()
    }

    fn unexpected(&self) -> Vec<String> {
        let expected = self.expected.lock();
        let loud = |line: &&String| {
            let level = serde_json::from_str::<serde_json::Value>(line).ok();
            let level = level.as_ref().and_then(|entry| entry.get("level")).and_then(|level| level.as_str());
            // What is no JSON is a panic's message or the like.
            !matches!(level, Some("INFO" | "DEBUG" | "TRACE" | "info" | "debug" | "trace"))
        };
        let log = self.log.lock();
        let unnamed = log.iter().filter(loud).filter(|line| !expected.iter().any(|part| line.contains(part)));
        unnamed.cloned().collect()
    }
}

impl Drop for Primacy {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
        self.reader.take().map(std::thread::JoinHandle::join);
        if std::thread::panicking() {
            eprintln!("--- Primacy's log\n{}", self.log.lock().join("\n"));
            return;
        }
        let unexpected = self.unexpected();
        assert!(
            unexpected.is_empty(),
            "Primacy logged what the test did not name:\n{}",
            unexpected.join("\n")
        );
    }
}
