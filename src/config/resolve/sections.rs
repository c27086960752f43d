//! The sections that are read key by key: pools, time-outs, routing, failover, firewall, TLS.

use super::Resolver;
use crate::config::place::{In, Leaf, Named};
use crate::config::raw::*;
use crate::config::scalar::{Scalar, Text};
use crate::config::settings::*;
use crate::config::tree::NodeIndex;
use std::sync::Arc;

/// Whose pool limits are read.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Scope {
    Cluster,
    /// One database or one user.
    Part,
}

impl Resolver<'_> {
    pub(super) fn pool(&self, raw: Option<&In<RawPool>>, base: Pool, scope: Scope) -> Pool {
        let Some(In { value: raw, .. }) = raw else { return base };
        if scope == Scope::Part {
            self.only_for_clusters(raw.max_clients.as_ref(), "max_clients");
            self.only_for_clusters(raw.pinned.as_ref(), "pinned");
            self.only_for_clusters(raw.pin_idle.as_ref(), "pin_idle");
        }
        let pool = Pool {
            mode: self.or(raw.mode.as_ref(), base.mode),
            size: self.or(raw.size.as_ref(), base.size),
            min_idle: self.or(raw.min_idle.as_ref(), base.min_idle),
            reads_reserved: self.or(raw.reads_reserved.as_ref(), base.reads_reserved),
            pinned: self.or(raw.pinned.as_ref(), base.pinned),
            pin_idle: self.or(raw.pin_idle.as_ref(), base.pin_idle),
            queue_timeout: self.or(raw.queue_timeout.as_ref(), base.queue_timeout),
            idle_timeout: self.or(raw.idle_timeout.as_ref(), base.idle_timeout),
            max_age: self.or(raw.max_age.as_ref(), base.max_age),
            max_clients: self.or(raw.max_clients.as_ref(), base.max_clients),
            prepared_statements: self.or(raw.prepared_statements.as_ref(), base.prepared_statements),
        };
        let place = raw.min_idle.as_ref().map(|leaf| leaf.0).or(raw.size.as_ref().map(|leaf| leaf.0));
        if let Some(place) = place.filter(|_| pool.min_idle > pool.size) {
            let found = format!("`min_idle` ({}) is more than `size` ({})", pool.min_idle, pool.size);
            self.context.note(place, found, "keep `min_idle` at or below `size`", None);
        }
        pool
    }

    fn only_for_clusters<S: Scalar>(&self, leaf: Option<&Leaf<S>>, key: &str) {
        if let Some(leaf) = leaf {
            let help = format!("it counts for the whole cluster: set `pool.{key}` of the cluster");
            let place = self.context.tree.key_of(leaf.0);
            self.context.note(place, "cannot be set for one user or database".to_owned(), "", Some(help));
        }
    }

    pub(super) fn timeouts(&self, raw: Option<&In<RawTimeouts>>) -> Timeouts {
        let default = Timeouts::default();
        let Some(In { value: raw, .. }) = raw else { return default };
        Timeouts {
            login: self.or(raw.login.as_ref(), default.login),
            connect: self.or(raw.connect.as_ref(), default.connect),
            query: self.or(raw.query.as_ref(), default.query),
            idle_in_transaction: self.or(raw.idle_in_transaction.as_ref(), default.idle_in_transaction),
            client_idle: self.or(raw.client_idle.as_ref(), default.client_idle),
            shutdown: self.or(raw.shutdown.as_ref(), default.shutdown),
        }
    }

    pub(super) fn routing(
        &self,
        raw: Option<&In<RawRouting>>,
        base: &Routing,
        monitor: &Monitor,
        scope: Scope,
    ) -> Routing {
        let Some(In { value: raw, .. }) = raw else { return base.clone() };
        let functions = match &raw.functions {
            Some(functions) if scope == Scope::Part => {
                self.context.note(
                    self.context.tree.key_of(functions.at),
                    "`functions` cannot be set for one database or user".to_owned(),
                    "not allowed here",
                    Some("what a function does counts for the whole cluster: set `routing.functions` of the cluster".to_owned()),
                );
                Arc::clone(&base.functions)
            }
            Some(functions) => self.functions(functions),
            None => Arc::clone(&base.functions),
        };
        let max_lag = self.or(raw.max_lag.as_ref(), base.max_lag);
        if let Some(leaf) = raw.max_lag.as_ref().filter(|_| max_lag < monitor.interval) {
            let help =
                "replicas are measured once per `monitor.interval`: with a shorter `max_lag` none qualifies";
            self.context.note(
                leaf.0,
                format!("{} is less than `monitor.interval`", self.context.found(leaf.0)),
                "expected at least `monitor.interval`",
                Some(help.to_owned()),
            );
        }
        Routing {
            balance: self.or(raw.balance.as_ref(), base.balance),
            consistency: self.or(raw.consistency.as_ref(), base.consistency),
            consistency_wait: self.or(raw.consistency_wait.as_ref(), base.consistency_wait),
            max_lag,
            max_lag_bytes: self.or(raw.max_lag_bytes.as_ref(), base.max_lag_bytes),
            reads_on_primary: self.or(raw.reads_on_primary.as_ref(), base.reads_on_primary),
            functions,
            reads_without_primary: self.or(raw.reads_without_primary.as_ref(), base.reads_without_primary),
            reads_in_transactions: self.or(raw.reads_in_transactions.as_ref(), base.reads_in_transactions),
            breaker: self.or(raw.retry.as_ref().and_then(|retry| retry.value.breaker.as_ref()), base.breaker),
        }
    }

    fn functions(&self, raw: &In<Named<RawFunction>>) -> Arc<[FunctionRule]> {
        let rules = raw.value.0.iter().filter_map(|(key, section)| self.function(key.0, section));
        rules.collect()
    }

    fn function(&self, key: NodeIndex, In { value: raw, .. }: &In<RawFunction>) -> Option<FunctionRule> {
        let text = self.read_at::<Text>(key)?;
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, &*text),
        };
        if name.is_empty() || schema == Some("") || text.contains('(') {
            self.context.note(
                key,
                format!("{} is not a function's name", self.context.found(key)),
                "expected `name` or `schema.name`, as the catalog stores it",
                Some("every function of that name is meant, whatever its arguments".to_owned()),
            );
            return None;
        }
        let class = self.read(raw.class.as_ref());
        let state = self.read(raw.state.as_ref());
        if raw.class.is_none() && raw.state.is_none() {
            let help = "for example `{ class: read, state: none }`";
            self.missing(key, "class", help);
        }
        Some(FunctionRule { schema: schema.map(Into::into), name: name.into(), class, state })
    }

    pub(super) fn failover(&self, raw: Option<&In<RawFailover>>) -> Failover {
        let default = Failover::default();
        let Some(In { value: raw, .. }) = raw else { return default };
        let observe = raw.observe.as_ref().map(|observe| &observe.value);
        Failover {
            mode: self.or(raw.mode.as_ref(), default.mode),
            hold: self.or(raw.hold.as_ref(), default.hold),
            hold_bytes: self.or(raw.hold_bytes.as_ref(), default.hold_bytes),
            witness: self.or(observe.and_then(|observe| observe.witness.as_ref()), default.witness),
        }
    }

    pub(super) fn firewall(&self, raw: Option<&In<RawFirewall>>) -> Firewall {
        let default = Firewall::default();
        let Some(In { value: raw, .. }) = raw else { return default };
        let failed = raw.failed_logins.as_ref().map(|failed| &failed.value);
        let limit = failed.and_then(|failed| failed.limit.as_ref());
        let block = failed.and_then(|failed| failed.block.as_ref());
        Firewall {
            allow: self.list(raw.allow.as_deref()),
            deny: self.list(raw.deny.as_deref()),
            connections_per_second: self
                .or(raw.connections_per_second.as_ref(), default.connections_per_second),
            failed_logins_limit: self.or(limit, default.failed_logins_limit),
            failed_logins_block: self.or(block, default.failed_logins_block),
        }
    }

    pub(super) fn client_tls(&self, raw: Option<&In<RawTls>>) -> ClientTls {
        let default = ClientTls::default();
        let Some(In { at, value: raw }) = raw else { return default };
        let tls = ClientTls {
            mode: self.or(raw.mode.as_ref(), default.mode),
            certificate: self.existing_file(raw.certificate.as_ref()),
            key: self.existing_file(raw.key.as_ref()),
        };
        match (&raw.certificate, &raw.key) {
            (Some(_), None) => self.missing(*at, "key", "a certificate needs its private key: `key: FILE`"),
            (None, Some(_)) => self.missing(*at, "certificate", "name the certificate: `certificate: FILE`"),
            (None, None) if tls.mode == ClientTlsMode::Require => {
                self.missing(*at, "certificate", "to demand TLS, Primacy needs `certificate` and `key`");
            }
            _ => {}
        }
        tls
    }

    pub(super) fn server_tls(&self, raw: Option<&In<RawServerTls>>) -> ServerTls {
        let default = ServerTls::default();
        let Some(In { value: raw, .. }) = raw else { return default };
        ServerTls { mode: self.or(raw.mode.as_ref(), default.mode), ca: self.existing_file(raw.ca.as_ref()) }
    }

    /// The elements that are right; the others are noted.
    pub(super) fn list<S: Scalar>(&self, leaves: Option<&[Leaf<S>]>) -> Vec<S::Out> {
        leaves.unwrap_or_default().iter().filter_map(|leaf| self.read(Some(leaf))).collect()
    }

    /// Names of users or databases.
    pub(super) fn texts(&self, leaves: Option<&[Leaf<Text>]>) -> Vec<Arc<str>> {
        leaves.unwrap_or_default().iter().filter_map(|leaf| self.nonempty(Some(leaf))).collect()
    }

    /// A text that must say something.
    pub(super) fn nonempty(&self, leaf: Option<&Leaf<Text>>) -> Option<Arc<str>> {
        let text = self.read(leaf)?;
        if text.is_empty() {
            let node = leaf?.0;
            self.context.note(node, "is empty".to_owned(), "expected a name", None);
            return None;
        }
        Some(text)
    }

    pub(super) fn name_or(&self, leaf: Option<&Leaf<Text>>, default: &Arc<str>) -> Arc<str> {
        self.nonempty(leaf).unwrap_or_else(|| Arc::clone(default))
    }
}
