"""docker/healthy.py against servers that are well, unwell, slow, silent, or speak TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from monitor.testing.launcher import free_port
from tests.kafka.certificates import authority, signed

SCRIPT = Path(__file__).parents[2] / "docker/healthy.py"
DOCKER_WAITS = 3.0
ASIDE = 1.0
"""What the start of Python may take on a busy machine."""


@contextlib.contextmanager
def serving(status: int, certificate: tuple[Path, Path] | None = None) -> Iterator[int]:
    """A server that says so at /-/healthy, and 404 anywhere else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/-/healthy" else 404)
            self.send_header("content-length", "5")
            self.end_headers()
            self.wfile.write(b"words")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def dripping(first: bytes, every: bytes) -> Iterator[int]:
    """A server that takes connections, says the first at once, and then a little at a time for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def talk(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.sendall(first)
                while not over.wait(0.2):
                    connection.sendall(every)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=talk, args=[connection], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)


def ask(port: int, *, by_variable: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT)] + ([] if by_variable else [str(port)])
    return subprocess.run(
        command, env={"OOD_MONITOR__HTTP__PORT": str(port) if by_variable else "1"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_a_process_that_is_well_ends_it_with_0_and_what_it_says_is_printed():
    with serving(200) as port:
        assert (ask(port).returncode, ask(port).stdout) == (0, "words\n")
        assert ask(port, by_variable=True).returncode == 0


def test_a_process_that_is_unwell_ends_it_with_1():
    with serving(503) as port:
        done = ask(port)
    assert (done.returncode, done.stdout, done.stderr) == (1, "words\n", "")


def test_if_nothing_listens_it_ends_with_1_and_names_the_port():
    port = free_port()
    done = ask(port)
    assert done.returncode == 1
    assert f"port {port} of this container does not answer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("first", "every"), [(b"", b""), (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"), (b"HTTP/1.1 200 OK\r\nx: ", b"y")]
)
def test_a_process_that_hangs_or_drips_ends_it_with_1_before_docker_gives_up(first, every):
    with dripping(first, every) as port:
        begin = time.monotonic()
        done = ask(port)
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert time.monotonic() - begin < DOCKER_WAITS + ASIDE


def test_a_server_that_speaks_no_http_ends_it_with_1():
    with dripping(b"-ERR what\r\n", b"") as port:
        done = ask(port)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_over_tls_it_is_told_the_same(status, code, tmp_path):
    certificate = signed(tmp_path, "worker", authority(tmp_path, "ca"), "DNS:elsewhere")
    with serving(status, certificate) as port:
        assert ask(port).returncode == code
