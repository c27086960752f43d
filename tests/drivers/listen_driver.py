"""LISTEN through Primacy by asyncpg's add_listener and psycopg 3's notifies(), in autocommit and in transactions; idle behind it."""
import asyncio
import sys
import asyncpg
import psycopg

dsn, what = sys.argv[1], sys.argv[2]


def ok():
    sys.stdout.write("ok")
    sys.stdout.flush()
    sys.stdin.read()  # the proxy is asked meanwhile


def by_psycopg():
    with psycopg.connect(dsn, autocommit=True) as listener, psycopg.connect(dsn, autocommit=True) as sender:
        listener.execute("LISTEN news")
        for n in range(50):
            sender.execute("SELECT pg_notify('news', %s)", (str(n),))
        heard = list(listener.notifies(timeout=30, stop_after=50))
        assert [(told.channel, told.payload) for told in heard] == [("news", str(n)) for n in range(50)], heard
        assert listener.info.backend_pid not in {told.pid for told in heard}
        listener.execute("NOTIFY news, 'own'")
        [own] = list(listener.notifies(timeout=30, stop_after=1))
        assert (own.payload, own.pid) == ("own", listener.info.backend_pid), own
        listener.execute("UNLISTEN news")
        with psycopg.connect(dsn) as within:
            within.execute("LISTEN news")
            within.rollback()
            sender.execute("NOTIFY news, 'nobody'")
            within.execute("LISTEN news")
            within.execute("SELECT 1")
            within.commit()
            sender.execute("NOTIFY news, 'committed'")
            [told] = list(within.notifies(timeout=30, stop_after=1))
            assert told.payload == "committed", told
            ok()


async def by_asyncpg():
    heard = asyncio.Queue()
    async with asyncpg.create_pool(dsn, min_size=2, max_size=2) as pool:
        async with pool.acquire() as listener, pool.acquire() as sender:
            def told(connection, pid, channel, payload):
                heard.put_nowait((pid == connection.get_server_pid(), channel, payload))
            await listener.add_listener("news", told)
            for n in range(50):
                await sender.execute("SELECT pg_notify('news', $1)", str(n))
                assert await asyncio.wait_for(heard.get(), 30) == (False, "news", str(n))
            async with listener.transaction():
                await listener.execute("NOTIFY news, 'own'")
            assert await asyncio.wait_for(heard.get(), 30) == (True, "news", "own")
            await listener.remove_listener("news", told)
            await sender.execute("NOTIFY news, 'nobody'")
            await listener.add_listener("other", told)
            await sender.execute("NOTIFY other")
            assert await asyncio.wait_for(heard.get(), 30) == (False, "other", "")
            await asyncio.get_running_loop().run_in_executor(None, ok)
            await listener.remove_listener("other", told)


if what == "psycopg":
    by_psycopg()
else:
    asyncio.run(by_asyncpg())
