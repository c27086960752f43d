-- What leads to functions beside their own names: operators, what runs unnamed (implicit casts; comparisons, by which a query sorts and
-- groups), event triggers, schemas that "$user" may mean; and the names of the server's own functions.
-- 1 stands for a function of the server's own that is not volatile, 0 for one that is.
select 'operator', o.oprname::text,
       case when o.oprcode::oid >= 16384 then o.oprcode::oid when p.provolatile = 'v' then 0::oid else 1::oid end
from pg_operator o join pg_proc p on p.oid = o.oprcode::oid where o.oid >= 16384
union all
(select distinct 'unnamed', '', a.amproc::oid from pg_amproc a where a.amproc::oid >= 16384)
union all
select 'unnamed', '', c.castfunc from pg_cast c where c.castfunc >= 16384 and c.castcontext <> 'e'
union all
select 'event', '', evtfoid from pg_event_trigger where evtenabled <> 'D'
union all
select 'role', s.nspname::text, 1::oid from pg_namespace s join pg_roles r on r.rolname = s.nspname
union all
(select distinct 'builtin', p.proname::text, 1::oid from pg_proc p where p.oid < 16384)
limit 200001
