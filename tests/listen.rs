//! Promise: who listens hears what PostgreSQL would tell it, in its order, after its own commits too; and one server connection listens for all.

use crate::pooling::primacy_pins;
use crate::support::raw::Message;
use crate::support::{Config, Database, Primacy, Raw, Servers, eventually, own_cluster};
use primacy::engine::embedded::{Embedded as _, Stop};
use tokio::task::JoinSet;
use tokio_postgres::Client;

/// The shared listener's connections to a database.
const LISTENERS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'primacy listens'";

struct Bed {
    servers: &'static Servers,
    database: Database,
    primacy: Primacy,
    admin: Client,
}

impl Bed {
    /// One connection to each node for all.
    async fn new() -> Self {
        let servers = Servers::postgres().await;
        let database = servers.fresh_database().await;
        let config = Config::new(&servers.yaml()).cluster("pool: { size: 1, queue_timeout: 20s }");
        let admin = servers.admin(0, "postgres").await;
        Self { servers, database, primacy: Primacy::start(config).await, admin }
    }

    async fn client(&self) -> Raw {
        Raw::connect(&self.database, self.primacy.port).await
    }

    /// Straight at the primary.
    async fn stranger(&self) -> Raw {
        Raw::connect(&self.database, self.servers.endpoints[0].port).await
    }

    async fn listeners(&self) -> i64 {
        self.admin.query_one(LISTENERS, &[&self.database.name]).await.unwrap().get(0)
    }

    async fn no_pins(&self) {
        assert_eq!(primacy_pins(&self.primacy).await, 0);
    }
}

/// Who sent a notification, on which channel, with what.
fn told(message: &Message) -> Option<(u32, String, String)> {
    if message.tag != b'A' {
        return None;
    }
    let (pid, text) = message.body.split_first_chunk::<4>().unwrap();
    let text = String::from_utf8_lossy(text);
    let mut fields = text.split('\0').map(str::to_owned);
    Some((u32::from_be_bytes(*pid), fields.next().unwrap(), fields.next().unwrap()))
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().filter_map(told).map(|(_, channel, payload)| format!("{channel} {payload}")).collect()
}

/// The next notification of a client that says nothing.
async fn hears(client: &mut Raw) -> String {
    let messages = client.read_until("A").await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    texts(&messages).pop().unwrap_or_else(|| panic!("{messages:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_listens_for_all_and_each_hears_all_in_order() {
    const CLIENTS: usize = 300;
    const TOLD: usize = 100;
    let bed = Bed::new().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = bed.client().await;
        client.run("LISTEN news").await;
        clients.push(client);
    }
    bed.no_pins().await;
    assert_eq!(bed.listeners().await, 1);
    let mut readers = JoinSet::new();
    for mut client in clients {
        readers.spawn(async move {
            for n in 0..TOLD {
                assert_eq!(hears(&mut client).await, format!("news {n}"));
            }
            client
        });
    }
    // Those who notify share the one backend with each other, and pass by.
    let (mut through, mut past) = (bed.client().await, bed.stranger().await);
    for n in 0..TOLD {
        let sender = if n % 2 == 0 { &mut through } else { &mut past };
        sender.run(&format!("NOTIFY news, '{n}'")).await;
    }
    let mut clients = readers.join_all().await;
    assert_eq!(clients.len(), CLIENTS);
    // Its reads go where they would.
    let client = &mut clients[0];
    client.run("CREATE TABLE t (a int)").await;
    eventually("a listening session reads from a replica", async || {
        let mut reader = bed.client().await;
        reader.run("LISTEN news").await;
        reader.run("SELECT a FROM t").await;
        let node = reader.value("SHOW primacy.node").await;
        (node != bed.servers.endpoints[0].name).then_some(())
    })
    .await;
    drop(clients);
    bed.no_pins().await;
}

/// Each step is done through Primacy and on a direct connection; after each everybody is notified of it on all channels.
const STEPS: &[&str] = &[
    "LISTEN a",
    "LISTEN \"B c\"; LISTEN A",
    "UNLISTEN a",
    "UNLISTEN nothing",
    "LISTEN a",
    "BEGIN",
    "LISTEN c",
    "COMMIT",
    "BEGIN",
    "UNLISTEN c",
    "LISTEN d",
    "ROLLBACK",
    "BEGIN",
    "LISTEN d",
    "SAVEPOINT one",
    "LISTEN e",
    "UNLISTEN a",
    "ROLLBACK TO one",
    "RELEASE one",
    "COMMIT",
    "BEGIN",
    "SAVEPOINT one",
    "UNLISTEN *",
    "LISTEN e",
    "ROLLBACK TO SAVEPOINT one",
    "COMMIT",
    "BEGIN",
    "UNLISTEN *",
    "LISTEN e",
    "NOTIFY e, 'own, before it listens'",
    "COMMIT",
    "NOTIFY e, 'own'",
    "NOTIFY e, 'twice'; NOTIFY e, 'twice'; NOTIFY e, 'other'",
    "BEGIN; NOTIFY e, 'undone'; ROLLBACK",
    "BEGIN",
    "LISTEN f",
    "SELECT 1/0",
    "LISTEN g",
    "COMMIT",
    "BEGIN",
    "LISTEN f",
    "COMMIT AND CHAIN",
    "LISTEN g",
    "ROLLBACK AND CHAIN",
    "COMMIT",
    "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL",
    "LISTEN a",
    "SELECT 1/0; UNLISTEN *",
    "DISCARD ALL",
    "LISTEN select",
    "LISTEN",
    "LISTEN a.b",
    // What only its own backend can do, beside what it listens to already.
    "LISTEN a",
    "BEGIN; LISTEN a; LISTEN b; COMMIT",
    "NOTIFY a, 'own'",
    "LISTEN c",
    "UNLISTEN a",
    "BEGIN; LISTEN d; ROLLBACK",
    "BEGIN; UNLISTEN *; ROLLBACK",
    "UNLISTEN *",
    "LISTEN f",
    "CREATE TEMP TABLE x (a int)",
    "LISTEN g",
    "DROP TABLE x",
    "UNLISTEN f",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_and_texts_do_what_the_server_does() {
    let (bed, straight) = (Bed::new().await, Bed::new().await);
    let mut ours = (bed.client().await, bed.stranger().await);
    let mut theirs = (straight.stranger().await, straight.stranger().await);
    // Others use the one backend between any two steps.
    let mut other = bed.client().await;
    let channels = ["a", "b", "\"B c\"", "c", "d", "e", "f", "g"];
    for (n, step) in STEPS.iter().enumerate() {
        let mut heard = Vec::new();
        for (client, stranger) in [&mut ours, &mut theirs] {
            let mut said = client.query(step).await;
            // Within a transaction a server that listens to anything keeps what comes of all channels, and tells at the end what is listened to then,
            // though it came before: we promise no more than what comes after the LISTEN.
            let within = client.status != b'I';
            let told = channels.iter().filter(|channel| !within || **channel == "a");
            let everybody: String = told.map(|channel| format!("NOTIFY {channel}, '{n}';")).collect();
            stranger.run(&everybody).await;
            // What it notifies of itself comes after all that came before.
            said.extend(client.query("NOTIFY nobody").await);
            said.retain(|message| !matches!(message.tag, b'D' | b'T' | b'S'));
            let state = |message: &Message| (message.tag == b'E').then(|| message.field(b'C').unwrap());
            let tags: String =
                said.iter().map(|message| char::from(message.tag)).filter(|tag| *tag != 'A').collect();
            heard.push((tags, texts(&said), said.iter().find_map(state), client.status));
        }
        if primacy_pins(&bed.primacy).await > 0 {
            // Two listen for the session: what comes of each is in its order.
            heard.iter_mut().for_each(|(_, texts, ..)| {
                texts.sort_by_key(|text| text.rsplit_once(' ').map(|(channel, _)| channel.to_owned()))
            });
        }
        assert_eq!(heard[0], heard[1], "step {n}: {step}");
        if ours.0.status == b'I' {
            let asked = "SELECT pg_listening_channels()";
            let names = [&mut ours.0, &mut theirs.0];
            let mut found = Vec::new();
            for client in names {
                let said = client.query(asked).await;
                let mut rows: Vec<_> =
                    said.iter().filter(|message| message.tag == b'D').flat_map(Message::values).collect();
                rows.sort();
                let refused = said.iter().any(|message| message.tag == b'E');
                found.push((rows, refused));
            }
            // Where its backend listens beside the proxy, nobody knows both.
            if !found[0].1 {
                assert_eq!(found[0], found[1], "step {n}: {step}");
            }
            if primacy_pins(&bed.primacy).await == 0 {
                other.run("/* primacy:primary */ SELECT 1").await;
                other.run("CREATE TABLE IF NOT EXISTS y (a int)").await;
            }
        }
    }
    eventually("nothing pins", async || (primacy_pins(&bed.primacy).await == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_tells_itself_carries_its_own_id_and_nothing_else_does() {
    let bed = Bed::new().await;
    let (mut client, mut other) = (bed.client().await, bed.client().await);
    client.run("LISTEN a").await;
    let own = client.pid;
    assert_eq!(client.value("SELECT pg_backend_pid()").await, own.to_string());
    for n in 0..200 {
        // They run on the same server process, one behind the other.
        other.run(&format!("NOTIFY a, 'theirs {n}'")).await;
        let mut out = Vec::new();
        primacy::postgres::wire::query(&mut out, &format!("SELECT pg_notify('a', 'mine {n}')"));
        client.send(&out).await;
        let said = client.read_until("Z").await;
        let heard: Vec<_> = said.iter().filter_map(told).collect();
        let mine: Vec<_> = heard.iter().map(|(pid, _, payload)| (*pid == own, payload.as_str())).collect();
        assert_eq!(mine.last(), Some(&(true, format!("mine {n}").as_str())), "in front of the end: {said:?}");
        assert!(mine.iter().all(|(own, payload)| *own == payload.starts_with("mine")), "{mine:?}");
    }
    // In a transaction, it comes with the COMMIT.
    for (text, expected) in [("BEGIN", 0), ("NOTIFY a, 'mine'", 0), ("SELECT 1", 0), ("COMMIT", 1)] {
        let said = client.query(text).await;
        let heard: Vec<_> = said.iter().filter_map(told).collect();
        assert_eq!(heard.len(), expected, "{text}: {said:?}");
        assert!(heard.iter().all(|(pid, ..)| *pid == own));
    }
    bed.no_pins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_inside_a_transaction() {
    let bed = Bed::new().await;
    let (mut client, mut stranger) = (bed.client().await, bed.stranger().await);
    client.run("LISTEN a").await;
    client.run("BEGIN").await;
    for n in 0..20 {
        stranger.run(&format!("NOTIFY a, '{n}'")).await;
        let said = client.query("SELECT 1").await;
        assert_eq!(texts(&said), Vec::<String>::new());
    }
    let mut said = client.query("COMMIT").await;
    said.extend(client.query("NOTIFY nobody").await);
    assert_eq!(texts(&said), (0..20).map(|n| format!("a {n}")).collect::<Vec<_>>());
    // The extended protocol, and what is prepared.
    let mut out = Vec::new();
    use primacy::postgres::wire;
    wire::parse(&mut out, b"l", b"LISTEN b", &[]);
    wire::describe(&mut out, b'S', b"l");
    wire::sync(&mut out);
    client.send(&out).await;
    client.read_until("Z").await;
    stranger.run("NOTIFY b, 'not yet'").await;
    out.clear();
    wire::bind(&mut out, "", "l", std::iter::empty());
    wire::execute(&mut out, "", 0);
    wire::sync(&mut out);
    client.send(&out).await;
    let said = client.read_until("Z").await;
    assert_eq!(said.iter().map(|message| char::from(message.tag)).collect::<String>(), "2CZ", "{said:?}");
    stranger.run("NOTIFY b, 'now'").await;
    assert_eq!(hears(&mut client).await, "b now");
    bed.no_pins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_and_leaves_again_and_again_misses_nothing_between() {
    let bed = Bed::new().await;
    let (mut client, mut stranger) = (bed.client().await, bed.stranger().await);
    for n in 0..100 {
        client.run("LISTEN a").await;
        stranger.run(&format!("NOTIFY a, 'in {n}'")).await;
        assert_eq!(hears(&mut client).await, format!("a in {n}"));
        client.run("UNLISTEN a").await;
        stranger.run(&format!("NOTIFY a, 'out {n}'")).await;
    }
    let said = client.query("NOTIFY a").await;
    assert_eq!(texts(&said), Vec::<String>::new());
    // The same while somebody else listens all the time.
    let mut other = bed.client().await;
    other.run("LISTEN a").await;
    for n in 0..100 {
        stranger.run(&format!("NOTIFY a, 'before {n}'")).await;
        client.run("LISTEN a").await;
        stranger.run(&format!("NOTIFY a, 'in {n}'")).await;
        assert_eq!(hears(&mut client).await, format!("a in {n}"));
        client.run("UNLISTEN *").await;
    }
    for n in 0..100 {
        assert_eq!(hears(&mut other).await, format!("a before {n}"));
        assert_eq!(hears(&mut other).await, format!("a in {n}"));
    }
    bed.no_pins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_is_told_when_notifications_may_be_lost() {
    let bed = Bed::new().await;
    let (mut idle, mut busy, mut deaf) = (bed.client().await, bed.client().await, bed.client().await);
    idle.run("LISTEN a").await;
    busy.run("LISTEN a").await;
    busy.run("BEGIN").await;
    deaf.run("SELECT 1").await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'primacy listens'";
    assert_eq!(bed.admin.query(kill, &[&bed.database.name]).await.unwrap().len(), 1);
    let said = idle.read_until("$").await;
    let error = said.iter().find(|message| message.tag == b'E').unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(error.field(b'C').as_deref(), Some("57P01"), "{error:?}");
    assert!(error.field(b'M').unwrap().contains("listened"), "{error:?}");
    let said = busy.read_until("$").await;
    let error = said.iter().find(|message| message.tag == b'E').unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(error.field(b'C').as_deref(), Some("57P01"), "within a transaction, too: {error:?}");
    deaf.run("SELECT 1").await;
    // Another listens in its place.
    let (mut again, mut stranger) = (bed.client().await, bed.stranger().await);
    again.run("LISTEN a").await;
    stranger.run("NOTIFY a, 'again'").await;
    assert_eq!(hears(&mut again).await, "a again");
    assert_eq!(bed.listeners().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_dies_takes_those_who_listen_with_it() {
    let servers = own_cluster(1).await;
    let database = Servers::of_postgres(&servers).fresh_database().await;
    let primacy = Primacy::start(Config::new(&Servers::of_postgres(&servers).yaml())).await;
    primacy.expect_log("node does not answer");
    primacy.expect_log("primary");
    let mut client = Raw::connect(&database, primacy.port).await;
    client.run("LISTEN a").await;
    servers.stop(0, Stop::Kill).await.unwrap();
    let said = client.read_until("$").await;
    let error = said.iter().find(|message| message.tag == b'E').unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(error.field(b'C').as_deref(), Some("57P01"), "{error:?}");
    servers.start_node(0).await.unwrap();
    let mut client = Raw::connect(&database, primacy.port).await;
    client.run("LISTEN a").await;
    let mut stranger = Raw::connect(&database, servers.endpoints()[0].port).await;
    stranger.run("NOTIFY a, 'back'").await;
    assert_eq!(hears(&mut client).await, "a back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_sent_away_and_keeps_nobody_waiting() {
    const TOLD: usize = 6000;
    let bed = Bed::new().await;
    let (mut slow, mut quick, mut stranger) = (bed.client().await, bed.client().await, bed.stranger().await);
    slow.run("LISTEN a").await;
    quick.run("LISTEN a").await;
    let reader = primacy::task::spawn("reader", async move {
        for n in 0..TOLD {
            assert!(hears(&mut quick).await.starts_with(&format!("a {n} ")));
        }
    });
    for n in 0..TOLD {
        stranger.run(&format!("SELECT pg_notify('a', '{n} ' || repeat('x', 7900))")).await;
    }
    reader.await.unwrap();
    bed.primacy.wait_log("bytes of notifications wait for it").await;
    let mut came = 0;
    while let Some(message) = slow.read().await {
        came += usize::from(message.tag == b'A');
    }
    assert!(came < TOLD, "{came}");
}

/// What the proxy cannot listen to for a session, the session's own backend does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_encodings_and_session_mode_listen_themselves() {
    let bed = Bed::new().await;
    let mut client = bed.client().await;
    let mut stranger = bed.stranger().await;
    client.run("SET client_encoding = 'LATIN1'").await;
    client.run("LISTEN a").await;
    eventually("it pins", async || (primacy_pins(&bed.primacy).await == 1).then_some(())).await;
    stranger.run("SELECT pg_notify('a', chr(233))").await;
    let said = client.read_until("A").await;
    assert!(said[0].body.ends_with(b"a\0\xe9\0"), "{said:?}");
    drop(client);
    let mut client = bed.client().await;
    client.run("LISTEN a").await;
    client.run("SET client_encoding = 'LATIN1'").await;
    stranger.run("NOTIFY a, 'plain'").await;
    assert_eq!(hears(&mut client).await, "a plain");
    stranger.run("SELECT pg_notify('a', chr(233))").await;
    let said = client.read_until("$").await;
    assert_eq!(said[0].field(b'C').as_deref(), Some("22P05"), "{said:?}");

    let config = Config::new(&bed.servers.yaml()).cluster("pool: { mode: session }");
    let primacy = Primacy::start(config).await;
    let before = bed.listeners().await;
    let mut client = Raw::connect(&bed.database, primacy.port).await;
    client.run("LISTEN a").await;
    let said = client.query("NOTIFY a, 'own'").await;
    assert_eq!(
        said.iter().filter_map(told).collect::<Vec<_>>(),
        [(client.pid, "a".to_owned(), "own".to_owned())]
    );
    assert_eq!(client.value("SELECT pg_listening_channels()").await, "a");
    assert_eq!(bed.listeners().await, before);
}
