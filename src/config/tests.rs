//! The promises of the configuration as a whole: examples load, errors read as written here, secrets stay hidden.

use super::*;

fn env(name: &str) -> Option<String> {
    name.starts_with("PRIMACY_").then(|| "from-the-environment".to_owned())
}

fn example(name: &str) -> Settings {
    let path = format!("{}/config/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    Settings::parse(&text, &path, &env).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_smallest_file_has_every_default() {
    let settings = example("minimal.yaml");
    let cluster = settings.cluster("shop").unwrap();
    assert_eq!(cluster.pool, settings::Pool::default());
    assert_eq!(cluster.routing, settings::Routing::default());
    assert_eq!(cluster.failover, settings::Failover::default());
    assert_eq!(cluster.monitor.password.expose(), "from-the-environment");
    assert_eq!(&*cluster.nodes[2].host, "10.0.0.13");
    assert_eq!(settings.admin, settings::Admin::default());
}

#[test]
fn the_full_file_says_what_holds_anyway() {
    let full = example("full.yaml");
    for row in full.rows() {
        let is_free = row.default.is_empty() || row.key.ends_with(".workers");
        assert!(is_free || row.value == row.default, "{row:?}");
    }
}

#[test]
fn the_commented_examples_mean_what_they_say() {
    let postgres = example("postgres.yaml");
    let shop = postgres.cluster("shop").unwrap();
    assert_eq!(shop.listen[1].route, settings::RouteSetting::Replica);
    assert_eq!(shop.nodes[3].role, settings::NodeRole::Standby);
    assert_eq!(shop.nodes[0].port, 5432);
    let own = shop.users.list[0].pool.unwrap();
    assert_eq!((own.size, own.min_idle, own.queue_timeout), (40, 5, shop.pool.queue_timeout));
    let reports = &shop.databases[0];
    assert_eq!((&*reports.alias, &*reports.name), ("reporting", "shop"));
    assert_eq!(reports.routing.as_ref().unwrap().balance, settings::Balance::LeastConnections);

    let mysql = example("mysql.yaml");
    let shop = mysql.cluster("shop").unwrap();
    assert_eq!((shop.nodes[0].port, shop.users.passthrough), (3306, settings::Passthrough::Off));
}

#[test]
fn the_committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/schema.json");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == schema(), "run: primacy schema > config/schema.json");
}

/// `broken.txt` holds broken files and, below each, exactly what is said about it. PRIMACY_WRITE_EXPECTED=1 writes
/// what is said now; read the difference before it is committed.
#[test]
fn errors_read_as_written() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/broken.txt");
    let committed = std::fs::read_to_string(path).unwrap();
    let mut now = String::new();
    for case in committed.split("=== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (text, _) = rest.split_once("---\n\n").or_else(|| rest.rsplit_once("---\n")).unwrap();
        let said = Settings::parse(text, "primacy.yaml", &|_| None).unwrap_err().to_string();
        now.push_str(&format!("=== {title}\n{text}---\n\n{said}\n"));
    }
    if environment("PRIMACY_WRITE_EXPECTED").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    for (now, committed) in now.split("=== ").zip(committed.split("=== ")) {
        assert_eq!(now, committed);
    }
    assert_eq!(now.len(), committed.len());
}

fn reference() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap()
}

#[test]
fn the_reference_has_every_key() {
    fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
        if let Some(properties) = value.get("properties").and_then(|properties| properties.as_object()) {
            found.extend(properties.keys().cloned());
        }
        for field in value.as_object().into_iter().flat_map(|object| object.values()) {
            keys(field, found);
        }
    }
    let reference = reference();
    let mut found = Vec::new();
    keys(&serde_json::from_str(&schema()).unwrap(), &mut found);
    assert!(found.len() > 80, "{found:?}");
    for key in found {
        let is_named = [format!("`{key}"), format!(".{key}"), format!("{{ {key}: ")];
        assert!(is_named.iter().any(|form| reference.contains(form)), "docs/configuration.md lacks {key}");
    }
}

#[test]
fn the_reference_has_the_defaults_that_hold() {
    let reference = reference();
    for row in example("full.yaml").rows() {
        let key = row.key.replace("clusters.shop.", "").replace("nodes.pg1.", "nodes.NAME.");
        let default = match (row.key.as_str(), row.default.as_str()) {
            ("runtime.workers", _) => "`0`".to_owned(),
            (_, "") => "–".to_owned(),
            (_, default) => format!("`{default}`"),
        };
        let reload = if row.changeable { "yes |" } else { "no: " };
        let line = format!("| `{key}` | {default} | {reload}");
        assert!(reference.contains(&line), "docs/configuration.md lacks: {line}");
    }
}

fn changed(from: &str, to: &str) -> Result<Vec<Change>, Vec<String>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/full.yaml")).unwrap();
    let parse =
        |text: &str| Settings::parse(text, "primacy.yaml", &env).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(text.contains(from), "{from}");
    let restarts = |refused: Vec<NeedsRestart>| refused.iter().map(NeedsRestart::to_string).collect();
    diff(&parse(&text), &parse(&text.replacen(from, to, 1))).map_err(restarts)
}

#[test]
fn a_reload_changes_what_it_can() {
    assert_eq!(changed("size: 20", "size: 20").unwrap(), []);
    let changes = changed("size: 20", "size: 30").unwrap();
    let [Change::Cluster { cluster, parts }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((cluster.pool.size, &parts[..]), (30, &[Part::Pool][..]));
    assert!(matches!(&changed("level: info", "level: debug").unwrap()[..], [Change::Log(_)]));
    assert!(matches!(&changed("stats_users: []", "stats_users: [ a ]").unwrap()[..], [Change::Admin(_)]));
    for (from, to, part) in [
        (
            "mode: prefer }                           # certificate",
            "mode: disable }  # certificate",
            Part::Tls,
        ),
        ("deny: []", "deny: [ 10.0.0.1 ]", Part::Firewall),
        ("{ env: PRIMACY_MONITOR_PASSWORD }", "other", Part::Monitor),
        ("weight: 1", "weight: 2", Part::Nodes),
        ("databases: {}", "databases: { a: { name: b } }", Part::Databases),
        ("list: []", "list: [ { name: a, password: b } ]", Part::Users),
        ("query: 0", "query: 1m", Part::Timeouts),
        ("consistency: causal", "consistency: eventual", Part::Routing),
        ("hold: 15s", "hold: 20s", Part::Failover),
    ] {
        let changes = changed(from, to).unwrap();
        let [Change::Cluster { parts, .. }] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(parts[..], [part]);
    }
}

#[test]
fn a_reload_that_needs_a_restart_is_refused_whole() {
    for (from, to, key) in [
        ("127.0.0.1:6432", "127.0.0.1:6433", "clusters.shop.listen"),
        ("10.0.0.11:5432", "10.0.0.12:5432", "clusters.shop.nodes.pg1.address"),
        ("pg1:", "pg2:", "clusters.shop.nodes"),
        ("engine: postgres", "engine: mysql", "clusters.shop.engine"),
        ("127.0.0.1:9632", "off", "admin.listen"),
        ("database: primacy", "database: console", "admin.database"),
        ("workers: 0", "workers: 999", "runtime.workers"),
        ("format: text", "format: json", "log.format"),
    ] {
        let to = if key.ends_with("engine") {
            "engine: mysql\n    users: &u { list: [ { name: a, password: b } ] }"
        } else {
            to
        };
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/full.yaml")).unwrap();
        let new = text.replacen(from, to, 1);
        let new = if key.ends_with("engine") {
            new.replacen(
                "    users:\n      passthrough: verifier\n      pg_hba: auto\n      list: []\n",
                "",
                1,
            )
        } else {
            new
        };
        let parse = |text: &str| {
            Settings::parse(text, "primacy.yaml", &env).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let refused = diff(&parse(&text), &parse(&new)).unwrap_err();
        assert_eq!(refused.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), [key]);
        assert!(refused[0].to_string().contains(" cannot change while Primacy runs: "));
    }
    let refused = changed("  shop:", "  store:").unwrap_err();
    assert_eq!(refused.len(), 2, "one removed, one added: {refused:?}");
}
