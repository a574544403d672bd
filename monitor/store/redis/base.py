"""The base of all parts of the Redis store: the connection, the scripts, the settings and the clock."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from monitor.errors import StoreError
from monitor.store.connection import read_clock, translate_redis_errors
from monitor.store.counts import OVERFLOW
from monitor.store.keys import SCHEMA_VERSION, Keys

SCRIPTS = ("claim", "move", "topic", "commit", "report", "lease", "close", "apply", "notice", "bind", "retire",
           "promote", "mute", "unmute", "acknowledge")  # fmt: skip
"""The scripts, by file name in ``lua``. Applying one twice has the same effect as applying it once."""


class RedisBase:
    """The :class:`monitor.store.protocol.Store` of one group in one Redis.

    Every script refuses to be applied twice, so the client may retry it.

    Args:
        client: a redis-py client with ``decode_responses=True``.
        group: the consumer group; its name is part of all keys.
        retention_ms: the counts of a judged bucket are kept this long.
        examples_ms: its examples are kept this long, but no longer than its counts. An alert looks back 20 buckets and
            keeps what it found: a key for each stream and bucket would fill Redis if it lived for a day.
        history_length: about how many transitions are kept.
        examples: how many samples are kept for each stream and bucket.
        streams: how many streams are counted by their own name at most; 0 for no limit.
    """

    def __init__(
        self,
        client: Any,
        group: str,
        *,
        retention_ms: int = 86_400_000,
        examples_ms: int = 600_000,
        history_length: int = 10_000,
        examples: int = 5,
        streams: int = 0,
    ) -> None:
        self.keys = Keys(group)
        self._client = client
        self._retention_ms = retention_ms
        self._examples_ms = min(examples_ms, retention_ms)
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
        """Return the time by Redis' clock, in milliseconds since the epoch."""
        return read_clock(self._client, self.keys.meta)

    @property
    def client(self) -> Any:
        """The connection, for questions about the server itself (:mod:`monitor.store.server`)."""
        return self._client

    def bind(self, binding: str, settings: str, bucket_ms: int, artifact: str) -> tuple[str, str]:
        """Bind the group to the settings its evidence is collected under.

        Returns those it is bound to, as (name, JSON).
        """
        with translate_redis_errors():
            reply = self._scripts["bind"](keys=[self.keys.meta], args=[binding, settings, str(bucket_ms), artifact])
        self._binding = binding
        return str(reply[0]), str(reply[1])
