-- What hangs on relations: for each one asked (its number) and each use (read, written) a reason why its effect is not
-- known, and whether only the primary can answer for it. Objects with an oid below 16384 came with the server.
-- $1 schemas ('' = by search path), $2 names, $3 schemas of the search path (null = not known: all), $4 whether "$user" is in it
asked as (
  -- Names are cut to 63 bytes, as the server's parser does.
  select a.n::int4 as n, a.schema::name as schema, a.name::name as name
  from unnest($1::text[], $2::text[]) with ordinality a (schema, name, n)
),
roots as (
  select a.n, c.oid
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
  union
  select r.n, next.written, next.oid
  from reach r, lateral (
    select r.written, i.inhrelid from pg_inherits i where i.inhparent = r.oid
    union all
    select true, f.conrelid from pg_constraint f
    where r.written and f.contype = 'f' and f.confrelid = r.oid
      and (f.confdeltype in ('c', 'n', 'd') or f.confupdtype in ('c', 'n', 'd'))
    union all
    select false, d.refobjid
    from pg_class v
    join pg_rewrite w on w.ev_class = v.oid and w.ev_type = '1'
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
    where v.oid = r.oid and v.relkind = 'v' and v.oid >= 16384 and not r.written and d.refobjid <> v.oid
    union all
    select false, d.refobjid
    from pg_policy p
    join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass
    where p.polrelid = r.oid and d.refobjid <> p.polrelid
  ) next (written, oid)
),
reached as (
  select r.n, r.written, c.*, c.oid::regclass::text as called, c.oid < 16384 as system
  from reach r join pg_class c on c.oid = r.oid
),
-- Expressions that a use of a relation evaluates: what to call them, the object that has their dependencies, and their tree.
expressions (n, written, what, class, object, tree, policy) as (
  select r.n, r.written, 'a default of ' || r.called, 'pg_attrdef'::regclass, x.oid, x.adbin::text, false
  from reached r join pg_attrdef x on x.adrelid = r.oid where r.written
  union all
  select r.n, r.written, format('check %I of %s', x.conname, r.called), 'pg_constraint'::regclass, x.oid, x.conbin::text, false
  from reached r join pg_constraint x on x.conrelid = r.oid and x.contype = 'c' where r.written
  union all
  select r.n, r.written, format('trigger %I of %s', x.tgname, r.called), 'pg_trigger'::regclass, x.oid, x.tgqual::text, false
  from reached r join pg_trigger x on x.tgrelid = r.oid and x.tgenabled <> 'D' where r.written
  union all
  select r.n, r.written, 'index ' || x.indexrelid::regclass, 'pg_class'::regclass, x.indexrelid,
         concat(x.indexprs::text, x.indpred::text), false
  from reached r join pg_index x on x.indrelid = r.oid where r.written
  union all
  select r.n, r.written, 'the partition key of ' || r.called, 'pg_class'::regclass, x.partrelid, x.partexprs::text, false
  from reached r join pg_partitioned_table x on x.partrelid = r.oid where r.written
  union all
  select r.n, r.written, format('policy %I of %s', x.polname, r.called), 'pg_policy'::regclass, x.oid,
         concat(x.polqual::text, x.polwithcheck::text), true
  from reached r join pg_policy x on x.polrelid = r.oid where r.relrowsecurity
  union all
  select r.n, r.written, 'view ' || r.called, 'pg_rewrite'::regclass, x.oid, x.ev_action::text, false
  from reached r join pg_rewrite x on x.ev_class = r.oid and x.ev_type = '1'
  where r.relkind = 'v' and not r.system and not r.written
),
-- Types that may have checks: of columns that are written, of casts in expressions, and what these are made of.
types (n, written, oid) as (
  select * from (
    select r.n, r.written, a.atttypid from reached r
    join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped where r.written
    union all
    select x.n, x.written, d.refobjid from expressions x
    join pg_depend d on d.classid = x.class and d.objid = x.object and d.refclassid = 'pg_type'::regclass
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
  select t.n, t.written, 'a check of type ' || format_type(t.oid, null), 'pg_constraint'::regclass, x.oid, x.conbin::text, false
  from types t join pg_constraint x on x.contypid = t.oid
  union all
  select t.n, t.written, 'the default of type ' || format_type(t.oid, null), 'pg_type'::regclass, x.oid, x.typdefaultbin::text, false
  from types t join pg_type x on x.oid = t.oid and x.typtype = 'd' and x.typdefaultbin is not null
),
builtins as (
  select x.n, x.written, x.what, x.policy, p.proname, p.provolatile
  from evaluated x,
       lateral (select distinct found[1]::oid as oid from regexp_matches(x.tree,
           ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') found) call
  join pg_proc p on p.oid = call.oid
  where p.oid < 16384 and p.provolatile <> 'i'
),
findings (n, why, primary_only) as (
  select n, 'system relation ' || called || ' is written', true from reached where system and written
  union all
  select n, 'foreign table ' || called, true from reached where relkind = 'f'
  union all
  select n, 'view ' || called || ' is written', true from reached where relkind in ('v', 'm') and written and not system
  union all
  select r.n, format('rule %I of %s', x.rulename, r.called), true
  from reached r join pg_rewrite x on x.ev_class = r.oid and x.ev_type <> '1' and x.ev_enabled <> 'D' where r.written
  union all
  select r.n, format('trigger %I of %s calls %s', x.tgname, r.called, x.tgfoid::regprocedure), true
  from reached r join pg_trigger x on x.tgrelid = r.oid and x.tgenabled <> 'D'
  where r.written and x.tgfoid >= 16384 and x.tgfoid not in (select oid from known)
  union all
  select x.n, x.what || ' calls ' || d.refobjid::regprocedure, true
  from evaluated x
  join pg_depend d on d.classid = x.class and d.objid = x.object and d.refclassid = 'pg_proc'::regclass
  where d.refobjid >= 16384 and d.refobjid not in (select oid from known)
  union all
  select x.n, x.what || ' uses operator ' || d.refobjid::regoperator, true
  from evaluated x
  join pg_depend d on d.classid = x.class and d.objid = x.object and d.refclassid = 'pg_operator'::regclass
  join pg_operator o on o.oid = d.refobjid
  where o.oprcode::oid >= 16384 and o.oprcode::oid not in (select oid from known)
  union all
  select r.n, format('index %s has operator class %I', x.indexrelid::regclass, k.opcname), true
  from reached r
  join pg_index x on x.indrelid = r.oid
  join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = x.indexrelid and d.refclassid = 'pg_opclass'::regclass
  join pg_opclass k on k.oid = d.refobjid
  join pg_amproc a on a.amprocfamily = k.opcfamily
  where r.written and a.amproc::oid >= 16384 and a.amproc::oid not in (select oid from known)
  union all
  -- nextval in what is written is a sequence's, which is known; in a view or policy it would be a read that writes.
  select n, what || ' calls ' || proname, true
  from builtins
  where provolatile = 'v' and not (proname = 'nextval' and written and not policy)
    and proname not in ('clock_timestamp', 'timeofday', 'random', 'random_normal', 'gen_random_uuid', 'uuidv4', 'uuidv7')
  union all
  select n, null, true
  from builtins
  where not written and (proname ~ '^(pg_|txid_|inet_server|inet_client)' or proname = 'version'
                         or proname = 'current_setting' and not policy)
  union all
  -- A view on what describes the server; row locks in a view.
  select n, null, true
  from reached where system and relkind = 'v' and not written and (n / 2, oid) not in (select n, oid from roots)
  union all
  select n, null, true from expressions where class = 'pg_rewrite'::regclass and tree ~ ':rowMarks \('
  union all
  select n, null, true from reached where relpersistence = 'u' and not written
)
select n / 2, n % 2 = 1, min(why), bool_or(primary_only) from findings group by n
