,
-- Types whose input, cast or check runs a function of users that is on no list, or one of the server's that is volatile (0), …
suspects (type, function) as (
  select * from (
    select k.contypid, coalesce(o.oprcode::oid, d.refobjid)
    from pg_constraint k
    join pg_depend d on d.classid = 'pg_constraint'::regclass and d.objid = k.oid
                    and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass)
    left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
    where k.contypid >= 16384
    union
    select k.contypid, 0::oid from pg_constraint k
    where k.contypid >= 16384
      and exists (select from regexp_matches(k.conbin::text, ':(?:funcid|opfuncid) (\d+)', 'g') found
                  join pg_proc p on p.oid = found[1]::oid where p.provolatile = 'v' and p.oid < 16384)
    union
    select y.oid, f.oid from pg_type y,
           unnest(array[y.typinput::oid, y.typreceive::oid, y.typmodin::oid, y.typoutput::oid, y.typsend::oid]) f (oid)
    where y.typtype = 'b' and y.oid >= 16384 and f.oid <> 0
    union
    select r.rngtypid, f.oid from pg_range r, unnest(array[r.rngcanonical::oid, r.rngsubdiff::oid]) f (oid)
    where r.rngtypid >= 16384 and f.oid <> 0
    union
    select c.casttarget, c.castfunc from pg_cast c where c.castfunc <> 0
  ) start (type, function)
  where (function = 0 or function >= 16384) and type <> 0 and function not in (select oid from known)
  union
  -- … and domains over and arrays and rows of them.
  select e.whole, s.function
  from suspects s
  join (
    select y.oid, y.typbasetype from pg_type y where y.oid >= 16384 and y.typbasetype <> 0
    union all
    select y.oid, y.typelem from pg_type y where y.oid >= 16384 and y.typelem <> 0
    union all
    select c.reltype, a.atttypid from pg_attribute a join pg_class c on c.oid = a.attrelid
    where c.oid >= 16384 and c.reltype <> 0 and a.attnum > 0 and not a.attisdropped
  ) e (whole, part) on e.part = s.type
)
select y.oid, y.typname::text, s.function from suspects s join pg_type y on y.oid = s.type
limit 200001
