"""Queries a second at saturation beside the direct connection, where the servers have their cores to themselves."""
import machine
import report
from compare import WORKLOADS
from load import Load

BAR = 1.0


def run(proxies, options, section):
    """Fills the section."""
    alone = proxies.primacy(1, replicas=False)
    alone.name += ", primary alone"
    doors = [proxies.direct(), proxies.haproxy(), proxies.pgbouncer(), proxies.primacy(1), proxies.primacy(2), alone]
    rows = []
    for workload, query in WORKLOADS.items():
        for protocol in ("simple", "prepared"):
            load = Load(proxies.cluster.bin, query, protocol, cores=machine.PROXY_CORE)
            rounds = [{door.name: load.run(door, options.seconds) for door in doors} for _ in range(options.rounds)]
            for door in doors:
                def over(measure):
                    return report.median([measure(samples[door.name], samples[doors[0].name]) for samples in rounds])
                ratio = over(lambda sample, direct: sample.tps / direct.tps)
                judged = door.name.startswith("Primacy")
                rows.append((f"{workload}, {protocol}", door.name, f"{over(lambda sample, _: sample.tps):,.0f}", f"{ratio:.2f}",
                             "" if door.pid is None else f"{over(lambda sample, _: sample.cpu):.1f}",
                             BAR if judged else "", report.verdict(-ratio, -BAR) if judged else ""))
    section.add(report.table(("workload", "proxy", "tps", "of direct", "CPU, µs", "bar, at least", ""), rows))
    section.add(f"64 clients, pool of 20, {options.rounds} interleaved rounds of {options.seconds} s, medians; the clients share the proxy's core: "
                "a client on the servers' own core, as in the comparison above, flatters the direct connection, for no answer has to wake another "
                "core. On a machine of two cores all three servers share one, and the client's work is taken from the proxy's: `SELECT 1` "
                "directly leaves a core to pgbench alone. \"Primary alone\" is Primacy with one server behind it, as the others have.")
