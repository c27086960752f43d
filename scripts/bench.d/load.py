"""pgbench as the load: a run with a window in it, in which transactions, latencies and the proxy's CPU are counted."""
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import machine
from proxies import client_environment

SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
WARM_UP = 0.25
LIMIT = 600
OWN = {None: ["-S"], "tpcb-like": ["-b", "tpcb-like"]}


class Sample:
    """What one window saw. Latencies in milliseconds; `cpu` in microseconds of the proxy per transaction, if there is one."""

    def __init__(self, lines, began, ended, cpu, noise):
        kept = [(client, took, script) for client, took, at, script in lines if began <= at < ended]
        self.count, self.seconds, self.noise = len(kept), ended - began, noise
        self.tps = self.count / self.seconds
        self.latencies = sorted(took / 1000 for _, took, _ in kept)
        self.by_script = {}
        for _, took, script in kept:
            self.by_script.setdefault(script, []).append(took / 1000)
        self.cpu = cpu * 1e6 / max(1, self.count) if cpu is not None else None
        self.per_client = {}
        for client, _, _ in kept:
            self.per_client[client] = self.per_client.get(client, 0) + 1

    def percentile(self, share, script=None):
        """Of all transactions, or of those of one script, counted from 0."""
        latencies = self.latencies if script is None else sorted(self.by_script.get(script, ()))
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] if latencies else float("nan")


class Load:
    """A pgbench command: what it asks (a query; one of pgbench's own scripts by its option; or scripts with their weights), in which
    protocol, by how many clients, how fast (0: as it goes), on which cores."""

    def __init__(self, bin_directory, query=None, protocol="simple", clients=64, rate=0, cores=machine.OTHER_CORES,
                 define=()):
        self.bin, self.query, self.protocol, self.clients, self.rate = bin_directory, query, protocol, clients, rate
        self.cores, self.define = cores, define

    def _command(self, directory):
        command = [self.bin / "pgbench", "-n", "-M", self.protocol, "-c", self.clients, "-j", 1, "-T", LIMIT,
                   "--log", f"--log-prefix={directory}/log"]
        for value in self.define:
            command += ["-D", value]
        if self.rate:
            command += ["--rate", self.rate]
        if not isinstance(self.query, list) and self.query in OWN:
            return machine.pinned(self.cores, [*command, *OWN[self.query]])
        scripts = self.query if isinstance(self.query, list) else [(self.query + ";", 1)]
        for number, (text, weight) in enumerate(scripts):
            script = Path(directory, f"query{number}.sql")
            script.write_text(text + "\n")
            command += ["-f", f"{script}@{weight}"]
        return machine.pinned(self.cores, command)

    def run(self, proxy, seconds, during=None):
        """Runs pgbench; the window opens when all clients are connected and warm. `during` replaces
        the wait and may narrow the window to the two times that it gives."""
        directory = tempfile.mkdtemp(prefix="primacy-bench-", dir=SCRATCH)
        child = None
        try:
            child = subprocess.Popen(self._command(directory), env={**client_environment(), "PGPORT": str(proxy.port)},
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
            _wait_for_first_line(child, directory, proxy)
            machine.favour()
            time.sleep(WARM_UP)
            noise, before, began = machine.Noise(), _cpu(proxy), time.time()
            window = (during or time.sleep)(seconds)
            after, ended = _cpu(proxy), time.time()
            began, ended = window or (began, ended)
            other = noise.percent()
            # The signal by which pgbench's own -T ends a run: transactions are finished and the log is written.
            child.send_signal(signal.SIGALRM)
            _, errors = child.communicate(timeout=120)
            if child.returncode:
                raise SystemExit(f"bench: pgbench through {proxy.name} failed: {errors.strip()[-600:]}{proxy.state()}")
            sample = Sample(list(_lines(directory)), began, ended, None if before is None else after - before, other)
            if not sample.count:
                raise SystemExit(f"bench: not one answer through {proxy.name} in {seconds} s{proxy.state()}")
            return sample
        finally:
            if child and child.poll() is None:
                child.kill()
                child.wait()
            shutil.rmtree(directory, ignore_errors=True)


def _cpu(proxy):
    return machine.cpu_seconds(proxy.pid) if proxy.pid else None


def _wait_for_first_line(child, directory, proxy):
    deadline = time.monotonic() + 60
    while child.poll() is None and not any(os.path.getsize(log) for log in glob.glob(f"{directory}/log*")):
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: pgbench does not begin through {proxy.name}{proxy.state()}")
        time.sleep(0.01)


def _lines(directory):
    """Client, microseconds taken, time of the end and script of every transaction that pgbench logged."""
    for log in glob.glob(f"{directory}/log*"):
        with open(log) as text:
            for line in text:
                fields = line.split()
                if fields[2].isdigit():
                    yield int(fields[0]), int(fields[2]), int(fields[4]) + int(fields[5]) / 1e6, int(fields[3])
