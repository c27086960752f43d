//! The console's place in the login: who asks for its database gets it, if the servers have none of that name.

use super::cluster::Working;
use crate::admin::{Console, Flavour, Inspect, Rights};
use crate::config::settings::{Admin, EngineKind};
use crate::engine::door::{Front, Guest};
use crate::engine::table::Reply;
use crate::error::ClientError;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// PgBouncer's name for its console.
pub(super) const PGBOUNCER: &str = "pgbouncer";

impl<E: Front> Working<E> {
    /// Whether `guest` asks for the console, and in which flavour. A server's own database of that name wins; where no server can be
    /// asked, the console is what an operator needs.
    pub(super) async fn asks_for_console(&self, door: &E::Door, guest: &Guest) -> Option<Flavour> {
        let app = self.app.upgrade()?;
        let settings = self.shared.settings.load_full();
        let flavour = if *guest.database == *app.settings.load().admin.database {
            Flavour::Primacy
        } else if &*guest.database == PGBOUNCER && settings.engine == EngineKind::Postgres {
            Flavour::PgBouncer
        } else {
            return None;
        };
        if guest.replication.is_some() || settings.databases.iter().any(|known| known.alias == guest.database)
        {
            return None;
        }
        match E::access(door, &guest.user, &guest.database).await {
            Err(error) if error.sqlstate == "3D000" || error.sqlstate == "57P03" => Some(flavour),
            _ => None,
        }
    }

    /// Serves the console to `guest` until it leaves, if it may have it.
    pub(super) async fn console(self: Arc<Self>, mut guest: Box<Guest>, flavour: Flavour) {
        let Some(app) = self.app.upgrade() else { return };
        let cluster = Arc::clone(&self.shared.name);
        let monitor = Arc::clone(&self.shared.settings.load().monitor.user);
        let rights = rights(&app.settings.load().admin, &monitor, &guest);
        let who = match rights {
            Ok(who) => who,
            Err(error) => {
                tracing::info!(%cluster, user = %guest.user, %error, "console refused");
                // Whether it hears it changes nothing.
                return drop(E::turn_away(&mut guest.client, guest.step, &error.fatal()).await);
            }
        };
        tracing::info!(%cluster, user = %guest.user, peer = ?guest.client.peer(), ?who, "console opened");
        let console = Console::new(cluster);
        let execute = |text: String| -> BoxFuture<'static, Reply> {
            let (app, console) = (Arc::clone(&app), console.clone());
            Box::pin(async move { console.execute(&*app as &dyn Inspect, who, flavour, &text).await })
        };
        let version = match flavour {
            Flavour::Primacy => concat!(env!("CARGO_PKG_VERSION"), "/primacy"),
            // Exporters read it.
            Flavour::PgBouncer => "1.24.0/bouncer",
        };
        if let Err(error) = E::console(guest.client, guest.step, version, execute).await {
            tracing::debug!(%error, "a console's connection broke");
        }
    }
}

fn rights(admin: &Admin, monitor: &str, guest: &Guest) -> Result<Rights, ClientError> {
    let is_among = |users: &[Arc<str>]| users.contains(&guest.user);
    let rights = if is_among(&admin.users) {
        Rights::Commands
    } else if is_among(&admin.stats_users) || *guest.user == *monitor {
        Rights::Look
    } else {
        let message = format!("permission denied for database \"{}\"", guest.database);
        return Err(ClientError::new("42501", 1044, message)
            .detail("User does not have CONNECT privilege.")
            .hint("it is the proxy's console: admin.users and admin.stats_users of its configuration"));
    };
    if guest.unproven {
        let message = format!("password authentication of user \"{}\" needs a server", guest.user);
        return Err(ClientError::new("28000", 1045, message)
            .hint("with users.passthrough: password the proxy cannot check passwords itself: list the user in users.list"));
    }
    Ok(rights)
}
