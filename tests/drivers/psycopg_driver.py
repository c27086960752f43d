"""psycopg 3 through Primacy: transactions, prepared statements, pipelines, COPY, server-side cursors; then connect, query, release alone."""
import sys
import psycopg

dsn = sys.argv[1]
if sys.argv[2] == "release":
    for _ in range(3):
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            connection.execute("SELECT %s::int", (2,)).fetchone()
    sys.stdout.write("ok")
    sys.stdout.flush()
    sys.stdin.read()  # the last connection is closed; the proxy is asked meanwhile
    raise SystemExit

with psycopg.connect(dsn, autocommit=True) as connection:
    connection.execute("CREATE TABLE py (id int PRIMARY KEY, v text)")
    for n in range(20):  # prepared from the sixth on
        connection.execute("INSERT INTO py VALUES (%s, %s)", (n, f"v{n}"))
        assert connection.execute("SELECT v FROM py WHERE id = %s", (n,)).fetchone() == (f"v{n}",)
    with connection.transaction():
        connection.execute("INSERT INTO py VALUES (100, 'x')")
    try:
        with connection.transaction():
            connection.execute("INSERT INTO py VALUES (101, 'x')")
            with connection.transaction():
                connection.execute("INSERT INTO py VALUES (100, 'again')")
    except psycopg.errors.UniqueViolation:
        pass
    assert connection.execute("SELECT count(*) FROM py").fetchone() == (21,)
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int + 1", (n,)) for n in range(50)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(1, 51))
    with connection.cursor() as cursor:
        with cursor.copy("COPY py FROM STDIN") as copy:
            for n in range(1000, 3000):
                copy.write_row((n, "copied"))
        with cursor.copy("COPY (SELECT id FROM py WHERE id >= 1000 ORDER BY id) TO STDOUT") as copy:
            assert [int(row[0]) for row in copy.rows()] == list(range(1000, 3000))
    with connection.transaction(), connection.cursor("named") as cursor:
        cursor.execute("SELECT id FROM py ORDER BY id")
        assert len(cursor.fetchmany(10)) == 10
        assert len(cursor.fetchall()) == 2011
    connection.prepare_threshold = 0
    for n in range(5):
        assert connection.execute("SELECT id FROM py WHERE id = %s", (n,)).fetchone() == (n,)
    for column in ("more", "still"):
        before = connection.execute("SELECT * FROM py WHERE id = %s", (1,)).fetchone()
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute(f"ALTER TABLE py ADD COLUMN {column} int DEFAULT 7")
        assert connection.execute("SELECT * FROM py WHERE id = %s", (1,)).fetchone() == (*before, 7)
    connection.execute("PREPARE by_sql (int) AS SELECT v FROM py WHERE id = $1")
    assert connection.execute("EXECUTE by_sql(3)").fetchone() == ("v3",)
    connection.execute("DEALLOCATE by_sql")
sys.stdout.write("ok")
