"""Idle clients: memory for each of them, ten thousand at once, what stays afterwards, and the CPU of a login."""
import asyncio

import machine
import report
import wire

BAR_PLAIN, BAR_TLS, BAR_STAYS, BAR_LOGIN = 4.0, 14.0, 8.0, 0.5


async def _per_client(proxy, count, tls):
    """KiB of RSS per client, connected only and after one query each, and the errors."""
    warm, _ = await wire.crowd(20, proxy.port, tls)
    await wire.each(warm, lambda client: client.query("select 1"))
    before, _ = machine.memory(proxy.pid)
    clients, errors = await wire.crowd(count, proxy.port, tls)
    await asyncio.sleep(1)
    connected = machine.memory(proxy.pid)[0] - before
    errors += await wire.each(clients, lambda client: client.query("select 1"))
    await asyncio.sleep(1)
    asked = machine.memory(proxy.pid)[0] - before
    await wire.each(clients + warm, wire.Client.close)
    return connected / count, asked / count, errors


async def _many(proxy, count, rest):
    """Connects many clients, asks each once, lets all leave; gives the errors, the peak and what stayed, in KiB."""
    warm, errors = await wire.crowd(20, proxy.port)
    await wire.each(warm, lambda client: client.query("select 1"))
    before, _ = machine.memory(proxy.pid)
    clients, more = await wire.crowd(count, proxy.port)
    errors += more + await wire.each(clients, lambda client: client.query("select 1"))
    full, _ = machine.memory(proxy.pid)
    answered = len(clients)
    await wire.each(clients, wire.Client.close)
    await asyncio.sleep(rest)
    after, _ = machine.memory(proxy.pid)
    await wire.each(warm, wire.Client.close)
    return answered, errors, full - before, after - before


async def _login(proxy, tls, count=300):
    """Milliseconds of the proxy's CPU for one login after the user's first, connection and farewell included."""
    await (await wire.Client.connect(proxy.port, tls)).close()
    began = machine.cpu_seconds(proxy.pid)
    for _ in range(count):
        await (await wire.Client.connect(proxy.port, tls)).close()
    return (machine.cpu_seconds(proxy.pid) - began) / count * 1000


def _crowd_size(wanted, limit):
    return min(wanted, limit - 500)


def run(proxies, options, section):
    """Fills the section."""
    limit = machine.raise_file_limit()
    few = 500 if options.quick else 2000
    many = _crowd_size(2000 if options.quick else 10000, limit)
    rows = []
    for kind, bar, tls in (("plain", BAR_PLAIN, None), ("TLS", BAR_TLS, wire.insecure())):
        proxy = proxies.primacy(tls=bool(tls))
        connected, asked, errors = asyncio.run(_per_client(proxy, few, tls))
        rows.append((f"idle client, {kind}, {few:,} connected", f"{connected:.1f} KiB, {asked:.1f} after a query each",
                     f"{bar:.0f} KiB", report.verdict(max(connected, asked), bar) + _told(errors)))
        login = asyncio.run(_login(proxies.primacy(tls=bool(tls)), tls))
        told = report.verdict(login, BAR_LOGIN) if not tls else "no bar"
        rows.append((f"CPU of a login, {kind}", f"{login:.2f} ms", f"{BAR_LOGIN} ms" if not tls else "", told))
    answered, errors, full, stays = asyncio.run(_many(proxies.primacy(), many, 5 if options.quick else 30))
    rows.append((f"{many:,} clients connected and answered", f"{answered:,}, {len(errors)} errors, {full / 1024:.0f} MiB",
                 "0 errors", report.verdict(len(errors), 0) + _told(errors)))
    rows.append(("RSS after they left, over before", f"{stays / 1024:.1f} MiB", f"{BAR_STAYS:.0f} MiB",
                 report.verdict(stays / 1024, BAR_STAYS)))
    if not options.quick:
        rows.append(_pgbouncer(proxies, few))
    section.add(report.table(("what", "measured", "bar", ""), rows))


def _pgbouncer(proxies, few):
    connected, asked, errors = asyncio.run(_per_client(proxies.pgbouncer(), few, None))
    return ("PgBouncer for comparison: idle client, plain", f"{connected:.1f} KiB, {asked:.1f} after a query each", "",
            _told(errors))


def _told(errors):
    return f" ({len(errors)} errors, first: {errors[0]})" if errors else ""
