//! The start-up parameter `options`: what the server makes of it, we make of it.

use crate::support::{Config, Database, Primacy, Servers};
use primacy::postgres::handshake::options;
use tokio_postgres::{Client, NoTls};

fn config(host: &str, port: u16, database: &Database) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host(host).port(port).user(&database.user).dbname(&database.name).password(&database.password);
    config
}

async fn connect(servers: &Servers, database: &Database, options: Option<&str>) -> Result<Client, String> {
    let mut config = config(&servers.endpoints[0].host, servers.endpoints[0].port, database);
    options.map(|options| config.options(options));
    match config.connect(NoTls).await {
        Ok((client, connection)) => {
            primacy::task::spawn("test", connection);
            Ok(client)
        }
        Err(error) => Err(words(&error)),
    }
}

fn words(error: &tokio_postgres::Error) -> String {
    let error = error.as_db_error().unwrap();
    format!("{} {}", error.code().code(), error.message())
}

async fn settings(client: &Client, source: &str) -> Vec<(String, String)> {
    let text = "SELECT name, setting FROM pg_settings WHERE source = $1 AND name NOT IN ('client_encoding', 'application_name')";
    let rows = client.query(text, &[&source]).await.unwrap();
    let mut settings: Vec<_> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    settings.sort();
    settings
}

/// A session that takes our reading of `text` by SET, as a pooled backend does.
async fn ours(servers: &Servers, database: &Database, text: &str) -> Result<Vec<(String, String)>, String> {
    let parsed = options::parse(text).map_err(|error| format!("{} {}", error.sqlstate, error.message))?;
    let client = connect(servers, database, None).await.unwrap();
    for (name, value) in &parsed {
        client
            .execute("SELECT set_config($1, $2, false)", &[&&**name, &&**value])
            .await
            .map_err(|error| words(&error))?;
    }
    Ok(settings(&client, "session").await)
}

/// Not -P and -W: their settings belong to a backend from its start, and our backends have started already.
const CASES: &[&str] = &[
    "",
    "-c work_mem=1MB",
    "-cwork_mem=1MB",
    "--work_mem=1MB",
    "--work-mem=1MB",
    "-c work-mem=1MB -c WORK_MEM=2MB",
    "  -c\twork_mem=1MB\n--statement-timeout=5s  ",
    r"-c search_path=a,\ b",
    r"-c search_path=a\\b",
    r"-c search_path=\-c\ x",
    r"-c work_mem=1MB \",
    "-e",
    "-S 1000",
    "-S1000",
    "-n",
    "-ne",
    "-neS 1000",
    "-fs -f i -fo",
    "-fx",
    "-f",
    "-tplanner",
    "-tx",
    "-s",
    "-O",
    "-F",
    "-l",
    "-N 10",
    "-B 100",
    "-p 5",
    "-C x",
    "-D x",
    "-r x",
    "-v 3",
    "-d 3",
    "-d 0",
    "-b",
    "-E",
    "-j",
    "-T",
    "-x",
    "-c",
    "-c work_mem",
    "--work_mem",
    "--",
    "-- x",
    "x",
    "-",
    "x -c work_mem=1MB",
    "-c work_mem=1MB x",
    "-c nosuch=1",
    "-c my.own=1",
    "-c work_mem=lots",
    "-c max_connections=5",
];

#[tokio::test]
async fn options_mean_what_they_mean_to_the_server() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let mut wrong = String::new();
    for text in CASES {
        let theirs = match connect(servers, &database, Some(text)).await {
            Ok(client) => Ok(settings(&client, "client").await),
            Err(words) => Err(words),
        };
        let ours = ours(servers, &database, text).await;
        if theirs != ours {
            wrong += &format!("{text:?}:\n  server  {theirs:?}\n  primacy {ours:?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn a_start_up_setting_is_refused_in_the_servers_words() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    for text in ["-c work_mem=x", "-c no_such_setting=1", "-c datestyle=nowhere", "-c max_connections=5"] {
        let told = async |host: &str, port| {
            let mut config = config(host, port, &database);
            let error = config.options(text).connect(NoTls).await.map(|_| ()).unwrap_err();
            let error = error.as_db_error().unwrap();
            let more = (error.detail().map(str::to_owned), error.hint().map(str::to_owned));
            (error.severity().to_owned(), error.code().clone(), error.message().to_owned(), more)
        };
        let theirs = told(&servers.endpoints[0].host, servers.endpoints[0].port).await;
        assert_eq!(told("127.0.0.1", primacy.port).await, theirs, "{text}");
    }
}
