//! The reaper: a small shell that ends servers and removes their directory when the process that started them is gone.
//!
//! It reads from a pipe whose only other end this process holds, so it learns of any end: return, panic, Ctrl-C, SIGKILL. A process
//! group of its own keeps the terminal's Ctrl-C from it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

// SIGQUIT is PostgreSQL's immediate shutdown: unlike SIGKILL it leaves no shared memory behind. A stopped process takes no signal but
// SIGCONT and SIGKILL. A dead child of a living parent stays a zombie (Z) until that parent asks for it.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
running= directories=
while IFS=' ' read -r word value; do
  case $word in
    process) running="$running $value" ;;
    ended) rest=; for pid in $running; do [ "$pid" = "$value" ] || rest="$rest $pid"; done; running=$rest ;;
    directory) directories="$directories
$value" ;;
  esac
done
alive() { kill -0 "$1" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
children() { cat "/proc/$1/task/$1/children"; }
for pid in $running; do kill -QUIT "$pid"; kill -CONT "$pid" $(children "$pid"); done 2>/dev/null
tries=60
for pid in $running; do
  while [ $tries -gt 0 ] && alive "$pid"; do sleep 0.05; tries=$((tries - 1)); done
  kill -KILL "$pid" $(children "$pid")
done 2>/dev/null
IFS='
'
for directory in $directories; do
  rm -rf "$directory" || { sleep 0.5; rm -rf "$directory"; }
done 2>/dev/null
"#;

/// The pipe to a running reaper. Dropping it makes the reaper do its work, and waits for it.
#[derive(Debug)]
pub struct Reaper {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Reaper {
    /// Starts one.
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn start() -> std::io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "primacy-reaper"])
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// This directory is to be removed at the end.
    ///
    /// # Errors
    /// When the reaper is gone.
    pub fn directory(&mut self, path: &Path) -> std::io::Result<()> {
        self.tell("directory", &path.display().to_string())
    }

    /// This process is to be ended at the end.
    ///
    /// # Errors
    /// When the reaper is gone.
    pub fn process(&mut self, pid: u32) -> std::io::Result<()> {
        self.tell("process", &pid.to_string())
    }

    /// This process has ended; its number may soon be another's.
    ///
    /// # Errors
    /// When the reaper is gone.
    pub fn ended(&mut self, pid: u32) -> std::io::Result<()> {
        self.tell("ended", &pid.to_string())
    }

    fn tell(&mut self, word: &str, value: &str) -> std::io::Result<()> {
        match &mut self.pipe {
            Some(pipe) => pipe.write_all(format!("{word} {value}\n").as_bytes()),
            None => Ok(()),
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.pipe = None;
        // Whatever went wrong, nobody is left who could act on it.
        self.child.wait().map(drop).unwrap_or_default();
    }
}
