"""Settings of their own: 64 clients with 64 application_names and 8 search_paths share 20 connections, beside the same without."""
import report
from load import Load

BAR = 1.3
PATHS = 8
OWN = f"""\\if :fresh
\\set path :client_id % {PATHS}
SET application_name = 'client:client_id';
SET search_path = bench:path, public;
\\set fresh 0
\\endif
"""
QUERIES = {
    "SELECT 1": "SELECT 1;",
    "pgbench -S": "\\set aid random(1, 1000000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;",
}


def run(proxies, options, section):
    """Fills the section."""
    servers = proxies.cluster
    for path in range(PATHS):
        servers.sql(f"create schema if not exists bench{path}")
    # Two processes, so that neither finds the other's settings on its connections.
    plain, own = proxies.primacy(), proxies.primacy()
    rows = []
    for query, text in QUERIES.items():
        for title, rate in (("saturation", 0), ("equal load", options.rate)):
            loads = {"plain": (plain, Load(servers.bin, [(text, 1)], rate=rate, define=("fresh=0",))),
                     "own settings": (own, Load(servers.bin, [(OWN + text, 1)], rate=rate, define=("fresh=1",)))}
            rounds = [{name: load.run(door, options.seconds) for name, (door, load) in loads.items()} for _ in range(options.rounds)]
            for name in loads:
                def over(measure):
                    return report.median([measure(samples[name], samples["plain"]) for samples in rounds])
                cpu = over(lambda sample, plain: sample.cpu / plain.cpu)
                rows.append((f"{query}, {title}", name, f"{over(lambda sample, _: sample.tps):,.0f}",
                             f"{over(lambda sample, plain: sample.tps / plain.tps):.2f}", f"{over(lambda sample, _: sample.percentile(0.5)):.2f}",
                             f"{over(lambda sample, _: sample.cpu):.1f}", f"{cpu:.2f}",
                             report.verdict(cpu, BAR) if name != "plain" else ""))
    section.add(report.table(("workload", "clients", "tps", "of plain", "p50, ms", "CPU of the proxy, µs", "× plain", ""), rows))
    section.add(f"64 clients, pool of 20, simple protocol, {options.rounds} interleaved rounds of {options.seconds} s, medians; bar: "
                f"at most {BAR} × the plain run's CPU per query. A connection that serves another client than before is given that "
                f"client's settings in the same write as its statement.")
