"""Nine reads to one write, each a transaction of its own: how many reads replicas serve that must see every write, and what it costs."""
import time

import report
from load import Load

ACCOUNTS = 1_000_000
PICK = f"\\set aid random(1, {ACCOUNTS})\n"
READ = PICK + "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;"
WRITE = PICK + "\\set delta random(-5000, 5000)\nUPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;"
DIRECT, HAPROXY = "PostgreSQL directly", "HAProxy"
# Least share of reads on replicas (percent), most milliseconds over direct's, most times HAProxy's CPU and most times the
# servers' CPU of direct (both at the equal load).
SHARE_BAR, SLOWER_BAR, CPU_BAR, SERVERS_BAR = 50, 3.0, 1.5, 1.3


class Seen:
    """One window: what pgbench saw, where reads went, and the CPU of proxy and servers in microseconds per transaction."""

    def __init__(self, servers, load, door, seconds):
        def during(wait):
            before, cpu = door.routed(), servers.cpu()
            time.sleep(wait)
            after = servers.cpu()
            self.servers = sum(after[pid] - cpu.get(pid, 0) for pid in after)
            self.share = None
            if before:
                replicas, reads = (new - old for new, old in zip(door.routed(), before))
                self.share = 100 * replicas / max(1, reads)
        sample = load.run(door, seconds, during)
        self.tps, self.cpu, self.servers = sample.tps, sample.cpu, self.servers * 1e6 / sample.count
        self.read, self.read99 = sample.percentile(0.5, 0), sample.percentile(0.99, 0)
        self.write, self.noise = sample.percentile(0.5, 1), sample.noise


def run(proxies, options, section):
    """Fills the section."""
    servers, seconds = proxies.cluster, max(options.seconds, 1)
    session = proxies.primacy(consistency="session")
    session.name += ", session"
    doors = [proxies.direct(), proxies.haproxy(), proxies.pgbouncer(), proxies.primacy(), session]
    for title, rate in (("At saturation", 0), (f"At equal load ({options.rate:,} a second offered)", options.rate)):
        load = Load(servers.bin, [(READ, 9), (WRITE, 1)], "prepared", rate=rate)
        rounds = [{door.name: Seen(servers, load, door, seconds) for door in doors} for _ in range(options.rounds)]
        section.add(f"{title}.")
        section.add(_table(rounds, rate))
    section.add(f"`pgbench -M prepared`, 64 clients, pool of 20, {options.rounds} interleaved rounds of {seconds} s, medians; ratios are taken "
                f"within each round. Bars of `causal` (the default; `session` for comparison): at least {SHARE_BAR} % of the reads on "
                f"replicas; read p50 at most direct + {SLOWER_BAR:.0f} ms; at the equal load the proxy's CPU at most {CPU_BAR} × HAProxy's and "
                f"the servers' CPU (primary and both replicas) at most {SERVERS_BAR} × direct's (at saturation the ratio says more of what "
                f"shares a core with whom than of the servers: see HAProxy's).")
    _tpcb(doors[:-1], servers, options, seconds, section)


def _table(rounds, rate):
    rows = []
    for name in rounds[0]:
        def over(measure):
            return report.median([measure(seen[name], seen) for seen in rounds])
        share = over(lambda seen, _: -1 if seen.share is None else seen.share)
        slower = over(lambda seen, all: seen.read - all[DIRECT].read)
        cpu = over(lambda seen, all: (seen.cpu or 0) / all[HAPROXY].cpu)
        servers = over(lambda seen, all: seen.servers / all[DIRECT].servers)
        told = ""
        if name.startswith("Primacy") and "session" not in name:
            holds = (share >= SHARE_BAR, slower <= SLOWER_BAR, not rate or cpu <= CPU_BAR, not rate or servers <= SERVERS_BAR)
            failed = [what for what, held in zip(("share", "read p50", "CPU", "servers"), holds) if not held]
            told = f"**fails**: {', '.join(failed)}" if failed else "holds"
        rows.append((name, f"{over(lambda seen, _: seen.tps):,.0f}", "" if share < 0 else f"{share:.1f} %",
                     f"{over(lambda seen, _: seen.read):.2f}", f"{over(lambda seen, _: seen.read99):.2f}",
                     f"{over(lambda seen, _: seen.write):.2f}", f"{over(lambda seen, _: seen.cpu or 0):.1f}" if name != DIRECT else "",
                     f"{cpu:.2f}" if name != DIRECT else "", f"{over(lambda seen, _: seen.servers):.0f}", f"{servers:.2f}", told))
    return report.table(("proxy", "tps", "reads on replicas", "read p50, ms", "p99, ms", "write p50, ms", "CPU, µs", "× HAProxy",
                         "servers' CPU, µs", "× direct", ""), rows)


def _tpcb(doors, servers, options, seconds, section):
    # pgbench's one thread prepares and waits; a client that has to wait for a connection of a pool would wait for itself.
    load = Load(servers.bin, "tpcb-like", "simple")
    rounds = [{door.name: load.run(door, seconds) for door in doors} for _ in range(options.rounds)]
    rows = []
    for door in doors:
        def over(measure):
            return report.median([measure(samples[door.name], samples) for samples in rounds])
        has_cpu = door.name != DIRECT
        rows.append((door.name, f"{over(lambda sample, _: sample.tps):,.0f}", f"{over(lambda sample, all: sample.tps / all[DIRECT].tps):.2f}",
                     f"{over(lambda sample, _: sample.percentile(0.5)):.1f}", f"{over(lambda sample, _: sample.percentile(0.99)):.1f}",
                     f"{over(lambda sample, _: sample.cpu):.0f}" if has_cpu else "",
                     f"{over(lambda sample, all: sample.cpu / all[HAPROXY].cpu):.2f}" if has_cpu else ""))
    section.add("TPC-B (pgbench's own script: one transaction of seven statements), simple protocol, at saturation:")
    section.add(report.table(("proxy", "tps", "of direct", "p50, ms", "p99, ms", "CPU per transaction, µs", "× HAProxy"), rows))
