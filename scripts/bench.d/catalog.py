"""A database of very many functions and tables: what it costs to learn of them, and what knowing them weighs."""
import asyncio
import time

import machine
import report
import wire

BAR_LOAD, BAR_WEIGHT = 1000.0, 10.0
CHUNK = 500


def _make(servers, count):
    """Tables t1 to tN, and functions f1 to fN: each reads a table of its own and calls another."""
    for first in range(1, count + 1, CHUNK):
        servers.sql(f"do $$ begin for i in {first}..{min(first + CHUNK - 1, count)} loop execute format("
                    "'create table t%s (id int)', i); end loop; end $$")
    servers.sql(f"""do $$ begin for i in 1..{count} loop execute format(
        'create function f%1$s(n int) returns int language plpgsql as $f$
         declare found int; begin select count(*) into found from t%1$s where id < n and id is not null;
         if found > 10 then perform f%2$s(found); end if; return found + coalesce(length(n::text), 0); end $f$',
        i, 1 + i % {count}); end loop; end $$""")


async def _load(proxy, client, what):
    """Milliseconds until the first statement after a change of the catalog is answered, and of the proxy's CPU for it."""
    await client.query(f"comment on table t1 is '{what}'")
    began, cpu = time.monotonic(), machine.cpu_seconds(proxy.pid)
    await client.query("select 1")
    return (time.monotonic() - began) * 1000, (machine.cpu_seconds(proxy.pid) - cpu) * 1000


async def _measure(proxy, count, rounds):
    client = await wire.Client.connect(proxy.port)
    before, _ = machine.memory(proxy.pid)
    loads = [await _load(proxy, client, number) for number in range(rounds)]
    began, cpu = time.monotonic(), machine.cpu_seconds(proxy.pid)
    for number in range(1, count + 1):
        await client.query(f"select id from t{number}")
    took, cpu = time.monotonic() - began, machine.cpu_seconds(proxy.pid) - cpu
    grown = machine.memory(proxy.pid)[0] - before
    await client.close()
    return loads, took / count * 1000, cpu / count * 1000, grown / 1024


def run(proxies, options, section):
    """Fills the section."""
    count = 2000 if options.quick else 10000
    _make(proxies.cluster, count)
    # Started now: what it holds before it knows anything of them.
    proxy = proxies.primacy(workers=2)
    loads, first, cpu, grown = asyncio.run(_measure(proxy, count, 3 if options.quick else 7))
    wall = report.median([load[0] for load in loads])
    rows = [
        (f"{count:,} functions: first statement after a change", f"{wall:.0f} ms", f"{BAR_LOAD:.0f} ms", report.verdict(wall, BAR_LOAD)),
        ("CPU of the proxy for that", f"{report.median([load[1] for load in loads]):.0f} ms", "", ""),
        (f"first read of each of {count:,} tables", f"{first:.2f} ms, {cpu:.2f} ms of it the proxy's CPU", "", ""),
        ("RSS after all of them, over before", f"{grown:.1f} MiB", "", ""),
    ]
    section.add(report.table(("what", "measured", "bar", ""), rows))
    section.add(f"What is kept of it is at most {BAR_WEIGHT:.0f} MiB: `large::ten_thousand_functions_and_tables_weigh_little` counts it.")
