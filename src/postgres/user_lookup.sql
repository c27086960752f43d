CREATE SCHEMA primacy;
CREATE FUNCTION primacy.user_lookup(wanted text)
    RETURNS TABLE (rolpassword text, rolvaliduntil timestamptz, rolcanlogin boolean, rolconnlimit integer, rolsuper boolean)
    LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog AS
$$ SELECT a.rolpassword, a.rolvaliduntil, a.rolcanlogin, a.rolconnlimit, a.rolsuper
   FROM pg_catalog.pg_authid a WHERE a.rolname OPERATOR(pg_catalog.=) wanted $$;
REVOKE ALL ON FUNCTION primacy.user_lookup(text) FROM PUBLIC;
GRANT USAGE ON SCHEMA primacy TO primacy;
GRANT EXECUTE ON FUNCTION primacy.user_lookup(text) TO primacy;
