"""A throwaway PostgreSQL primary with streaming replicas, and the programs that it needs."""
import glob
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import machine
from children import Children

USER, PASSWORD, DATABASE = "bench", "bench-password", "bench"
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{home}'
max_connections = 300
shared_buffers = 128MB
fsync = off
synchronous_commit = on
autovacuum = off
max_wal_senders = 10
hot_standby = on
log_min_messages = fatal
"""
HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"


def programs():
    """The directory of PostgreSQL's programs: PRIMACY_PG_BIN, else the newest one installed."""
    named = os.environ.get("PRIMACY_PG_BIN")
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb") + glob.glob("/usr/pgsql-*/bin/initdb")
    if named or found:
        newest = named or str(Path(max(found, key=lambda path: float(path.split("/")[-3].split("-")[-1]))).parent)
        return Path(newest)
    raise SystemExit("bench: no PostgreSQL on this machine: run scripts/setup or set PRIMACY_PG_BIN")


def version():
    return subprocess.run([programs() / "postgres", "--version"], capture_output=True, text=True).stdout.split()[2]


class Cluster:
    """Primary and replicas in a directory of their own; `close` leaves nothing behind."""

    def __init__(self, ports, replicas=2, scale=10):
        self.bin, self.children = programs(), Children()
        self.home = Path(tempfile.mkdtemp(prefix="primacy-bench-"))
        self.user = "postgres" if os.geteuid() == 0 else None
        try:
            if self.user:
                shutil.chown(self.home, self.user)
            self.ports = [ports.take() for _ in range(1 + replicas)]
            self._primary(scale)
            for number, port in enumerate(self.ports[1:], 1):
                self._replica(number, port)
        except BaseException:
            self.close()
            raise

    def _run(self, program, *arguments, **options):
        done = subprocess.run([self.bin / program, *map(str, arguments)], user=self.user, cwd=self.home,
                              capture_output=True, text=True, **options)
        if done.returncode:
            raise SystemExit(f"bench: {program} failed: {done.stderr.strip()}")
        return done.stdout

    def sql(self, text, port=None, database=DATABASE):
        return self._run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", self.home, "-p", port or self.ports[0],
                         "-U", "postgres", "-d", database, "-c", text).strip()

    def _start(self, data, port):
        command = machine.pinned(machine.OTHER_CORES, [self.bin / "postgres", "-D", data, "-p", port])
        self.children.start(command, user=self.user, cwd=self.home)
        deadline = time.monotonic() + 60
        while subprocess.run([self.bin / "pg_isready", "-q", "-h", self.home, "-p", str(port)]).returncode:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: PostgreSQL in {data} does not start")
            time.sleep(0.05)

    def _primary(self, scale):
        data = self.home / "primary"
        self._run("initdb", "-N", "-A", "trust", "-U", "postgres", "--locale=C", "-E", "UTF8", "-D", data)
        with open(data / "postgresql.conf", "a") as conf:
            conf.write(SETTINGS.format(home=self.home))
        (data / "pg_hba.conf").write_text(HBA)
        self._start(data, self.ports[0])
        self.sql(f"create role {USER} superuser login replication password '{PASSWORD}'", database="postgres")
        self.sql(f"create database {DATABASE} owner {USER}", database="postgres")
        self._run("pgbench", "-i", "-q", "-s", scale, "-h", self.home, "-p", self.ports[0], "-U", "postgres", DATABASE)
        self.sql("checkpoint")

    def _replica(self, number, port):
        data = self.home / f"replica{number}"
        source = f"host=127.0.0.1 port={self.ports[0]} user={USER} password={PASSWORD} application_name=replica{number}"
        self._run("pg_basebackup", "-R", "-c", "fast", "-X", "stream", "-C", "-S", f"replica{number}", "-D", data, "-d", source)
        self._start(data, port)

    def cpu(self):
        """CPU seconds of all servers' processes that live, by process."""
        return machine.cpu_of([child.pid for child in self.children.started])

    def close(self):
        self.children.close()
        shutil.rmtree(self.home, ignore_errors=True)
