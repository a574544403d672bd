"""An HTTP/1.1 server that bounds what a sender may hold: connections, headers, and the time that headers take."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.config.sections.http import HttpConfig
from monitor.errors import ConfigError
from monitor.web.answers import error_answer

LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedServer(Server):
    """Stops when it is asked to, and leaves the end of the process to whoever started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGTERM and Ctrl-C end the server in order, and are not raised again."""
        old = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Bounds:
    """How much clients may hold, together and each.

    Attributes:
        connections: open at once; more are told to come back.
        header_bytes: request line and headers of one request; a larger one is answered 400 or 431.
        header_seconds: within this the headers of a request must be here.
        idle_seconds: a connection without a request is closed after this.
        drain_seconds: how long the end waits for requests that are under way.
        retry_after_seconds: what a client that is told to come back is told to wait.
        full: what a client is told if as many connections are open.
    """

    connections: int = 64
    header_bytes: int = 16_384
    header_seconds: float = 5.0
    idle_seconds: int = 30
    drain_seconds: float = 2.0
    retry_after_seconds: int = 2
    full: str = "as many connections are open as this server allows; retry"


def make_server(app: ASGIApp, http: HttpConfig, bounds: Bounds) -> BoundedServer:
    """A server for this application; it does not listen yet.

    Raises:
        ConfigError: a file of TLS cannot be used.
    """
    settings: dict[str, Any] = {}
    if http.tls_certfile:
        settings |= {"ssl_certfile": http.tls_certfile, "ssl_keyfile": http.tls_keyfile}
    if http.tls_client_cafile:  # asked for and not demanded here: probes have none, and the door refuses the others
        settings |= {"ssl_ca_certs": http.tls_client_cafile, "ssl_cert_reqs": ssl.CERT_OPTIONAL}
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    kind = type(
        "BoundedProtocol",
        (_Protocol,),
        {
            "most": bounds.connections,
            "seconds": bounds.header_seconds,
            "full": _full(bounds),
        },
    )
    return BoundedServer(
        Config(
            _HeaderBound(app, bounds.header_bytes),
            http=kind,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=bounds.idle_seconds,
            timeout_graceful_shutdown=max(1, round(bounds.drain_seconds)),
            h11_max_incomplete_event_size=bounds.header_bytes,
            backlog=bounds.connections,
            **settings,
        )
    )


class _HeaderBound:
    """Refuses headers that are too large and came all at once: the parser bounds only those that it waits for."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        size = len(scope.get("raw_path", b"")) + len(scope.get("query_string", b""))
        size += sum(len(name) + len(value) + 4 for name, value in scope.get("headers", ()))
        if size <= self._most:
            return await self._app(scope, receive, send)
        sentence = f"the request line and the headers are larger than {self._most} bytes"
        return await error_answer(431, sentence, {"connection": "close"})(scope, receive, send)


def _full(bounds: Bounds) -> bytes:
    body = json.dumps({"error": bounds.full}).encode() + b"\n"
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: %d\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n%b"
    ) % (bounds.retry_after_seconds, len(body), body)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"http.host {host!r} and http.port {port} cannot be listened on: {error.strerror or error}; take another "
            "port, or end what listens there"
        ) from None


class _Protocol(H11Protocol):
    """One connection, which must bring the headers of its request in time."""

    most, seconds, full = 256, 5.0, b""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "certified": bool(transport.get_extra_info("peercert"))}
        if len(self.connections) > self.most:
            transport.write(self.full)
            transport.close()
            return
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        began = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if not began:
            self._cancel()
        elif self._timer is None:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._refuse_late)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.write(LATE)
            self.transport.close()
