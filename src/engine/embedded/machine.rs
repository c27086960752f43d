//! What embedded servers need of the machine: a directory, an unprivileged user, free ports, processes that end with us.

use super::reaper::Reaper;
use super::{EmbeddedError, PATIENCE};
use crate::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use parking_lot::Mutex;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Below the range from which the system takes the ports of outgoing connections: a stopped server finds its port still free.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A unix socket's path holds 107 bytes; a server's socket adds some 30 to the directory's.
const DIRECTORY_LENGTH_MAX: usize = 70;

/// How often the state of a process or server is asked while something is waited for.
pub const POLL: Duration = Duration::from_millis(10);

/// A temporary directory, the account that servers run as, and the reaper that ends them.
#[derive(Debug)]
pub struct Machine {
    directory: PathBuf,
    // None: we are not root, servers run as we do.
    account: Option<User>,
    reaper: Mutex<Reaper>,
}

impl Machine {
    /// Makes the directory and starts the reaper. As root the servers run as the first of `accounts` that exists.
    ///
    /// # Errors
    /// When there is no directory for temporary files, or no such account.
    pub fn prepare(accounts: &[&str]) -> Result<Self, EmbeddedError> {
        let temporary = std::env::temp_dir();
        let parent =
            if temporary.as_os_str().len() > DIRECTORY_LENGTH_MAX { Path::new("/tmp") } else { &temporary };
        let account = unprivileged(accounts)?;
        let mut reaper = Reaper::start().map_err(EmbeddedError::io("starting /bin/sh"))?;
        let made = tempfile::Builder::new().prefix("primacy-").tempdir_in(parent);
        let made = made.map_err(EmbeddedError::io(format!("a directory in {}", parent.display())))?;
        reaper.directory(made.path()).map_err(EmbeddedError::io("the reaper"))?;
        let directory = made.keep();
        let machine = Self { directory, account, reaper: Mutex::new(reaper) };
        machine.own(&machine.directory)?;
        Ok(machine)
    }

    /// The directory; removed at the end.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The account that servers run as, when it is not our own.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_ref().map(|user| user.name.as_str())
    }

    /// Gives a file or directory to the servers' account, for it alone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn own(&self, path: &Path) -> Result<(), EmbeddedError> {
        let failed = || EmbeddedError::io(format!("handing over {}", path.display()));
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed())?;
        let Some(user) = &self.account else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(failed())
    }

    /// Writes a file that belongs to the servers' account.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&self, path: &Path, text: &str) -> Result<(), EmbeddedError> {
        fs::write(path, text).map_err(EmbeddedError::io(format!("writing {}", path.display())))?;
        self.own(path)
    }

    /// Makes a directory that belongs to the servers' account.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make_directory(&self, name: &str) -> Result<PathBuf, EmbeddedError> {
        let path = self.directory.join(name);
        fs::create_dir(&path).map_err(EmbeddedError::io(format!("making {}", path.display())))?;
        self.own(&path)?;
        Ok(path)
    }

    /// A command in a clean environment; `drop_root` says whether it starts as the servers' account.
    #[must_use]
    pub fn command(&self, program: &Path, drop_root: bool) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("LC_ALL", "C");
        command.current_dir(&self.directory).stdin(Stdio::null()).process_group(0);
        if let Some(user) = self.account.as_ref().filter(|_| drop_root) {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started or ends with an error.
    pub async fn run(&self, what: &str, mut command: Command) -> Result<(), EmbeddedError> {
        let log = tempfile::tempfile().map_err(EmbeddedError::io("a temporary file"))?;
        let copy = || log.try_clone().map_err(EmbeddedError::io("a temporary file"));
        command.stdout(copy()?).stderr(copy()?);
        let process = self.spawn(what, command)?;
        if process.wait(self, PATIENCE).await? == Some(true) {
            return Ok(());
        }
        Err(EmbeddedError::Program { what: what.to_owned(), output: tail(log) })
    }

    /// Starts a process that the reaper knows.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, what: &str, mut command: Command) -> Result<Process, EmbeddedError> {
        // One lock over both: the reaper is told of every process before it could be told of its end.
        let mut reaper = self.reaper.lock();
        let program = command.get_program().to_owned();
        let child = command
            .spawn()
            .map_err(EmbeddedError::io(format!("{what}: starting {}", Path::new(&program).display())))?;
        let pid = child.id();
        let process = Process { pid, child: Mutex::new(child) };
        reaper.process(pid).map_err(EmbeddedError::io("the reaper"))?;
        Ok(process)
    }
}

/// A process that we started. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    child: Mutex<Child>,
}

impl Process {
    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// `None` while it runs, then whether it succeeded.
    pub fn ended(&self) -> Option<bool> {
        // An error means that somebody else asked for its end first.
        self.child.lock().try_wait().map_or(Some(false), |status| status.map(|status| status.success()))
    }

    /// Sends it a signal, if it still runs.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<(), EmbeddedError> {
        if self.ended().is_some() {
            return Ok(());
        }
        kill(pid_of(self.pid), signal).map_err(|error| EmbeddedError::Io {
            what: format!("sending {signal} to process {}", self.pid),
            source: error.into(),
        })
    }

    /// Freezes it and its children, or lets them go on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_frozen(&self, frozen: bool) -> Result<(), EmbeddedError> {
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        // A frozen parent makes no further children while they are counted.
        self.signal(signal)?;
        for child in self.children()? {
            // A child may have ended since.
            kill(Pid::from_raw(child), signal).unwrap_or_default();
        }
        Ok(())
    }

    /// Its children, as of now.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn children(&self) -> Result<Vec<i32>, EmbeddedError> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = fs::read_to_string(&path).map_err(EmbeddedError::io(path))?;
        Ok(children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Waits for its end: `Some(whether it succeeded)`, or `None` when it still runs after `limit`.
    ///
    /// # Errors
    /// When the reaper is gone.
    pub async fn wait(&self, machine: &Machine, limit: Duration) -> Result<Option<bool>, EmbeddedError> {
        let since = clock::now();
        loop {
            if let Some(success) = self.ended() {
                machine.reaper.lock().ended(self.pid).map_err(EmbeddedError::io("the reaper"))?;
                return Ok(Some(success));
            }
            if clock::now().since(since) > limit {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        // Already dead in most cases; then both calls say so, and there is nothing to do about it.
        child.kill().and_then(|()| child.wait()).map(drop).unwrap_or_default();
    }
}

/// Whether a process runs: it is there, and neither ended nor frozen.
#[must_use]
pub fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the state may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'T' | 'Z' | 'X'))
}

/// The system's type for a process number.
#[must_use]
pub fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

/// A loopback port on which nobody listens; somebody may take it before it is used.
///
/// # Errors
/// When none is found.
pub fn free_port() -> Result<u16, EmbeddedError> {
    for _ in 0..1_000 {
        let mut random = [0; 2];
        clock::random(&mut random).map_err(EmbeddedError::io("random numbers"))?;
        let span = PORTS.end - PORTS.start;
        let port = PORTS.start + u16::from_ne_bytes(random) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(EmbeddedError::Io { what: "a free port".into(), source: std::io::ErrorKind::AddrInUse.into() })
}

/// The end of a file of text.
pub fn tail(mut file: File) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    const LENGTH: u64 = 2_000;
    let end = file.seek(SeekFrom::End(0)).unwrap_or(0);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(end.saturating_sub(LENGTH)))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn unprivileged(accounts: &[&str]) -> Result<Option<User>, EmbeddedError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let found = accounts.iter().find_map(|name| User::from_name(name).ok().flatten());
    found.map(Some).ok_or_else(|| EmbeddedError::Io {
        what: format!("servers do not run as root, and none of the users {accounts:?} exists"),
        source: std::io::ErrorKind::NotFound.into(),
    })
}
