"""The connection of one group to its Redis: scripts, settings, the clock."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from monitor.errors import StoreError
from monitor.store.connection import read_clock, translate_redis_errors
from monitor.store.counts import OVERFLOW
from monitor.store.keys import SCHEMA_VERSION, Keys

SCRIPTS = ("claim", "move", "commit", "report", "lease", "close", "apply", "notice", "bind", "retire", "promote",
           "mute", "unmute", "acknowledge")  # fmt: skip
"""Each is the file of its name in ``lua``; each refuses to be applied twice, or does the same the second time."""


class RedisBase:
    """The :class:`monitor.store.protocol.Store` of one group in one Redis.

    Every script refuses to be applied twice, so the client may retry it.

    Args:
        client: of redis-py, with ``decode_responses=True``.
        group: names the keys.
        retention_ms: counts of a folded bucket stay this long.
        history_length: transitions kept, about.
        examples: samples kept per stream and bucket.
        streams: most streams that are counted by their own name; 0 for no limit.
    """

    def __init__(
        self,
        client: Any,
        group: str,
        *,
        retention_ms: int = 86_400_000,
        history_length: int = 10_000,
        examples: int = 5,
        streams: int = 0,
    ) -> None:
        self.keys = Keys(group)
        self._client = client
        self._retention_ms = retention_ms
        self._history_length = history_length
        self._examples = examples
        self._streams_limit, self._free = streams, [OVERFLOW]
        self._binding = ""
        folder = files("monitor.store") / "lua"
        self._scripts: dict[str, Callable[..., Any]] = {
            name: client.register_script((folder / f"{name}.lua").read_text(encoding="utf-8")) for name in SCRIPTS
        }

    def ping(self) -> None:
        """Raise if it cannot be reached or speaks another schema."""
        with translate_redis_errors():
            self._client.ping()
            self._client.hsetnx(self.keys.meta, "schema", str(SCHEMA_VERSION))
            found = self._client.hget(self.keys.meta, "schema")
        if found != str(SCHEMA_VERSION):
            raise StoreError(
                f"{self.keys.meta} has schema {found}, this release writes {SCHEMA_VERSION}: use a new group"
            )

    def now_ms(self) -> int:
        """The clock of Redis, milliseconds since the epoch."""
        return read_clock(self._client, self.keys.meta)

    @property
    def client(self) -> Any:
        """The connection, for questions about the server itself (:mod:`monitor.store.server`)."""
        return self._client

    def bind(self, binding: str, settings: str, bucket_ms: int, artifact: str) -> tuple[str, str]:
        """Tie the group to the settings that its evidence stands on; which ones it is tied to, as (name, JSON)."""
        with translate_redis_errors():
            reply = self._scripts["bind"](keys=[self.keys.meta], args=[binding, settings, str(bucket_ms), artifact])
        self._binding = binding
        return str(reply[0]), str(reply[1])
