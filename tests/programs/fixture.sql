-- What every program finds. Run by a superuser; @owner, @r1 and @r2 are roles of the lane's own.
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE n (id serial PRIMARY KEY, v text);
CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE watched (id int, v text);
CREATE TABLE c (a int, b text);
ALTER TABLE c OWNER TO @owner;
CREATE SEQUENCE s1;
CREATE SEQUENCE s2 INCREMENT 10;
CREATE SCHEMA one;
CREATE SCHEMA two;
-- One name, two tables: of equal shape, and of two shapes.
CREATE TABLE one.w AS SELECT 'one'::text AS x;
CREATE TABLE two.w AS SELECT 'two'::text AS x;
CREATE TABLE one.d AS SELECT 1 AS a;
CREATE TABLE two.d AS SELECT 2::bigint AS a, 'two'::text AS b;

CREATE FUNCTION f_pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION f_reads() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM t';
CREATE FUNCTION f_writes(text) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO n (v) VALUES ($1) RETURNING id';
CREATE FUNCTION f_set() RETURNS text LANGUAGE sql VOLATILE AS 'SELECT set_config(''work_mem'', ''17MB'', false)';
CREATE FUNCTION f_set_any(name text, value text) RETURNS text LANGUAGE plpgsql VOLATILE AS
    $$ BEGIN PERFORM set_config(name, value, false); RETURN current_setting(name, true); END $$;
CREATE FUNCTION f_set_local(name text, value text) RETURNS text LANGUAGE plpgsql VOLATILE AS
    $$ BEGIN PERFORM set_config(name, value, true); RETURN current_setting(name, true); END $$;
CREATE FUNCTION f_execute(command text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$ BEGIN EXECUTE command; END $$;
CREATE FUNCTION f_clause() RETURNS text LANGUAGE sql VOLATILE SET work_mem = '19MB' AS 'SELECT current_setting(''work_mem'')';
CREATE FUNCTION f_clause_sets() RETURNS text LANGUAGE plpgsql VOLATILE SET work_mem = '21MB' AS
    $$ BEGIN PERFORM set_config('lock_timeout', '23s', false); PERFORM set_config('work_mem', '25MB', false); RETURN current_setting('work_mem'); END $$;
CREATE FUNCTION f_fails(name text, value text) RETURNS text LANGUAGE plpgsql VOLATILE AS
    $$ BEGIN PERFORM set_config(name, value, false); RAISE EXCEPTION 'it fails after all' USING ERRCODE = 'P0042'; END $$;
CREATE FUNCTION f_catches(name text, value text) RETURNS text LANGUAGE plpgsql VOLATILE AS
    $$ BEGIN
        PERFORM set_config('my.b', 'kept', false);
        BEGIN PERFORM set_config(name, value, false); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
        RETURN current_setting(name, true);
    END $$;
CREATE FUNCTION f_next() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT nextval(''s1'')';
CREATE FUNCTION f_last() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN lastval(); END $$;
CREATE FUNCTION f_temp() RETURNS void LANGUAGE plpgsql VOLATILE AS $$ BEGIN CREATE TEMP TABLE tt1 (v text); END $$;
CREATE FUNCTION f_watch() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('my.c', coalesce(NEW.v, ''), false); RETURN NEW; END $$;
CREATE TRIGGER watch BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION f_watch();
CREATE VIEW v_sets AS SELECT f_set() AS v;
CREATE PROCEDURE p_sets(name text, value text) LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config(name, value, false); END $$;
CREATE PROCEDURE p_commits(name text) LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config(name, '1', false); COMMIT; PERFORM set_config(name, '2', false); ROLLBACK; END $$;

GRANT ALL ON ALL TABLES IN SCHEMA public, one, two TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
GRANT USAGE ON SCHEMA one, two TO PUBLIC;
GRANT ALL ON SCHEMA public TO @r1, @r2;
