"""The proxies that are compared: how each is configured, started and named."""
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import machine
from children import Children
from cluster import DATABASE, PASSWORD, USER

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "target/servers/peers"
PRIMACY = Path(os.environ.get("PRIMACY_BIN", ROOT / "target/release/primacy"))

HAPROXY = """
global
  nbthread 1
  maxconn 2000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind 127.0.0.1:{port}
  server primary 127.0.0.1:{primary}
"""
PGBOUNCER = """
[databases]
{database} = host=127.0.0.1 port={primary}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {home}/users.txt
pool_mode = transaction
default_pool_size = {pool}
max_prepared_statements = 200
max_client_conn = 12000
"""
PRIMACY_YAML = """
clusters:
  bench:
    engine: postgres
    listen: [ "127.0.0.1:{port}" ]
    tls: {tls}
    monitor: {{ user: {user}, password: {{ env: BENCH_PASSWORD }}, database: {database} }}
    nodes: {{ {nodes} }}
    pool: {{ mode: transaction, size: {pool}, max_clients: 12000 }}
    routing: {{ consistency: {consistency} }}
admin: {{ listen: "127.0.0.1:{admin}" }}
runtime: {{ workers: {workers} }}
log: {{ level: warn }}
"""


class Proxy:
    """One door to the cluster: `pid` is None where no proxy stands between."""

    def __init__(self, name, port, child=None, log=None, admin=None):
        self.name, self.port, self._child, self._log, self._admin = name, port, child, log, admin
        self.pid = child.pid if child else None

    def routed(self):
        """Reads that replicas served so far, and all reads; None where that is not counted."""
        if not self._admin:
            return None
        with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/metrics") as page:
            lines = page.read().decode().splitlines()
        reads = [line for line in lines if line.startswith("primacy_routed_total{") and 'class="read"' in line]
        return tuple(sum(float(line.rsplit(" ", 1)[1]) for line in reads if role in line) for role in ('role="replica"', ""))

    def state(self):
        """Whether it still runs and what it said last, for an error message."""
        if not self._child:
            return ""
        status = self._child.poll()
        lives = "it still runs" if status is None else f"it ended with status {status}"
        return f"\n{self.name}: {lives}; its log ends:\n" + Path(self._log).read_text(errors="replace")[-2000:]


class Proxies:
    """Starts proxies in front of a cluster and ends them."""

    def __init__(self, cluster, ports):
        self.cluster, self.ports, self.children = cluster, ports, Children()
        self.home = cluster.home / "proxies"
        self.home.mkdir(exist_ok=True)
        self.home.chmod(0o755)

    def direct(self):
        return Proxy("PostgreSQL directly", self.cluster.ports[0])

    def haproxy(self, under=()):
        port = self.ports.take()
        config = self._file("haproxy.cfg", HAPROXY.format(port=port, primary=self.cluster.ports[0]))
        program = peer("haproxy")
        return self._start("HAProxy", port, [*under, program, "-db", "-f", config])

    def pgbouncer(self, pool=20):
        port = self.ports.take()
        self._file("users.txt", f'"{USER}" "{PASSWORD}"\n')
        config = self._file("pgbouncer.ini", PGBOUNCER.format(
            port=port, primary=self.cluster.ports[0], home=self.home, database=DATABASE, pool=pool))
        program = peer("pgbouncer")
        return self._start("PgBouncer", port, [program, config], user=self.cluster.user)

    def primacy(self, workers=1, pool=20, tls=False, replicas=True, under=(), consistency="causal"):
        if not PRIMACY.exists():
            raise SystemExit(f"bench: {PRIMACY} is missing: cargo build --release, or set PRIMACY_BIN")
        port = self.ports.take()
        nodes = self.cluster.ports if replicas else self.cluster.ports[:1]
        admin = self.ports.take()
        config = self._file(f"primacy-{port}.yaml", PRIMACY_YAML.format(
            port=port, admin=admin, user=USER, database=DATABASE, pool=pool, workers=workers, consistency=consistency,
            tls=self._certificate() if tls else "{ mode: disable }",
            nodes=", ".join(f'pg{n}: {{ address: "127.0.0.1:{p}" }}' for n, p in enumerate(nodes, 1))))
        name = f"Primacy, {workers} worker{'s' * (workers > 1)}"
        return self._start(name, port, [*under, PRIMACY, "run", config], admin=admin)

    def _certificate(self):
        key, cert = self.home / "key.pem", self.home / "cert.pem"
        if not cert.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-subj", "/CN=localhost", "-days", "2", "-keyout", key, "-out", cert], check=True, capture_output=True)
        return f"{{ mode: prefer, certificate: {cert}, key: {key} }}"

    def _file(self, name, text):
        path = self.home / name
        path.write_text(text)
        return path

    def _start(self, name, port, command, admin=None, **options):
        log = open(self.home / f"{port}.log", "wb")
        environment = {**os.environ, "BENCH_PASSWORD": PASSWORD}
        child = self.children.start(machine.pinned(machine.PROXY_CORE, command), env=environment, stdout=log,
                                    stderr=subprocess.STDOUT, **options)
        deadline = time.monotonic() + 60
        while not _answers(self.cluster, port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"bench: {name} does not start:\n" + Path(log.name).read_text(errors="replace")[-2000:])
            time.sleep(0.1)
        return Proxy(name, port, child, log.name, admin)

    def close(self):
        self.children.close()


def peer(program):
    """A peer's program from Debian, unpacked once beside the build."""
    path = PEERS / "bin" / program
    if not path.exists():
        subprocess.run([ROOT / "scripts/get-servers", "sid", PEERS, "pgbouncer", "haproxy"], check=True)
    return path


def client_environment():
    return {**os.environ, "PGPASSWORD": PASSWORD, "PGUSER": USER, "PGDATABASE": DATABASE, "PGHOST": "127.0.0.1",
            "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}


def _answers(cluster, port):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
    done = subprocess.run([cluster.bin / "psql", "-XAtc", "select 1"], env={**client_environment(), "PGPORT": str(port)},
                          capture_output=True)
    return done.returncode == 0


def version(name):
    """The version of one of the proxies: the first word of its answer that begins with a digit."""
    program, flag = (PRIMACY, "--version") if name == "primacy" else (peer(name), "-v" if name == "haproxy" else "--version")
    words = subprocess.run([program, flag], capture_output=True, text=True).stdout.split()
    return next((word for word in words if word[0].isdigit()), "?")
