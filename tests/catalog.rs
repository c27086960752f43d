//! Promise: a relation counts as harmless only when nothing that users wrote hangs on it, and names that users gave are known.

use crate::support::{eventually, own_cluster};
use primacy::catalog::names::Call;
use primacy::catalog::source::{Stamp, Teller, Uses};
use primacy::catalog::{Catalog, Cleared, Does, Facts, Keep, Loaded, Names, Relation, Request};
use primacy::config::settings::{Node, NodeRole, ServerTls, ServerTlsMode};
use primacy::config::units::Secret;
use primacy::engine::CatalogLoader;
use primacy::engine::embedded::{Embedded, Endpoint, MONITOR};
use primacy::postgres::catalog::Loader;
use primacy::postgres::connections::Nodes;
use primacy::postgres::embedded::Cluster;
use primacy::session;
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

/// Nodes at these addresses.
pub fn nodes_of(endpoints: &[Endpoint]) -> Nodes {
    let all: Vec<_> = endpoints.iter().map(|endpoint| node(endpoint, ServerTlsMode::Prefer)).collect();
    Arc::new(move || all.clone())
}

pub fn loader(nodes: Nodes) -> Loader {
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
        self.catalog.load(path, &[relation], |request| self.load(request)).await
    }

    async fn load(&self, request: Request) -> Result<Loaded, Arc<str>> {
        let fresh = match &request.names {
            Some(_) => None,
            None => Some(session::catalog::names(&self.loader, self.database, Vec::new()).await?),
        };
        let names = request.names.clone().or(fresh.as_ref().map(|(names, ..)| Arc::clone(names))).unwrap();
        let (hangs, told) =
            self.loader.relations(self.database, &request.path, &request.relations, Uses::Both).await?;
        let relations = hangs.iter().map(|hangs| Facts::judge(hangs, &names)).collect();
        let names = fresh.map(|(names, stamp, _)| (names, stamp));
        let keep = if told == Teller::Primary { Keep::Lasting } else { Keep::Not };
        Ok(Loaded { names, relations, keep })
    }

    /// `yes`, `primary`, or the reason.
    async fn ask(&self, path: &str, name: &str, written: bool) -> String {
        let (schema, name) = name.split_once('.').unwrap_or(("", name));
        let relation = Relation { schema: schema.into(), name: name.into(), written };
        match self.asked(path, relation).await {
            Cleared::Yes { primary_only: false, bound: false } => "yes".into(),
            Cleared::Yes { primary_only: false, bound: true } => "yes, in its transaction".into(),
            Cleared::Yes { primary_only: true, .. } => "primary".into(),
            Cleared::Writes(why) => format!("writes: {why}"),
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
create function reacts() returns trigger language plpgsql as $$ begin perform effect(); return new; end $$;
create function notes() returns trigger language plpgsql as $$ begin insert into notebook values (tg_op); return new; end $$;
create function leaks() returns trigger language plpgsql as $$ begin insert into triggered values (1); return new; end $$;
create function counter() returns int volatile language sql as 'select 1';
create function where_am_i() returns bool stable language sql as 'select pg_is_in_recovery()';
create function loud(int) returns int stable language sql as 'select effect()';
create function fell(point, point) returns bool language sql as 'select effect() > 0';
create operator ##! (leftarg = point, rightarg = point, function = fell);
create table notebook (t text);
create function same(point, point) returns bool immutable language sql as 'select true';
create operator ### (leftarg = point, rightarg = point, function = same);

create table noted (n int);
create trigger n after insert or update on noted for each row execute function notes();
create table leaking (n int);
create trigger l after insert on leaking for each row execute function leaks();
create table loudly (n int check (loud(n) > 0));
create table felt (a point, check (a ##! '(0,0)'));
create table redirected (n int);
create rule r as on insert to redirected do instead insert into noted values (new.n);
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
create table unruly (n int);
create rule r as on insert to unruly do also insert into triggered values (new.n);
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

create view counting as select counter();
create view located as select where_am_i();
create view noting as select * from noted;
create view triggering as select * from triggered;
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
        create function reacts() returns trigger language plpgsql as 'begin perform set_config(''a.b'', '''', false); return new; end';
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
    let call = |schema: &str, name: &str, arguments| {
        names.routine(&Call { schema, name, arguments: Some(arguments), path: None })
    };
    let calls = [
        ("", "lower", 1, Some(Does::WRITES)),
        ("", "Loud", 1, Some(Does::WRITES)),
        ("", "Loud", 0, None),
        ("other", "Loud", 1, None),
        ("", "w", 1, Some(Does::WRITES)),
        ("", "p", 0, Some(Does::WRITES)),
        ("", "total", 1, Some(Does::NOTHING)),
        ("public", "same", 2, Some(Does::NOTHING)),
        ("", "reacts", 0, Some(Does::PINS.with(Does::WRITES))),
        ("", "upper", 1, None),
        ("", "uuid_generate_v4", 0, Some(Does::NOTHING)),
        ("", "replace", 3, Some(Does::NOTHING)),
    ];
    for (schema, name, arguments, expected) in calls {
        assert_eq!(call(schema, name, arguments), expected, "{name}({arguments})");
    }
    assert_eq!((names.attribute("w"), names.attribute("same")), (Some(Does::WRITES), None));
    assert_eq!((names.operator("###"), names.operator("=")), (Some(Does::NOTHING), Some(Does::NOTHING)));
    for (name, expected) in [("short", false), ("bad", true), ("worse", true), ("t", true), ("citext", false)]
    {
        assert_eq!(names.of_type(name).has(Does::WRITES), expected, "{name}");
    }
    assert_eq!((names.events(), names.everywhere()), (Does::NOTHING, Does::NOTHING));

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

    let event = "create function happens() returns event_trigger language plpgsql as 'begin end'; \
                 create event trigger e on ddl_command_start execute function happens()";
    cluster.sql(0, "app", event).await.unwrap();
    asker.catalog.forget();
    assert_eq!(asker.names().await.events(), Does::WRITES);
    let louder = "create or replace function happens() returns event_trigger language plpgsql \
                  as 'begin execute ''x''; end'";
    cluster.sql(0, "app", louder).await.unwrap();
    asker.catalog.forget();
    assert!(asker.names().await.events().has(Does::PINS));

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
    let why = refused.code("app").await.unwrap_err();
    assert!(why.contains("password authentication failed for user \"postgres\" (SQLSTATE 28P01)"), "{why}");
}

#[tokio::test]
async fn changes_are_told_from_the_comings_and_goings_of_temporary_tables() {
    let cluster = own_cluster(1).await;
    cluster
        .sql(0, "app", "create table t (a int); create function f() returns int language sql as 'select 1'")
        .await
        .unwrap();
    let loader = loader(nodes(&cluster, &[0]));
    // Statistics come when the session that wrote has ended, a moment after its client has left.
    let stamp = eventually("the writes are counted", async || {
        let (_, stamp, told) = loader.code("app").await.unwrap();
        assert_eq!(told, Teller::Primary);
        stamp.writes.is_some_and(|writes| writes > 0).then_some(stamp)
    })
    .await;
    // Other writes than were known: the catalog itself is compared.
    let look =
        async || loader.stamp("app", Stamp { writes: Some(-1), ..stamp }).await.unwrap().unwrap().digest;
    assert_eq!(look().await, stamp.digest);
    let temporary = "create temp table x (id serial primary key, a int default 1 check (a > 0), b text unique); \
                     create temp view v as select * from x";
    for text in [temporary, "analyze t", "vacuum t"] {
        cluster.sql(0, "app", text).await.unwrap();
    }
    assert_eq!(look().await, stamp.digest);
    let changes = [
        "create or replace function f() returns int language sql as 'select 2'",
        "alter function f() stable",
        "create trigger g before update on t for each row execute function suppress_redundant_updates_trigger()",
        "alter table t disable trigger g",
        "alter table t alter a set default 7",
        "alter table t add check (a > 0)",
        "create view v as select 1 as a",
        "create or replace view v as select 2 as a",
        "alter table t enable row level security",
        "create policy p on t using (true)",
        "alter policy p on t using (false)",
        "create domain d as int",
        "alter domain d add check (value > 0)",
        "create operator ### (leftarg = int, rightarg = int, function = int4pl)",
        "create cast (point as int) with inout",
        "create aggregate g(int) (sfunc = int4pl, stype = int)",
        "create schema s",
        "create unlogged table u (a d)",
        "alter table u set logged",
        "drop table u",
        "create extension citext",
    ];
    let mut before = stamp.digest;
    for text in changes {
        cluster.sql(0, "app", text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let now = look().await;
        assert_ne!(now, before, "{text}");
        before = now;
    }
    // A replica counts nothing.
    let replica = self::loader(nodes(&cluster, &[1]));
    assert_eq!(replica.stamp("app", stamp).await.unwrap(), None);
    let (_, said, told) = replica.code("app").await.unwrap();
    assert_eq!((said.writes, told), (None, Teller::Replica(cluster.endpoints()[1].name.as_str().into())));
}
