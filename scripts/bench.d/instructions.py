"""User instructions per query, counted by callgrind: the same however busy the machine is, but blind to the kernel."""
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import report
from compare import WORKLOADS
from load import SCRATCH, Load

CLIENTS = 8


def run(proxies, options, section):
    """Fills the section."""
    if not shutil.which("valgrind"):
        raise SystemExit("bench: instructions needs valgrind: apt-get install valgrind")
    seconds, counts = 2 if options.quick else 6, {}
    out = Path(tempfile.mkdtemp(prefix="primacy-bench-", dir=SCRATCH))
    # The programs of the peers are started through wrappers, hence --trace-children: an exec does not end the tracing.
    under = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", "--trace-children=yes",
             f"--callgrind-out-file={out}/%p"]
    try:
        for start in (proxies.haproxy, proxies.primacy):
            door = start(under=under)
            for what, load in _loads(proxies.cluster.bin):
                counts.setdefault(what, {})[door.name] = _per_query(load, door, seconds, out)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    names = list(next(iter(counts.values())))
    section.add(report.table(("workload", *names), [(what, *(f"{seen[name]:,.0f}" for name in names)) for what, seen in counts.items()]))
    section.add(f"User instructions per query with {CLIENTS} clients at saturation, under valgrind, {seconds} s each.")


def _loads(bin_directory):
    for workload, query in WORKLOADS.items():
        for protocol in ("simple", "prepared"):
            yield f"{workload}, {protocol}", Load(bin_directory, query, protocol, CLIENTS)


def _control(door, argument):
    done = subprocess.run(["callgrind_control", argument, str(door.pid)], capture_output=True, text=True, timeout=120)
    if done.returncode or "Error" in done.stdout + done.stderr:
        raise SystemExit(f"bench: callgrind_control {argument}: {done.stdout}{done.stderr}")


def _per_query(load, door, seconds, out):
    def counted(length):
        _control(door, "--zero")
        _control(door, "--instr=on")
        began = time.time()
        time.sleep(length)
        ended = time.time()
        # First the dump: switching off forgets the counts.
        _control(door, "--dump")
        _control(door, "--instr=off")
        return began, ended
    sample = load.run(door, seconds, during=counted)
    newest = max(out.glob(f"{door.pid}*"), key=lambda path: path.stat().st_mtime_ns)
    total = re.search(r"^totals: (\d+)", newest.read_text(errors="replace"), re.MULTILINE)
    return int(total[1]) / sample.count
