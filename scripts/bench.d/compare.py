"""The comparison: every proxy in every cell (workload, protocol, load), in interleaved rounds."""
import report
import syscalls
from load import Load

NOISE_BAR = 10
WORKLOADS = {"SELECT 1": "select 1", "pgbench -S": None}
# The ratio of the proxy's CPU per query to HAProxy's in the same round: what must hold, and what is aimed at.
BARS = {"saturation": (1.1, 0.85), "equal load": (1.3, 1.0)}


class Cell:
    """One combination and the rounds that were measured in it: each a sample per proxy."""

    def __init__(self, name, load, pace):
        self.name, self.load, self.pace, self.rounds = name, load, pace, []

    def measure(self, doors, seconds):
        self.rounds.append({door.name: self.load.run(door, seconds) for door in doors})

    @staticmethod
    def noise(samples):
        return max(sample.noise for sample in samples.values())

    def quiet(self):
        return sum(self.noise(samples) <= NOISE_BAR for samples in self.rounds)

    def best(self, wanted):
        """The quietest rounds."""
        return sorted(self.rounds, key=self.noise)[:wanted]


def cells(bin_directory, options):
    for pace, rate in (("saturation", 0), ("equal load", options.rate)):
        for workload, query in WORKLOADS.items():
            for protocol in ("simple", "prepared"):
                name = f"{workload}, {protocol}, {pace}"
                if options.only in name:
                    yield Cell(name, Load(bin_directory, query, protocol, rate=rate), pace)


def run(proxies, options, section):
    """Fills the section. A round in which other work took too much is void; it is repeated within a bound."""
    doors = [proxies.direct(), proxies.haproxy(), proxies.pgbouncer(), proxies.primacy(1), proxies.primacy(2)]
    todo = list(cells(proxies.cluster.bin, options))
    spare = 0 if options.quick else options.rounds // 2
    for number in range(1, options.rounds + spare + 1):
        missing = [cell for cell in todo if cell.quiet() < options.rounds]
        if missing:
            print(f"bench: round {number}: {len(missing)} cells", flush=True)
        for cell in missing:
            cell.measure(doors, options.seconds)
    for pace, (must, aim) in BARS.items():
        these = [cell for cell in todo if cell.pace == pace]
        if these:
            title = f"At {pace}" + (f" ({options.rate:,} queries a second offered)" if pace == "equal load" else "")
            section.add(f"{title}. CPU per query: at most {must} × HAProxy's (aim: {aim}).")
            section.add(_table(these, options.rounds, must, aim))
    section.add(_told(todo, options))
    saturated = {cell.name.rsplit(",", 1)[0]: Load(cell.load.bin, cell.load.query, cell.load.protocol) for cell in todo}
    section.add(syscalls.table(saturated, doors[1:], 1 if options.quick else 3))


def _table(these, rounds, must, aim):
    head = ("workload", "proxy", "tps", "of direct", "p50, ms", "p99, ms", "CPU, µs", "× HAProxy", "")
    return report.table(head, [row for cell in these for row in _rows(cell, cell.best(rounds), must, aim)])


def _rows(cell, kept, must, aim):
    direct, haproxy = "PostgreSQL directly", "HAProxy"
    for name in kept[0]:
        def over(measure):
            return report.median([measure(samples[name]) for samples in kept])
        of_direct = report.median([samples[name].tps / samples[direct].tps for samples in kept])
        cpu = ratio = told = ""
        if name != direct:
            cpu = f"{over(lambda sample: sample.cpu):.1f}"
            times = report.median([samples[name].cpu / samples[haproxy].cpu for samples in kept])
            ratio, told = f"{times:.2f}", _judge(name, times, must, aim)
        yield (cell.name.rsplit(",", 1)[0], name, f"{over(lambda sample: sample.tps):,.0f}", f"{of_direct:.2f}",
               f"{over(lambda sample: sample.percentile(0.5)):.2f}", f"{over(lambda sample: sample.percentile(0.99)):.2f}",
               cpu, ratio, told)


def _judge(name, times, must, aim):
    if not name.startswith("Primacy"):
        return ""
    return report.verdict(times, must) + (", aim reached" if times <= aim else "")


def _told(todo, options):
    quiet = sum(min(cell.quiet(), options.rounds) for cell in todo)
    wanted = options.rounds * len(todo)
    noise = report.median([cell.noise(samples) for cell in todo for samples in cell.best(options.rounds)])
    text = f"64 clients, pool of 20, {options.rounds} interleaved rounds of {options.seconds} s, medians; ratios are taken " \
           f"within each round. {quiet} of {wanted} rounds were quiet (other work at most {NOISE_BAR} % of a core)"
    return text + ("." if quiet == wanted else f"; **noisy**: the median round lost {noise:.0f} % of a core to other work.")
