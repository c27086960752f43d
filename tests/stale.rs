//! Prepared statements whose tables change: who prepares anew, or is told anew what comes, gets what is there now; who goes by what it was told before is
//! refused as by the server itself. "cached plan must not change result type" is never shown to anybody else.

use crate::support::raw::Message;
use crate::support::{Config, Database, Primacy, Raw, Servers};
use primacy::postgres::wire;

fn parse(out: &mut Vec<u8>, name: &str, text: &str) {
    wire::parse(out, name.as_bytes(), text.as_bytes(), &[]);
}

fn bind(out: &mut Vec<u8>, name: &str) {
    wire::bind(out, "", name, std::iter::empty());
}

fn sent(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    build(&mut out);
    out
}

/// Prepares and is told the columns.
fn prepares(name: &str, text: &str, end: fn(&mut Vec<u8>)) -> Vec<u8> {
    sent(|out| {
        parse(out, name, text);
        wire::describe(out, b'S', name.as_bytes());
        end(out);
    })
}

/// Runs by what it was told before.
fn runs(name: &str) -> Vec<u8> {
    sent(|out| {
        bind(out, name);
        wire::execute(out, "", 0);
        wire::sync(out);
    })
}

/// Asks what comes, and runs.
fn asks(name: &str) -> Vec<u8> {
    sent(|out| {
        bind(out, name);
        wire::describe(out, b'P', b"");
        wire::execute(out, "", 0);
        wire::sync(out);
    })
}

async fn answer(client: &mut Raw, bytes: &[u8], until: &str) -> Vec<Message> {
    client.send(bytes).await;
    client.read_until(until).await
}

fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

fn row(messages: &[Message]) -> Vec<Option<String>> {
    let row = messages.iter().find(|message| message.tag == b'D');
    row.unwrap_or_else(|| panic!("no row: {messages:?}")).values()
}

fn width(messages: &[Message]) -> u8 {
    let columns = messages.iter().find(|message| message.tag == b'T');
    columns.unwrap_or_else(|| panic!("no description: {messages:?}")).body[1]
}

fn refused_as_outdated(messages: &[Message]) {
    let error = messages.iter().find(|message| message.tag == b'E');
    let error = error.unwrap_or_else(|| panic!("not refused: {messages:?}"));
    assert_eq!(error.field(b'C').as_deref(), Some("0A000"), "{error:?}");
    assert_eq!(error.field(b'R').as_deref(), Some("RevalidateCachedQuery"), "drivers know it by its routine");
}

async fn bed(size: u32) -> (Database, tokio_postgres::Client, Primacy) {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let owner = database.connect("127.0.0.1", servers.endpoints[0].port).await.unwrap();
    owner.batch_execute("CREATE TABLE d (a int); INSERT INTO d VALUES (1)").await.unwrap();
    let config = Config::new(&servers.yaml())
        .cluster(&format!("pool: {{ size: {size} }}"))
        .cluster("routing: { consistency: session }");
    (database, owner, Primacy::start(config).await)
}

const TEXT: &str = "/* primacy:primary */ TABLE d";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_goes_by_old_columns_is_refused() {
    let (database, owner, primacy) = bed(1).await;
    let mut old = Raw::connect(&database, primacy.port).await;
    assert_eq!(width(&answer(&mut old, &prepares("s", TEXT, wire::sync), "Z").await), 1);
    assert_eq!(row(&answer(&mut old, &runs("s"), "Z").await).len(), 1);
    // Not through Primacy: nobody tells it.
    owner.batch_execute("ALTER TABLE d ADD COLUMN b int DEFAULT 7").await.unwrap();
    for (name, end, until) in [("s", wire::sync as fn(&mut Vec<u8>), "Z"), ("flushed", wire::flush, "T")] {
        let mut new = Raw::connect(&database, primacy.port).await;
        let told = answer(&mut new, &prepares(name, TEXT, end), until).await;
        assert_eq!(width(&told), 2, "{name}");
        let answered = answer(&mut new, &runs(name), "Z").await;
        assert_eq!(row(&answered), [Some("1".into()), Some("7".into())], "{name}");
    }
    for _ in 0..2 {
        let refused = answer(&mut old, &runs("s"), "Z").await;
        assert_eq!(tags(&refused), "EZ");
        refused_as_outdated(&refused);
    }
    // It asks what comes, and knows from then on.
    let told = answer(&mut old, &asks("s"), "Z").await;
    assert_eq!((tags(&told).as_str(), width(&told)), ("2TDCZ", 2));
    assert_eq!(row(&answer(&mut old, &runs("s"), "Z").await).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_backend_answers_with_columns_that_a_client_was_not_told() {
    let (database, owner, primacy) = bed(2).await;
    let mut old = Raw::connect(&database, primacy.port).await;
    assert_eq!(width(&answer(&mut old, &prepares("s", TEXT, wire::sync), "Z").await), 1);
    owner.batch_execute("ALTER TABLE d ADD COLUMN b int DEFAULT 7").await.unwrap();
    // The backend that knows the statement is busy: the other one is given it now, and there it would have two columns.
    let mut busy = Raw::connect(&database, primacy.port).await;
    busy.run("BEGIN; SELECT 1").await;
    refused_as_outdated(&answer(&mut old, &runs("s"), "Z").await);
    busy.run("ROLLBACK").await;
    refused_as_outdated(&answer(&mut old, &runs("s"), "Z").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_parse_works_wherever_it_comes() {
    let (database, owner, primacy) = bed(1).await;
    let mut old = Raw::connect(&database, primacy.port).await;
    answer(&mut old, &prepares("s", TEXT, wire::sync), "Z").await;
    owner.batch_execute("ALTER TABLE d ADD COLUMN b int DEFAULT 7").await.unwrap();
    let mut inside = Raw::connect(&database, primacy.port).await;
    inside.run("BEGIN").await;
    assert_eq!(width(&answer(&mut inside, &prepares("s", TEXT, wire::sync), "Z").await), 2);
    assert_eq!(row(&answer(&mut inside, &runs("s"), "Z").await).len(), 2);
    inside.run("COMMIT").await;
    refused_as_outdated(&answer(&mut old, &runs("s"), "Z").await);

    // A pipeline behind whose first statement nothing can be run again.
    owner.batch_execute("ALTER TABLE d ADD COLUMN c int DEFAULT 8").await.unwrap();
    let mut pipeline = Raw::connect(&database, primacy.port).await;
    let bytes = sent(|out| {
        parse(out, "w", "INSERT INTO d VALUES (2)");
        bind(out, "w");
        wire::execute(out, "", 0);
        parse(out, "s", TEXT);
        bind(out, "s");
        wire::describe(out, b'P', b"");
        wire::execute(out, "", 0);
        wire::sync(out);
    });
    let answered = answer(&mut pipeline, &bytes, "Z").await;
    assert_eq!((tags(&answered).as_str(), width(&answered)), ("12C12TDDCZ", 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_healed_runs_once() {
    let (database, owner, primacy) = bed(1).await;
    let mut client = Raw::connect(&database, primacy.port).await;
    let insert = "INSERT INTO d VALUES (2) RETURNING *";
    assert_eq!(width(&answer(&mut client, &prepares("w", insert, wire::sync), "Z").await), 1);
    client.run("PREPARE by_sql AS SELECT * FROM d ORDER BY a").await;
    client.run("PREPARE writes AS INSERT INTO d VALUES (3) RETURNING *").await;
    assert_eq!(row(&client.query("EXECUTE by_sql").await).len(), 1);
    owner.batch_execute("ALTER TABLE d ADD COLUMN b int DEFAULT 7").await.unwrap();
    let answered = answer(&mut client, &asks("w"), "Z").await;
    assert_eq!((tags(&answered).as_str(), width(&answered)), ("2TDCZ", 2));
    assert_eq!(row(&client.query("EXECUTE writes").await), [Some("3".into()), Some("7".into())]);
    let answered = client.query("EXECUTE by_sql").await;
    assert_eq!((tags(&answered).as_str(), width(&answered)), ("TDDDCZ", 2));
    let rows: String =
        owner.query_one("SELECT string_agg(a::text, ' ' ORDER BY a) FROM d", &[]).await.unwrap().get(0);
    assert_eq!(rows, "1 2 3");
    // Inside a transaction the server's own word is passed on, as on a direct connection.
    owner.batch_execute("ALTER TABLE d ADD COLUMN c int").await.unwrap();
    client.run("BEGIN").await;
    refused_as_outdated(&answer(&mut client, &asks("w"), "Z").await);
    assert_eq!(client.status, b'E');
    client.run("ROLLBACK").await;
    assert_eq!(width(&answer(&mut client, &asks("w"), "Z").await), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobodys_text_reaches_a_shared_statement() {
    let (database, _owner, primacy) = bed(1).await;
    let mut client = Raw::connect(&database, primacy.port).await;
    let mut other = Raw::connect(&database, primacy.port).await;
    answer(&mut client, &prepares("s", TEXT, wire::sync), "Z").await;
    let rows = other.rows("/* primacy:primary */ SELECT name FROM pg_prepared_statements").await;
    let shared = rows.into_iter().flatten().flatten().next().expect("it is there");
    assert!(shared.starts_with("__primacy_"), "{shared}");
    // Pinned, so that nothing is answered without the server.
    other.run("DO $$ BEGIN PERFORM 1; END $$").await;
    for text in [
        "EXECUTE x",
        "DEALLOCATE x",
        "SELECT 1; DEALLOCATE x",
        "EXPLAIN EXECUTE x",
        "PREPARE p AS SELECT 1; EXECUTE x",
    ] {
        assert_eq!(other.fails(&text.replace('x', &shared)).await, "26000", "{text}");
    }
    other.run("DEALLOCATE ALL").await;
    assert_eq!(row(&answer(&mut client, &runs("s"), "Z").await).len(), 1);
    // A function may take what it likes: what is gone is prepared again.
    let mut third = Raw::connect(&database, primacy.port).await;
    answer(&mut third, &prepares("s", TEXT, wire::sync), "Z").await;
    third.run("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$").await;
    assert_eq!(row(&answer(&mut third, &runs("s"), "Z").await).len(), 1);
}
