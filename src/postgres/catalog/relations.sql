-- What hangs on relations: for each one asked (its number) and each use (read, written) the functions of users that it runs and why;
-- without a function what is not known to be harmless whatever it runs; without a reason that only the primary can answer for it; 1299, now(), for all
-- that asks when its transaction began.
-- Objects with an oid below 16384 came with the server.
-- OFFSET 0 keeps the planner from reading whole catalogs for a few relations: it cannot know how many a recursion reaches.
-- $1 schemas ('' = by search path), $2 names, $3 schemas of the search path (null = not known: all), $4 whether "$user" is in it,
-- $5 whether both uses are asked about, else only the reading
with recursive
asked as (
  -- Names are cut to 63 bytes, as the server's parser does.
  select a.n::int4 as n, a.schema::name as schema, a.name::name as name, a.fully
  from unnest($1::text[], $2::text[], $5::bool[]) with ordinality a (schema, name, fully, n)
),
roots as (
  select a.n, a.fully, c.oid
  from asked a
  join pg_class c on c.relname = a.name and c.relkind in ('r', 'p', 'v', 'm', 'f')
  join pg_namespace s on s.oid = c.relnamespace
  where case when a.schema <> '' then s.nspname = a.schema
             when s.nspname ~ '^pg_(temp|toast)' then false
             when $3::text[] is null then true
             when s.nspname = 'pg_catalog' or s.nspname = any ($3::text[]::name[]) then true
             else $4 and s.nspname in (select rolname from pg_roles) end
),
-- n is now the use asked about: twice the relation's number, and 1 more when it is written. `written` says how a use treats
-- each relation that it reaches: a policy of a written table may read another.
reach (n, written, oid) as (
  select n * 2 + use.written::int4, use.written, oid from roots, (values (false), (true)) use (written)
  where roots.fully or not use.written
  union
  select r.n, next.written, next.oid
  from reach r, lateral (
    select r.written, i.inhrelid from pg_inherits i where i.inhparent = r.oid
    union all
    -- By the triggers that the server makes for them: constraints have no index on the referenced table.
    select true, f.conrelid from pg_trigger t join pg_constraint f on f.oid = t.tgconstraint
    where r.written and t.tgrelid = r.oid and t.tgconstrrelid <> 0 and f.contype = 'f' and f.confrelid = r.oid
      and (f.confdeltype in ('c', 'n', 'd') or f.confupdtype in ('c', 'n', 'd'))
    union all
    -- What a view reads is written when the view is; what a rule names may be.
    select r.written, d.refobjid
    from pg_class v
    join pg_rewrite w on w.ev_class = v.oid and (w.ev_type = '1' or r.written and w.ev_enabled <> 'D')
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
    where v.oid = r.oid and (v.relkind = 'v' or w.ev_type <> '1') and v.oid >= 16384 and d.refobjid <> v.oid
    union all
    select false, d.refobjid
    from pg_policy p
    join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass
    where p.polrelid = r.oid and d.refobjid <> p.polrelid
  ) next (written, oid)
),
reached as (
  select r.n, r.written, c.*, c.oid < 16384 as system
  from reach r, lateral (select * from pg_class where oid = r.oid offset 0) c
),
-- Expressions that a use of a relation evaluates: what to call them (with the two that follow), the object that has their dependencies, and their tree.
expressions (n, written, what, name, relation, class, object, tree, policy) as (
  select r.n, r.written, 'a default of %2$s', null::text, r.oid, 'pg_attrdef'::regclass, x.oid, x.adbin::text, false
  from reached r, lateral (select * from pg_attrdef where adrelid = r.oid offset 0) x where r.written
  union all
  select r.n, r.written, 'check %1$I of %2$s', x.conname::text, r.oid, 'pg_constraint'::regclass, x.oid, x.conbin::text, false
  from reached r, lateral (select * from pg_constraint where conrelid = r.oid offset 0) x where x.contype = 'c' and r.written
  union all
  select r.n, r.written, 'trigger %1$I of %2$s', x.tgname::text, r.oid, 'pg_trigger'::regclass, x.oid, x.tgqual::text, false
  from reached r, lateral (select * from pg_trigger where tgrelid = r.oid offset 0) x where x.tgenabled <> 'D' and r.written
  union all
  select r.n, r.written, 'index %2$s', null, x.indexrelid, 'pg_class'::regclass, x.indexrelid,
         concat(x.indexprs::text, x.indpred::text), false
  from reached r, lateral (select * from pg_index where indrelid = r.oid offset 0) x
  where r.written and (x.indexprs is not null or x.indpred is not null)
  union all
  select r.n, r.written, 'the partition key of %2$s', null, r.oid, 'pg_class'::regclass, x.partrelid, x.partexprs::text, false
  from reached r, lateral (select * from pg_partitioned_table where partrelid = r.oid offset 0) x where r.written
  union all
  select r.n, r.written, 'policy %1$I of %2$s', x.polname::text, r.oid, 'pg_policy'::regclass, x.oid,
         concat(x.polqual::text, x.polwithcheck::text), true
  from reached r, lateral (select * from pg_policy where polrelid = r.oid offset 0) x where r.relrowsecurity
  union all
  select r.n, r.written, 'view %2$s', null, r.oid, 'pg_rewrite'::regclass, x.oid, x.ev_action::text, false
  from reached r, lateral (select * from pg_rewrite where ev_class = r.oid offset 0) x
  where x.ev_type = '1' and r.relkind = 'v' and not r.system
  union all
  select r.n, r.written, 'rule %1$I of %2$s', x.rulename::text, r.oid, 'pg_rewrite'::regclass, x.oid, x.ev_action::text, false
  from reached r, lateral (select * from pg_rewrite where ev_class = r.oid offset 0) x
  where x.ev_type <> '1' and x.ev_enabled <> 'D' and r.written and not r.system
),
-- Types that may have checks: of columns that are written, of casts in expressions, and what these are made of.
types (n, written, oid) as (
  select * from (
    select r.n, r.written, a.atttypid from reached r, lateral (select * from pg_attribute where attrelid = r.oid offset 0) a
    where a.attnum > 0 and not a.attisdropped and r.written
    union all
    select x.n, x.written, d.refobjid from expressions x, lateral (select * from pg_depend where classid = x.class and objid = x.object offset 0) d
    where d.refclassid = 'pg_type'::regclass
  ) start (n, written, oid) where oid >= 16384
  union
  select t.n, t.written, part.oid
  from types t join pg_type y on y.oid = t.oid, lateral (
    select y.typbasetype union all select y.typelem
    union all select g.rngsubtype from pg_range g where g.rngtypid = y.oid
    union all select a.atttypid from pg_attribute a where a.attrelid = y.typrelid and a.attnum > 0 and not a.attisdropped
  ) part (oid)
  where part.oid >= 16384
),
evaluated as (
  select * from expressions
  union all
  select t.n, t.written, 'a check of type %1$s', format_type(t.oid, null), 0::oid, 'pg_constraint'::regclass, x.oid, x.conbin::text, false
  from types t, lateral (select * from pg_constraint where contypid = t.oid offset 0) x
  union all
  select t.n, t.written, 'the default of type %1$s', format_type(t.oid, null), 0::oid, 'pg_type'::regclass, x.oid, x.typdefaultbin::text, false
  from types t, lateral (select * from pg_type where oid = t.oid offset 0) x where x.typtype = 'd' and x.typdefaultbin is not null
),
builtins as (
  select x.n, x.written, x.what, x.name, x.relation, x.policy, p.proname, p.provolatile
  from evaluated x,
       lateral (select distinct found[1]::oid as oid from regexp_matches(x.tree,
           ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') found) call
  join pg_proc p on p.oid = call.oid
  where p.oid < 16384 and p.provolatile <> 'i'
),
findings (n, function, why) as (
  select n, null::oid, 'system relation ' || oid::regclass || ' is written' from reached where system and written
  union all
  select n, null, 'foreign table ' || oid::regclass from reached where relkind = 'f'
  union all
  select n, null, 'materialized view ' || oid::regclass || ' is written' from reached where relkind = 'm' and written
  union all
  select r.n, x.tgfoid, format('trigger %I of %s calls %s', x.tgname, r.oid::regclass, x.tgfoid::regprocedure)
  from reached r, lateral (select * from pg_trigger where tgrelid = r.oid offset 0) x
  where x.tgenabled <> 'D' and r.written and x.tgfoid >= 16384
  union all
  select x.n, d.refobjid, format(x.what, x.name, x.relation::regclass) || ' calls ' || d.refobjid::regprocedure
  from evaluated x, lateral (select * from pg_depend where classid = x.class and objid = x.object offset 0) d
  where d.refclassid = 'pg_proc'::regclass and d.refobjid >= 16384
  union all
  select x.n, o.oprcode::oid, format(x.what, x.name, x.relation::regclass) || ' uses operator ' || d.refobjid::regoperator
  from evaluated x, lateral (select * from pg_depend where classid = x.class and objid = x.object offset 0) d
  join pg_operator o on o.oid = d.refobjid
  where d.refclassid = 'pg_operator'::regclass and o.oprcode::oid >= 16384
    and exists (select from pg_operator where oprcode::oid >= 16384)
  union all
  select r.n, x.amproc::oid, format('index %s has operator class %I', x.indexrelid::regclass, x.opcname)
  from reached r, lateral (
    select x.indexrelid, k.opcname, a.amproc
    from pg_index x
    join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = x.indexrelid and d.refclassid = 'pg_opclass'::regclass
    join pg_opclass k on k.oid = d.refobjid
    join pg_amproc a on a.amprocfamily = k.opcfamily
    where x.indrelid = r.oid offset 0
  ) x (indexrelid, opcname, amproc)
  where r.written and x.amproc::oid >= 16384 and exists (select from pg_amproc where amproc::oid >= 16384)
  union all
  -- nextval in what is written is a sequence's, which is known; in a view or policy it would be a read that writes.
  select n, null, format(what, name, relation::regclass) || ' calls ' || proname
  from builtins
  where provolatile = 'v' and not (proname = 'nextval' and written and not policy)
    and proname not in ('clock_timestamp', 'timeofday', 'random', 'random_normal', 'gen_random_uuid', 'uuidv4', 'uuidv7')
  union all
  select n, null, null
  from builtins
  where not written and (proname ~ '^(pg_|txid_|inet_server|inet_client)' or proname = 'version'
                         or proname = 'current_setting' and not policy)
  union all
  -- Who asks when its transaction began: by a function, or by a keyword (CURRENT_DATE to LOCALTIMESTAMP). now() stands for all of them.
  select n, 1299::oid, format(what, name, relation::regclass) || ' asks when its transaction began'
  from builtins where not written and proname in ('now', 'transaction_timestamp', 'age')
  union all
  select n, 1299::oid, format(what, name, relation::regclass) || ' asks when its transaction began'
  from evaluated where not written and tree ~ 'SQLVALUEFUNCTION :op [0-8] '
  union all
  -- A view on what describes the server; row locks in a view.
  select n, null, null
  from reached where system and relkind = 'v' and not written and (n / 2, oid) not in (select n, oid from roots)
  union all
  select n, null, null from expressions where class = 'pg_rewrite'::regclass and tree ~ ':rowMarks \('
  union all
  select n, null, null from reached where relpersistence = 'u' and not written
)
select n / 2, n % 2 = 1, function, min(why) from findings group by n, function, why is null
