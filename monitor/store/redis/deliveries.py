"""How far each sink has come, on Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any

from monitor.store.connection import translate_redis_errors
from monitor.store.deliveries import (
    MOST_TOLD,
    SWITCHED_OFF_MS,
    Backlog,
    Done,
    Snapshot,
    Told,
    id_order,
    passed_over,
    snapshot_of,
)
from monitor.store.handling import Handling
from monitor.store.keys import Keys
from monitor.store.redis.handling import fetch_handling

_AT_ONCE = 500


class RedisDeliveries:
    """The :class:`DeliveryStore` of one group in one Redis.

    Args:
        client: a redis-py client with ``decode_responses=True``.
        group: the consumer group; its name is part of all keys.
    """

    def __init__(self, client: Any, group: str) -> None:
        self.keys = Keys(group)
        self._client = client
        folder = files("monitor.store") / "lua"
        self._scripts: dict[str, Callable[..., Any]] = {
            name: client.register_script((folder / f"{name}.lua").read_text(encoding="utf-8"))
            for name in ("delivery_begin", "delivery_lease", "delivered", "delivery_told")
        }

    def newest(self) -> str:
        """Return the id of the newest transition. It changes with every transition."""
        with translate_redis_errors():
            found = self._client.xrevrange(self.keys.history, count=1)
        return str(found[0][0]) if found else "0-0"

    def snapshot(self, resolved_ms: int) -> Snapshot:
        """Return the current alerts and those resolved within the last ``resolved_ms``."""
        with translate_redis_errors():
            names = self._client.zrevrange(self.keys.index, 0, -1)
            held: list[dict[str, str]] = []
            for first in range(0, len(names), _AT_ONCE):
                pipe = self._client.pipeline(transaction=False)
                for name in names[first : first + _AT_ONCE]:
                    pipe.hgetall(self.keys.alert(name))
                held += pipe.execute()
            since = self._now_ms() - resolved_ms
            late = self._client.xrevrange(self.keys.history, min=f"{max(since, 0)}-0", count=1000)
        return snapshot_of(held, [{"id": i, **fields} for i, fields in late])

    def told(self, sink: str, episodes: Sequence[str], *, note: bool) -> Told:
        """Return when a sink first heard of these episodes. With ``note``, new ones are noted as heard just now."""
        with translate_redis_errors():
            arguments = ["1" if note else "0", str(MOST_TOLD), *episodes]
            now, since, *each = self._scripts["delivery_told"](keys=[self.keys.told(sink)], args=arguments)
        known = {name: int(float(ms)) for name, ms in zip(episodes, each, strict=True) if ms}
        return Told(int(now), int(float(since)), known)

    def begin(self, sink: str) -> None:
        """Note that the sink is switched on. It begins at the newest transition, or continues at its position."""
        with translate_redis_errors():
            self._scripts["delivery_begin"](
                keys=[self.keys.delivered(sink), self.keys.history], args=[str(SWITCHED_OFF_MS)]
            )

    def lease(self, sink: str, holder: str, ttl_ms: int) -> int:
        """Take, renew or (``ttl_ms`` 0) release the right to send to a sink.

        Returns the token; 0 if another holds it.
        """
        with translate_redis_errors():
            keys = [self.keys.delivering(sink), self.keys.delivered(sink)]
            return int(self._scripts["delivery_lease"](keys=keys, args=[holder, str(ttl_ms)]))

    def backlog(self, sink: str, count: int = 20) -> Backlog:
        """Return the transitions that were not sent to the sink yet, at most ``count``."""
        with translate_redis_errors():
            record = self._client.hgetall(self.keys.delivered(sink))
            cursor = record.get("cursor", "0-0")
            found = self._client.xrange(self.keys.history, min=f"({cursor}", count=count)
            if not found:
                return Backlog()
            trimmed = self._trimmed(cursor)
            now = self._now_ms()
        events = tuple({"id": i, **fields} for i, fields in found)
        return Backlog(events, passed_over(events, record), trimmed, max(0, now - id_order(found[0][0])[0]))

    def advance(self, sink: str, token: int, event: str, what: Done, why: str = "") -> bool:
        """Move the sink past a transition. Returns False if the token is no longer valid."""
        with translate_redis_errors():
            keys = [self.keys.delivering(sink), self.keys.delivered(sink)]
            return bool(self._scripts["delivered"](keys=keys, args=[str(token), event, what, why, _moment()]))

    def note(self, sink: str, fields: Mapping[str, str], dropped: int = 0) -> None:
        """Keep a note about a sink, for people."""
        with translate_redis_errors():
            pipe = self._client.pipeline(transaction=False)
            if fields:
                pipe.hset(self.keys.delivered(sink), mapping=dict(fields))
            if dropped:
                pipe.hincrby(self.keys.delivered(sink), "dropped", dropped)
            pipe.execute()

    def handling(self) -> Handling:
        """Return which alerts are muted and which are acknowledged."""
        return fetch_handling(self._client, self.keys)

    def held_back(self, sink: str) -> dict[str, str]:
        """Return what mutes hold back from a sink: text by fingerprint."""
        with translate_redis_errors():
            return dict(self._client.hgetall(self.keys.held_back(sink)))

    def hold_back(self, sink: str, held: Mapping[str, str], gone: Sequence[str] = ()) -> None:
        """Add to what mutes hold back from a sink, and remove what they no longer hold back."""
        with translate_redis_errors():
            if held:
                self._client.hset(self.keys.held_back(sink), mapping=dict(held))
            if gone:
                self._client.hdel(self.keys.held_back(sink), *gone)

    def record(self, sink: str) -> dict[str, str]:
        """Return what is kept about a sink."""
        with translate_redis_errors():
            return dict(self._client.hgetall(self.keys.delivered(sink)))

    def _trimmed(self, cursor: str) -> bool:
        if cursor == "0-0":  # the history was empty when the sink was switched on
            info = self._client.xinfo_stream(self.keys.history)
            return int(info.get("entries-added") or info["length"]) > int(info["length"])
        first = self._client.xrange(self.keys.history, count=1)
        return bool(first) and id_order(first[0][0]) > id_order(cursor)

    def _now_ms(self) -> int:
        seconds, microseconds = self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


def _moment() -> str:
    return datetime.now(tz=timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
