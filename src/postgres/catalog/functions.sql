-- Every function of users. Bodies are brought up to 64 KiB each and 32 MiB together.
select p.oid, s.nspname::text, p.proname::text,
       case when p.prokind = 'a' and g.aggkind <> 'n' then 0
            else greatest(p.pronargs - p.pronargdefaults - (p.provariadic <> 0)::int4, 0) end::int4,
       case when p.provariadic <> 0 or g.aggkind <> 'n' then 65535 else p.pronargs end::int4,
       p.provolatile = 'v',
       p.pronargs >= 1 and p.pronargs - p.pronargdefaults <= 1 and y.typtype in ('c', 'd', 'p', 'm'),
       case when p.prokind = 'a' then ''
            when l.lanname = 'internal' and p.prosrc ~ '^(multi)?range_constructor' then ''
            else l.lanname::text end,
       case when length(p.prosrc) <= 65536 and sum(length(p.prosrc)) over (order by p.oid) <= 33554432
             and l.lanname in ('sql', 'plpgsql') and k.oid is null
            then case when p.prosqlbody is null then p.prosrc else pg_get_function_sqlbody(p.oid) end end,
       case when p.pronargdefaults > 0 then pg_get_function_arguments(p.oid) end,
       array(select split_part(c, '=', 1) from unnest(p.proconfig) c),
       case when p.prokind = 'a' or p.pronargdefaults > 0 or p.prosqlbody is not null
            then array(select d.refobjid from pg_depend d
                       where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.refclassid = 'pg_proc'::regclass)
            else '{}' end,
       array(select distinct t from unnest(p.proargtypes::oid[] || p.prorettype || coalesce(p.proallargtypes, '{}')) t where t >= 16384),
       k.kind
from pg_proc p
join pg_namespace s on s.oid = p.pronamespace
join pg_language l on l.oid = p.prolang
left join pg_aggregate g on g.aggfnoid = p.oid
left join pg_type y on y.oid = p.proargtypes[0]
left join known k on k.oid = p.oid
where p.oid >= 16384
limit 100001
