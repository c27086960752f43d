//! From a proved client to a session: access, limits, the greeting. A task of its own, so that none of it weighs on the session.

use super::core::Core;
use super::registry::{Arrival, Place, Replication};
use super::run::Session;
use super::shared::{ASKED, Greeting, Lane, Shared};
use super::{checkout, early, settle};
use crate::clock;
use crate::config::settings::{Cluster, RouteSetting, User};
use crate::engine::carrier::Carrier;
use crate::engine::door::{Front, Guest, Limits};
use crate::engine::seam::Backend;
use crate::engine::tracked::Tracked;
use crate::error::ClientError;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Makes a session of `guest`, or tells it why not.
///
/// # Errors
/// What the client was told; `None`: it has left.
pub async fn login<E: Front>(
    shared: &Arc<Shared<E>>,
    door: &E::Door,
    mut guest: Guest,
    id: u32,
    route: RouteSetting,
) -> Result<Session<E>, Option<ClientError>> {
    let step = guest.step;
    let admitted = admit(shared, door, &mut guest, id, route).await;
    let mut client = guest.client;
    match admitted {
        Ok(core) => {
            let welcome =
                E::welcome(&mut client, step, &core.greeting.told, core.place.id, &core.place.secret);
            welcome.await.map_err(|_| None)?;
            Ok(Session { client, core })
        }
        Err(error) => {
            drop(E::turn_away(&mut client, step, &error.clone().fatal()).await);
            Err(Some(error))
        }
    }
}

async fn admit<E: Front>(
    shared: &Arc<Shared<E>>,
    door: &E::Door,
    guest: &mut Guest,
    id: u32,
    route: RouteSetting,
) -> Result<Box<Core<E>>, ClientError> {
    let (user, database) = (Arc::clone(&guest.user), Arc::clone(&guest.database));
    let (unproven, superuser) = (guest.unproven, guest.superuser);
    let settings = shared.settings.load_full();
    may_use(&settings, &user, Some(&database))?;
    let found = settings.databases.iter().find(|d| d.alias == database);
    let limits = E::access(door, &user, found.map_or(&database, |d| &d.name)).await?;
    let limits = if superuser { Limits::default() } else { limits };
    // What the first query must see is proved while the client is being greeted.
    shared.state.rounds.ask_once();
    let place = enter(shared, guest, id, Replication::None, settings.pool.max_clients)?;
    let (ours, theirs): (Vec<_>, Vec<_>) = std::mem::take(&mut guest.parameters)
        .into_iter()
        .partition(|(name, _)| name.to_ascii_lowercase().starts_with("primacy."));
    let startup = Arc::new(Tracked::new(theirs.iter().map(|(name, value)| (name, value))));
    if early::is_on_from_the_start(&startup) {
        shared.state.async_commit_seen.store(true, Ordering::Release);
    }
    let limits = Some((limits.user, limits.database));
    let proof = (Arc::clone(&guest.credentials), guest.terms);
    let lane = Lane::new(shared, &user, &database, proof, limits, place.since);
    let mut core = Box::new(Core::new(Arc::clone(shared), lane, place, startup));
    core.greeting = greet(&mut core, unproven).await?;
    core.read_anew();
    for (name, value) in ours {
        let name = name.to_ascii_lowercase();
        super::local::set(&mut core, name.trim_start_matches("primacy."), Some(&value))?;
    }
    if core.route == RouteSetting::Auto {
        core.route = route;
    }
    Ok(core)
}

/// Whether a listed user may use that database; `None` = all of them at once.
pub(super) fn may_use(
    settings: &Cluster,
    user: &Arc<str>,
    database: Option<&Arc<str>>,
) -> Result<(), ClientError> {
    let listed = settings.users.list.iter().find(|listed| listed.name == *user);
    let may = |listed: &User| {
        listed.databases.is_empty() || database.is_some_and(|database| listed.databases.contains(database))
    };
    if listed.is_none_or(may) {
        return Ok(());
    }
    let what =
        database.map_or_else(|| "physical replication".to_owned(), |name| format!("database \"{name}\""));
    Err(ClientError::new("42501", 1044, format!("permission denied for {what}"))
        .hint("users.list of the proxy's configuration names the databases of this user"))
}

/// Takes a place among the clients.
pub(super) fn enter<E: Front>(
    shared: &Shared<E>,
    guest: &Guest,
    id: u32,
    replication: Replication,
    limit: u32,
) -> Result<Place, ClientError> {
    let mut secret = vec![0; guest.cancel_key].into_boxed_slice();
    clock::random(&mut secret)
        .map_err(|error| ClientError::new("58000", 1105, format!("no randomness: {error}")))?;
    let parameters = &guest.parameters;
    let application = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("application_name"));
    let arrival = Arrival {
        id,
        user: Arc::clone(&guest.user),
        database: Arc::clone(&guest.database),
        peer: guest.client.peer(),
        tls: guest.client.is_tls(),
        replication,
        application: application.map_or_else(|| Arc::from(""), |(_, value)| Arc::from(&**value)),
        since: clock::now(),
        secret,
    };
    shared.registry.enter(arrival, limit).ok_or_else(|| {
        ClientError::new("53300", 1040, "sorry, too many clients already")
            .hint(format!("pool.max_clients of the proxy is {limit}"))
    })
}

// The settings that this user gets in this database with these start-up parameters: asked of a backend once, then remembered. A set of
// parameters that a server refuses is refused with its own words each time: what is refused is not worth remembering.
async fn greet<E: Front>(core: &mut Core<E>, unproven: bool) -> Result<Arc<Greeting>, ClientError> {
    let shared = Arc::clone(&core.shared);
    let (user, database) = (Arc::clone(&core.lane.identity.user), Arc::clone(&core.lane.identity.database));
    let key = core.startup.key();
    if !unproven && let Some(known) = shared.greeting(&user, &database, key) {
        return Ok(known);
    }
    let exchange = E::Exchange::default();
    checkout::first(core, &exchange, unproven).await?;
    let Some(held) = &mut core.held else {
        return Err(ClientError::new("XX000", 1105, "no backend was held"));
    };
    // Backends know what they were told at their birth and since: with the session's settings on it, that is the greeting.
    let parameters = held.lease.parameters();
    let told = parameters.iter().map(|(name, value)| match &**name {
        "in_hot_standby" => (name.clone(), "off".into()),
        _ => (name.clone(), value.clone()),
    });
    let told = told.collect();
    let asked = held.lease.ask(&ASKED, false).await;
    let asked =
        asked.map_err(|error| ClientError::new("08006", 2013, format!("the server was lost: {error}")))?;
    let asked = ASKED.into_iter().zip(asked.unwrap_or_default());
    let asked = Tracked::new(asked.filter_map(|(name, found)| Some((name, found.value?))));
    let alike = core.startup.iter().filter(|(name, value)| held.lease.own_parameter(name) == Some(*value));
    let alike = alike.map(|(name, _)| name.into()).collect();
    let greeting = Arc::new(Greeting { told, asked, alike });
    core.pin = None;
    settle::give_back(core, clock::now());
    shared.keep_greeting(&user, &database, key, &greeting);
    Ok(greeting)
}
