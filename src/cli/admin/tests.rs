use super::super::{explain, status};
use super::*;
use crate::admin::fake::Fake;
use crate::admin::http::{Door, serve};
use crate::admin::status::{Inspect, NodeState};
use crate::admin::token::Token;
use crate::config::units::Secret;
use std::sync::Arc;

fn admin(url: &str, token: Option<&str>) -> Admin {
    Admin { admin: url.parse().unwrap(), token: token.map(str::to_owned), token_file: None }
}

/// Serves a fake on a thread of its own; its address.
fn start() -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let door =
                Door::new(Arc::new(Fake::new()), Token::given(Secret::new("s3cret".to_owned())), Vec::new());
            serve(listener, door, std::future::pending()).await;
        });
    });
    format!("http://{}", told.recv().unwrap())
}

#[test]
fn a_running_primacy_tells_its_status_and_explains() {
    let url = start();
    let body = admin(&url, None).get("/api/v1/status").unwrap();
    let told: crate::admin::Status = serde_json::from_str(&body).unwrap();
    assert_eq!(told.clusters.len(), 2);
    let path = format!("/api/v1/clusters/shop/explain?sql={}", escaped("SELECT 'é' || '&' + 1"));
    let body = admin(&url, Some("s3cret")).get(&path).unwrap();
    assert!(body.contains("SELECT 'é' || '&' + 1"), "{body}");
    let refused = admin(&url, None).get(&path).unwrap_err().to_string();
    assert!(refused.contains("needs the admin token; send"), "{refused}");
    let unknown =
        admin(&url, Some("s3cret")).get("/api/v1/clusters/shp/explain?sql=x").unwrap_err().to_string();
    assert!(unknown.contains("no cluster \"shp\"; did you mean \"shop\"?"), "{unknown}");
}

#[test]
fn the_token_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "s3cret\n").unwrap();
    let with = Admin { token_file: Some(path), ..admin("http://127.0.0.1:1", None) };
    assert_eq!(with.token().unwrap().as_deref(), Some("s3cret"));
}

#[test]
fn what_cannot_be_reached_is_said_with_what_to_check() {
    // Bound and dropped again: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, says) in [
        (format!("http://{free}"), "check that it is running"),
        ("https://127.0.0.1:9632".to_owned(), "TLS to the admin address is not built yet"),
        ("127.0.0.1:9632".to_owned(), "is not an address such as http://"),
        ("http://127.0.0.1:9632/api".to_owned(), "without a path"),
    ] {
        let error = format!("{:#}", admin(&url, None).get("/").unwrap_err());
        assert!(error.contains(says), "{url}: {error}");
    }
}

#[test]
fn another_server_is_told_from_primacy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for answer in ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"] {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let error = format!("{:#}", admin(&url, None).get("/").unwrap_err());
    assert!(error.contains("does not speak HTTP"), "{error}");
    let error = format!("{:#}", admin(&url, None).get("/").unwrap_err());
    assert!(error.contains("404") && error.contains("not Primacy's admin address"), "{error}");
}

#[test]
fn the_table_shows_nodes_and_pools() {
    let mut told = Fake::new().status();
    told.clusters.truncate(1);
    let expected = "\
Primacy 0.1.0, running, up 1m 1s

cluster shop (postgres)  primary pg1  epoch 3
  promise   session consistency
  sessions  6 of 10000 connected, 2 waiting, 1 in a transaction, 1 pinned

  NODE  ADDRESS         ROLE     STATE  LAG    BEHIND   FRESH  CONNS  ACTIVE  VERSION  WHY
  pg1   10.0.0.11:5432  primary  up     -      -        12ms   7/87   2       15.18
  pg2   10.0.0.12:5432  replica  up     250ms  4.0 KiB  12ms   7/87   2       15.18

  DATABASE  USER  NODE  CLIENTS  WAITING  BUSY  IDLE  PINNED  SIZE  LONGEST WAIT
  orders    ann   pg1   3        1        2     4     0       20    1.5s
  orders    ann   pg2   3        1        2     4     0       20    1.5s
";
    assert_eq!(status::render(&told), expected);
    told.clusters[0].primary = None;
    for node in &mut told.clusters[0].nodes {
        node.state = NodeState::Down;
    }
    let text = status::render(&told);
    assert!(
        text.contains("NOT READY: cluster shop: no node can be used") && text.contains("NO PRIMARY"),
        "{text}"
    );
}

#[test]
fn the_arguments_are_read() {
    use clap::{CommandFactory, FromArgMatches};
    #[derive(clap::Parser)]
    enum Some {
        Status(status::Args),
        Explain(explain::Args),
    }
    Some::command().debug_assert();
    for line in ["x status --json --admin http://10.0.0.1:9632", "x explain --cluster shop --token t SELECT"]
    {
        let matches = Some::command().try_get_matches_from(line.split(' ')).unwrap();
        assert!(Some::from_arg_matches(&matches).is_ok(), "{line}");
    }
    assert!(
        Some::command().try_get_matches_from(["x", "explain", "SELECT 1"]).is_err(),
        "the cluster is needed"
    );
}
