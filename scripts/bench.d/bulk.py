"""Reads one large answer and throws it away, in a process of its own."""
import asyncio
import multiprocessing
import os
import socket
import struct
import time

import wire


def drain(port, statement, begin):
    """Bytes and seconds of the answer to a statement; `begin` is called between the login and the statement."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.Process(target=_work, args=(port, statement, theirs))
    child.start()
    theirs.close()
    try:
        answer = ours.recv()
        if answer == "ready":
            begin()
            ours.send("go")
            answer = ours.recv()
    except EOFError:
        answer = "the reader died"
    child.join()
    if isinstance(answer, str):
        raise SystemExit(f"bench: {statement[:60]}: {answer}")
    return answer


def _work(port, statement, pipe):
    try:
        plain = _logged_in(port)
        pipe.send("ready")
        pipe.recv()
        pipe.send(_drain(plain, statement))
    except (OSError, RuntimeError, EOFError) as error:
        pipe.send(str(error))


def _logged_in(port):
    """A blocking socket of a session that was opened by the asyncio client."""
    async def open_one():
        client = await wire.Client.connect(port)
        raw = client.writer.get_extra_info("socket")
        return socket.socket(fileno=os.dup(raw.fileno()))
    plain = asyncio.run(open_one())
    plain.setblocking(True)
    return plain


def _drain(plain, statement):
    body = statement.encode() + b"\0"
    began, size, space = time.monotonic(), 0, memoryview(bytearray(1 << 18))
    plain.sendall(b"Q" + struct.pack("!I", len(body) + 4) + body)
    # The answer ends with ReadyForQuery outside a transaction; an x-filled row cannot look like it.
    tail = b""
    while not tail.endswith(b"Z\0\0\0\5I"):
        count = plain.recv_into(space)
        if not count:
            raise RuntimeError("the connection was closed within the answer")
        tail = (tail + bytes(space[max(0, count - 6):count]))[-6:]
        size += count
        if size < 4096 and space[0:1] == b"E":
            raise RuntimeError(bytes(space[:count]).decode(errors="replace"))
    plain.sendall(b"X\0\0\0\4")
    plain.close()
    return size, time.monotonic() - began
