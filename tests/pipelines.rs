//! Every conversation of the protocol gives through Primacy what it gives with the server: byte for byte, with one backend for two clients, the
//! other of whom prepares, sets and leaves things in between.

#[path = "pipelines/scripts.rs"]
#[allow(clippy::too_many_lines, reason = "tables of conversations")]
pub mod scripts;

use crate::support::raw::Message;
use crate::support::{Config, Database, Primacy, Raw, Servers, eventually, own_cluster};
use primacy::engine::embedded::Embedded as _;
use scripts::{Script, scripts};

/// What every script finds.
const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);\
     CREATE TABLE many AS SELECT g AS id FROM generate_series(1, 1000) g";
const FILL: &str = "TRUNCATE t, late; INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')";
const STATE: &str = "SELECT string_agg(x, ' ' ORDER BY x) FROM (SELECT t::text AS x FROM t UNION ALL SELECT 'late ' || id FROM late) s";

/// What differs between any two connections to the same server, made equal.
fn normal(mut message: Message, pid: u32) -> Message {
    match message.tag {
        b'E' | b'N' => {
            let fields = message.body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
            // File, line and routine of the server's source: an error that Primacy words itself has none.
            let kept = fields.filter(|field| !matches!(field[0], b'F' | b'L' | b'R'));
            message.body = kept.flat_map(|field| [field, b"|"].concat()).collect();
        }
        b'A' if message.body.starts_with(&pid.to_be_bytes()) => message.body[..4].fill(0),
        _ => {}
    }
    message
}

async fn play(
    script: &Script,
    database: &Database,
    port: u16,
    mut stranger: Option<&mut Raw>,
) -> Vec<Message> {
    let mut client = Raw::connect(database, port).await;
    let mut heard = Vec::new();
    let mut between_units = true;
    for (bytes, until) in &script.steps {
        if let Some(stranger) =
            stranger.as_deref_mut().filter(|_| between_units && matches!(client.status, b'I'))
        {
            interfere(stranger).await;
        }
        client.send(bytes).await;
        let answer = client.read_until(until).await;
        between_units = until.ends_with('Z');
        heard.extend(answer.into_iter().map(|message| normal(message, client.pid)));
    }
    heard
}

// The same names, other meanings; settings that the server reports to whoever holds the backend.
async fn interfere(stranger: &mut Raw) {
    use scripts::{close, parse, sync};
    for name in ["s", "s2", ""] {
        let bytes = [close(name), parse(name, "SELECT 'a stranger''s'"), sync()].concat();
        stranger.send(&bytes).await;
        let answer = stranger.read_until("Z").await;
        assert!(!answer.iter().any(|m| matches!(m.tag, b'E' | b'!')), "{name:?}: {answer:?}");
    }
    stranger.run("SET DateStyle = 'German, DMY'").await;
    stranger.run("SET search_path = pg_catalog").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_conversation_is_the_servers_own() {
    compare("routing: { consistency: session }").await;
}

/// Also where transactions begin when they first write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_conversation_is_the_servers_own_while_no_server_knows_of_its_transaction() {
    compare(
        "routing: { consistency: session, consistency_wait: 5s, reads_in_transactions: until_first_write }",
    )
    .await;
}

async fn compare(routing: &str) {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let owner = database.connect("127.0.0.1", servers.endpoints[0].port).await.unwrap();
    owner.batch_execute(TABLES).await.unwrap();
    let primacy = Primacy::start(
        // The owner writes past Primacy: a login sees that at `session`.
        Config::new(&servers.yaml()).cluster("pool: { size: 1 }").cluster(routing),
    )
    .await;
    let mut stranger = Raw::connect(&database, primacy.port).await;
    let mut wrong = Vec::new();
    for script in scripts() {
        let mut came_to = Vec::new();
        for (port, stranger) in [(servers.endpoints[0].port, None), (primacy.port, Some(&mut stranger))] {
            owner.batch_execute(FILL).await.unwrap();
            let heard = play(&script, &database, port, stranger).await;
            let left: Option<String> = owner.query_one(STATE, &[]).await.unwrap().get(0);
            came_to.push((heard, left));
        }
        let [server, ours] = came_to.try_into().unwrap();
        if server != ours {
            wrong.push(format!("{}\n  server: {server:?}\n  Primacy: {ours:?}", script.name));
        }
    }
    assert!(wrong.is_empty(), "{} conversations differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a replica said of a statement that the primary knows otherwise is not taken there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_moves_only_where_its_statements_are_described_alike() {
    use scripts::{call, describe, flush, parse, sync};
    let cluster = own_cluster(1).await;
    let servers = Servers::of_postgres(&cluster);
    let database = servers.fresh_database().await;
    let owner = database.connect("127.0.0.1", servers.endpoints[0].port).await.unwrap();
    owner.batch_execute(TABLES).await.unwrap();
    cluster.wait_caught_up().await.unwrap();
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let client = tokio::sync::Mutex::new(Raw::connect(&database, primacy.port).await);
    eventually("reads on the replica", async || {
        let mut client = client.lock().await;
        client.run("SELECT count(*) FROM t").await;
        (client.value("SHOW primacy.node").await == "pg2").then_some(())
    })
    .await;
    let mut client = client.into_inner();
    let reads = |name| [parse(name, "TABLE t"), describe(b'S', name), flush()].concat();
    let writes = |id: u32| {
        let text = format!("INSERT INTO t VALUES ({id}, 'new')");
        [parse("w", &text), call("w", &[]), scripts::close("w")].concat()
    };
    let tags = |messages: &[Message]| messages.iter().map(|m| char::from(m.tag)).collect::<String>();
    cluster.set_replay_paused(1, true).await.unwrap();
    owner.batch_execute("ALTER TABLE t ADD COLUMN more int").await.unwrap();

    client.send(&reads("s")).await;
    let told = client.read_until("T").await;
    assert_eq!(told.last().unwrap().body[..2], [0, 2], "the replica describes the columns that it knows");
    client.send(&[writes(1), call("s", &[]), sync()].concat()).await;
    let answer = client.read_until("Z").await;
    assert_eq!(tags(&answer), "EZ");
    assert_eq!(answer[0].field(b'C').unwrap(), "40001");

    // Nobody is misled where the statement is not used.
    client.send(&reads("s2")).await;
    client.read_until("T").await;
    client.send(&[writes(2), sync()].concat()).await;
    assert_eq!(tags(&client.read_until("Z").await), "12C3Z");
    // But what a unit will yet use is not known before its end.
    let mut other = Raw::connect(&database, primacy.port).await;
    other.run("SET primacy.consistency = 'eventual'").await;
    other.send(&reads("s")).await;
    let told = other.read_until("T").await;
    assert_eq!(told.last().unwrap().body[..2], [0, 2]);
    other.send(&[writes(3), flush()].concat()).await;
    assert_eq!(tags(&other.read_until("E").await), "E");
    other.send(&[call("s", &[]), sync()].concat()).await;
    assert_eq!(tags(&other.read_until("Z").await), "Z");

    cluster.set_replay_paused(1, false).await.unwrap();
    cluster.wait_caught_up().await.unwrap();
    let again = [parse("s3", "SELECT * FROM t"), describe(b'S', "s3"), flush()].concat();
    other.send(&[again, writes(4), call("s3", &[]), sync()].concat()).await;
    assert_eq!(tags(&other.read_until("Z").await), "1tT12C32DDCZ");
    let ids: String =
        owner.query_one("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(ids, "2 4");
}
