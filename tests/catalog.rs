//! Promise: a relation counts as harmless only when nothing that users wrote hangs on it, and names that users gave are known.

use crate::support::own_cluster;
use primacy::catalog::{Catalog, Cleared, Names, Relation};
use primacy::config::settings::{Node, NodeRole, ServerTls, ServerTlsMode};
use primacy::config::units::Secret;
use primacy::engine::CatalogLoader;
use primacy::engine::embedded::{Embedded, Endpoint, MONITOR};
use primacy::postgres::catalog::Loader;
use primacy::postgres::connections::Nodes;
use primacy::postgres::embedded::Cluster;
use std::sync::Arc;
use std::time::Duration;

pub fn node(endpoint: &Endpoint, mode: ServerTlsMode) -> Arc<Node> {
    Arc::new(Node {
        name: endpoint.name.as_str().into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        role: NodeRole::Auto,
        weight: 1,
        zone: "".into(),
        priority: 0,
        promote: true,
        max_connections: None,
        tls: ServerTls { mode, ca: None },
    })
}

/// The cluster's nodes, those of `order` only and in that order.
pub fn nodes(cluster: &Cluster, order: &'static [usize]) -> Nodes {
    let all: Vec<_> = cluster.endpoints().iter().map(|e| node(e, ServerTlsMode::Prefer)).collect();
    Arc::new(move || order.iter().map(|&index| Arc::clone(&all[index])).collect())
}

fn loader(nodes: Nodes) -> Loader {
    Loader::new(nodes, MONITOR.user.into(), Secret::new(MONITOR.password.into()), Duration::from_secs(20))
}

struct Asker {
    loader: Loader,
    database: &'static str,
    catalog: Catalog,
}

impl Asker {
    fn new(cluster: &Cluster, database: &'static str) -> Self {
        Self { loader: loader(nodes(cluster, &[0])), database, catalog: Catalog::default() }
    }

    async fn asked(&self, path: &str, relation: Relation) -> Cleared {
        let ask = |request| self.loader.load(self.database, request);
        self.catalog.load(path, &[relation], ask).await
    }

    /// `yes`, `primary`, or the reason.
    async fn ask(&self, path: &str, name: &str, written: bool) -> String {
        let (schema, name) = name.split_once('.').unwrap_or(("", name));
        let relation = Relation { schema: schema.into(), name: name.into(), written };
        match self.asked(path, relation).await {
            Cleared::Yes { primary_only: false } => "yes".into(),
            Cleared::Yes { primary_only: true } => "primary".into(),
            Cleared::No(why) => why.to_string(),
            Cleared::Unknown => unreachable!("load never answers that"),
        }
    }

    async fn names(&self) -> Arc<Names> {
        self.asked("", Relation { schema: "x".into(), name: "x".into(), written: false }).await;
        self.catalog.names().expect("the names are loaded")
    }
}

const SCHEMA: &str = r#"
create function effect() returns int language plpgsql as $$ begin perform set_config('a.b', 'c', false); return 1; end $$;
create function fixed(int) returns int immutable language sql as 'select $1';
create function reacts() returns trigger language plpgsql as $$ begin return new; end $$;
create function same(point, point) returns bool immutable language sql as 'select true';
create operator ### (leftarg = point, rightarg = point, function = same);

create table plain (id serial primary key, at timestamptz default now(), u uuid default gen_random_uuid(), n int check (n > 0));
create table identity (id int generated always as identity, twice int generated always as (1 + 1) stored);
create table parent (id int primary key);
create table child (id int references parent on delete cascade);
create table defaulted (n int default effect());
create table checked (n int check (fixed(n) > 0));
create table seeded (n text default set_config('a.b', 'c', false));
create table operated (a point, check (a ### '(0,0)'));
create table indexed (n int);
create index on indexed (fixed(n));
create table triggered (n int);
create trigger t before insert on triggered for each row execute function reacts();
create table conditional (n int);
create trigger c before update on conditional for each row when (old.n < 0) execute function suppress_redundant_updates_trigger();
create table whenever (n int);
create trigger w before update on whenever for each row when (fixed(old.n) > 0) execute function suppress_redundant_updates_trigger();
create function compare(point, point) returns int immutable language sql as 'select 0';
create operator class whole_point for type point using btree as operator 3 ###, function 1 compare(point, point);
create table classed (a point);
create index on classed (a whole_point);
create table disabled (n int);
create trigger t before insert on disabled for each row execute function reacts();
alter table disabled disable trigger t;
create table ruled (n int);
create rule r as on insert to ruled do also select effect();
create table referenced (id int primary key);
create table cascaded (id int references referenced on update cascade);
create trigger t after update on cascaded for each row execute function reacts();
create table restricted_to (id int primary key);
create table restricting (id int references restricted_to);
create trigger t after update on restricting for each row execute function reacts();

create table parted (n int) partition by range (n);
create table parted_1 partition of parted for values from (0) to (10);
create table parted_2 partition of parted for values from (10) to (20);
create trigger t before insert on parted_2 for each row execute function reacts();
create table parted_by (n int) partition by range (fixed(n));
create table whole (n int);
create table heir () inherits (whole);
alter table heir alter n set default effect();

create domain short as text check (length(value) < 9);
create domain tested as int check (fixed(value) > 0);
create domain valued as int default effect();
create table with_default (n valued);
create domain over_tested as tested;
create type pair as (a int, b over_tested);
create table with_short (s short);
create table with_tested (n over_tested[]);
create table with_pair (p pair);
create table cast_default (n int default (1::tested)::int);

create table secured (n int);
alter table secured enable row level security;
create policy p on secured using (n = effect());
create table dormant (n int);
create policy p on dormant using (n = effect());
create table tenants (n int, tenant text);
alter table tenants enable row level security;
create policy p on tenants using (tenant = current_setting('app.tenant'));
create table allowed (n int);
create table looks (n int);
alter table looks enable row level security;
create policy p on looks using (exists (select from secured));

create unlogged table unlogged (n int);
create table half (n int) partition by range (n);
create unlogged table half_1 partition of half for values from (0) to (10);
create foreign data wrapper w;
create server s foreign data wrapper w;
create foreign table remote (n int) server s;

create view simple as select id, now() from plain;
create view nested as select * from simple where u is null;
"#;

const VIEWS: &str = r#"
create view over_remote as select * from remote;
create view over_unlogged as select * from unlogged;
create view over_secured as select * from secured;
create view calls as select effect();
create view calls_builtin as select pg_try_advisory_lock(1);
create view counts as select nextval('plain_id_seq');
create view compares as select '(0,0)'::point ### '(1,1)';
create view casts as select 1::tested;
create view server as select pg_backend_pid();
create view activity as select * from pg_stat_activity;
create view locks_rows as select * from plain for update;
create view ruled_view as select n from ruled;
create materialized view stored as select effect();
"#;

#[tokio::test]
async fn every_kind_of_relation() {
    let cluster = own_cluster(0).await;
    let schema = SCHEMA.replace("select id, now() from", "select id, u, now() from");
    cluster.sql(0, "app", &schema).await.unwrap();
    cluster.sql(0, "app", VIEWS).await.unwrap();
    let asker = Asker::new(&cluster, "app");
    let mut wrong = Vec::new();
    for line in include_str!("catalog_relations.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let mut fields = line.split('|').map(str::trim);
        let name = fields.next().unwrap();
        for written in [false, true] {
            let expected = fields.next().unwrap();
            let found = asker.ask("public", name, written).await;
            if found != expected {
                wrong.push(format!("{name}, written {written}: {found:?} instead of {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one server start for one story")]
async fn names_paths_and_ddl() {
    let cluster = own_cluster(1).await;
    let setup = r#"
        create schema "Odd"; create schema app; create schema other;
        create function reacts() returns trigger language plpgsql as 'begin return new; end';
        create table t (n int); create table "Odd".t (n int); create table other.t (n int); create table app.a (n int);
        create trigger t before insert on other.t for each row execute function reacts();
        create trigger a before insert on app.a for each row execute function reacts();
        create table a (n int);
        create extension citext; create extension "uuid-ossp";
        create table mail (id uuid default uuid_generate_v4(), address citext unique check (address like '%@%'));
        create function public.lower(varchar) returns text language sql as 'select $1::text';
        create function "Loud"(int, int default 1) returns int language sql as 'select 1';
        create function w(t) returns int language sql as 'select 1';
        create procedure p() language sql as '';
        create aggregate total(int) (sfunc = int4pl, stype = int);
        create function same(point, point) returns bool immutable language sql as 'select true';
        create operator ### (leftarg = point, rightarg = point, function = same);
        create domain short as text check (length(value) < 9);
        create domain bad as int check ("Loud"(value) > 0); create domain worse as bad;
        create function to_t(int) returns t language sql as 'select row($1)::t';
        create cast (int as t) with function to_t(int);
    "#;
    cluster.sql(0, "app", setup).await.unwrap();
    let asker = Asker::new(&cluster, "app");

    let names = asker.names().await;
    let has = |set: &std::collections::HashSet<Box<str>>, name: &str| set.contains(name);
    for name in ["lower", "Loud", "w", "p", "total", "same", "reacts"] {
        assert!(has(&names.functions, name), "{name}");
    }
    for name in ["replace", "upper", "uuid_generate_v4"] {
        assert!(!has(&names.functions, name), "{name}");
    }
    assert!(has(&names.attributes, "w") && !has(&names.attributes, "same"));
    assert!(has(&names.operators, "###") && !has(&names.operators, "="));
    for (name, expected) in [("short", false), ("bad", true), ("worse", true), ("t", true), ("citext", false)]
    {
        assert_eq!(has(&names.types, name), expected, "{name}");
    }
    assert!(!names.event_triggers);

    let trigger = "trigger t of other.t calls public.reacts()";
    assert_eq!(asker.ask("public", "t", true).await, "yes");
    assert_eq!(asker.ask("\"Odd\", public", "t", true).await, "yes");
    assert_eq!(asker.ask("public, other", "t", true).await, trigger);
    assert_eq!(asker.ask("", "t", true).await, trigger);
    assert_eq!(asker.ask("public", "other.t", true).await, trigger);
    assert_eq!(asker.ask("public", "a", true).await, "yes");
    assert_eq!(asker.ask("\"$user\", public", "a", true).await, "trigger a of app.a calls public.reacts()");
    assert_eq!(asker.ask("public", "mail", true).await, "yes");

    cluster.sql(0, "app", "create trigger late after delete on t execute function reacts()").await.unwrap();
    assert_eq!(asker.ask("public", "t", true).await, "yes");
    asker.catalog.forget();
    assert_eq!(asker.ask("public", "t", true).await, "trigger late of public.t calls public.reacts()");

    let event = "create function any() returns event_trigger language plpgsql as 'begin end'; \
                 create event trigger e on ddl_command_start execute function any()";
    cluster.sql(0, "app", &event.replace("any()", "happens()")).await.unwrap();
    asker.catalog.forget();
    assert!(asker.names().await.event_triggers);

    // A replica's answer is used, for it is all there is, and not kept.
    cluster.wait_caught_up().await.unwrap();
    let replica =
        Asker { loader: loader(nodes(&cluster, &[1])), database: "app", catalog: Catalog::default() };
    assert_eq!(replica.ask("public", "a", true).await, "yes");
    assert_eq!(replica.catalog.names(), None);
}

#[tokio::test]
async fn a_catalog_that_cannot_be_read_says_why() {
    let cluster = own_cluster(0).await;
    let asker = Asker::new(&cluster, "no_such");
    assert_eq!(
        asker.ask("public", "t", true).await,
        "catalog cannot be read: n0: database \"no_such\" does not exist (SQLSTATE 3D000)"
            .replace("n0", &cluster.endpoints()[0].name)
    );
    let refused = Loader::new(
        nodes(&cluster, &[0]),
        Cluster::ADMIN.user.into(),
        Secret::new("wrong".into()),
        Duration::from_secs(20),
    );
    let request = primacy::catalog::Request { names: true, path: "".into(), relations: Vec::new() };
    let why = refused.load("app", request).await.unwrap_err();
    assert!(why.contains("password authentication failed for user \"postgres\" (SQLSTATE 28P01)"), "{why}");
}
