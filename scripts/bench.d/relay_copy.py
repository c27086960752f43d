"""Bulk: a large result and COPY out, in narrow and wide rows: the proxy's CPU per MB and its peak memory."""
import machine
import report
from bulk import drain

BAR_CPU, BAR_MEMORY = 1.3, 8.0
WIDTHS = {"100 B": 100, "8 KiB": 8192}


def _statement(width, megabytes, copy):
    rows = megabytes * 1_000_000 // width
    select = f"select repeat('x', {width}) from (select generate_series(1, {rows})) s"
    return f"copy ({select}) to stdout" if copy else select


def _measure(proxy, statement, expected):
    """CPU in milliseconds per MB, growth of the peak over the RSS of before in MiB, and MB per second."""
    before = []

    def begin():
        machine.favour()
        machine.forget_peak(proxy.pid)
        before[:] = machine.cpu_seconds(proxy.pid), machine.memory(proxy.pid)[0]
    size, took = drain(proxy.port, statement, begin)
    cpu, peak = machine.cpu_seconds(proxy.pid) - before[0], machine.memory(proxy.pid)[1]
    if size < expected:
        raise SystemExit(f"bench: {proxy.name} gave {size} bytes of {expected}")
    return cpu * 1000 / (size / 1e6), (peak - before[1]) / 1024, size / 1e6 / took


def run(proxies, options, section):
    """Fills the section: medians of interleaved rounds; the ratio is taken within each round."""
    megabytes, rounds = (60, 3) if options.quick else (300, 5)
    haproxy, others = proxies.haproxy(), [proxies.pgbouncer(), proxies.primacy()]
    rows = []
    for kind in ("result", "COPY out"):
        for label, width in WIDTHS.items():
            statement = _statement(width, megabytes, kind != "result")
            seen = {proxy: [] for proxy in (haproxy, *others)}
            for _ in range(rounds):
                for proxy, samples in seen.items():
                    samples.append(_measure(proxy, statement, megabytes * 990_000))
            rows += [_row(f"{kind}, rows of {label}", proxy, samples, seen[haproxy]) for proxy, samples in seen.items()]
    section.add(report.table(("what", "proxy", "CPU, ms per MB", "ratio to HAProxy", "peak RSS grew by", "MB/s", "bars", ""), rows))
    section.add(f"{megabytes} MB each, median of {rounds} interleaved rounds.")


def _row(what, proxy, samples, base):
    cpu, memory, speed = (report.median([sample[index] for sample in samples]) for index in range(3))
    ratio = report.median([sample[0] / other[0] for sample, other in zip(samples, base)])
    judged = proxy.name.startswith("Primacy")
    holds = report.verdict(max(ratio / BAR_CPU, memory / BAR_MEMORY), 1) if judged else ""
    bars = f"{BAR_CPU} ×, {BAR_MEMORY:.0f} MiB" if judged else ""
    return what, proxy.name, f"{cpu:.2f}", f"{ratio:.2f}", f"{memory:.1f} MiB", f"{speed:.0f}", bars, holds
