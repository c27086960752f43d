"""Fairness of the pool: many clients for few connections, each query five milliseconds long."""
import report
from load import Load

CLIENTS, POOL, QUERY_MS, BAR = 200, 10, 5, 3.0


def run(proxies, options, section):
    """Fills the section. The wait is what a query took beyond its own five milliseconds."""
    seconds = 3 if options.quick else 15
    rows = []
    for proxy, bar in ((proxies.primacy(pool=POOL, replicas=False), BAR), (proxies.pgbouncer(pool=POOL), None)):
        load = Load(proxies.cluster.bin, f"select pg_sleep({QUERY_MS / 1000})", "simple", CLIENTS)
        sample = load.run(proxy, seconds)
        waits = [max(0.01, sample.percentile(share) - QUERY_MS) for share in (0.5, 0.99, 1)]
        ratio, starved = waits[1] / waits[0], CLIENTS - len(sample.per_client)
        counts = sample.per_client.values() or [0]
        told = "" if bar is None else report.verdict(ratio + 1000 * starved, bar)
        rows.append((proxy.name, f"{sample.tps:.0f}", *(f"{wait:.1f}" for wait in waits), f"{ratio:.2f}",
                     f"{min(counts)} to {max(counts)}", starved, bar or "", told))
    section.add(report.table(("proxy", "queries/s", "wait p50, ms", "p99", "longest", "p99 / p50", "queries per client",
                              "starved", "bar", ""), rows))
    section.add(f"{CLIENTS} clients, pool of {POOL} on one server, `select pg_sleep({QUERY_MS / 1000})` for {seconds} s.")
