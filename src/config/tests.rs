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
