//! A replication connection: one client, one server connection of its own, byte for byte, outside pools and holds.
//!
//! Nothing in it is understood but where the server's messages end: there, and nowhere else, the client can be told why it is sent away.

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
use std::marker::PhantomData;
use std::pin::Pin;
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
        first: Arc::default(),
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

impl<E: Front> Passage<E> {
    /// Passes on what either side says, until one of them ends, the client is sent away, or another node becomes the primary.
    pub async fn run(self) {
        let Self { shared, client, server, place, pass, writes } = self;
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        // Before the client can know of it.
        let told = || writes.iter().for_each(|last| last.raise(clock::now()));
        let ended = {
            let ending = std::pin::pin!(ending(&shared, pass, &place));
            let mut down = Down::<E, _, _, _>::new(&mut from_server, &mut to_client, &told);
            tokio::select! {
                end = up(&mut from_client, &mut to_server, || is_good(&shared, pass)) => Ended::Left(of(end, "client")),
                ended = down.run(ending) => ended,
            }
        };
        // What was on its way may have taken effect.
        told();
        let mut client = from_client.unsplit(to_client);
        let why = match &ended {
            Ended::Left(why) => why,
            Ended::SentAway(why) => {
                drop(tokio::time::timeout(FAREWELL, E::turn_away(&mut client, 0, why)).await);
                &why.message
            }
        };
        tracing::debug!(client = place.id, user = %place.user, why, "a replication connection ended");
        // A client that does not read is not waited for.
        drop(tokio::time::timeout(FAREWELL, client.shutdown()).await);
    }
}

// How it came to its end.
enum Ended {
    // A side left, or nothing can be said to the client any more.
    Left(String),
    // Between two messages: the client is told.
    SentAway(ClientError),
}

fn of(end: io::Result<()>, whose: &str) -> String {
    match end {
        Ok(()) => format!("the {whose} closed it"),
        Err(error) => format!("the {whose}'s bytes cannot be passed on: {error}"),
    }
}

// What the client says, until it has no more to say. What may not be passed on any more waits for the end.
async fn up(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    may: impl Fn() -> bool,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        match piece.get(..read) {
            Some(bytes) if read > 0 && may() => write(to, bytes).await?,
            Some(_) if read > 0 => std::future::pending().await,
            _ => return Ok(()),
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

// What the server says.
struct Down<'a, E, R, W, T> {
    from: &'a mut R,
    to: &'a mut W,
    told: &'a T,
    frames: Frames<E>,
}

impl<'a, E: Front, R: AsyncRead + Unpin, W: AsyncWrite + Unpin, T: Fn()> Down<'a, E, R, W, T> {
    fn new(from: &'a mut R, to: &'a mut W, told: &'a T) -> Self {
        Self { from, to, told, frames: Frames::default() }
    }

    // Until it has no more to say, or the connection is to end: then to the end of the message that is on its way.
    async fn run(&mut self, mut ending: Pin<&mut impl Future<Output = ClientError>>) -> Ended {
        let mut piece = vec![0; PIECE];
        loop {
            let read = tokio::select! {
                biased;
                why = &mut ending => return self.end(why, &mut piece).await,
                read = self.from.read(&mut piece) => read,
            };
            let bytes = match read {
                Ok(read) => piece.get(..read).unwrap_or_default(),
                Err(error) => return Ended::Left(of(Err(error), "server")),
            };
            if bytes.is_empty() {
                return Ended::Left(of(Ok(()), "server"));
            }
            self.note(bytes);
            let late = {
                let mut written = std::pin::pin!(write(self.to, bytes));
                tokio::select! {
                    end = &mut written => end.map(|()| None),
                    why = &mut ending => match tokio::time::timeout(FAREWELL, written).await {
                        Ok(end) => end.map(|()| Some(why)),
                        Err(_) => Err(io::ErrorKind::TimedOut.into()),
                    }
                }
            };
            match late {
                Ok(None) => {}
                Ok(Some(why)) => return self.end(why, &mut piece).await,
                Err(error) => return Ended::Left(of(Err(error), "server")),
            }
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        (self.told)();
        self.frames.pass(bytes);
    }

    async fn end(&mut self, why: ClientError, piece: &mut [u8]) -> Ended {
        match tokio::time::timeout(FAREWELL, self.finish(piece)).await {
            Ok(Ok(())) => Ended::SentAway(why),
            // In the midst of a message nothing of ours can be said.
            _ => Ended::Left(why.message),
        }
    }

    async fn finish(&mut self, piece: &mut [u8]) -> io::Result<()> {
        while let Some(left) = self.frames.left_at_least() {
            let room = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
            let read = self.from.read(room).await?;
            let bytes = room.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (self.told)();
            self.frames.pass(bytes);
            write(self.to, bytes).await?;
        }
        Ok(())
    }
}

// Where messages begin and end in what passes.
struct Frames<E> {
    head: Vec<u8>,
    left: usize,
    engine: PhantomData<fn() -> E>,
}

impl<E> Default for Frames<E> {
    fn default() -> Self {
        Self { head: Vec::new(), left: 0, engine: PhantomData }
    }
}

impl<E: Front> Frames<E> {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let (passed, after) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= passed.len();
                bytes = after;
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            if let Some(length) = E::message_length(&self.head) {
                self.left = length.saturating_sub(self.head.len());
                self.head.clear();
            }
        }
    }

    // So many bytes at least belong to the message that has begun; `None`: none has.
    fn left_at_least(&self) -> Option<usize> {
        (self.left > 0 || !self.head.is_empty()).then_some(self.left.max(1))
    }
}

// Returns when the client is to be sent away, with what it is to be told.
async fn ending<E: Engine>(shared: &Shared<E>, pass: Option<Pass>, place: &Place) -> ClientError {
    let doom = poll_fn(|cx| match place.poll_doom(cx) {
        Some(why) => Poll::Ready(why),
        None => Poll::Pending,
    });
    tokio::select! {
        why = doom => why,
        () = superseded(shared, pass) => {
            ClientError::new("57P01", 1053, "terminating connection: another node became the primary")
                .hint("connect again")
                .fatal()
        }
    }
}

async fn superseded<E: Engine>(shared: &Shared<E>, pass: Option<Pass>) {
    let rounds = &shared.state.rounds;
    while is_good(shared, pass) {
        rounds.after(rounds.completed()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Postgres;

    #[test]
    fn the_end_of_a_message_is_found_in_any_pieces() {
        // Two messages of 4 and 0 bytes, and the beginning of a third.
        let bytes = b"d\0\0\0\x08abcdZ\0\0\0\x04d\0\0";
        for size in 1..=bytes.len() {
            let (mut frames, mut ends) = (Frames::<Postgres>::default(), Vec::new());
            for (at, piece) in bytes.chunks(size).enumerate() {
                frames.pass(piece);
                if frames.left_at_least().is_none() {
                    ends.push(at * size + piece.len());
                }
            }
            assert!(ends.iter().all(|end| [9, 14].contains(end)), "{size}: {ends:?}");
            assert!(size > 1 || ends == [9, 14], "{ends:?}");
            assert_eq!(frames.left_at_least(), Some(1), "of a header that is not whole one byte is sure");
        }
        let mut frames = Frames::<Postgres>::default();
        frames.pass(b"d\0\0\x01\0ab");
        assert_eq!(frames.left_at_least(), Some(250));
        frames.pass(&[0; 250]);
        assert_eq!(frames.left_at_least(), None);
        // What is no message has no length that harms.
        frames.pass(b"d\0\0\0\0");
        assert_eq!(frames.left_at_least(), None);
    }
}
