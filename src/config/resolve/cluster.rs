//! One cluster: its sections, and what must hold between them.

use super::Resolver;
use super::address::{Taken, has_unix};
use super::sections::Scope;
use super::users::Base;
use crate::config::place::{In, Leaf};
use crate::config::raw::{RawCluster, RawMonitor};
use crate::config::scalar::Name;
use crate::config::settings::*;
use crate::config::tree::NodeIndex;
use crate::config::units::{Secret, show_duration};
use std::sync::Arc;
use std::time::Duration;

impl Resolver<'_> {
    pub(super) fn cluster(&self, name: &Leaf<Name>, section: &In<RawCluster>, taken: &mut Taken) -> Cluster {
        let raw = &section.value;
        let at = section.at;
        if raw.engine.is_none() {
            self.missing(at, "engine", "say which servers these are: `engine: postgres`");
        }
        let engine = self.or(raw.engine.as_ref(), EngineKind::Postgres);
        let listen = self.listeners(raw.listen.as_ref().map_or(&[], |list| &list.0), taken);
        if raw.listen.as_ref().is_none_or(|list| list.0.is_empty()) {
            self.missing(at, "listen", "say where clients connect: `listen: 127.0.0.1:6432`");
        }
        let monitor = self.monitor(at, raw.monitor.as_ref(), engine);
        let pool = self.pool(raw.pool.as_ref(), Pool::default(), Scope::Cluster);
        let routing = self.routing(raw.routing.as_ref(), &Routing::default(), &monitor, Scope::Cluster);
        self.check_lag(raw, &routing, &monitor);
        let base = Base { engine, pool, routing: &routing, monitor: &monitor };
        let users = self.users(raw.users.as_ref(), &base);
        self.check_min_idle(raw.pool.as_ref(), Some(pool), &users);
        let tls = self.client_tls(raw.tls.as_ref());
        self.check_logins(section, &users, &tls, &listen);
        Cluster {
            name: self.read(Some(name)).unwrap_or_default(),
            engine,
            nodes: self.nodes(at, raw.nodes.as_ref(), engine, taken),
            databases: self.databases(raw.databases.as_ref(), &users, &base),
            firewall: self.firewall(raw.firewall.as_ref()),
            timeouts: self.timeouts(raw.timeouts.as_ref()),
            failover: self.failover(raw.failover.as_ref()),
            listen,
            tls,
            monitor,
            users,
            pool,
            routing,
        }
    }

    fn monitor(&self, cluster: NodeIndex, raw: Option<&In<RawMonitor>>, engine: EngineKind) -> Monitor {
        let account = "the monitor's account: `monitor: { user: primacy, password: { env: NAME } }`";
        let mut monitor = Monitor {
            user: Arc::from(""),
            password: Secret::new(String::new()),
            database: Arc::from(engine.monitor_database()),
            interval: Monitor::INTERVAL,
            min_interval: Monitor::MIN_INTERVAL,
            timeout: Monitor::TIMEOUT,
            nudge: true,
        };
        let Some(In { at, value: raw }) = raw else {
            self.missing(cluster, "monitor", account);
            return monitor;
        };
        match &raw.user {
            None => self.missing(*at, "user", account),
            Some(leaf) => monitor.user = self.nonempty(Some(leaf)).unwrap_or_default(),
        }
        match &raw.password {
            None => self.missing(*at, "password", account),
            Some(leaf) => monitor.password = self.secret(leaf.0).unwrap_or(monitor.password),
        }
        monitor.database = self.name_or(raw.database.as_ref(), &monitor.database);
        monitor.interval = self.positive(raw.interval.as_ref(), monitor.interval);
        monitor.min_interval = self.positive(raw.min_interval.as_ref(), monitor.min_interval);
        monitor.timeout = self.positive(raw.timeout.as_ref(), monitor.timeout);
        monitor.nudge = self.or(raw.nudge.as_ref(), monitor.nudge);
        let place = raw.min_interval.as_ref().or(raw.interval.as_ref()).map(|leaf| leaf.0);
        if let Some(place) = place.filter(|_| monitor.min_interval > monitor.interval) {
            let found = "`min_interval` is longer than `interval`".to_owned();
            self.context.note(place, found, "keep `min_interval` at or below `interval`", None);
        }
        monitor
    }

    /// A `max_lag` that is written is checked where it stands; here the monitor is too slow for the default.
    fn check_lag(&self, raw: &RawCluster, routing: &Routing, monitor: &Monitor) {
        let written = raw.routing.as_ref().is_some_and(|routing| routing.value.max_lag.is_some());
        let interval = raw.monitor.as_ref().and_then(|monitor| monitor.value.interval.as_ref());
        if let Some(leaf) = interval.filter(|_| !written && monitor.interval > routing.max_lag) {
            let limit = show_duration(routing.max_lag);
            let found = format!("{} is longer than `routing.max_lag` ({limit})", self.context.found(leaf.0));
            self.context.note(leaf.0, found, &format!("expected at most {limit}"), None);
        }
    }

    fn positive(&self, leaf: Option<&Leaf<Duration>>, default: Duration) -> Duration {
        let duration = self.or(leaf, default);
        if let Some(leaf) = leaf.filter(|_| duration.is_zero()) {
            self.context.wrong(leaf.0, "is no time at all", "expected more than 0");
        }
        duration
    }

    /// That somebody can log in at all.
    fn check_logins(&self, section: &In<RawCluster>, users: &Users, tls: &ClientTls, listen: &[Listen]) {
        let written = section.value.users.as_ref();
        let at = written.map_or(section.at, |users| users.at);
        let place = written.and_then(|users| users.value.passthrough.as_ref()).map(|leaf| leaf.0);
        let listed = written.and_then(|users| users.value.list.as_ref()).is_some_and(|list| !list.is_empty());
        if users.passthrough == Passthrough::Off && !listed {
            let help = "without `passthrough` only listed users can log in: `users: { list: [ { name: …, password: … } ] }`";
            let place = place.unwrap_or_else(|| self.context.tree.key_of(at));
            self.context.note(
                place,
                "nobody could log in".to_owned(),
                "needs `users.list`",
                Some(help.to_owned()),
            );
        }
        let certificate = section.value.tls.as_ref().is_some_and(|tls| tls.value.certificate.is_some());
        let safe = has_unix(listen) || (certificate && tls.mode != ClientTlsMode::Disable);
        if let Some(place) = place.filter(|_| users.passthrough == Passthrough::Password && !safe) {
            let help = "set `tls.certificate` and `tls.key`, or listen at a `unix:` path";
            self.context.note(
                place,
                "passwords would be asked in clear, which is done inside TLS or a unix socket only"
                    .to_owned(),
                "nobody could log in",
                Some(help.to_owned()),
            );
        }
    }
}
