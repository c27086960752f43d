//! Promise: a login asks the servers themselves who may enter, in their words and at once.

use crate::catalog::{node, nodes};
use crate::support::{own_cluster, own_cluster_with};
use primacy::config::settings::ServerTlsMode;
use primacy::config::units::Secret;
use primacy::engine::embedded::{Account as Login, Embedded, MONITOR, Options, Stop, TlsPem};
use primacy::engine::identity::{LookupError, UserSource};
use primacy::postgres::connections::{Account, Connections, Nodes, Query, QueryError};
use primacy::postgres::embedded::Cluster;
use primacy::postgres::lookup::Lookups;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn connections(nodes: Nodes, login: Login) -> Connections {
    let password = Secret::new(login.password.into());
    let account = Account { user: login.user.into(), password, database: "postgres".into() };
    Connections::new(nodes, account, 2, Duration::from_secs(20))
}

fn lookups(cluster: &Cluster, login: Login) -> Lookups {
    Lookups::new(connections(nodes(cluster, &[0]), login))
}

async fn sql(cluster: &Cluster, text: &str) {
    cluster.sql(0, "postgres", text).await.unwrap();
}

#[tokio::test]
async fn users_by_function_and_directly() {
    let cluster = own_cluster(0).await;
    sql(
        &cluster,
        "create role amy login password 'a' connection limit 3 valid until '2031-01-02 03:04:05.5+00';
         create role bob nologin valid until 'infinity'; create role cyd login valid until '-infinity';
         create role \"O'Hara\" login superuser password 'o' connection limit 0",
    )
    .await;
    for login in [MONITOR, Cluster::ADMIN] {
        if login == Cluster::ADMIN {
            sql(&cluster, "drop schema primacy cascade").await;
        }
        let lookups = lookups(&cluster, login);
        let amy = lookups.user("amy").await.unwrap().unwrap();
        assert!(amy.verifier.as_ref().unwrap().expose().starts_with("SCRAM-SHA-256$4096:"));
        let until = SystemTime::UNIX_EPOCH + Duration::from_millis(1_925_089_445_500);
        assert_eq!(amy.valid_until, Some(until));
        assert_eq!((amy.can_login, amy.superuser, amy.connection_limit), (true, false, Some(3)));
        let bob = lookups.user("bob").await.unwrap().unwrap();
        assert_eq!((bob.verifier.clone(), bob.valid_until, bob.can_login), (None, None, false));
        assert_eq!(bob.connection_limit, None);
        let cyd = lookups.user("cyd").await.unwrap().unwrap();
        assert_eq!(cyd.valid_until, Some(SystemTime::UNIX_EPOCH));
        let ohara = lookups.user("O'Hara").await.unwrap().unwrap();
        assert_eq!((ohara.superuser, ohara.connection_limit), (true, Some(0)));
        assert_eq!(lookups.user("nobody").await.unwrap(), None);

        sql(&cluster, "alter role amy password 'b'").await;
        assert_ne!(lookups.user("amy").await.unwrap().unwrap().verifier, amy.verifier, "{}", login.user);
        sql(&cluster, "alter role amy nologin").await;
        assert!(!lookups.user("amy").await.unwrap().unwrap().can_login);
        sql(&cluster, "alter role amy login").await;
    }
}

#[tokio::test]
async fn a_monitor_without_the_right_is_told_what_to_do() {
    let cluster = own_cluster(0).await;
    let lookups = lookups(&cluster, MONITOR);
    assert!(lookups.user("app").await.unwrap().is_some());

    // Gone while in use.
    sql(&cluster, "revoke execute on function primacy.user_lookup(text) from primacy").await;
    let refused = lookups.user("app").await.unwrap_err();
    assert!(matches!(refused, LookupError::NotAllowed(_)));
    let text = refused.to_string();
    assert!(text.contains("primacy.user_lookup(text)") && text.contains("docs/verifier.md"), "{text}");

    // A function that is not a superuser's own is never called.
    sql(
        &cluster,
        "drop schema primacy cascade; create role mallory; create schema primacy authorization mallory;
         grant usage on schema primacy to primacy; set role mallory;
         create function primacy.user_lookup(wanted text, out rolpassword text, out rolvaliduntil timestamptz,
            out rolcanlogin bool, out rolconnlimit int, out rolsuper bool) returns setof record
         language sql security definer as 'select null::text, null::timestamptz, true, -1, true'; reset role",
    )
    .await;
    assert!(matches!(lookups.user("app").await, Err(LookupError::NotAllowed(_))));

    // There again: no restart is needed.
    sql(&cluster, "drop schema primacy cascade").await;
    sql(&cluster, include_str!("../src/postgres/user_lookup.sql")).await;
    assert!(lookups.user("app").await.unwrap().is_some());
}

#[tokio::test]
async fn concurrent_logins_of_one_user_share_their_queries() {
    let cluster = own_cluster(0).await;
    let calls = "drop function primacy.user_lookup(text); create sequence calls;
         create function primacy.user_lookup(text, out rolpassword text, out rolvaliduntil timestamptz, out rolcanlogin bool,
            out rolconnlimit int, out rolsuper bool) language sql security definer as
         $$ select nextval('public.calls')::text, null::timestamptz, true, -1, false $$;
         grant execute on function primacy.user_lookup(text) to primacy";
    sql(&cluster, calls).await;
    let lookups = Arc::new(lookups(&cluster, MONITOR));
    lookups.user("warm").await.unwrap();
    let all = futures_util::future::join_all((0..100).map(|_| lookups.user("app"))).await;
    let mut answers: Vec<String> =
        all.into_iter().map(|a| a.unwrap().unwrap().verifier.as_ref().unwrap().expose().to_owned()).collect();
    answers.dedup();
    // The first one's, and one for those who came after its begin: it may have missed what they must see.
    assert_eq!(answers, ["2", "3"]);
    let later = lookups.user("app").await.unwrap().unwrap();
    assert_eq!(later.verifier.as_ref().unwrap().expose(), "4");
}

#[tokio::test]
async fn rights_and_limits_of_databases() {
    let cluster = own_cluster(0).await;
    sql(&cluster, "create role amy login connection limit 3").await;
    sql(&cluster, "create database closed connection limit 5 allow_connections false").await;
    sql(&cluster, "create database private connection limit 0").await;
    sql(&cluster, "revoke connect on database private from public").await;
    let lookups = lookups(&cluster, MONITOR);
    let access = async |user, database| lookups.database_access(user, database).await.unwrap();
    let refusal = async |user, database| {
        access(user, database).await.refusal(database).map(|r| (r.sqlstate.to_string(), r.message))
    };

    assert_eq!(refusal("amy", "app").await, None);
    assert_eq!(access("amy", "app").await.user_limit, Some(3));
    assert_eq!(access("app", "closed").await.database_limit, Some(5));
    assert_eq!(access("app", "private").await.database_limit, Some(0));
    assert_eq!(access("app", "app").await.database_limit, None);
    let expected = [
        ("gone", "3D000", "database \"gone\" does not exist"),
        ("closed", "55000", "database \"closed\" is not currently accepting connections"),
        ("private", "42501", "permission denied for database \"private\""),
    ];
    for (database, state, text) in expected {
        assert_eq!(refusal("amy", database).await, Some((state.to_owned(), text.to_owned())));
    }
    assert_eq!(refusal("postgres", "private").await, None);
    // A user who is gone since the password was checked has no rights.
    assert_eq!(refusal("nobody", "app").await.unwrap().0, "42501");
}

#[tokio::test]
async fn connections_follow_the_primary_and_say_why_not() {
    let cluster = own_cluster(1).await;
    let ask = async |connections: &Connections| {
        let queries = [Query { sql: "select pg_is_in_recovery()", parameters: &[] }];
        connections.ask(&queries).await.map(|rows| rows[0][0].get::<_, bool>(0))
    };
    let both = connections(nodes(&cluster, &[0, 1]), MONITOR);
    assert!(!ask(&both).await.unwrap());
    cluster.stop(0, Stop::Immediate).await.unwrap();
    assert!(ask(&both).await.unwrap(), "the replica answers while there is no primary");
    let primary = connections(nodes(&cluster, &[0]), MONITOR);
    let Err(QueryError::Unreachable(why)) = ask(&primary).await else { panic!("a stopped server answered") };
    assert!(why.contains("refused"), "{why}");
    cluster.start_node(0).await.unwrap();
    assert!(!ask(&both).await.unwrap(), "and is let go when there is one");
    assert!(!ask(&primary).await.unwrap());
}

#[tokio::test]
async fn tls_as_the_node_asks_for_it() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = key.cert.pem();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &certificate).unwrap();
    let tls = TlsPem { certificate, key: key.signing_key.serialize_pem() };
    let cluster = own_cluster_with(Options { tls: Some(tls), ..Options::default() }).await;
    let plain = own_cluster(0).await;
    let encrypted = async |cluster: &Cluster, mode, host: &str| {
        let mut node = (*node(&cluster.endpoints()[0], mode)).clone();
        node.host = host.into();
        node.tls.ca = Some(ca.clone());
        let nodes = vec![Arc::new(node)];
        let connections = connections(Arc::new(move || nodes.clone()), MONITOR);
        let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        let rows = connections.ask(&[Query { sql, parameters: &[] }]).await.map_err(|e| e.to_string())?;
        Ok::<bool, String>(rows[0][0].get(0))
    };
    for (mode, expected) in [
        (ServerTlsMode::Disable, false),
        (ServerTlsMode::Prefer, true),
        (ServerTlsMode::Require, true),
        (ServerTlsMode::VerifyCa, true),
        (ServerTlsMode::VerifyFull, true),
    ] {
        assert_eq!(encrypted(&cluster, mode, "localhost").await, Ok(expected), "{mode:?}");
    }
    assert_eq!(encrypted(&cluster, ServerTlsMode::VerifyCa, "127.0.0.1").await, Ok(true));
    assert!(encrypted(&cluster, ServerTlsMode::VerifyFull, "127.0.0.1").await.unwrap_err().contains("TLS"));
    assert_eq!(encrypted(&plain, ServerTlsMode::Prefer, "127.0.0.1").await, Ok(false));
    let refused = encrypted(&plain, ServerTlsMode::Require, "127.0.0.1").await.unwrap_err();
    assert!(refused.contains("the server has no TLS"), "{refused}");
}
