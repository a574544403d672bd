"""Receivers of alerts that answer well, badly or not at all, on a loopback port: real sockets, raw bytes.

::

    with Receiver("drips") as bad, Receiver("good") as good:
        config = {"delivery": {"webhook_url": bad.url, "alertmanager_url": good.url}}
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
DRIP_SECONDS = 0.2
"""Between two bytes of a receiver that drips: less than any timeout from byte to byte."""


@dataclass(frozen=True)
class Request:
    """A request that a receiver got.

    Attributes:
        method, path, body: of the request.
        headers: names in lower case.
        at: when it was complete, on the monotonic clock.
    """

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    at: float = 0.0

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Behaviour = Callable[[socket.socket, threading.Event], None]
"""Answers a complete request on a connection; the event says that the receiver is closed."""


def status(code: int, body: str = "", **headers: str) -> Behaviour:
    """Answer with this status."""

    def answer(connection: socket.socket, closed: threading.Event) -> None:
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        content = body.encode()
        head = f"HTTP/1.1 {code} Answer\r\nContent-Length: {len(content)}\r\nConnection: close\r\n{named}\r\n"
        connection.sendall(head.encode() + content)

    return answer


def hangs(connection: socket.socket, closed: threading.Event) -> None:
    """Never answer."""
    closed.wait()


def drips(connection: socket.socket, closed: threading.Event) -> None:
    """Answer with a body that comes a byte at a time and never ends."""
    connection.sendall(b"HTTP/1.1 500 Slow\r\nContent-Length: 1000000\r\n\r\n")
    while not closed.wait(DRIP_SECONDS):
        connection.sendall(b"x")


def drips_headers(connection: socket.socket, closed: threading.Event) -> None:
    """Answer with a header that comes a byte at a time and never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not closed.wait(DRIP_SECONDS):
        connection.sendall(b"x")


def floods(connection: socket.socket, closed: threading.Event) -> None:
    """Answer with a body that never ends, as fast as it is read."""
    connection.sendall(b"HTTP/1.1 500 Endless\r\n\r\n")
    while not closed.is_set():
        connection.sendall(b"x" * 65536)


def garbage(connection: socket.socket, closed: threading.Event) -> None:
    """Answer in something that is not HTTP."""
    connection.sendall(b"\x00\xff\x16\x03 220 mail.example ESMTP ready\r\n\r\n")


def cuts(connection: socket.socket, closed: threading.Event) -> None:
    """Close the connection without an answer."""


BEHAVIOURS: dict[str, Behaviour] = {
    "good": status(200),
    "hangs": hangs,
    "drips": drips,
    "drips headers": drips_headers,
    "floods": floods,
    "garbage": garbage,
    "cuts": cuts,
    "redirects": status(302, Location="http://127.0.0.1:1/elsewhere"),
    "refuses": status(400, "no such route"),
    "fails": status(500, "out of order"),
    "asks to wait": status(429, Retry_After="1"),
}
"""Every way of answering, by name."""


class Receiver:
    """Listens on a loopback port, answers as configured, and keeps the requests.

    Args:
        behaviour: a name in :data:`BEHAVIOURS`, or a function of a connection. :attr:`behaviour` may be changed.
        port: to listen on; a free one if 0.
    """

    def __init__(self, behaviour: str | Behaviour = "good", port: int = 0) -> None:
        self.behaviour: str | Behaviour = behaviour
        self.requests: list[Request] = []
        self._came = threading.Condition()
        self._closed = threading.Event()
        self._listener = socket.create_server((HOST, port))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name=f"receiver-{self.port}", daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def wait(self, what: Callable[[list[Request]], bool], timeout: float = 20.0) -> list[Request]:
        """Wait until what came satisfies ``what``; everything that came.

        Raises:
            TimeoutError: it did not, with what came.
        """
        with self._came:
            if not self._came.wait_for(lambda: what(self.requests), timeout):
                last = [f"{r.method} {r.path} {r.body[:200]!r}" for r in self.requests[-3:]]
                raise TimeoutError(f"not in {timeout:g} s; {len(self.requests)} requests came, the last: {last}")
            return list(self.requests)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):
            request = _read(connection)
            if request is None:
                return
            with self._came:
                self.requests.append(request)
                self._came.notify_all()
            chosen = BEHAVIOURS[self.behaviour] if isinstance(self.behaviour, str) else self.behaviour
            chosen(connection, self._closed)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)


def _read(connection: socket.socket) -> Request | None:
    """One request; ``None`` if the other side goes away first."""
    connection.settimeout(30)
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    return Request(method, path, body, headers, time.monotonic())
