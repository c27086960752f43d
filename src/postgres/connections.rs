//! Connections of our own to the servers, for catalog loads, look-ups of users and admin: few, bounded, opened when
//! first needed, to the primary if it can be reached. Client traffic never runs on them.

use crate::config::settings::{Node, ServerTlsMode};
use crate::config::units::Secret;
use crate::net::stream::Stream;
use crate::net::tls::Connector;
use crate::task;
use futures_util::future::try_join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row};

/// An unused connection is closed after so long.
const IDLE: Duration = Duration::from_secs(60);
/// A connection is closed when it is so old: settings of roles and databases are read at its start only.
const AGE: Duration = Duration::from_secs(30 * 60);

/// SSLRequest: its length, and the code that stands where a protocol version would.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// The servers that may be asked, best first: the current primary, then the others. Asked at each connect and use.
pub type Nodes = Arc<dyn Fn() -> Vec<Arc<Node>> + Send + Sync>;

/// As whom, and where to.
#[derive(Debug, Clone)]
pub struct Account {
    /// Login name.
    pub user: Arc<str>,
    /// Its password.
    pub password: Secret,
    /// The database.
    pub database: Arc<str>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No server could be connected to; names each and its reason.
    #[error("{0}")]
    Unreachable(String),
    /// Too many questions are waiting, or the server does not answer.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server refused, or the connection broke.
    #[error("{}", describe(.0))]
    Server(#[from] tokio_postgres::Error),
}

/// A statement with its parameters and their types: sent whole, without a round trip to prepare it.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The text.
    pub sql: &'a str,
    /// `$1`, `$2`, …
    pub parameters: &'a [(&'a (dyn ToSql + Sync), Type)],
}

/// A bounded set of connections of one account to one database.
#[derive(Clone)]
pub struct Connections {
    pool: bb8::Pool<Manager>,
    failures: watch::Sender<Arc<str>>,
    nodes: Nodes,
    size: u32,
    patience: Duration,
}

impl Connections {
    /// Opens nothing yet. At most `size` connections; a question that has no answer after `patience` (connecting included)
    /// fails. Needs a tokio runtime.
    pub fn new(nodes: Nodes, account: Account, size: u32, patience: Duration) -> Self {
        let manager = Manager { nodes: Arc::clone(&nodes), account, patience };
        // Looking at a connection before each use is a round trip; a broken one is noticed by its task, or by its use.
        let failures = watch::Sender::new(Arc::from(""));
        let pool = bb8::Pool::builder()
            .max_size(size.max(1))
            .test_on_check_out(false)
            .retry_connection(false)
            .error_sink(Box::new(Failures(failures.clone())))
            .connection_timeout(patience)
            .idle_timeout(Some(IDLE))
            .max_lifetime(Some(AGE))
            .build_unchecked(manager);
        Self { pool, failures, nodes, size, patience }
    }

    /// Asks `queries` in one round trip on one connection; the rows of each, in order. Connections that turn out to be
    /// dead are replaced: only questions belong here, nothing that must not run twice. Cancel safe.
    ///
    /// # Errors
    /// As [`QueryError`] says; the error of the first query that failed.
    pub async fn ask(&self, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>, QueryError> {
        Ok(self.ask_somebody(queries).await?.1)
    }

    /// The same, with the name of the node that answered.
    ///
    /// # Errors
    /// As [`Connections::ask`].
    pub async fn ask_somebody(&self, queries: &[Query<'_>]) -> Result<(Arc<str>, Vec<Vec<Row>>), QueryError> {
        match tokio::time::timeout(self.patience, self.ask_again(queries)).await {
            Ok(answer) => answer,
            Err(_) => Err(QueryError::Timeout(self.patience)),
        }
    }

    /// Whether any connection stands.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.pool.state().connections > 0
    }

    // After a restart of the server every connection that was kept is dead: each is met, and dropped, once.
    async fn ask_again(&self, queries: &[Query<'_>]) -> Result<(Arc<str>, Vec<Vec<Row>>), QueryError> {
        for _ in 0..self.size {
            match self.ask_once(queries).await {
                Err(QueryError::Server(error)) if error.is_closed() => {}
                answer => return answer,
            }
        }
        self.ask_once(queries).await
    }

    async fn ask_once(&self, queries: &[Query<'_>]) -> Result<(Arc<str>, Vec<Vec<Row>>), QueryError> {
        let mut connection = self.check_out().await?;
        // Stays so if this future is dropped in the middle: a connection that owes an answer is not used again.
        connection.spent = true;
        let asked = queries.iter().map(|query| connection.client.query_typed(query.sql, query.parameters));
        let answer = try_join_all(asked).await;
        connection.spent = answer.is_err();
        Ok((Arc::clone(&connection.node), answer?))
    }

    /// Returns when a connect has failed and there is no other connection that could become free.
    async fn no_connection(&self) -> QueryError {
        let mut failures = self.failures.subscribe();
        // Never an error: `self` holds the sender.
        while failures.changed().await.is_ok() && self.are_open() {}
        QueryError::Unreachable(failures.borrow().to_string())
    }

    /// A connection to the best server, or a new one: a replica that served while there was no primary is let go.
    async fn check_out(&self) -> Result<bb8::PooledConnection<'_, Manager>, QueryError> {
        loop {
            let mut connection = tokio::select! {
                biased;
                connection = self.pool.get() => connection.map_err(|error| match error {
                    bb8::RunError::User(error) => error,
                    bb8::RunError::TimedOut => QueryError::Timeout(self.patience),
                })?,
                failure = self.no_connection() => return Err(failure),
            };
            let best = (self.nodes)().first().is_none_or(|node| node.name == connection.node);
            if connection.fresh || (best && !connection.client.is_closed()) {
                connection.fresh = false;
                return Ok(connection);
            }
            connection.spent = true;
        }
    }
}

/// bb8 hands a failed connect to its error sink and lets those who asked wait: they are told here.
#[derive(Debug, Clone)]
struct Failures(watch::Sender<Arc<str>>);

impl bb8::ErrorSink<QueryError> for Failures {
    fn sink(&self, error: QueryError) {
        self.0.send_replace(error.to_string().into());
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<QueryError>> {
        Box::new(self.clone())
    }
}

/// One connection.
struct Connection {
    client: Client,
    node: Arc<str>,
    /// Not used yet.
    fresh: bool,
    /// Not to be used again.
    spent: bool,
}

/// Opens connections for bb8.
struct Manager {
    nodes: Nodes,
    account: Account,
    patience: Duration,
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = QueryError;

    async fn connect(&self) -> Result<Connection, QueryError> {
        let mut failures = String::new();
        for node in (self.nodes)() {
            match self.connect_to(&node).await {
                Ok(client) => {
                    return Ok(Connection {
                        client,
                        node: Arc::clone(&node.name),
                        fresh: true,
                        spent: false,
                    });
                }
                Err(error) => append(&mut failures, &node.name, &error),
            }
        }
        let nobody = failures.is_empty();
        Err(QueryError::Unreachable(if nobody {
            "the cluster has no node to ask".to_owned()
        } else {
            failures
        }))
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), QueryError> {
        Ok(connection.client.check_connection().await?)
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.spent || connection.client.is_closed()
    }
}

impl Manager {
    async fn connect_to(&self, node: &Node) -> Result<Client, String> {
        let mut config = tokio_postgres::Config::new();
        let limit = self.patience.as_millis();
        // The search path keeps operators and functions that users made out of our own statements.
        config
            .user(&*self.account.user)
            .password(self.account.password.expose())
            .dbname(&*self.account.database)
            .application_name("primacy")
            .options(format!(
                "-c search_path=pg_catalog -c jit=off -c statement_timeout={limit} -c client_encoding=UTF8"
            ))
            .ssl_mode(tokio_postgres::config::SslMode::Disable);
        let login = async {
            let stream = open(node).await.map_err(|error| format!("{}:{}: {error}", node.host, node.port))?;
            let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|e| describe(&e))?;
            let name = Arc::clone(&node.name);
            task::spawn("catalog connection", async move {
                if let Err(error) = connection.await {
                    tracing::debug!(node = %name, error = %describe(&error), "a connection of ours ended");
                }
            });
            Ok(client)
        };
        match tokio::time::timeout(self.patience, login).await {
            Ok(result) => result,
            Err(_) => Err(format!("no connection within {:?}", self.patience)),
        }
    }
}

/// A stream to the node's PostgreSQL, encrypted as its `tls` says (a unix socket never is, as with libpq). Cancel safe.
///
/// # Errors
/// The operating system's, its kind kept; `Other` when TLS cannot be had.
pub(super) async fn open(node: &Node) -> std::io::Result<Stream> {
    if node.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", node.host, node.port);
        return Ok(Stream::Unix(UnixStream::connect(path).await?));
    }
    let stream = Stream::tcp(TcpStream::connect((&*node.host, node.port)).await?)?;
    if node.tls.mode == ServerTlsMode::Disable { Ok(stream) } else { encrypted(stream, node).await }
}

/// Asks for TLS and goes on with it, or in clear where `prefer` allows it.
async fn encrypted(mut stream: Stream, node: &Node) -> std::io::Result<Stream> {
    use std::io::Error;
    stream.write_all(&SSL_REQUEST).await?;
    stream.flush().await?;
    match stream.read_u8().await? {
        b'S' => {
            let settings = node.tls.clone();
            // Reads the authority's file, or the system's many.
            let connector = task::blocking(move || Connector::load(&settings)).await;
            let connector = connector.map_err(Error::other)?.map_err(Error::other)?;
            connector.connect(stream, &node.host).await.map_err(|e| Error::new(e.kind(), format!("TLS: {e}")))
        }
        _ if node.tls.mode == ServerTlsMode::Prefer => Ok(stream),
        _ => Err(Error::other("the server has no TLS, and the node's `tls` demands it")),
    }
}

/// `n1: connection refused; n2: …`
fn append(failures: &mut String, node: &str, error: &str) {
    if !failures.is_empty() {
        failures.push_str("; ");
    }
    failures.push_str(node);
    failures.push_str(": ");
    failures.push_str(error);
}

/// The server's own words with their SQLSTATE, else the client library's with its cause.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", server.message(), server.code().code());
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
