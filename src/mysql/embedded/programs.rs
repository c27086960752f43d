//! Where MySQL's and MariaDB's servers are on this machine, and how a data directory is made.

use crate::config::settings::EngineKind;
use crate::engine::embedded::EmbeddedError;
use crate::engine::embedded::machine::Machine;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The system tables of a new MariaDB data directory, in this order.
const MARIADB_TABLES: [&str; 5] = [
    "mariadb_system_tables.sql",
    "mariadb_performance_tables.sql",
    "mariadb_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql",
    "mariadb_sys_schema.sql",
];

/// Where packages put servers.
const DIRECTORIES: &[&str] =
    &["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/mysql/bin", "/usr/libexec", "/opt/homebrew/bin"];

/// One installation.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) dialect: EngineKind,
    pub(super) server: PathBuf,
    // The `usr` of a tree that was unpacked and not installed: what is compiled in leads nowhere.
    unpacked: Option<PathBuf>,
}

impl Programs {
    /// The named program, else the first that is found: in the usual places, then where `scripts/setup` unpacks servers.
    pub(super) fn find(dialect: EngineKind, named: Option<&Path>) -> Result<Self, EmbeddedError> {
        let (program, what, variable) = match dialect {
            EngineKind::Mysql => ("mysqld", "MySQL 8.0 or newer", "PRIMACY_MYSQLD"),
            _ => ("mariadbd", "MariaDB 10.6 or newer", "PRIMACY_MARIADBD"),
        };
        let unpacked =
            if program == "mysqld" { "target/servers/mysql/bin" } else { "target/servers/mariadb/bin" };
        let usual = DIRECTORIES.iter().chain([&unpacked]).map(|directory| Path::new(directory).join(program));
        let mut candidates: Vec<PathBuf> =
            named.map_or_else(|| usual.collect(), |path| vec![path.to_owned()]);
        candidates.retain(|path| path.exists() && (dialect == EngineKind::Mariadb || !is_mariadb(path)));
        // The servers are started from another directory.
        let server = candidates.first().and_then(|path| std::path::absolute(path).ok());
        let server = server.ok_or_else(|| EmbeddedError::NotFound {
            what,
            looked: named.map_or_else(
                || format!("{}, {unpacked}", DIRECTORIES.join(", ")),
                |path| path.display().to_string(),
            ),
            variable,
        })?;
        let tree = server.parent().and_then(Path::parent).map(|top| top.join("root/usr"));
        Ok(Self { dialect, server, unpacked: tree.filter(|usr| usr.is_dir()) })
    }

    /// The server's command, up to the options that say where and as what it runs.
    pub(super) fn server(&self, machine: &Machine) -> Command {
        // The server drops root itself: its program may lie where only root may look.
        let mut command = machine.command(&self.server, false);
        command.arg("--no-defaults");
        if let Some(usr) = &self.unpacked {
            command.arg(format!("--basedir={}", usr.display()));
            command.arg(format!("--plugin-dir={}", usr.join("lib/mysql/plugin").display()));
            if let Some(share) = self.share() {
                command.arg(format!("--lc-messages-dir={}", share.display()));
                command.arg(format!("--character-sets-dir={}", share.join("charsets").display()));
            }
        }
        if let Some(account) = machine.account() {
            command.arg(format!("--user={account}"));
        }
        command
    }

    /// Makes a data directory whose `root` has no password and is reached by the unix socket alone.
    pub(super) async fn initialise(&self, machine: &Machine, data: &Path) -> Result<(), EmbeddedError> {
        if self.dialect == EngineKind::Mysql {
            let mut command = self.server(machine);
            command.args(["--initialize-insecure", "--skip-log-bin", "--innodb-doublewrite=OFF"]);
            command.args(["--innodb-redo-log-capacity=64M", "--innodb-flush-method=nosync"]);
            command.arg(format!("--datadir={}", data.display()));
            return machine.run("mysqld --initialize-insecure", command).await;
        }
        // What mariadb-install-db does, which does not work in an unpacked tree: the server reads these files.
        let share = self.share().ok_or_else(|| EmbeddedError::Program {
            what: "making a MariaDB data directory".into(),
            output: "no directory share/mariadb or share/mysql with mariadb_system_tables.sql".into(),
        })?;
        let mut text = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n".to_owned();
        for file in MARIADB_TABLES {
            let path = share.join(file);
            text += &fs::read_to_string(&path)
                .map_err(EmbeddedError::io(format!("reading {}", path.display())))?;
            text.push('\n');
        }
        let script = data.with_extension("sql");
        machine.write(&script, &text)?;
        fs::create_dir(data).map_err(EmbeddedError::io(format!("making {}", data.display())))?;
        machine.own(data)?;
        let mut command = self.server(machine);
        command.args(["--bootstrap", "--skip-networking", "--log-warnings=0", "--max-allowed-packet=8M"]);
        command.args(["--enforce-storage-engine=", "--innodb-log-file-size=16M"]);
        command.arg(format!("--datadir={}", data.display()));
        command
            .stdin(File::open(&script).map_err(EmbeddedError::io(format!("opening {}", script.display())))?);
        machine.run("mariadbd --bootstrap", command).await
    }

    /// Where messages, character sets and the system tables' definitions are.
    fn share(&self) -> Option<PathBuf> {
        let usr = self.unpacked.as_deref().unwrap_or(Path::new("/usr"));
        let file = if self.dialect == EngineKind::Mysql { "charsets/Index.xml" } else { MARIADB_TABLES[0] };
        ["share/mariadb", "share/mysql"]
            .map(|share| usr.join(share))
            .into_iter()
            .find(|share| share.join(file).exists())
    }
}

/// Debian's MariaDB is found under MySQL's name too.
fn is_mariadb(program: &Path) -> bool {
    let version = Command::new(program).args(["--no-defaults", "--version"]).output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("MariaDB"))
}
