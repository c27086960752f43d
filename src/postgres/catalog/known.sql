-- Functions that users installed and whose effect is known all the same: members of these extensions of the server's own source tree
-- (contrib of 15 to 18), of PostGIS and pgvector, by what their documentation says they do. Left out on purpose: isn (isn_weak sets a state and claims to be
-- immutable), tablefunc and xml2 (run text as SQL), dblink, postgres_fdw and file_fdw (act outside the database), pg_surgery, sepgsql.
with recursive
known (oid, kind) as (
  select p.oid,
         case when e.extname in ('autoinc', 'insert_username', 'lo', 'moddatetime', 'tcn') then 'writes'
              when e.extname in ('amcheck', 'pageinspect', 'pg_buffercache', 'pg_freespacemap', 'pg_stat_statements', 'pg_visibility',
                                 'pg_walinspect', 'pgrowlocks', 'pgstattuple', 'sslinfo') then 'local'
              else 'harmless' end
  from pg_extension e
  join pg_depend m on m.refclassid = 'pg_extension'::regclass and m.refobjid = e.oid
                  and m.classid = 'pg_proc'::regclass and m.deptype = 'e'
  join pg_proc p on p.oid = m.objid
  join pg_language l on l.oid = p.prolang
  where l.lanname in ('c', 'internal', 'sql')
    and (p.provolatile <> 'v'
         and e.extname in ('bloom', 'btree_gin', 'btree_gist', 'citext', 'cube', 'dict_int', 'dict_xsyn', 'earthdistance',
                           'fuzzystrmatch', 'hstore', 'intagg', 'intarray', 'ltree', 'pg_trgm', 'pgcrypto', 'seg', 'unaccent',
                           'uuid-ossp', 'vector', 'postgis')
      or e.extname in ('autoinc', 'insert_username', 'lo', 'moddatetime', 'tcn')
      or e.extname in ('amcheck', 'pageinspect', 'pg_buffercache', 'pg_freespacemap', 'pg_stat_statements', 'pg_visibility',
                       'pg_walinspect', 'pgrowlocks', 'pgstattuple', 'sslinfo')
      or e.extname = 'pgcrypto' and p.proname in ('gen_random_bytes', 'gen_random_uuid', 'gen_salt', 'armor', 'pgp_sym_encrypt',
                                                  'pgp_sym_encrypt_bytea', 'pgp_pub_encrypt', 'pgp_pub_encrypt_bytea')
      or e.extname = 'tablefunc' and p.proname = 'normal_rand'
      or e.extname = 'uuid-ossp' and p.proname in ('uuid_generate_v1', 'uuid_generate_v1mc', 'uuid_generate_v4'))
)
