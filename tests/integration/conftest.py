from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from monitor.testing import launcher
from tests.cluster import Cluster

_names = itertools.count()


@pytest.fixture(scope="session")
def broker() -> Iterator[launcher.Server]:
    with launcher.start_broker() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[launcher.Server]:
    with launcher.start_store() as server:
        yield server


@pytest.fixture
def cluster(broker, redis, tmp_path) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(**settings) -> Cluster:
        made.append(Cluster(broker.address, f"redis://{redis.address}/0", tmp_path, f"t{next(_names)}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.stop()
