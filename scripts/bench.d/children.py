"""Processes that end with the script, and free ports for them."""
import signal
import socket
import subprocess


class Ports:
    """Free ports of 127.0.0.1, outside the range that clients' sockets come from."""

    def __init__(self, first=17400):
        self.next = first

    def take(self):
        while True:
            self.next += 1
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", self.next))
                    return self.next
                except OSError:
                    continue


class Children:
    """Started processes; `close` interrupts them (PostgreSQL's fast shutdown), last one first."""

    def __init__(self):
        self.started = []

    def start(self, command, **options):
        options.setdefault("stdout", subprocess.DEVNULL)
        options.setdefault("stderr", subprocess.DEVNULL)
        # A session of its own: Ctrl-C reaches the script alone, which then closes in order.
        child = subprocess.Popen(list(map(str, command)), start_new_session=True, **options)
        self.started.append(child)
        return child

    def close(self):
        for child in reversed(self.started):
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.started.clear()
