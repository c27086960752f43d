//! PostgreSQL's door: the handshake's outcome in neutral words, and the greeting.

use super::accept::{self, AcceptError, Door, Here};
use super::auth::Key;
use super::backend::{Backend, Connector};
use super::catalog::Loader;
use super::connections::{Account, Connections};
use super::exchange::Exchange;
use super::hba::reader::Reader;
use super::lookup::Lookups;
use super::{walsender, wire};
use crate::config::settings::{Cluster, Node, PgHba};
use crate::engine::TxState;
use crate::engine::door::{Caller, Front, Guest, Knock, Limits, Nodes, Through, TurnedAway};
use crate::engine::identity::LookupError;
use crate::engine::seam::{Engine, Identity};
use crate::engine::table::Reply;
use crate::engine::words::Dialect;
use crate::error::{ClientError, Retry};
use crate::net::stream::Stream;
use crate::net::tls::Acceptor;
use futures_util::future::BoxFuture;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// The engine of PostgreSQL.
#[derive(Debug)]
pub struct Postgres;

impl Engine for Postgres {
    type Exchange = Exchange;
    type Backend = Backend;
    type Loader = Loader;
    type Ear = super::ear::Ear;
    const DIALECT: Dialect = Dialect::Postgres;
}

/// What PostgreSQL's listeners know.
pub struct Entrance {
    door: Door<Lookups>,
    lookups: Arc<Lookups>,
}

/// Connections of the monitor's account for look-ups at logins.
const LOOKUPS: u32 = 4;

impl Front for Postgres {
    type Door = Entrance;

    fn door(settings: &Cluster, nodes: Nodes, secret: [u8; 32]) -> Result<(Entrance, Loader), String> {
        let monitor = &settings.monitor;
        let account = Account {
            user: Arc::clone(&monitor.user),
            password: monitor.password.clone(),
            database: Arc::clone(&monitor.database),
        };
        let patience = settings.timeouts.connect;
        let connections = Connections::new(Arc::clone(&nodes), account, LOOKUPS, patience);
        let lookups = Arc::new(Lookups::new(connections.clone()));
        let hba = (settings.users.pg_hba == PgHba::Auto).then(|| {
            let names = settings.databases.iter().map(|d| (Arc::clone(&d.alias), Arc::clone(&d.name)));
            Arc::new(Reader::new(connections, names.collect()))
        });
        let acceptor = match (&settings.tls.certificate, &settings.tls.key) {
            (Some(certificate), Some(key)) => {
                let acceptor = Acceptor::load_for(wire::ALPN, certificate, key);
                Some(acceptor.map_err(|error| format!("tls: {error}"))?)
            }
            _ => None,
        };
        let secret: Key = secret;
        let door = Door::new(&settings.users, settings.tls.mode, acceptor, Arc::clone(&lookups), secret)
            .map_err(|error| format!("users: {error}"))?
            .with_hba(hba);
        let loader = Loader::new(nodes, Arc::clone(&monitor.user), monitor.password.clone(), patience);
        Ok((Entrance { door, lookups }, loader))
    }

    async fn knock(client: Stream, door: &Entrance, caller: &Caller<'_>) -> Result<Knock, TurnedAway> {
        let here = Here { newest: newest_protocol((caller.version)().as_deref()), consoles: caller.consoles };
        match accept::accept(client, &door.door, &here).await {
            Ok(accept::Knock::Cancel { pid, key, .. }) => Ok(Knock::Cancel { id: pid, secret: key }),
            Ok(accept::Knock::Login(login)) => Ok(Knock::Guest(Box::new(Guest {
                client: login.stream,
                user: login.user,
                database: login.database,
                parameters: login.parameters,
                replication: login.replication,
                credentials: login.credentials,
                unproven: !login.proven,
                superuser: login.record.is_some_and(|record| record.superuser),
                terms: 0,
                step: 0,
                cancel_key: login.cancel_key,
            }))),
            Err(error) => Err(turned_away(&error)),
        }
    }

    async fn access(door: &Entrance, user: &str, database: &str) -> Result<Limits, ClientError> {
        let access = door.lookups.database_access(user, database).await.map_err(|error| match error {
            LookupError::Unreachable(why) => {
                ClientError::new("57P03", 1053, format!("no server of the cluster can be asked: {why}"))
            }
            LookupError::NotAllowed(why) => ClientError::new("28000", 1045, why.to_string()),
        })?;
        match access.refusal(database) {
            Some(refusal) => Err(refusal),
            None => Ok(Limits { user: access.user_limit, database: access.database_limit }),
        }
    }

    async fn through(
        connector: &Connector,
        node: &Node,
        identity: &Identity,
        kind: &str,
        parameters: &[(Box<str>, Box<str>)],
    ) -> Result<Through, (Retry, ClientError)> {
        walsender::open(connector, node, identity, kind, parameters).await
    }

    async fn welcome(
        client: &mut Stream,
        _step: u8,
        settings: &[(Box<str>, Box<str>)],
        id: u32,
        secret: &[u8],
    ) -> io::Result<()> {
        let mut out = Vec::with_capacity(512);
        wire::authentication_ok(&mut out);
        for (name, value) in settings {
            wire::parameter_status(&mut out, name, value);
        }
        wire::backend_key_data(&mut out, id, secret);
        wire::ready_for_query(&mut out, TxState::Idle);
        client.write_all(&out).await?;
        client.flush().await
    }

    async fn console(
        client: Stream,
        _step: u8,
        version: &str,
        execute: impl Fn(String) -> BoxFuture<'static, Reply> + Send + Sync,
    ) -> io::Result<()> {
        super::console::serve(client, version, execute).await
    }

    fn message_length(head: &[u8]) -> Option<usize> {
        let (_, length) = head.split_first()?;
        usize::try_from(u32::from_be_bytes(*length.first_chunk()?)).ok()?.checked_add(1)
    }

    async fn turn_away(client: &mut Stream, _step: u8, error: &ClientError) -> io::Result<()> {
        let mut out = Vec::new();
        wire::error(&mut out, error);
        client.write_all(&out).await?;
        client.flush().await
    }
}

/// The newest protocol version that servers of this version speak; as long as none has said its version, the oldest.
fn newest_protocol(version: Option<&str>) -> u32 {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let major = version.and_then(|text| text.get(..digits(text))?.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 18) { wire::PROTOCOL_3_2 } else { wire::PROTOCOL_3_0 }
}

fn turned_away(error: &AcceptError) -> TurnedAway {
    TurnedAway { why: error.to_string(), guess: error.is_guess(), fault: error.fault() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_version_says_which_protocol_it_speaks() {
        for (version, newest) in [
            (None, wire::PROTOCOL_3_0),
            (Some(""), wire::PROTOCOL_3_0),
            (Some("9.6.24"), wire::PROTOCOL_3_0),
            (Some("17.12 (Debian 17.12-1)"), wire::PROTOCOL_3_0),
            (Some("18beta1"), wire::PROTOCOL_3_2),
            (Some("18.6"), wire::PROTOCOL_3_2),
            (Some("99999999999"), wire::PROTOCOL_3_0),
        ] {
            assert_eq!(newest_protocol(version), newest, "{version:?}");
        }
    }
}
