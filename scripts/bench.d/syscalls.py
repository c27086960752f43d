"""System calls per query, counted by strace in a short run of its own."""
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import report
from load import SCRATCH

BAR = 4.2
# Sleeping and waking depend on the load, not on the work.
WAITING = {"epoll_wait", "epoll_pwait", "futex"}


def _counts(text):
    """Calls by name from the table of `strace -c`."""
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", text, re.MULTILINE)
    return {name: int(calls) for calls, name in rows if name != "total"}


def count(load, door, seconds):
    """Calls per query by name."""
    directory = Path(tempfile.mkdtemp(prefix="primacy-bench-", dir=SCRATCH))
    out = directory / "strace"

    def traced(length):
        tracer = subprocess.Popen(["strace", "-c", "-f", "-p", str(door.pid), "-o", out], stderr=subprocess.PIPE, text=True,
                                  start_new_session=True)
        tracer.stderr.readline()
        began = time.time()
        time.sleep(length)
        ended = time.time()
        tracer.send_signal(2)
        tracer.communicate(timeout=30)
        return began, ended
    try:
        sample = load.run(door, seconds, during=traced)
        return {name: calls / max(1, sample.count) for name, calls in _counts(out.read_text()).items()}
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def table(loads, doors, seconds):
    """One row per load, given by name, and proxy."""
    rows = []
    for what, load in loads.items():
        for door in doors:
            calls = count(load, door, seconds)
            working = sum(number for name, number in calls.items() if name not in WAITING)
            waiting = sum(number for name, number in calls.items() if name in WAITING)
            most = sorted(((number, name) for name, number in calls.items() if number >= 0.02), reverse=True)
            judged = door.name.startswith("Primacy")
            rows.append((what, door.name, f"{working:.2f}", f"{waiting:.2f}",
                         ", ".join(f"{name} {number:.2f}" for number, name in most),
                         BAR if judged else "", report.verdict(working, BAR) if judged else ""))
    head = ("workload", "proxy", "system calls per query", "waiting", "which", "bar", "")
    return report.table(head, rows)
