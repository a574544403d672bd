from __future__ import annotations

from tests.integration.conftest import broker, cluster, redis

__all__ = ["broker", "cluster", "redis"]
