"""A frugal asyncio client of PostgreSQL's protocol: enough to hold thousands of connections and to log in by SCRAM."""
import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import ssl
import struct

from cluster import DATABASE, PASSWORD, USER

_keys = {}


def _salted(salt, rounds):
    if (salt, rounds) not in _keys:
        _keys[salt, rounds] = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(salt), rounds)
    return _keys[salt, rounds]


def _mac(key, text):
    return hmac.digest(key, text, "sha256")


def _message(tag, body):
    return tag + struct.pack("!I", len(body) + 4) + body


def insecure():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Client:
    """One connection. Errors of the server become `RuntimeError`."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port, tls=None):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        client = cls(reader, writer)
        if tls:
            writer.write(struct.pack("!II", 8, 80877103))
            if await reader.readexactly(1) != b"S":
                raise RuntimeError("TLS was refused")
            await writer.start_tls(tls)
        words = b"".join(word.encode() + b"\0" for word in ("user", USER, "database", DATABASE)) + b"\0"
        writer.write(struct.pack("!II", len(words) + 8, 196608) + words)
        await client._log_in()
        return client

    async def _receive(self):
        tag, length = struct.unpack("!cI", await self.reader.readexactly(5))
        body = await self.reader.readexactly(length - 4)
        if tag == b"E":
            raise RuntimeError(body.replace(b"\0", b" ").decode(errors="replace"))
        return tag, body

    async def _log_in(self):
        await self._receive()
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n=,r={nonce}"
        first = f"n,,{bare}".encode()
        self.writer.write(_message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first))
        _, body = await self._receive()
        challenge = body[4:].decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        salted = _salted(fields["s"], int(fields["i"]))
        final = f"c=biws,r={fields['r']}"
        key = _mac(salted, b"Client Key")
        signature = _mac(hashlib.sha256(key).digest(), f"{bare},{challenge},{final}".encode())
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        self.writer.write(_message(b"p", f"{final},p={proof}".encode()))
        await self._until_ready()

    async def _until_ready(self):
        while (await self._receive())[0] != b"Z":
            pass

    async def query(self, text):
        self.writer.write(_message(b"Q", text.encode() + b"\0"))
        await self._until_ready()

    async def close(self):
        self.writer.write(_message(b"X", b""))
        self.writer.close()
        # The other side may be gone before TLS has said its farewell.
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def crowd(count, port, tls=None, at_once=50):
    """Connects `count` clients, `at_once` of them at a time; gives the clients and the errors."""
    gate, errors = asyncio.Semaphore(at_once), []

    async def one():
        async with gate:
            try:
                return await asyncio.wait_for(Client.connect(port, tls), 60)
            except (OSError, RuntimeError, EOFError, asyncio.TimeoutError) as error:
                errors.append(f"{type(error).__name__}: {error}")
    clients = await asyncio.gather(*(one() for _ in range(count)))
    return [client for client in clients if client], errors


async def each(clients, action, at_once=50):
    """Does something with every client; gives the errors."""
    gate, errors = asyncio.Semaphore(at_once), []

    async def one(client):
        async with gate:
            try:
                await asyncio.wait_for(action(client), 60)
            except (OSError, RuntimeError, EOFError, asyncio.TimeoutError) as error:
                errors.append(f"{type(error).__name__}: {error}")
    await asyncio.gather(*map(one, clients))
    return errors
