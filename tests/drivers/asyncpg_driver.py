"""asyncpg through Primacy: its pool, statements with and without its cache, transactions, COPY, cursors; then reads alone."""
import asyncio
import sys
import asyncpg

dsn, what, cache = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def whole(pool):
    async with pool.acquire() as connection:
        await connection.execute(f"CREATE TABLE apg{cache} (id int PRIMARY KEY, v text)")
        table = f"apg{cache}"
        for n in range(20):
            await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", n, f"v{n}")
            assert await connection.fetchval(f"SELECT v FROM {table} WHERE id = $1", n) == f"v{n}"
        await connection.executemany(f"INSERT INTO {table} VALUES ($1, $2)", [(n, "many") for n in range(100, 300)])
        async with connection.transaction():
            await connection.execute(f"INSERT INTO {table} VALUES (1000, 'x')")
        try:
            async with connection.transaction():
                await connection.execute(f"INSERT INTO {table} VALUES (1001, 'x')")
                await connection.execute(f"INSERT INTO {table} VALUES (1000, 'again')")
        except asyncpg.UniqueViolationError:
            pass
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 221
        async with connection.transaction():
            rows = [row["id"] async for row in connection.cursor(f"SELECT id FROM {table} ORDER BY id", prefetch=7)]
        assert len(rows) == 221
        await connection.copy_records_to_table(table, records=[(n, "copied") for n in range(5000, 6000)])
        statement = await connection.prepare(f"SELECT v FROM {table} WHERE id = $1")
        assert [await statement.fetchval(n) for n in (5000, 5999, 1)] == ["copied", "copied", "v1"]
        for column in ("more", "still"):
            assert column not in await connection.fetchrow(f"SELECT * FROM {table} WHERE id = $1", 1)
            async with pool.acquire() as other:
                await other.execute(f"ALTER TABLE {table} ADD COLUMN {column} int DEFAULT 7")
            assert (await connection.fetchrow(f"SELECT * FROM {table} WHERE id = $1", 1))[column] == 7


async def reads(pool):
    async def reader():
        for n in range(100):
            async with pool.acquire() as connection:
                assert await connection.fetchval("SELECT $1::int + 1", n) == n + 1
    await asyncio.gather(*(reader() for _ in range(4)))


async def main():
    async with asyncpg.create_pool(dsn, min_size=4, max_size=4, statement_cache_size=cache) as pool:
        await {"whole": whole, "reads": reads}[what](pool)
        sys.stdout.write("ok")
        sys.stdout.flush()
        if what == "reads":
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
