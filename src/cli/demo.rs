//! `primacy demo`: a throwaway cluster of real servers on this machine, with Primacy in front.

mod check;
mod guide;
mod load;
mod servers;

use super::NOT_RIGHT;
use crate::app::{self, App};
use crate::clock::{self, Tick};
use crate::cluster::Health;
use crate::config::Settings;
use crate::config::settings::EngineKind;
use crate::config::units::{self, parse_duration};
use crate::engine::embedded::machine::free_port;
use crate::task;
use crate::telemetry::logs::Logs;
use anyhow::{Context, ensure};
use clap::ValueEnum;
use servers::Servers;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::runtime::Builder;

/// The cluster's name in the demo's configuration.
const CLUSTER: &str = "demo";
/// Where a Primacy usually listens; a free port is taken instead where somebody does.
const PORT: u16 = 6432;
const ADMIN_PORT: u16 = 9632;
/// What a shell says of a program that was interrupted.
const INTERRUPTED: u8 = 130;
/// How long the monitor may take to find all nodes up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The arguments of `primacy demo`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Args {
    /// Which servers to start
    #[arg(long, value_enum, default_value_t = Engine::Postgres)]
    engine: Engine,
    /// Replicas beside the primary
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    replicas: u8,
    /// Proxies in front of them (more than one: not yet)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    proxies: u8,
    /// Stop after so long, such as `30s` or `10m`, instead of at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    limit: Option<Duration>,
    /// Run a workload through it and print what happened; exit code 0 if every promise held, 2 if not
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Postgres,
    Mysql,
    Mariadb,
}

impl Engine {
    fn kind(self) -> EngineKind {
        match self {
            Self::Postgres => EngineKind::Postgres,
            Self::Mysql => EngineKind::Mysql,
            Self::Mariadb => EngineKind::Mariadb,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("expected {}", units::DURATION))
}

/// What runs.
struct Demo {
    servers: Servers,
    /// Where clients connect, on 127.0.0.1.
    port: u16,
    /// Where operators ask, on 127.0.0.1.
    admin: u16,
    /// The generated configuration.
    config: PathBuf,
    began: Tick,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    ensure!(args.proxies == 1, "--proxies {}: not yet; this version starts one", args.proxies);
    ensure!(
        !args.check || args.engine == Engine::Postgres,
        "--check with MySQL or MariaDB: not yet; without --check the cluster starts"
    );
    let began = clock::now();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let starting = Servers::start(args.engine.kind(), usize::from(args.replicas));
    let servers = runtime.block_on(async {
        tokio::select! {
            started = starting => started.map(Some),
            // Half a cluster goes with the future that was starting it.
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    })?;
    let Some(servers) = servers else { return Ok(ExitCode::from(INTERRUPTED)) };
    let directory = tempfile::Builder::new().prefix("primacy-demo-").tempdir()?;
    let config = directory.path().join("primacy.yaml");
    let demo = Arc::new(Demo { servers, port: port(PORT)?, admin: port(ADMIN_PORT)?, config, began });
    let settings = demo.write_settings()?;
    let logs = Logs::init(&settings.log)?;
    let (tell, told) = mpsc::channel();
    app::run(demo.config.clone(), settings, logs, |app| {
        let (app, demo) = (Arc::clone(app), Arc::clone(&demo));
        let _clients_have_threads_of_their_own = runtime.enter();
        task::spawn("demo", async move {
            // Nobody listens any more after a Ctrl-C.
            drop(tell.send(demo.play(&app, &args).await));
            app.shutdown.notify_one();
        });
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    told.try_recv().unwrap_or_else(|_interrupted| {
        Ok(if args.check { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
    })
}

impl Demo {
    fn write_settings(&self) -> anyhow::Result<Settings> {
        let (port, admin) = (self.port, self.admin);
        let text = format!(
            "clusters:\n  {CLUSTER}:\n    listen: 127.0.0.1:{port}\n{}    timeouts: {{ shutdown: 3s }}\n\
             admin: {{ listen: 127.0.0.1:{admin} }}\nlog: {{ level: warn }}\n",
            self.servers.yaml()
        );
        std::fs::write(&self.config, text).with_context(|| format!("writing {}", self.config.display()))?;
        Settings::load(&self.config).map_err(|errors| anyhow::anyhow!("{errors}"))
    }

    async fn play(&self, app: &App, args: &Args) -> anyhow::Result<ExitCode> {
        all_up(app).await?;
        write!(std::io::stdout(), "{}", guide::heading(self))?;
        if args.check {
            let report = check::run(self, app).await?;
            write!(std::io::stdout(), "\n{report}")?;
            return Ok(if report.held() { ExitCode::SUCCESS } else { ExitCode::from(NOT_RIGHT) });
        }
        write!(std::io::stdout(), "{}", guide::things_to_try(self))?;
        match args.limit {
            Some(limit) => tokio::time::sleep_until(clock::deadline(limit)).await,
            None => std::future::pending().await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Waits until the monitor has found the primary, and every replica good for reads.
async fn all_up(app: &App) -> anyhow::Result<()> {
    let clusters = app.clusters.load_full();
    let state = clusters.first().context("the demo has no cluster")?.state();
    let ready = async {
        loop {
            let view = state.view.load_full();
            let good = view.nodes.iter().all(|node| node.health == Health::Up && node.unfit.is_none());
            if view.primary.is_some() && good {
                return;
            }
            state.rounds.ask();
            state.rounds.after(state.rounds.completed()).await;
        }
    };
    let limit = clock::deadline(PATIENCE);
    tokio::time::timeout_at(limit, ready).await.context("the monitor did not find all servers up in 30 s")
}

/// The usual port, or a free one where somebody listens on it.
fn port(usual: u16) -> anyhow::Result<u16> {
    Ok(if TcpListener::bind(("127.0.0.1", usual)).is_ok() { usual } else { free_port()? })
}
