"""The command line: which modes run, on which cluster, and what happens to their tables."""
import argparse
import importlib
import signal

import cluster
import machine
import proxies
import report
from children import Ports

MODES = ("compare", "throughput", "mix", "names", "copy", "idle", "fair", "instructions", "catalog")
MODULES = {"copy": "relay_copy"}


def _options(text):
    parser = argparse.ArgumentParser(prog="scripts/bench", description=text,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", default="compare", choices=(*MODES, "all"))
    parser.add_argument("--quick", action="store_true", help="shorter and coarser")
    parser.add_argument("--rounds", type=int, help="interleaved rounds of the comparison (7; --quick: 2)")
    parser.add_argument("--seconds", type=float, help="window of one measurement (2.5; --quick: 0.7)")
    parser.add_argument("--rate", type=int, default=5000, help="the equal offered load in queries a second (5000)")
    parser.add_argument("--only", default="", help="only the cells whose name contains this, such as 'prepared, equal'")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 7)
    options.seconds = options.seconds or (0.7 if options.quick else 2.5)
    return options


def run(text):
    options = _options(text)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    machine.take_place()
    ports = Ports()
    print(f"bench: {machine.describe()}\nbench: starting a primary and two replicas", flush=True)
    servers = None
    try:
        servers = cluster.Cluster(ports)
        for mode in MODES if options.mode == "all" else (options.mode,):
            _mode(mode, servers, ports, options)
    except KeyboardInterrupt:
        print("\nbench: interrupted", flush=True)
        return 130
    finally:
        if servers:
            servers.close()
    return 0


def _mode(mode, servers, ports, options):
    doors = proxies.Proxies(servers, ports)
    section = report.Section(mode, _versions())
    noise = machine.Noise()
    print(f"\nbench: {mode}", flush=True)
    try:
        importlib.import_module(MODULES.get(mode, mode)).run(doors, options, section)
    finally:
        doors.close()
    section.add(f"Other work took {noise.percent():.0f} % of a core on average.")
    if options.write:
        section.write()


def _versions():
    return f"PostgreSQL {cluster.version()}, HAProxy {proxies.version('haproxy')}, PgBouncer {proxies.version('pgbouncer')}, " \
           f"Primacy {proxies.version('primacy')}"
