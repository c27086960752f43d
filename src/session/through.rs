//! A replication connection: one client, one server connection of its own, byte for byte, outside pools and holds.
//!
//! Nothing in it is understood, so nothing of ours may be put between two of its bytes: when it must end, it is closed.

use super::local;
use super::login::{enter, may_use};
use super::registry::{Place, Replication};
use super::shared::Shared;
use crate::clock::{self, Tick};
use crate::cluster::LastWrite;
use crate::config::settings::{Cluster, Consistency, RouteSetting};
use crate::engine::door::{Front, Guest, Through};
use crate::engine::seam::{Engine, Identity};
use crate::engine::{Class, NodeId, NodeSet};
use crate::error::{ClientError, Retry};
use crate::failover::Pass;
use crate::net::stream::Stream;
use crate::routing::{Ask, Choice, route};
use crate::telemetry::ClusterCount;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// So many bytes are on their way in each direction, at most.
const PIECE: usize = 32 << 10;
/// How long the last bytes to a client may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A client and the server connection that is its own.
pub struct Passage<E: Engine> {
    shared: Arc<Shared<E>>,
    client: Stream,
    server: Stream,
    place: Place,
    /// The leave under which it speaks to the primary; `None` = it has a replica.
    pass: Option<Pass>,
    /// The last write of the database, if what is passed on may tell of one: SQL may run on a logical connection, and what it streams are
    /// changes. All of it counts, for nothing of it is understood.
    writes: Option<Arc<LastWrite>>,
}

/// Opens a server connection for `guest`, or tells it why not.
///
/// # Errors
/// What the client was told; `None`: it has left.
pub async fn open<E: Front>(
    shared: &Arc<Shared<E>>,
    mut guest: Guest,
    id: u32,
    listener: RouteSetting,
) -> Result<Passage<E>, Option<ClientError>> {
    match reach(shared, &guest, id, listener).await {
        Ok((place, pass, through)) => {
            let Guest { mut client, step, .. } = guest;
            let welcome = E::welcome(&mut client, step, &through.settings, place.id, &place.secret);
            welcome.await.map_err(|_| None)?;
            shared.stats.count(ClusterCount::Replications);
            let logical = place.replication == Replication::Logical && pass.is_some();
            let writes = logical.then(|| shared.writes(&through.target.identity.database));
            Ok(Passage { shared: Arc::clone(shared), client, server: through.server, place, pass, writes })
        }
        Err(error) => {
            drop(E::turn_away(&mut guest.client, guest.step, &error.clone().fatal()).await);
            Err(Some(error))
        }
    }
}

async fn reach<E: Front>(
    shared: &Arc<Shared<E>>,
    guest: &Guest,
    id: u32,
    listener: RouteSetting,
) -> Result<(Place, Option<Pass>, Through), ClientError> {
    let settings = shared.settings.load_full();
    let word = guest.replication.as_deref().unwrap_or_default();
    let kind = Replication::of(word);
    may_use(&settings, &guest.user, (kind != Replication::Physical).then_some(&guest.database))?;
    let (ours, theirs): (Vec<_>, Vec<_>) = guest
        .parameters
        .iter()
        .cloned()
        .partition(|(name, _)| name.to_ascii_lowercase().starts_with("primacy."));
    let wish = wish(&ours, listener)?;
    let place = enter(shared, guest, id, kind, settings.pool.max_clients)?;
    let found = settings.databases.iter().find(|database| database.alias == guest.database);
    let identity = Identity {
        user: Arc::clone(&guest.user),
        database: Arc::clone(found.map_or(&guest.database, |database| &database.name)),
        credentials: Arc::clone(&guest.credentials),
        terms: guest.terms,
    };
    let until = clock::now().plus(settings.failover.hold);
    let mut exclude = NodeSet::EMPTY;
    loop {
        let (node, pass) = choose(shared, &settings, wish, exclude, until).await?;
        let connector = shared.connector.load_full();
        let Some(configured) = settings.nodes.get(usize::from(node.0)) else {
            return Err(unreachable("it left the configuration"));
        };
        let opened = E::through(&connector, configured, &identity, word, &theirs);
        let why = match tokio::time::timeout_at(clock::deadline(settings.timeouts.connect), opened).await {
            Ok(Ok(through)) if is_good(shared, pass) => {
                *place.current.lock() = Some((node, Arc::clone(&through.target)));
                return Ok((place, pass, through));
            }
            Ok(Ok(_)) => "another node became the primary".to_owned(),
            Ok(Err((Retry::Never, error))) => return Err(error),
            Ok(Err((_, error))) => error.message,
            Err(_) => format!("no connection within {:?}", settings.timeouts.connect),
        };
        shared.state.suspect(node, &why);
        shared.stats.count(ClusterCount::Retries);
        if pass.is_none() {
            exclude = exclude.with(node);
            continue;
        }
        let rounds = &shared.state.rounds;
        let next = rounds.after(rounds.completed());
        if tokio::time::timeout_at(deadline(until), next).await.is_err() {
            return Err(unreachable(&why));
        }
    }
}

fn unreachable(why: &str) -> ClientError {
    ClientError::new("57P03", 1053, format!("no node can be reached for replication: {why}"))
        .hint("`primacy status` shows the nodes and what is wrong with each")
}

fn deadline(until: Tick) -> tokio::time::Instant {
    clock::deadline(until.since(clock::now()))
}

// What the client asks for beats what its listener is for, as for other sessions.
fn wish(ours: &[(Box<str>, Box<str>)], listener: RouteSetting) -> Result<RouteSetting, ClientError> {
    let mut wish = RouteSetting::Auto;
    for (name, value) in ours {
        match &*name.to_ascii_lowercase() {
            "primacy.route" => wish = local::route_of(Some(value))?,
            // Nothing is read by the proxy's leave here.
            "primacy.consistency" => {}
            _ => return Err(local::unknown(name.get("primacy.".len()..).unwrap_or_default())),
        }
    }
    Ok(if wish == RouteSetting::Auto { listener } else { wish })
}

// The primary, unless a replica is asked for.
async fn choose<E: Engine>(
    shared: &Shared<E>,
    settings: &Cluster,
    wish: RouteSetting,
    exclude: NodeSet,
    until: Tick,
) -> Result<(NodeId, Option<Pass>), ClientError> {
    if wish == RouteSetting::Replica {
        let mut ask = Ask::new(Class::Read, Consistency::Eventual, clock::now());
        (ask.route, ask.exclude) = (wish, exclude);
        let view = shared.state.view.load();
        match route(&ask, &view, &settings.routing, &shared.balancer).0 {
            Choice::Node(node) => return Ok((node, None)),
            Choice::Primary => {}
            Choice::Wait | Choice::Nobody => return Err(unreachable("no replica is fit")),
        }
    }
    match tokio::time::timeout_at(deadline(until), shared.state.gate.opened()).await {
        Ok(pass) => Ok((pass.node, Some(pass))),
        Err(_) => Err(unreachable("there is no primary that may be spoken to")),
    }
}

// Whether nobody else has become the primary since. While there is none, what streams goes on streaming: the servers' own replicas may be at
// the other end, and what they acknowledge is what the primary waits for.
fn is_good<E: Engine>(shared: &Shared<E>, pass: Option<Pass>) -> bool {
    match (pass, shared.state.gate.now()) {
        (Some(pass), Some(now)) => pass == now,
        _ => true,
    }
}

impl<E: Engine> Passage<E> {
    /// Passes on what either side says, until one of them ends, the client is sent away, or another node becomes the primary.
    pub async fn run(self) {
        let Self { shared, client, server, place, pass, writes } = self;
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let doom = poll_fn(|cx| match place.poll_doom(cx) {
            Some(why) => Poll::Ready(why.message),
            None => Poll::Pending,
        });
        // Before the client can know of it.
        let told = || {
            writes.iter().for_each(|last| last.raise(clock::now()));
            true
        };
        let why = tokio::select! {
            end = pump(&mut from_client, &mut to_server, || is_good(&shared, pass)) => of(end, "client"),
            end = pump(&mut from_server, &mut to_client, &told) => of(end, "server"),
            why = doom => why,
            () = superseded(&shared, pass) => "another node became the primary".to_owned(),
        };
        // What was on its way may have taken effect.
        told();
        tracing::debug!(client = place.id, user = %place.user, why, "a replication connection ended");
        // A client that does not read is not waited for.
        drop(tokio::time::timeout(FAREWELL, to_client.shutdown()).await);
    }
}

fn of(end: io::Result<()>, whose: &str) -> String {
    match end {
        Ok(()) => format!("the {whose} closed it"),
        Err(error) => format!("the {whose}'s bytes cannot be passed on: {error}"),
    }
}

// Until there are no more bytes, or they may not be passed on any more.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    may: impl Fn() -> bool,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        match piece.get(..read) {
            Some(bytes) if read > 0 && may() => {
                to.write_all(bytes).await?;
                to.flush().await?;
            }
            _ => return Ok(()),
        }
    }
}

async fn superseded<E: Engine>(shared: &Shared<E>, pass: Option<Pass>) {
    let rounds = &shared.state.rounds;
    while is_good(shared, pass) {
        rounds.after(rounds.completed()).await;
    }
}
