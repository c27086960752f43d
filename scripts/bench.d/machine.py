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


def favour():
    """Gives the priority to the sessions of all that this script started: the kernel's automatic groups share a core by
    session and heed a process's own nice only within one, and every backend of PostgreSQL is a session."""
    if os.getpriority(os.PRIO_PROCESS, 0) == PRIORITY:
        for pid in _tree().keys() - {os.getpid()}:
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/autogroup").write_text(str(PRIORITY))


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
    """Parent and CPU ticks of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[1]), sum(map(int, fields[11:15]))


def cpu_of(roots):
    """CPU seconds of these processes and all that live and descend from them, by process, to the nanosecond."""
    found = {}
    for pid in _tree(set(roots)):
        with contextlib.suppress(OSError):
            found[pid] = cpu_seconds(pid)
    return found


def _tree(roots=frozenset()):
    """These (else this script) and everything that descends from them: CPU ticks, those of ended children included, by process."""
    seen = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                seen[int(entry)] = _stat(entry)
    ours, grown = set(roots or {os.getpid()}), True
    while grown:
        more = {pid for pid, (parent, _) in seen.items() if parent in ours} - ours
        ours, grown = ours | more, bool(more)
    return {pid: seen[pid][1] for pid in ours if pid in seen}


def _own_ticks():
    return sum(_tree().values())


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
