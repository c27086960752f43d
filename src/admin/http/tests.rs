use super::super::command::{Command, Scope};
use super::super::fake::Fake;
use super::super::status::{NodeState, ProcessState};
use super::*;
use crate::config::units::Secret;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "Authorization: Bearer s3cret\r\n";

struct Server {
    fake: Arc<Fake>,
    address: SocketAddr,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    fn error(&self) -> String {
        let json = self.json();
        assert!(json["hint"].is_string() || json["hint"].is_null());
        format!("{} | {}", json["error"].as_str().unwrap(), json["hint"].as_str().unwrap_or(""))
    }
}

impl Server {
    async fn start() -> Self {
        Self::patient(PATIENCE).await
    }

    async fn patient(patience: Duration) -> Self {
        let fake = Arc::new(Fake::new());
        let inspect: Arc<dyn Inspect> = fake.clone();
        let (token, hosts) =
            (Token::given(Secret::new("s3cret".to_owned())), vec!["proxy.example.org".to_owned()]);
        let door = Arc::new(Door { inspect, token: ArcSwap::from_pointee(token), hosts, patience });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        crate::task::spawn("admin", serve(listener, door, std::future::pending()));
        Self { fake, address }
    }

    async fn raw(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    async fn ask(&self, line: &str, headers: &str) -> Reply {
        let host = self.address;
        self.raw(&format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
        ))
        .await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), "").await
    }

    async fn post(&self, path: &str) -> Reply {
        self.ask(&format!("POST {path}"), TOKEN).await
    }
}

#[tokio::test]
async fn the_status_reads_back_as_it_was() {
    let server = Server::start().await;
    let reply = server.get("/api/v1/status").await;
    assert_eq!(reply.status, 200);
    let status: super::super::Status = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(status, server.fake.status());
    let json = reply.json();
    assert_eq!(json["clusters"][0]["nodes"][1]["role"], "replica");
    assert_eq!(json["clusters"][0]["nodes"][1]["lag_seconds"], 0.25);
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let server = Server::start().await;
    let reply = server.get("/metrics").await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        reply.head
    );
    assert!(reply.body.contains("primacy_cl_active{") && reply.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn readiness_says_why_not() {
    let server = Server::start().await;
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    server.fake.status.lock().clusters[0].primary = None;
    assert_eq!(server.get("/readyz").await.status, 200, "reads go on without a primary");
    for node in &mut server.fake.status.lock().clusters[0].nodes {
        (node.state, node.why) = (NodeState::Down, Some("connection refused".to_owned()));
    }
    let reply = server.get("/readyz").await;
    assert_eq!(reply.status, 503);
    let reasons = reply.json()["reasons"].to_string();
    assert!(
        reasons.contains("cluster shop: no node can be used: pg1: down (connection refused)"),
        "{reasons}"
    );
    server.fake.status.lock().state = ProcessState::Draining;
    assert!(server.get("/readyz").await.json()["reasons"].to_string().contains("draining"));
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn load_balancers_find_primary_and_replica() {
    let server = Server::start().await;
    let reply = server.get("/clusters/shop/primary").await;
    assert_eq!((reply.status, reply.json()["node"].as_str().unwrap()), (200, "pg1"));
    for (path, status) in [
        ("/clusters/shop/replica", 200),
        ("/clusters/shop/replica?max_lag=250ms", 200),
        ("/clusters/shop/replica?max_lag=1m", 200),
        ("/clusters/shop/replica?max_lag=249ms", 503),
        ("/clusters/shop/replica?max_lag=5", 400),
        ("/clusters/shop/replica?lag=5s", 400),
        ("/clusters/shp/replica", 404),
    ] {
        assert_eq!(server.get(path).await.status, status, "{path}");
    }
    assert_eq!(server.ask("OPTIONS /clusters/shop/primary", "").await.status, 200);
    assert_eq!(server.ask("HEAD /clusters/shop/primary", "").await.status, 200);
    server.fake.status.lock().clusters[0].nodes[0].state = NodeState::Down;
    server.fake.status.lock().clusters[0].nodes[1].draining = true;
    assert_eq!(server.get("/clusters/shop/primary").await.status, 503);
    assert_eq!(server.get("/clusters/shop/replica").await.status, 503);
    assert!(server.get("/clusters/shp/primary").await.error().contains("did you mean \"shop\"?"));
}

#[tokio::test]
async fn changes_need_the_token() {
    let server = Server::start().await;
    for headers in [
        "",
        "Authorization: Bearer s3cre\r\n",
        "Authorization: s3cret\r\n",
        "Authorization: Basic czNjcmV0\r\n",
    ] {
        for path in [
            "/api/v1/pause",
            "/api/v1/clusters/shop/drain?node=pg2",
            "/api/v1/clients/1/kill",
            "/api/v1/nothing",
        ] {
            let reply = server.ask(&format!("POST {path}"), headers).await;
            assert_eq!(reply.status, 401, "{path} {headers}");
            assert!(reply.head.contains("www-authenticate: bearer") && reply.error().contains("admin.token"));
        }
        assert_eq!(server.ask("GET /api/v1/clusters/shop/explain?sql=SELECT+1", headers).await.status, 401);
    }
    assert!(server.fake.commands.lock().is_empty());
    assert_eq!(server.ask("POST /api/v1/pause", "authorization: bearer s3cret\r\n").await.status, 200);
}

#[tokio::test]
async fn commands_arrive_with_their_scope() {
    let server = Server::start().await;
    let scope = |cluster: Option<&str>, database: Option<&str>| Scope {
        cluster: cluster.map(str::to_owned),
        database: database.map(str::to_owned),
    };
    let (cluster, node) = ("shop".to_owned(), "pg2".to_owned());
    for (path, command) in [
        ("/api/v1/pause", Command::Pause(scope(None, None))),
        ("/api/v1/clusters/shop/pause?database=my%20db", Command::Pause(scope(Some("shop"), Some("my db")))),
        ("/api/v1/reconnect?database=orders", Command::Reconnect(scope(None, Some("orders")))),
        ("/api/v1/clusters/shop/kill", Command::Kill(scope(Some("shop"), None))),
        (
            "/api/v1/clusters/shop/drain?node=pg2",
            Command::Drain { cluster: cluster.clone(), node: node.clone() },
        ),
        ("/api/v1/clusters/shop/undrain?node=pg2", Command::Undrain { cluster, node }),
        ("/api/v1/clients/17/kill", Command::KillClient { id: 17 }),
        ("/api/v1/shutdown", Command::Shutdown { drain: true }),
        ("/api/v1/shutdown?now=true", Command::Shutdown { drain: false }),
    ] {
        let reply = server.post(path).await;
        assert_eq!((reply.status, reply.json()["done"].as_str().unwrap()), (200, "done"), "{path}");
        assert_eq!(server.fake.commands.lock().pop(), Some(command), "{path}");
    }
}

#[tokio::test]
async fn what_was_not_done_is_said_in_json() {
    let server = Server::start().await;
    for (path, status, says) in [
        ("/api/v1/resume", 409, "nothing is paused | SHOW STATE"),
        ("/api/v1/reload", 500, "the file is gone"),
        ("/api/v1/pause?database=order", 404, "did you mean \"orders\"?"),
        ("/api/v1/pauze", 404, "did you mean \"pause\"?"),
        ("/api/v1/clusters/shop/switchover", 501, "switchover is not built yet"),
        ("/api/v1/clusters/shp/pause", 404, "did you mean \"shop\"?"),
        ("/api/v1/clusters/shop/drain", 400, "?node=NAME"),
        ("/api/v1/clusters/shop/pause?node=pg2", 400, "does not take"),
        ("/api/v1/reload?database=orders", 400, "does not take"),
        ("/api/v1/clusters/shop/drain?node=pg2&database=orders", 400, "does not take"),
        ("/api/v1/pause?db=orders", 400, "unknown field `db`"),
        ("/api/v1/clients/x/kill", 400, "check the path"),
        ("/nothing", 404, "there is nothing at /nothing"),
        ("/metrics", 405, "does not take POST"),
    ] {
        let reply = server.post(path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        assert!(reply.error().contains(says), "{path}: {}", reply.error());
    }
    assert_eq!(server.ask("GET /api/v1/pause", TOKEN).await.status, 405, "a GET changes nothing");
    let ran = |command: &Command| matches!(command, Command::Drain { .. } | Command::KillClient { .. });
    assert!(!server.fake.commands.lock().iter().any(ran));
}

#[tokio::test]
async fn explain_answers_rows() {
    let server = Server::start().await;
    let path = "GET /api/v1/clusters/shop/explain?database=orders&sql=SELECT%20*%20FROM%20t";
    let reply = server.ask(path, TOKEN).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json()["rows"],
        serde_json::json!([["statement", "SELECT * FROM t"], ["database", "orders"]])
    );
    let reply = server.ask("GET /api/v1/clusters/shop/explain", TOKEN).await;
    assert!(reply.status == 400 && reply.error().contains("missing field `sql`"), "{}", reply.body);
}

#[tokio::test]
async fn a_strangers_page_gets_nothing() {
    let server = Server::start().await;
    let with = |line: &str, host: &str, more: &str| {
        format!("{line}\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n{more}\r\n")
    };
    for (host, more, status) in [
        ("evil.example:9632", "", 403),
        ("127.0.0.1.evil.example", "", 403),
        ("proxy.example.org:9632", "", 200),
        ("localhost:9632", "Origin: http://localhost:9632\r\n", 200),
        ("localhost:9632", "Origin: http://localhost:8080\r\n", 403),
        ("localhost:9632", "Origin: https://evil.example\r\n", 403),
        ("localhost:9632", "Origin: null\r\n", 403),
        ("localhost:9632", "Origin: http://localhost:9632\r\nOrigin: null\r\n", 400),
    ] {
        let reply = server.raw(&with("GET /api/v1/status HTTP/1.1", host, more)).await;
        assert_eq!(reply.status, status, "{host} {more}");
        let reply = server.raw(&with("POST /api/v1/pause HTTP/1.1", host, &format!("{TOKEN}{more}"))).await;
        assert_eq!(reply.status, status, "POST {host} {more}");
    }
    assert_eq!(server.raw("GET /healthz HTTP/1.0\r\n\r\n").await.status, 200, "HTTP/1.0 checks have no Host");
    let absolute = with("GET http://evil.example/api/v1/status HTTP/1.1", "localhost", "");
    assert_eq!(server.raw(&absolute).await.status, 403);
}

#[tokio::test]
async fn who_asks_nothing_is_sent_away() {
    let server = Server::patient(Duration::from_millis(400)).await;
    for began in ["", "GET /healthz HTTP/1.1\r\nHost: localhost"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(began.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200"),
        "one that stays idle after its answer is closed too: {answer}"
    );
}

#[tokio::test]
async fn at_the_end_idle_connections_are_closed() {
    let door = Door::new(Arc::new(Fake::new()), Token::given(Secret::new("s3cret".to_owned())), Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = crate::task::spawn("admin", serve(listener, door, async { drop(ended.await) }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
    drop(end);
    serving.await.unwrap();
    assert_eq!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
}
