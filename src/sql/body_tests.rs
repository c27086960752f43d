use super::*;

fn plpgsql(text: &str) -> Body {
    read(text, Language::Plpgsql)
}

fn sql(text: &str) -> Body {
    read(text, Language::Sql)
}

fn written(body: &Body) -> Vec<&str> {
    body.names.iter().filter(|(_, written)| **written).map(|(name, _)| &**name).collect()
}

const QUIET: [&str; 24] = [
    "begin y := case when a > 1 then 2 else listen end; return case x when 1 then 'a' when 2 then b else null end; end",
    "begin <<l>> for r in select case when a then b else c end from t loop null; end loop l; return; end",
    "begin merge into t using s on true when matched and case when a then b else c end then do nothing when not matched then insert values (1); end",
    "begin if case when a then b else c end then return; else return; end if; end",
    "begin return new; end",
    "BEGIN NEW.updated_at := now(); RETURN NEW; END;",
    "declare n int := 0; begin select count(*) into n from t; return n; end",
    "#variable_conflict use_column\ndeclare listen text; load int; begin listen := 'x'; load = 1; return listen; end",
    "<<outer>> declare a int; begin <<inner>> for a in 1..10 loop continue inner when a > 3; end loop; end",
    "begin if tg_op = 'INSERT' then insert into log values (new.id); elsif tg_op = 'UPDATE' then update log set n = n + 1 where id = new.id; end if; return null; end",
    "begin for r in select * from t loop raise notice '%', r.a; end loop; exception when others then null; end",
    "begin perform nextval('s'); return query select 1; end",
    "begin case x when 1 then y := 2; else y := 3; end case; assert y > 1; end",
    "declare c cursor for select 1; begin open c; fetch c into x; close c; end",
    "begin begin insert into t values (1) on conflict (a) do update set b = 1; exception when unique_violation then return; end; end",
    "begin a[1] := 2; r.b := 3; return; end",
    "begin get diagnostics n = row_count; return next; return; end",
    "begin while i < 3 loop i := i + 1; exit when i = 2; end loop; end",
    "begin foreach x in array xs loop null; end loop; commit; end",
    "begin return current_setting('app.tenant', true); end",
    "begin merge into t using s on t.a = s.a when matched then update set b = 1 when not matched then insert values (1); end",
    "begin perform pg_notify('c', 'x'); notify c; end",
    "begin lock table t in share mode; truncate t; end",
    "begin -- set role x;\n /* execute 'x' */ return 'set role x; execute'; end",
];

const LOUD: [&str; 40] = [
    "begin for r in select 1 case loop set role x; end loop; end",
    "begin if 1 case then set role x; end if; end",
    "begin perform 1 case; set role x; end",
    "begin y := case when a then 1 else 2 end; set role x; end",
    "begin if case when a then b end then set role x; end if; end",
    "begin case when a then set role x; end case; end",
    "begin case a when case when b then c end then set role x; else null; end case; end",
    "begin perform set_config('app.x', 'y', false); end",
    "begin set role x; end",
    "begin set local app.x = 'y'; return; end",
    "begin if true then set x = 1; end if; end",
    "begin if true then null; else set x = 1; end if; end",
    "begin loop set x = 1; end loop; end",
    "begin <<l>> set x = 1; end",
    "begin reset all; end",
    "begin execute 'select 1'; end",
    "begin return query execute 'select 1'; end",
    "begin for r in execute x loop null; end loop; end",
    "begin open c for execute x; end",
    "begin prepare p as select 1; end",
    "begin deallocate all; end",
    "begin discard all; end",
    "begin listen c; end",
    "begin unlisten *; end",
    "begin load 'x'; end",
    "begin create temp table x (a int); end",
    "begin create table x (a int); end",
    "begin drop table x; end",
    "begin alter system set x = 1; end",
    "begin do $$begin set x = 1; end$$; end",
    "begin copy t to program 'x'; end",
    "begin perform pg_advisory_lock(1); end",
    "begin perform pg_catalog.setseed(0.5); end",
    "begin return currval('s'); end",
    "begin return \"lastval\"(); end",
    "begin insert into pg_temp.x values (1); end",
    "begin x := 'a\\'; set role y; end",
    "begin import foreign schema x from server y into z; end",
    "begin refresh materialized view m; end",
    "begin return U&\"set\\005fconfig\"('a', 'b', false); end",
];

#[test]
fn a_quiet_body_is_cleared() {
    for text in QUIET {
        let body = plpgsql(text);
        assert!(!body.does.has(Does::PINS), "{text}");
    }
}

#[test]
fn a_body_that_touches_the_session_is_not() {
    for text in LOUD {
        let body = plpgsql(text);
        assert!(body.does.has(Does::PINS), "{text}");
    }
}

#[test]
fn bodies_in_sql() {
    for text in [
        "select 1",
        "select a from t; select b from u",
        "insert into t values ($1) returning a",
        "with x as (select 1) select * from x",
        "select case when a then set else load end from t",
        "BEGIN ATOMIC\n SELECT 1;\n INSERT INTO t VALUES (1);\nEND",
        "RETURN ($1 + 1)",
        "(select 1) union (select 2)",
        "update t set a = 1 where b = 2",
        "",
    ] {
        assert!(!sql(text).does.has(Does::PINS), "{text}");
    }
    for text in [
        "set x = 1",
        "select 1; set role x",
        "select set_config('a.b', 'c', true)",
        "select a into x from t",
        "create table x (a int)",
        "declare c cursor with hold for select 1",
        "execute p",
        "select 'a\\'; set role x; --'",
    ] {
        assert!(sql(text).does.has(Does::PINS), "{text}");
    }
}

#[test]
fn what_acts_and_what_describes_the_server_is_seen() {
    assert_eq!(sql("select pg_terminate_backend(1)").does, Does::WRITES);
    assert_eq!(sql("select nextval('s')").does, Does::WRITES);
    assert_eq!(sql("select a from t for no key update").does, Does::WRITES);
    assert_eq!(sql("select pg_is_in_recovery()").does, Does::LOCAL);
    assert_eq!(sql("select count(*) from pg_stat_activity").does, Does::LOCAL);
    assert_eq!(sql("select current_setting('server_version')").does, Does::LOCAL);
    assert_eq!(sql("select current_setting('search_path')").does, Does::NOTHING);
    assert_eq!(plpgsql("begin return lower(x) || clock_timestamp(); end").does, Does::NOTHING);
    for body in
        ["now()", "pg_catalog.now()", "Current_Timestamp", "current_time(3)", "age(x)", "timestamptz 'NOW'"]
    {
        assert_eq!(plpgsql(&format!("begin return {body}; end")).does, Does::BOUND, "{body}");
    }
}

#[test]
fn names_are_noted_by_what_they_may_be() {
    let body = plpgsql(
        "declare v app.t.a%type; begin insert into audit.log select f(x), y.z from only u; delete from old; \
         update only app.it set a = b ### c; update t2 set a = 1; x:=@#y; end",
    );
    assert_eq!(written(&body), ["app", "audit", "it", "log", "old", "t2"]);
    assert!(body.names.contains_key("u"));
    assert!(body.calls.contains("f"));
    assert!(body.attributes.contains("z"));
    assert!(body.operators.contains("###") && body.operators.contains("@#"), "{:?}", body.operators);
    let body = plpgsql("begin truncate a, b.c; truncate d cascade; end");
    assert_eq!(written(&body), ["a", "b", "c", "cascade", "d"]);
    assert!(body.does.has(Does::PINS));
}

#[test]
fn defaults_count() {
    let mut body = sql("select 1");
    add_defaults(&mut body, "a integer, b text DEFAULT set_config('a.b'::text, 'c'::text, false)");
    assert!(body.does.has(Does::PINS));
}

proptest::proptest! {
    #[test]
    fn no_body_breaks_the_reading(text in "[a-z\"'$;().:=%#<>\\\\\\[\\] \n-]{0,60}") {
        for language in [Language::Sql, Language::Plpgsql] {
            let mut body = read(&text, language);
            add_defaults(&mut body, &text);
        }
    }

    /// Whatever surrounds it, text that is run is seen.
    #[test]
    fn a_hidden_execute_is_seen(before in 0..QUIET.len(), after in 0..QUIET.len()) {
        let (before, after) = (QUIET[before], QUIET[after]);
        let text = format!("{before}; execute x; {after}");
        proptest::prop_assert!(plpgsql(&text).does.has(Does::PINS), "{}", text);
    }
}
