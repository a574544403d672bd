"""An HTTP/1.1 server that bounds what clients may take: connections, header size, and the time headers take."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import ssl
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server

from monitor.config.sections.http import HttpConfig
from monitor.errors import ConfigError
from monitor.web.answers import error_answer
from monitor.web.connection import Connection


class BoundedServer(Server):
    """A uvicorn server that stops when it is asked to, but does not end the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop the server on SIGTERM and Ctrl-C, and do not raise the signal again."""
        if threading.current_thread() is not threading.main_thread():
            yield  # the process has its own way to end, which ends this server too
            return
        old = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Bounds:
    """Limits on what clients may take, each and together.

    Attributes:
        connections: how many may be open at once. Further clients are asked to come back later.
        header_bytes: the largest request line with headers. Larger ones are answered with 400 or 431.
        header_seconds: the headers of a request must arrive within this time.
        idle_seconds: a connection without a request is closed after this time.
        drain_seconds: how long a stop waits for requests in progress.
        retry_after_seconds: when a client that was turned away should come back.
        full: the sentence for clients that are turned away.
        answer_seconds: a client that takes less than 64 KiB of what waits for it in this time is cut off.
    """

    connections: int = 64
    header_bytes: int = 16_384
    header_seconds: float = 5.0
    idle_seconds: int = 30
    drain_seconds: float = 2.0
    retry_after_seconds: int = 2
    full: str = "as many connections are open as this server allows; retry"
    answer_seconds: float = 30.0


def make_server(app: ASGIApp, http: HttpConfig, bounds: Bounds) -> BoundedServer:
    """Make a server for this application. It does not listen yet.

    Raises:
        ConfigError: a TLS file cannot be used.
    """
    settings: dict[str, Any] = {}
    if http.tls_certfile:
        _try_files(http)
        settings |= {"ssl_certfile": http.tls_certfile, "ssl_keyfile": http.tls_keyfile}
    if http.tls_client_cafile:  # asked for and not demanded here: probes have none, and the door refuses the others
        settings |= {"ssl_ca_certs": http.tls_client_cafile, "ssl_cert_reqs": ssl.CERT_OPTIONAL}
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    kind = type(
        "BoundedProtocol",
        (Connection,),
        {
            "most": bounds.connections,
            "seconds": bounds.header_seconds,
            "answer_seconds": bounds.answer_seconds,
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


def _try_files(http: HttpConfig) -> None:
    """Read the TLS files once: OpenSSL's errors name no file, and it would ask the terminal for a key's password."""
    for key in ("tls_certfile", "tls_keyfile", "tls_client_cafile"):
        name = getattr(http, key)
        try:
            Path(name or ".").stat()
        except OSError as error:
            raise ConfigError(f"http.{key} {name} cannot be read ({error.strerror})") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(http.tls_certfile, http.tls_keyfile, password="")
    except OSError as error:
        raise ConfigError(
            f"http.tls_certfile {http.tls_certfile} and http.tls_keyfile {http.tls_keyfile} cannot be used "
            f"({error.strerror or type(error).__name__}): expected a certificate and its own key in the format PEM, "
            "the key not encrypted"
        ) from None
    try:
        if http.tls_client_cafile:
            context.load_verify_locations(http.tls_client_cafile)
    except OSError:
        raise ConfigError(
            f"http.tls_client_cafile {http.tls_client_cafile} holds no certificates: expected text in the format PEM"
        ) from None


class _HeaderBound:
    """Refuses headers that are too large but arrived at once. The parser only bounds headers that arrive in parts."""

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


def serve(server: BoundedServer, listening: socket.socket, handshake_seconds: float) -> None:
    """Answer requests until the server is asked to stop, in an event loop of this thread.

    Args:
        server: from :func:`make_server`.
        listening: the socket from :func:`listen`.
        handshake_seconds: with TLS, a client must finish its handshake within this time.
    """
    loop = _Loop(handshake_seconds)
    try:
        loop.run_until_complete(server.serve([listening]))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that closes connections whose TLS handshake takes too long. HTTP limits do not apply to those."""

    def __init__(self, handshake_seconds: float) -> None:
        super().__init__()
        self._handshake_seconds = handshake_seconds

    async def create_server(self, *arguments: Any, **named: Any) -> Any:
        """Like asyncio's, with a shorter limit on TLS handshakes."""
        if named.get("ssl") is not None:
            named.setdefault("ssl_handshake_timeout", self._handshake_seconds)
        return await super().create_server(*arguments, **named)


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        ConfigError: it is not possible to listen on the address.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"http.host {host!r} and http.port {port} cannot be listened on: {error.strerror or error}; take another "
            "port, or end what listens there"
        ) from None
