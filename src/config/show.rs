//! The effective settings as rows, for `SHOW CONFIG`.

use super::scalar::{LogLevel, Word};
use super::settings::*;
use super::units::show_duration;
use ipnet::IpNet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its path, e.g. `clusters.shop.pool.size`.
    pub key: String,
    /// Its value as the file would write it; secrets are `****`.
    pub value: String,
    /// What holds when the file says nothing; empty when there is no such value.
    pub default: String,
    /// Whether a reload changes it; else a restart does.
    pub changeable: bool,
}

/// Keys, below their cluster or node where they have one, that only a restart changes.
const FIXED: [&str; 7] =
    ["engine", "listen", "address", "admin.listen", "admin.database", "runtime.workers", "log.format"];

type Pairs = Vec<(&'static str, String)>;

#[derive(Default)]
struct Rows(Vec<Row>);

impl Settings {
    /// Every effective setting, in the order of the reference.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Rows::default();
        for cluster in &self.clusters {
            rows.cluster(cluster);
        }
        rows.section("admin", admin(&self.admin), admin(&Admin::default()));
        rows.section("runtime", runtime(self.runtime), runtime(Runtime::default()));
        rows.section("log", log(&self.log), log(&Log::default()));
        rows.0
    }
}

impl Rows {
    fn one(&mut self, key: String, value: String, default: String) {
        let is_fixed = |fixed: &&str| {
            key == **fixed || (key.starts_with("clusters.") && key.ends_with(&format!(".{fixed}")))
        };
        let changeable = !FIXED.iter().any(is_fixed);
        self.0.push(Row { key, value, default, changeable });
    }

    fn section(&mut self, prefix: &str, values: Pairs, defaults: Pairs) {
        for ((key, value), (_, default)) in values.into_iter().zip(defaults) {
            self.one(format!("{prefix}.{key}"), value, default);
        }
    }

    /// A section none of whose keys has a default.
    fn plain(&mut self, prefix: &str, values: Pairs) {
        for (key, value) in values {
            self.one(format!("{prefix}.{key}"), value, String::new());
        }
    }

    fn cluster(&mut self, cluster: &Cluster) {
        let prefix = format!("clusters.{}", cluster.name);
        let at = |section: &str| format!("{prefix}.{section}");
        self.plain(&prefix, vec![("engine", word(cluster.engine)), ("listen", listeners(&cluster.listen))]);
        self.section(&at("tls"), client_tls(&cluster.tls), client_tls(&ClientTls::default()));
        self.section(&at("firewall"), firewall(&cluster.firewall), firewall(&Firewall::default()));
        self.plain(&at("monitor"), vec![("user", cluster.monitor.user.to_string()), ("password", hidden())]);
        let rhythm = Monitor {
            database: cluster.engine.monitor_database().into(),
            interval: Monitor::INTERVAL,
            min_interval: Monitor::MIN_INTERVAL,
            timeout: Monitor::TIMEOUT,
            nudge: true,
            ..cluster.monitor.clone()
        };
        self.section(&at("monitor"), monitor(&cluster.monitor), monitor(&rhythm));
        for one in &cluster.nodes {
            let default = Node::new("", "", 0);
            let prefix = at(&format!("nodes.{}", one.name));
            self.plain(&prefix, vec![("address", one.address())]);
            self.section(&prefix, node(one), node(&default));
        }
        for database in &cluster.databases {
            let prefix = at(&format!("databases.{}", database.alias));
            self.one(format!("{prefix}.name"), database.name.to_string(), database.alias.to_string());
            self.overrides(&prefix, cluster, database.pool.as_ref(), database.routing.as_ref());
        }
        let passthrough = word(cluster.engine.passthrough());
        self.one(at("users.passthrough"), word(cluster.users.passthrough), passthrough);
        self.one(at("users.pg_hba"), word(cluster.users.pg_hba), word(cluster.engine.pg_hba()));
        for (number, user) in cluster.users.list.iter().enumerate() {
            let prefix = at(&format!("users.list[{number}]"));
            self.plain(&prefix, listed(user));
            self.one(format!("{prefix}.databases"), names(&user.databases), String::new());
            self.overrides(&prefix, cluster, user.pool.as_ref(), user.routing.as_ref());
        }
        self.section(&at("pool"), pool(&cluster.pool), pool(&Pool::default()));
        self.section(&at("timeouts"), timeouts(&cluster.timeouts), timeouts(&Timeouts::default()));
        self.section(&at("routing"), routing(&cluster.routing), routing(&Routing::default()));
        self.section(&at("failover"), failover(&cluster.failover), failover(&Failover::default()));
    }

    /// A user's or a database's own limits; their defaults are the cluster's.
    fn overrides(
        &mut self,
        prefix: &str,
        cluster: &Cluster,
        own: Option<&Pool>,
        own_routing: Option<&Routing>,
    ) {
        let cluster_wide = ["pinned", "pin_idle", "max_clients"];
        let part =
            |limits: &Pool| pool(limits).into_iter().filter(|(key, _)| !cluster_wide.contains(key)).collect();
        if let Some(own) = own {
            self.section(&format!("{prefix}.pool"), part(own), part(&cluster.pool));
        }
        if let Some(own) = own_routing {
            self.section(&format!("{prefix}.routing"), routing(own), routing(&cluster.routing));
        }
    }
}

fn hidden() -> String {
    super::mask::HIDDEN.to_owned()
}

fn word<W: Word>(value: W) -> String {
    value.word().to_owned()
}

fn time(value: Duration) -> String {
    show_duration(value)
}

fn path(value: Option<&PathBuf>) -> String {
    value.map_or_else(String::new, |path| path.display().to_string())
}

fn names(list: &[Arc<str>]) -> String {
    list.join(", ")
}

fn networks(list: &[IpNet]) -> String {
    list.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}

fn listeners(list: &[Listen]) -> String {
    let one = |listen: &Listen| match listen.route {
        RouteSetting::Auto => listen.address.to_string(),
        route => format!("{} ({})", listen.address, route.word()),
    };
    list.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn client_tls(tls: &ClientTls) -> Pairs {
    vec![
        ("mode", word(tls.mode)),
        ("certificate", path(tls.certificate.as_ref())),
        ("key", path(tls.key.as_ref())),
    ]
}

fn firewall(firewall: &Firewall) -> Pairs {
    vec![
        ("allow", networks(&firewall.allow)),
        ("deny", networks(&firewall.deny)),
        ("connections_per_second", firewall.connections_per_second.to_string()),
        ("failed_logins.limit", firewall.failed_logins_limit.to_string()),
        ("failed_logins.block", time(firewall.failed_logins_block)),
    ]
}

fn monitor(monitor: &Monitor) -> Pairs {
    vec![
        ("database", monitor.database.to_string()),
        ("interval", time(monitor.interval)),
        ("min_interval", time(monitor.min_interval)),
        ("timeout", time(monitor.timeout)),
        ("nudge", monitor.nudge.to_string()),
    ]
}

fn node(node: &Node) -> Pairs {
    vec![
        ("role", word(node.role)),
        ("weight", node.weight.to_string()),
        ("zone", node.zone.to_string()),
        ("priority", node.priority.to_string()),
        ("promote", node.promote.to_string()),
        (
            "max_connections",
            node.max_connections.map_or_else(|| "auto".to_owned(), |limit| limit.to_string()),
        ),
        ("tls.mode", word(node.tls.mode)),
        ("tls.ca", path(node.tls.ca.as_ref())),
    ]
}

fn listed(user: &User) -> Pairs {
    let secret = match user.secret {
        UserSecret::Password(_) => "password",
        UserSecret::ScramVerifier(_) => "scram_verifier",
    };
    vec![("name", user.name.to_string()), (secret, hidden())]
}

fn pool(pool: &Pool) -> Pairs {
    vec![
        ("mode", word(pool.mode)),
        ("size", pool.size.to_string()),
        ("min_idle", pool.min_idle.to_string()),
        ("reads_reserved", format!("{}%", pool.reads_reserved)),
        ("pinned", pool.pinned.to_string()),
        ("pin_idle", time(pool.pin_idle)),
        ("queue_timeout", time(pool.queue_timeout)),
        ("idle_timeout", time(pool.idle_timeout)),
        ("max_age", time(pool.max_age)),
        ("max_clients", pool.max_clients.to_string()),
        ("prepared_statements", pool.prepared_statements.to_string()),
    ]
}

fn timeouts(timeouts: &Timeouts) -> Pairs {
    vec![
        ("login", time(timeouts.login)),
        ("connect", time(timeouts.connect)),
        ("query", time(timeouts.query)),
        ("idle_in_transaction", time(timeouts.idle_in_transaction)),
        ("client_idle", time(timeouts.client_idle)),
        ("shutdown", time(timeouts.shutdown)),
    ]
}

fn routing(routing: &Routing) -> Pairs {
    let wait = match routing.consistency_wait {
        ConsistencyWait::Auto => "auto".to_owned(),
        ConsistencyWait::Fixed(wait) => time(wait),
    };
    vec![
        ("balance", word(routing.balance)),
        ("consistency", word(routing.consistency)),
        ("consistency_wait", wait),
        ("max_lag", time(routing.max_lag)),
        ("max_lag_bytes", routing.max_lag_bytes.to_string()),
        ("reads_on_primary", word(routing.reads_on_primary)),
        ("functions", functions(&routing.functions)),
        ("reads_without_primary", word(routing.reads_without_primary)),
        ("reads_in_transactions", word(routing.reads_in_transactions)),
        ("retry.breaker", time(routing.breaker)),
    ]
}

fn functions(rules: &[FunctionRule]) -> String {
    let of = |rule: &FunctionRule| {
        let schema = rule.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
        let class = rule.class.map(|class| format!(" {}", word(class))).unwrap_or_default();
        let state = rule.state.map(|state| format!(" state {}", word(state))).unwrap_or_default();
        format!("{schema}{}:{class}{state}", rule.name)
    };
    rules.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn failover(failover: &Failover) -> Pairs {
    vec![
        ("mode", word(failover.mode)),
        ("hold", time(failover.hold)),
        ("hold_bytes", failover.hold_bytes.to_string()),
        ("observe.witness", time(failover.witness)),
    ]
}

fn admin(admin: &Admin) -> Pairs {
    vec![
        ("listen", admin.listen.map_or_else(|| "off".to_owned(), |address| address.to_string())),
        ("token", admin.token.as_ref().map_or_else(String::new, |_| hidden())),
        ("database", admin.database.to_string()),
        ("users", names(&admin.users)),
        ("stats_users", names(&admin.stats_users)),
    ]
}

fn runtime(runtime: Runtime) -> Pairs {
    vec![("workers", runtime.workers.to_string())]
}

fn log(log: &Log) -> Pairs {
    vec![
        ("level", word(LogLevel(log.level))),
        ("format", word(log.format)),
        ("slow_query", time(log.slow_query)),
    ]
}
