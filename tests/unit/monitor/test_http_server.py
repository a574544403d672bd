"""What clients may hold is bounded: nobody keeps others out by holding connections, slowly or in great number."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from monitor.config.sections.http import HttpConfig
from monitor.errors import ConfigError
from monitor.testing.launcher import HOST, free_port
from monitor.web.server import Bounds, listen, make_server, serve
from tests.redis_servers import certificates

ASK = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


@contextmanager
def serving(bounds: Bounds, app=None, **http) -> Iterator[str]:
    """A server in a thread; its address."""

    async def hello(_request):
        return PlainTextResponse("hello")

    app = app or Starlette(routes=[Route("/", hello)])
    config = HttpConfig(port=free_port(), **http)
    server, listening = make_server(app, config, bounds), listen(config.host, config.port)
    thread = threading.Thread(target=serve, args=(server, listening, bounds.header_seconds))
    thread.start()
    try:
        yield f"{HOST}:{config.port}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


def connected(address: str, send: bytes = b"") -> socket.socket:
    host, _, port = address.partition(":")
    made = socket.create_connection((host, int(port)), timeout=10)
    made.sendall(send)
    return made


def told(connection: socket.socket, what: bytes) -> bool:
    """Whether it is told this, sooner or later."""
    found = b""
    while what not in found and (piece := connection.recv(4096)):
        found += piece
    return what in found


def rest(connection: socket.socket) -> bytes:
    """What it is told until the server closes it."""
    found = b""
    try:
        while piece := connection.recv(4096):
            found += piece
    except ConnectionResetError:
        pass
    return found


def test_connections_that_ask_for_nothing_make_room_for_those_that_do():
    with serving(Bounds(connections=4, header_seconds=60)) as address:
        idle = [connected(address, b"GET / HTTP/1.1\r\nhost: x\r\n") for _ in range(12)]
        for _ in range(20):
            assert httpx.get(f"http://{address}/").text == "hello"
        assert rest(idle[0]) == b""  # it has waited longest, and was closed
        for one in idle:
            one.close()


def test_a_connection_that_was_used_and_kept_makes_room_too():
    with serving(Bounds(connections=2, idle_seconds=60)) as address:
        first, second = connected(address, ASK), connected(address, ASK)
        assert told(first, b"hello")
        assert told(second, b"hello")
        first.sendall(ASK)
        assert told(first, b"hello")
        assert httpx.get(f"http://{address}/").text == "hello"
        assert rest(second) == b""
        first.sendall(ASK)  # its request came last, so it was kept
        assert told(first, b"hello")


def test_whoever_asks_while_all_connections_are_at_work_is_told_to_come_back():
    hold, entered = threading.Event(), threading.Semaphore(0)

    def wait(_request):
        entered.release()
        hold.wait(20)
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/", wait)])
    with serving(Bounds(connections=2, retry_after_seconds=7), app) as address:
        busy = [connected(address, ASK) for _ in range(2)]
        assert all(entered.acquire(timeout=10) for _ in busy)
        for _ in range(3):
            connection = connected(address)
            head, _, body = rest(connection).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 7" in head
            assert "retry" in json.loads(body)["error"]
        hold.set()
        assert all(told(one, b"done") for one in busy)


def flooded(address: str, requests: bytes) -> socket.socket:
    """A client that asks and asks and reads nothing, until the server takes no more from it."""
    host, _, port = address.partition(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((host, int(port)))
    made.settimeout(1.0)
    with suppress(TimeoutError, ConnectionError):
        while True:
            made.sendall(requests)
    return made


def large_answers(size: int) -> Starlette:
    async def large(_request):
        return PlainTextResponse("x" * size)

    return Starlette(routes=[Route("/", large)])


def test_clients_that_never_read_their_answers_do_not_keep_others_out():
    with serving(Bounds(connections=2, answer_seconds=0.5), large_answers(1_000_000)) as address:
        deaf = [flooded(address, 50 * ASK) for _ in range(2)]
        until = time.monotonic() + 20
        while (status := httpx.get(f"http://{address}/", timeout=10).status_code) == 503:
            assert time.monotonic() < until, "they hold their connections for good"
        assert status == 200
        for one in deaf:
            one.close()


def test_a_client_that_reads_a_large_answer_slowly_gets_all_of_it():
    ask = ASK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with serving(Bounds(answer_seconds=0.2), large_answers(20_000_000)) as address:
        slow, got, began = connected(address, ask), 0, time.monotonic()
        while piece := slow.recv(200_000):
            got += len(piece)
            if time.monotonic() - began < 2:  # longer than a client may go without reading
                time.sleep(0.01)
        assert got > 20_000_000


def test_headers_that_do_not_come_end_the_connection():
    with serving(Bounds(header_seconds=0.3)) as address:
        began = time.monotonic()
        slow = connected(address, b"GET / HTT")
        assert rest(slow).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 5
        kept = connected(address, ASK)
        assert told(kept, b"hello")
        kept.sendall(b"GET / HTTP/1.1\r\nx-slow: ")
        assert rest(kept).startswith(b"HTTP/1.1 408 ")


def test_headers_that_never_end_are_refused():
    with serving(Bounds(header_bytes=2048)) as address:
        endless = connected(address, b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000)
        assert rest(endless).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    "nonsense", [b"\0" * 500, b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
def test_what_is_no_http_is_refused_and_others_are_served(nonsense):
    with serving(Bounds(header_seconds=0.5)) as address:
        rest(connected(address, nonsense))
        assert httpx.get(f"http://{address}/").text == "hello"


def test_a_handshake_that_never_ends_is_given_up(tmp_path):
    found = certificates(tmp_path)
    tls = {"tls_certfile": str(found["server.crt"]), "tls_keyfile": str(found["server.key"])}
    with serving(Bounds(header_seconds=0.5), **tls) as address:
        began = time.monotonic()
        assert rest(connected(address)) == b""
        assert time.monotonic() - began < 5
        trusted = ssl.create_default_context(cafile=str(found["ca.crt"]))
        assert httpx.get(f"https://{address}/", verify=trusted).text == "hello"


def test_a_port_that_is_taken_is_named_with_what_to_do():
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"http.port {port} cannot be listened on.*take another port"):
            listen(HOST, port)


@pytest.mark.parametrize("missing", ["tls_certfile", "tls_keyfile", "tls_client_cafile"])
def test_a_file_of_tls_that_cannot_be_read_is_named(tmp_path, missing):
    found = certificates(tmp_path)
    files = {
        "tls_certfile": found["server.crt"],
        "tls_keyfile": found["server.key"],
        "tls_client_cafile": found["ca.crt"],
    }
    given = {name: str(path) for name, path in files.items()} | {missing: str(tmp_path / "nothing.pem")}
    with pytest.raises(ConfigError, match=rf"http\.{missing}.*nothing\.pem"):
        make_server(Starlette(), HttpConfig(port=1, **given), Bounds()).config.load()
    given[missing] = str(tmp_path / "names")
    with pytest.raises(ConfigError, match=r"http\.tls"):
        make_server(Starlette(), HttpConfig(port=1, **given), Bounds()).config.load()
