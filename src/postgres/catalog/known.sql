-- Functions that users installed and whose effect is known all the same: members of these extensions, read through, that only
-- compute. Left out on purpose: isn (isn_weak sets a state and claims to be immutable), tablefunc and xml2 (run text as SQL), dblink.
with recursive
known (oid) as (
  select p.oid
  from pg_extension e
  join pg_depend m on m.refclassid = 'pg_extension'::regclass and m.refobjid = e.oid
                  and m.classid = 'pg_proc'::regclass and m.deptype = 'e'
  join pg_proc p on p.oid = m.objid
  join pg_language l on l.oid = p.prolang
  where l.lanname in ('c', 'internal', 'sql')
    and (p.provolatile <> 'v'
         and e.extname in ('btree_gin', 'btree_gist', 'citext', 'cube', 'dict_int', 'dict_xsyn', 'earthdistance', 'fuzzystrmatch',
                           'hstore', 'intarray', 'ltree', 'pg_trgm', 'pgcrypto', 'seg', 'unaccent', 'uuid-ossp', 'vector', 'postgis')
      or e.extname = 'pgcrypto' and p.proname in ('gen_random_bytes', 'gen_random_uuid', 'gen_salt')
      or e.extname = 'uuid-ossp' and p.proname in ('uuid_generate_v1', 'uuid_generate_v1mc', 'uuid_generate_v4'))
),
