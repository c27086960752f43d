-- Whether this server may be behind, and how many rows of the catalogs that we read were ever written, by its statistics.
select pg_is_in_recovery(),
       case when current_setting('track_counts')::bool then (
         select sum(pg_stat_get_tuples_inserted(c) + pg_stat_get_tuples_updated(c) + pg_stat_get_tuples_deleted(c))::int8
         from unnest('{pg_proc, pg_aggregate, pg_operator, pg_amproc, pg_type, pg_range, pg_cast, pg_class, pg_attribute, pg_attrdef, pg_constraint,
                       pg_trigger, pg_rewrite, pg_policy, pg_inherits, pg_index, pg_namespace, pg_event_trigger, pg_extension}'::regclass[]) c
       ) end
