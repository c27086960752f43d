"""What the kernel says: cores, CPU time, memory, and how much of the machine other work took."""
import contextlib
import os
import platform
import resource
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE = str(CORES[0])
OTHER_CORES = ",".join(map(str, CORES[1:] or CORES))


def pinned(cores, command):
    """The command bound to some cores."""
    return ["taskset", "-c", cores, *map(str, command)]


PRIORITY = -15


def take_place():
    """Moves this script, and so the clients that it plays, to the servers' cores; where it may, raises its priority and
    with it that of all that it starts, so that other work disturbs less."""
    os.sched_setaffinity(0, {int(core) for core in OTHER_CORES.split(",")})
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)


def cpu_seconds(pid):
    """User and system time of all threads of a process, also of those that ended, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid):
    """RSS and peak RSS of a process in KiB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))


def forget_peak(pid):
    """Starts the peak of `memory` anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def describe():
    """One line about the machine."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    ram = os.sysconf("SC_PHYS_PAGES") * PAGE / 2**30
    return f"{len(CORES)} cores of {model}, {ram:.0f} GiB, Linux {platform.release()}"


def placement():
    """One sentence about who runs where."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    return f"Every proxy is bound to core {PROXY_CORE}, servers and clients share core {OTHER_CORES}, all at nice {nice}."


def _stat(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    parent, own, ended = int(fields[1]), fields[11:13], fields[13:15]
    return parent, sum(map(int, own)), sum(map(int, ended))


def _own_ticks():
    """CPU of this script and of everything that descends from it, ended processes included."""
    seen = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                seen[int(entry)] = _stat(entry)
            except (OSError, IndexError):
                continue
    ours, grown = {os.getpid()}, True
    while grown:
        more = {pid for pid, (parent, _, _) in seen.items() if parent in ours} - ours
        ours, grown = ours | more, bool(more)
    return sum(own + ended for pid, (_, own, ended) in seen.items() if pid in ours)


class Noise:
    """How much CPU everything else took since it was made, in percent of one core."""

    def __init__(self):
        self.began, self.busy, self.own = time.monotonic(), self._busy(), _own_ticks()

    @staticmethod
    def _busy():
        user, nice, system, _idle, _wait, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        return user + nice + system + irq + soft + steal

    def percent(self):
        took = time.monotonic() - self.began
        other = (self._busy() - self.busy) - (_own_ticks() - self.own)
        return max(0.0, other / TICK / took * 100)
