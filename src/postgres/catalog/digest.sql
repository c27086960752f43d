-- A digest of the rows that we read, by who wrote them last. What belongs to temporary tables is left out: programs make and drop
-- these all the time.
with temporary (oid) as (select oid from pg_class where relpersistence = 't'),
found (kind, oid, written) as (
  select 1, oid, xmin from pg_proc where oid >= 16384
  union all select 2, oid, xmin from pg_operator where oid >= 16384
  union all select 3, oid, xmin from pg_amproc where oid >= 16384
  union all select 4, oid, xmin from pg_type
            where oid >= 16384 and typrelid not in (select oid from temporary)
              and typnamespace not in (select oid from pg_namespace where nspname ~ '^pg_(temp|toast)')
  union all select 5, oid, xmin from pg_cast where oid >= 16384
  union all select 6, oid, xmin from pg_class
            where oid >= 16384 and relpersistence <> 't' and relkind in ('r', 'p', 'v', 'm', 'f')
  union all select 7, attrelid, xmin from pg_attribute
            where atttypid >= 16384 and attrelid >= 16384 and attrelid not in (select oid from temporary)
  union all select 8, oid, xmin from pg_attrdef where adrelid not in (select oid from temporary)
  union all select 9, oid, xmin from pg_constraint where oid >= 16384 and conrelid not in (select oid from temporary)
  union all select 10, oid, xmin from pg_trigger where tgrelid not in (select oid from temporary)
  union all select 11, oid, xmin from pg_rewrite where oid >= 16384 and ev_class not in (select oid from temporary)
  union all select 12, oid, xmin from pg_policy
  union all select 13, inhrelid, xmin from pg_inherits where inhrelid not in (select oid from temporary)
  union all select 14, indexrelid, xmin from pg_index where indexrelid >= 16384 and indrelid not in (select oid from temporary)
  union all select 15, oid, xmin from pg_namespace where nspname !~ '^pg_(temp|toast)'
  union all select 16, oid, xmin from pg_event_trigger
  union all select 17, oid, xmin from pg_extension
)
select coalesce(bit_xor(hashint8extended(oid::int8 << 32 | written::text::int8, kind)), 0)::int8 # count(*) from found
