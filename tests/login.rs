//! Promise: whoever could log in to the server can log in through Primacy with the same words, whoever could not is told the same.

mod backend;
mod client;
mod options;
mod words;

use crate::support::{Database, Servers};
use parking_lot::Mutex;
use primacy::config::settings::{
    self, ClientTlsMode, ListenAddress, Passthrough, PgHba, ServerTls, ServerTlsMode, Users,
};
use primacy::config::units::Secret;
use primacy::engine::identity::{Credentials, LookupError, UserRecord, UserSource};
use primacy::engine::{TxState, embedded::Endpoint};
use primacy::net::Stream;
use primacy::net::firewall::Firewall;
use primacy::net::listener::Listener;
use primacy::net::tls::{Acceptor, Connector};
use primacy::postgres::accept::{AcceptError, Door, Here, Knock, Login, accept};
use primacy::postgres::auth::KeyCache;
use primacy::postgres::login::{self, OpenError, Target};
use primacy::postgres::wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};

/// Looks users up in the server, as the monitor does.
struct FromServer(tokio_postgres::Client);

impl UserSource for FromServer {
    async fn user(&self, name: &str) -> Result<Option<Arc<UserRecord>>, LookupError> {
        let text =
            "SELECT rolpassword, rolcanlogin, rolsuper, rolvaliduntil FROM pg_authid WHERE rolname = $1";
        let row = self
            .0
            .query_opt(text, &[&name])
            .await
            .map_err(|error| LookupError::Unreachable(error.to_string().into()))?;
        Ok(row.map(|row| {
            Arc::new(UserRecord {
                verifier: row.get::<_, Option<String>>(0).map(Secret::new),
                valid_until: row.get(3),
                can_login: row.get(1),
                superuser: row.get(2),
                connection_limit: None,
            })
        }))
    }
}

/// A front door with nothing behind it but one login per client and a relay.
struct Front {
    address: ListenAddress,
    stop: watch::Sender<bool>,
    outcomes: mpsc::UnboundedReceiver<Result<(), AcceptError>>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Front {
    async fn open(listen: ListenAddress, users: Users, mode: ClientTlsMode, tls: Option<Acceptor>) -> Self {
        let servers = Servers::postgres().await;
        let source = Arc::new(FromServer(servers.admin(0, "postgres").await));
        let door = Arc::new(Door::new(&users, mode, tls, source, [7; 32]).unwrap());
        let target = Arc::new(target(&servers.endpoints[0], ServerTlsMode::Disable));
        let listener = Listener::bind(&listen).unwrap();
        let address = listener.address().unwrap();
        let newest = newest(servers);
        let (stop, stopped) = watch::channel(false);
        let (report, outcomes) = mpsc::unbounded_channel();
        let firewall = Mutex::new(Firewall::new(settings::Firewall {
            allow: Vec::new(),
            deny: Vec::new(),
            connections_per_second: 0,
            failed_logins_limit: 0,
            failed_logins_block: Duration::ZERO,
        }));
        primacy::task::spawn("front", async move {
            let serve = |stream: Stream, _| {
                let (door, target, report) = (door.clone(), target.clone(), report.clone());
                primacy::task::spawn("client", async move {
                    let outcome =
                        match accept(stream, &door, &Here { newest, consoles: ["primacy", "pgbouncer"] })
                            .await
                        {
                            Ok(Knock::Login(login)) => {
                                report.send(Ok(())).unwrap_or_default();
                                return relay(*login, &target).await;
                            }
                            Ok(Knock::Cancel { pid, key, encrypted }) => {
                                login::cancel(&target, encrypted, pid, &key).await.unwrap();
                                Ok(())
                            }
                            Err(error) => Err(error),
                        };
                    report.send(outcome).unwrap_or_default();
                });
            };
            listener.run(&firewall, stopped, serve).await;
        });
        Self { address, stop, outcomes }
    }

    async fn tcp(users: Users) -> Self {
        Self::open(ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), users, ClientTlsMode::Prefer, None)
            .await
    }

    fn port(&self) -> u16 {
        match &self.address {
            ListenAddress::Tcp(address) => address.port(),
            ListenAddress::Unix(_) => panic!("a unix socket has no port"),
        }
    }
}

/// The newest protocol version that the servers speak.
fn newest(servers: &Servers) -> u32 {
    let major: u32 = servers.version.split('.').next().unwrap().parse().unwrap();
    if major >= 18 { wire::PROTOCOL_3_2 } else { wire::PROTOCOL_3_0 }
}

async fn relay(mut login: Login, target: &Target) {
    let mut out = Vec::new();
    match login::open(target, &login.user, &login.database, &login.credentials).await {
        Ok(mut opened) => {
            wire::authentication_ok(&mut out);
            opened.parameters.iter().for_each(|(name, value)| wire::parameter_status(&mut out, name, value));
            wire::backend_key_data(&mut out, opened.pid, &opened.key);
            wire::ready_for_query(&mut out, TxState::Idle);
            login.stream.write_all(&out).await.unwrap();
            login.stream.flush().await.unwrap();
            // A client may go away in whatever way.
            tokio::io::copy_bidirectional(&mut login.stream, &mut opened.stream).await.unwrap_or_default();
        }
        Err(OpenError::Refused(error)) => {
            wire::message(&mut out, b'E', |out| {
                for (kind, text) in [(b'S', &error.severity), (b'C', &error.sqlstate), (b'M', &error.message)]
                {
                    out.push(kind);
                    wire::cstr(out, text);
                }
                out.push(0);
            });
            login.stream.write_all(&out).await.unwrap();
            login.stream.shutdown().await.unwrap();
        }
        Err(error) => panic!("{error}"),
    }
}

fn target(endpoint: &Endpoint, mode: ServerTlsMode) -> Target {
    target_with(endpoint, &ServerTls { mode, ca: None })
}

fn target_with(endpoint: &Endpoint, tls: &ServerTls) -> Target {
    Target {
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        tls: Arc::new(Connector::load(tls).unwrap()),
        keys: KeyCache::new([3; 32]),
    }
}

fn users(passthrough: Passthrough) -> Users {
    Users { passthrough, pg_hba: PgHba::Off, list: Vec::new() }
}

fn password(database: &Database) -> Credentials {
    Credentials::Password(Secret::new(database.password.clone()))
}
