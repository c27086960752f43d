-- The names that users gave to code. Objects with an oid below 16384 came with the server.
unknown (oid) as (
  select oid from pg_proc where oid >= 16384 and oid not in (select oid from known)
),
suspects (oid) as (
  -- Types whose input, cast or check runs what is not known, …
  select k.contypid from pg_constraint k
  where k.contypid >= 16384
    and (exists (select from pg_depend d
                 left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
                 where d.classid = 'pg_constraint'::regclass and d.objid = k.oid
                   and (d.refclassid = 'pg_proc'::regclass and d.refobjid in (select oid from unknown)
                        or o.oprcode::oid in (select oid from unknown)))
         or exists (select from regexp_matches(k.conbin::text, ':(?:funcid|opfuncid) (\d+)', 'g') found
                    join pg_proc p on p.oid = found[1]::oid where p.provolatile = 'v'))
  union select y.oid from pg_type y where y.typinput::oid in (select oid from unknown)
  union select c.casttarget from pg_cast c where c.castfunc in (select oid from unknown)
  union
  -- … and domains over and arrays and rows of them.
  select y.oid
  from suspects s
  join pg_type y on y.oid >= 16384 and (y.typbasetype = s.oid or y.typelem = s.oid or exists (
    select from pg_attribute a where a.attrelid = y.typrelid and a.atttypid = s.oid and a.attnum > 0 and not a.attisdropped))
)
select kind, name::text from (
  select 'function', p.proname from pg_proc p where p.oid in (select oid from unknown)
  union
  select 'attribute', p.proname from pg_proc p join pg_type y on y.oid = p.proargtypes[0]
  where p.oid in (select oid from unknown) and p.pronargs >= 1 and p.pronargs - p.pronargdefaults <= 1
    and y.typtype in ('c', 'd', 'p', 'm')
  union
  select 'operator', o.oprname from pg_operator o where o.oprcode::oid in (select oid from unknown)
  union
  select 'type', y.typname from pg_type y where y.oid in (select oid from suspects)
  union
  select 'event trigger', '' from pg_event_trigger where evtenabled <> 'D'
) found (kind, name)
limit 100001
