"""Asks the Redis server about itself: may it evict our keys, what would a crash lose, and which user are we."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from monitor.errors import StoreError
from monitor.store.connection import translate_redis_errors

log = logging.getLogger(__name__)

KEEPS_ALL = "noeviction"


def find_risks(client: Any) -> list[str]:
    """Find settings of Redis that may lose counts unnoticed.

    Returns sentences that say what to do; none if all is well.

    Raises:
        StoreUnavailableError: Redis cannot be reached.
    """
    return [risk for name, one in find_servers(client).items() if (risk := _eviction(name, _read_memory(one)))]


def refuse_eviction(client: Any) -> None:
    """Refuse a Redis that evicts keys when its memory is full. If Redis does not say whether it does, warn.

    Raises:
        StoreError: Redis evicts keys.
        StoreUnavailableError: Redis cannot be reached.
    """
    for name, one in find_servers(client).items():
        memory = _read_memory(one)
        risk = _eviction(name, memory)
        if risk:
            raise StoreError(risk)
        if not memory:
            log.warning(
                "Redis%s does not let us read its maxmemory-policy: make sure that it is noeviction, or counts may "
                "vanish unseen",
                name,
            )


def find_servers(client: Any) -> dict[str, Any]:
    """Find every server, by what to call it in a sentence. In a cluster there are several."""
    from redis.cluster import RedisCluster

    if not isinstance(client, RedisCluster):
        return {"": client}
    cluster: Any = client
    with translate_redis_errors():
        nodes = cluster.get_primaries()
        return {f" at {node.name}": client.get_redis_connection(node) for node in nodes}


def _eviction(name: str, memory: Mapping[str, str]) -> str:
    policy = memory.get("maxmemory-policy", KEEPS_ALL)
    if policy == KEEPS_ALL or memory.get("maxmemory", "0") == "0":
        return ""
    return (
        f"Redis{name} has maxmemory-policy {policy}: when its memory is full it deletes counts, offsets and alerts, "
        "and nobody notices. Set maxmemory-policy to noeviction (then writes are refused, and counting waits until "
        "there is memory), or give the monitor a Redis of its own"
    )


def _read_memory(server: Any) -> dict[str, str]:
    """Read ``maxmemory`` and ``maxmemory-policy`` by CONFIG or by INFO; empty if neither is allowed."""
    found = _config(server, "maxmemory*")
    if "maxmemory-policy" in found:
        return found
    info = _info(server, "memory")
    if "maxmemory_policy" not in info:
        return {}
    return {"maxmemory": str(info.get("maxmemory", "0")), "maxmemory-policy": str(info["maxmemory_policy"])}


def describe_server(client: Any) -> str:
    """Describe version, role, user, eviction and what a crash would lose, for people and without secrets."""
    found = find_servers(client)
    return "; ".join(
        f"{name.removeprefix(' at ')}: {_describe(c)}" if name else _describe(c) for name, c in found.items()
    )


def _describe(server: Any) -> str:
    info = _info(server, "server")
    version = info.get("valkey_version") or info.get("redis_version") or "of an unknown version"
    name = "Valkey" if "valkey_version" in info else "Redis"
    role = _info(server, "replication").get("role", "of an unknown role")
    policy = _read_memory(server).get("maxmemory-policy", "unknown")
    return f"{name} {version}, {role}, user {_user(server)}, maxmemory-policy {policy}; {_durability(server)}"


def _user(server: Any) -> str:
    from redis.exceptions import ResponseError

    try:
        with translate_redis_errors():
            return str(server.acl_whoami())
    except StoreError as error:
        if isinstance(error.__cause__, ResponseError):
            return "unknown"
        raise


def _durability(server: Any) -> str:
    """Describe what is lost if the server crashes now."""
    info = _info(server, "persistence")
    if not info:
        return "it does not say what a crash forgets"
    if info.get("aof_enabled"):
        fsync = _config(server, "appendfsync").get("appendfsync", "everysec")
        lost = {"always": "nothing", "no": "what the operating system has not written, often half a minute"}
        return f"appendonly yes, appendfsync {fsync}: a crash forgets {lost.get(fsync, 'up to a second')}"
    saves = _config(server, "save").get("save")
    if saves == "":
        return (
            "appendonly no, no snapshots: a restart forgets everything, and counts are rebuilt from the topic as far "
            "as it is retained. Set appendonly yes"
        )
    since = max(0, round(time.time() - int(info.get("rdb_last_save_time", 0))))
    return f"appendonly no, snapshots only: a crash forgets what came after the last one, {since} s ago"


def _config(server: Any, pattern: str) -> dict[str, str]:
    return _ask(lambda: server.config_get(pattern))


def _info(server: Any, section: str) -> dict[str, Any]:
    return _ask(lambda: server.info(section))


def _ask(question: Any) -> dict[str, Any]:
    """Ask Redis; None if this user may not ask or this Redis has no such command."""
    from redis.exceptions import ResponseError

    try:
        with translate_redis_errors():
            return dict(question())
    except StoreError as error:
        if isinstance(error.__cause__, ResponseError):
            return {}
        raise
