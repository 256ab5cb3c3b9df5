"""The process behind `tests.open_loop`: one thread, raw sockets, prebuilt bytes. Its plan comes on stdin, answers go to stdout."""

import itertools
import os
import random
import select
import socket
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import orjson

HOST: Final = "127.0.0.1"
STDIN: Final = 0
LOOK_EVERY: Final = 0.001
BEGIN: Final = 0.05
"""Seconds from the last connection that is made ahead to the first request."""


class Connection:
    """One kept-alive connection, and the request that is on it."""

    __slots__ = ("at", "buffer", "connecting", "late", "length", "sent", "sock", "which")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.connecting = True
        self.which = -1
        self.at = self.late = self.sent = 0.0
        self.buffer = b""
        self.length = -1


class Worker:
    """The load. Everything happens in `run`."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.port: int = plan["port"]
        self.requests = [each.encode() for each in plan["requests"]]
        self.patience: float = plan["patience"]
        self.most: int = plan["most_connections"]
        self.poll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.free: list[Connection] = []
        self.waiting: deque[tuple[int, float]] = deque()
        self.under_way: dict[Connection, None] = {}
        self.rows: list[tuple[int, float, float, float, int, str, str]] = []
        self.ended = False
        self._looked = 0.0
        self._plan = plan

    def run(self) -> None:
        """Offer the load, wait for what is under way, tell."""
        self._connect_ahead()
        self.poll.register(STDIN, select.EPOLLIN)
        began = monotonic() + BEGIN
        os.write(1, f"{began}\n".encode())
        seconds = self._plan["seconds"]
        end = began + seconds if seconds is not None else float("inf")
        turn = itertools.cycle(range(len(self.requests)))
        for at in self._schedule(began):
            if at >= end or not self._until(at):
                break
            self._offer(next(turn), at)
        while self.under_way or self.waiting:
            self._look(0.05)
        sys.stdout.buffer.write(orjson.dumps(self.rows))

    def _schedule(self, began: float) -> Iterator[float]:
        """The moments of all requests, by multiplication: no error adds up."""
        rate, seed = self._plan["rate"], self._plan["seed"]
        if seed is None:
            yield from (began + number / rate for number in itertools.count())
        draw, at = random.Random(seed), began
        while True:
            yield at
            at += draw.expovariate(rate)

    def _until(self, moment: float) -> bool:
        """Work on answers until then; whether the load is to go on."""
        while (left := moment - monotonic()) > 0 and not self.ended:
            self._look(left)
        if monotonic() - self._looked > LOOK_EVERY:
            self._look(0)  # a schedule that is behind must not starve the answers
        return not self.ended

    # Requests

    def _offer(self, which: int, at: float) -> None:
        if self.free:
            self._send(self.free.pop(), which, at)
        elif len(self.connections) < self.most:
            self._send(self._connect(), which, at)
        else:
            self.waiting.append((which, at))

    def _send(self, connection: Connection, which: int, at: float) -> None:
        connection.which, connection.at, connection.buffer, connection.length = which, at, b"", -1
        self.under_way[connection] = None
        connection.sent = now = monotonic()
        connection.late = now - at
        if not connection.connecting:
            self._write(connection)

    def _write(self, connection: Connection) -> None:
        try:
            connection.sock.send(self.requests[connection.which])  # far smaller than a socket's buffer
        except OSError:
            self._lost(connection, "closed")

    def _record(self, connection: Connection, status: int, reason: str, degraded: str = "") -> None:
        took = monotonic() - connection.at
        self.rows.append((connection.which, connection.at, took, connection.late, status, reason, degraded))
        connection.which = -1
        self.under_way.pop(connection, None)

    # Connections

    def _connect_ahead(self) -> None:
        ahead = [self._connect() for _ in range(self._plan["connections"])]
        give_up = monotonic() + self.patience
        while any(each.connecting for each in ahead) and monotonic() < give_up:
            self._look(0.05)

    def _connect(self) -> Connection:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self.connections[sock.fileno()] = Connection(sock)
        sock.connect_ex((HOST, self.port))
        self.poll.register(sock, select.EPOLLOUT)  # whatever became of it is seen there
        return connection

    def _connected(self, connection: Connection) -> None:
        if connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._lost(connection, "no_connection")
            return
        connection.connecting = False
        self.poll.modify(connection.sock, select.EPOLLIN)
        if connection.which >= 0:
            self._write(connection)
        else:
            self._idle(connection)

    def _idle(self, connection: Connection) -> None:
        if self.waiting:
            self._send(connection, *self.waiting.popleft())
        else:
            self.free.append(connection)

    def _lost(self, connection: Connection, reason: str) -> None:
        if connection.which >= 0:
            self._record(connection, 0, reason)
        elif connection in self.free:
            self.free.remove(connection)
        del self.connections[connection.sock.fileno()]
        connection.sock.close()  # which takes it out of the poll, too
        if self.waiting and len(self.connections) < self.most:
            self._send(self._connect(), *self.waiting.popleft())

    # Answers

    def _look(self, seconds: float) -> None:
        """See what has happened, at the latest after so many seconds. epoll itself counts in milliseconds, select does not."""
        if seconds > 0:
            select.select([self.poll], [], [], seconds)
        self._looked = monotonic()
        for number, _ in self.poll.poll(0):
            if number == STDIN:
                self.ended = True
                self.poll.unregister(STDIN)
            elif (connection := self.connections.get(number)) is not None:
                (self._connected if connection.connecting else self._read)(connection)
        self._give_up()

    def _give_up(self) -> None:
        """Those under way are in the order in which they were sent, so the first is the oldest."""
        due = monotonic() - self.patience
        while self.under_way and (oldest := next(iter(self.under_way))).sent < due:
            self._lost(oldest, "no_answer")

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(connection, "closed")
            return
        connection.buffer += data
        head, found, body = connection.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if connection.length < 0:
            connection.length = int(_header(head, b"content-length") or 0)
        if len(body) >= connection.length:
            self._answered(connection, head)

    def _answered(self, connection: Connection, head: bytes) -> None:
        status = int(head[9:12])
        reason = _header(head, b"x-extauthz-reason") if status >= 400 else ""
        self._record(connection, status, reason, _header(head, b"x-degraded"))
        if b"\r\nconnection: close" in head:
            self._lost(connection, "closed")
        else:
            self._idle(connection)


def _header(head: bytes, name: bytes) -> str:
    """Its value; empty where there is none. Envoy writes names in lower case."""
    _, found, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0].decode("latin-1") if found else ""


def main() -> None:
    """One load."""
    with suppress(PermissionError):
        os.nice(-5)  # what is late here would look like the fault of what is measured
    Worker(orjson.loads(sys.stdin.buffer.readline())).run()


if __name__ == "__main__":
    main()
