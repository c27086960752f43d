//! Users, databases, and which of their wishes fit together.

use super::Resolver;
use super::sections::Scope;
use crate::config::place::{In, Leaf, Named};
use crate::config::raw::{RawDatabase, RawPool, RawUser, RawUsers};
use crate::config::scalar::{Number, Text};
use crate::config::settings::*;
use base64::Engine;
use std::sync::Arc;

/// What users and databases are measured against: the cluster's own settings.
pub(super) struct Base<'a> {
    pub(super) engine: EngineKind,
    pub(super) pool: Pool,
    pub(super) routing: &'a Routing,
    pub(super) monitor: &'a Monitor,
}

impl Resolver<'_> {
    pub(super) fn users(&self, raw: Option<&In<RawUsers>>, base: &Base<'_>) -> Users {
        let default = base.engine.passthrough();
        let Some(In { value: raw, .. }) = raw else {
            return Users { passthrough: default, pg_hba: base.engine.pg_hba(), list: Vec::new() };
        };
        let passthrough = self.or(raw.passthrough.as_ref(), default);
        if let Some(leaf) = &raw.passthrough
            && base.engine != EngineKind::Postgres
            && passthrough != Passthrough::Off
        {
            let help = "until then: list the users under `users.list`";
            let found = format!("{} is not in this version yet for this engine", self.context.found(leaf.0));
            self.context.note(leaf.0, found, "expected `off`", Some(help.to_owned()));
        }
        let pg_hba = self.or(raw.pg_hba.as_ref(), base.engine.pg_hba());
        if let Some(leaf) = &raw.pg_hba
            && base.engine != EngineKind::Postgres
            && pg_hba != PgHba::Off
        {
            let found = format!("{} is PostgreSQL's", self.context.found(leaf.0));
            self.context.note(leaf.0, found, "expected `off`", None);
        }
        let mut list: Vec<User> = Vec::new();
        for section in raw.list.as_deref().unwrap_or_default() {
            let Some(user) = self.user(section, base) else { continue };
            if list.iter().any(|other| other.name == user.name) {
                let node = section.value.name.as_ref().map_or(section.at, |name| name.0);
                let found = format!("{} is listed twice", self.context.found(node));
                self.context.note(node, found, "expected each user once", None);
            }
            list.push(user);
        }
        Users { passthrough, pg_hba, list }
    }

    fn user(&self, section: &In<RawUser>, base: &Base<'_>) -> Option<User> {
        let raw = &section.value;
        let secret = self.user_secret(section, base.engine);
        let pool = raw.pool.as_ref().map(|pool| self.pool(Some(pool), base.pool, Scope::Part));
        let min_idle = min_idle_of(raw.pool.as_ref());
        if let (Some(leaf), Some(UserSecret::ScramVerifier(_))) = (min_idle, &secret) {
            self.needs_password(leaf, pool, "this user is listed with a verifier");
        }
        let routing = raw
            .routing
            .as_ref()
            .map(|routing| self.routing(Some(routing), base.routing, base.monitor, Scope::Part));
        let databases = self.texts(raw.databases.as_deref());
        if raw.name.is_none() {
            self.missing(
                section.at,
                "name",
                "each listed user needs `name` and `password` or `scram_verifier`",
            );
        }
        Some(User { name: self.nonempty(raw.name.as_ref())?, secret: secret?, pool, routing, databases })
    }

    fn user_secret(&self, section: &In<RawUser>, engine: EngineKind) -> Option<UserSecret> {
        match (&section.value.password, &section.value.scram_verifier) {
            (Some(password), None) => self.secret(password.0).map(UserSecret::Password),
            (None, Some(verifier)) if engine == EngineKind::Postgres => {
                let secret = self.secret(verifier.0)?;
                if !is_scram_verifier(secret.expose()) {
                    let allowed = "expected `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`";
                    self.context.note(verifier.0, "is not a SCRAM verifier".to_owned(), allowed, None);
                    return None;
                }
                Some(UserSecret::ScramVerifier(secret))
            }
            (None, Some(verifier)) => {
                let place = self.context.tree.key_of(verifier.0);
                self.context.note(place, "is PostgreSQL's alone".to_owned(), "expected `password`", None);
                None
            }
            (None, None) => {
                self.missing(section.at, "password", "each listed user needs `password` or `scram_verifier`");
                None
            }
            (Some(_), Some(verifier)) => {
                let place = self.context.tree.key_of(verifier.0);
                let found = "stands beside a `password`".to_owned();
                self.context.note(place, found, "expected one of the two", None);
                None
            }
        }
    }

    pub(super) fn databases(
        &self,
        raw: Option<&In<Named<RawDatabase>>>,
        users: &Users,
        base: &Base<'_>,
    ) -> Vec<Database> {
        let named = raw.map_or(&[][..], |named| &named.value.0);
        named.iter().filter_map(|(alias, section)| self.database(alias, section, users, base)).collect()
    }

    fn database<T>(
        &self,
        alias: &Leaf<T>,
        section: &In<RawDatabase>,
        users: &Users,
        base: &Base<'_>,
    ) -> Option<Database> {
        let raw = &section.value;
        let alias: Arc<str> = self.read_at::<Text>(alias.0)?;
        let pool = raw.pool.as_ref().map(|pool| self.pool(Some(pool), base.pool, Scope::Part));
        self.check_min_idle(raw.pool.as_ref(), pool, users);
        let routing = raw
            .routing
            .as_ref()
            .map(|routing| self.routing(Some(routing), base.routing, base.monitor, Scope::Part));
        let name = self.name_or(raw.name.as_ref(), &alias);
        Some(Database { alias, name, pool, routing })
    }

    /// `min_idle` of a cluster's or a database's pool needs somebody whose password is known.
    pub(super) fn check_min_idle(&self, raw: Option<&In<RawPool>>, pool: Option<Pool>, users: &Users) {
        let known = users.list.iter().any(|user| matches!(user.secret, UserSecret::Password(_)));
        if let Some(leaf) = min_idle_of(raw).filter(|_| !known) {
            self.needs_password(leaf, pool, "no user is listed with a password");
        }
    }

    fn needs_password(&self, leaf: &Leaf<Number<0, 10_000>>, pool: Option<Pool>, why: &str) {
        if pool.is_some_and(|pool| pool.min_idle > 0) {
            let found = format!("connections can be opened ahead only with a known password, but {why}");
            let help = "list the user with its `password` under `users.list`, or leave `min_idle` at 0";
            self.context.note(leaf.0, found, "expected 0", Some(help.to_owned()));
        }
    }
}

fn min_idle_of(raw: Option<&In<RawPool>>) -> Option<&Leaf<Number<0, 10_000>>> {
    raw.and_then(|raw| raw.value.min_idle.as_ref())
}

/// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, as PostgreSQL stores it.
fn is_scram_verifier(text: &str) -> bool {
    let decoded = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
    let parts = || {
        let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations = iterations.parse::<u32>().ok()?;
        Some((iterations, decoded(salt)?, decoded(stored)?, decoded(server)?))
    };
    parts().is_some_and(|(iterations, salt, stored, server)| {
        iterations > 0 && !salt.is_empty() && stored.len() == 32 && server.len() == 32
    })
}
