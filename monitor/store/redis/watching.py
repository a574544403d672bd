"""Alerts, notices and the health of the group."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

from monitor.store.connection import translate_redis_errors
from monitor.store.counts import OVERFLOW
from monitor.store.handling import read_handling
from monitor.store.redis.base import RedisBase
from monitor.store.verdicts import SUMS, TIMES, Health, Notice

AT_ONCE = 1000
"""How many fields of a large hash Redis reads out at once. Meanwhile it answers nobody else."""

ALERTS_AT_ONCE = 500
"""How many alerts are read in one round trip."""


class RedisWatching(RedisBase):
    """Alerts, notices and the health of the group."""

    def canary_stream(self, *, create: bool) -> str:
        """Return the name of the canary's stream, which nobody can guess; empty if there is none and none is made."""
        with translate_redis_errors():
            if create:
                self._client.hsetnx(self.keys.meta, "canary", f"__canary__{secrets.token_hex(8)}")
            found = str(self._client.hget(self.keys.meta, "canary") or "")
        self._free = [OVERFLOW, *([found] if found else [])]
        return found

    def mark(self, name: str) -> None:
        """Note the time of Redis under a name in the group's meta hash."""
        now = self.now_ms()
        with translate_redis_errors():
            self._client.hset(self.keys.meta, name, str(now))

    def health(self) -> Health:
        """Return the health of the group."""
        k = self.keys
        with translate_redis_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.hgetall(k.meta)
            pipe.zcard(k.buckets)
            pipe.hgetall(k.workers)
            pipe.hlen(k.streams)
            pipe.hvals(k.mutes)
            meta, pending, workers, streams, mutes = pipe.execute()
        now_ms = self.now_ms()  # a pipeline to a cluster does not take TIME
        reports = {name: text.split(" ", 1) for name, text in workers.items()}
        return Health(
            now_ms=now_ms,
            pending=pending,
            streams=streams,
            mutes=len(read_handling(now_ms, {str(n): text for n, text in enumerate(mutes)}, {}).in_force()),
            workers={name: (int(at), entry) for name, (at, entry) in reports.items()},
            sums={name: int(meta.get(name, 0)) for name in SUMS},
            times={name: int(meta[name]) for name in TIMES if name in meta},
        )

    def notice(self, notice: Notice, ttl_ms: int = 604_800_000) -> bool:
        """Raise, refresh or resolve an alert of the monitor about itself. Returns True if it was raised or resolved."""
        k = self.keys
        name = notice.fingerprint(k.group)
        now = datetime.fromtimestamp(self.now_ms() / 1000, tz=timezone.utc)
        document = {
            "fingerprint": name,
            "firing": notice.firing,
            "ttl_ms": str(ttl_ms),
            "history_length": str(self._history_length),
            "channel": k.channel,
            "now": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "fields": notice.fields(),
        }
        with translate_redis_errors():
            reply = self._scripts["notice"](keys=[k.history, k.index, k.alert(name)], args=[json.dumps(document)])
        return str(reply[0]) != "same"

    def windows(self) -> dict[str, str]:
        """Return the begin of each stream's drift window, as :meth:`keep_windows` stored it."""
        with translate_redis_errors():
            return dict(self._client.hscan_iter(self.keys.drift, count=AT_ONCE))

    def keep_windows(self, begun: Mapping[str, str], gone: Iterable[str] = ()) -> None:
        """Store the begins of drift windows by stream, and forget those of streams that are gone."""
        names = list(gone)
        with translate_redis_errors():
            if begun:
                self._client.hset(self.keys.drift, mapping=dict(begun))
            if names:
                self._client.hdel(self.keys.drift, *names)

    def alerts(self) -> list[dict[str, str]]:
        """Return the current alerts, the latest transition first."""
        with translate_redis_errors():
            names = self._client.zrevrange(self.keys.index, 0, -1)
            found = self._each_alert(names)
            gone = [name for name, alert in zip(names, found, strict=True) if not alert]
            if gone:  # their time to live is over
                self._client.zrem(self.keys.index, *gone)
        return [alert for alert in found if alert]

    def alert(self, fingerprint: str) -> dict[str, str]:
        """Return the current alert with this fingerprint; empty if there is none."""
        with translate_redis_errors():
            return dict(self._client.hgetall(self.keys.alert(fingerprint)))

    def _each_alert(self, names: list[str]) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        for first in range(0, len(names), ALERTS_AT_ONCE):
            pipe = self._client.pipeline(transaction=False)
            for name in names[first : first + ALERTS_AT_ONCE]:
                pipe.hgetall(self.keys.alert(name))
            found += pipe.execute()
        return found

    def history(self, count: int = 100) -> list[dict[str, str]]:
        """Return the transitions, the latest first, each with its ``id``."""
        with translate_redis_errors():
            return [{"id": i, **fields} for i, fields in self._client.xrevrange(self.keys.history, count=count)]

    def since(self, after: str, count: int = 100) -> list[dict[str, str]]:
        """Return the transitions after the history id ``after``, the earliest first, each with its ``id``.

        Never waits.
        """
        with translate_redis_errors():
            found = self._client.xrange(self.keys.history, min=f"({after}", count=count)
        return [{"id": i, **fields} for i, fields in found]

    def wait(self, after: str, timeout_ms: int) -> list[dict[str, str]]:
        """Return the transitions after the history id ``after``. If there are none yet, wait for the first."""
        with translate_redis_errors():
            reply = self._client.xread({self.keys.history: after}, block=timeout_ms)
        entries = (reply or {}).get(self.keys.history, []) if isinstance(reply, dict) else [e for _, e in reply or []]
        flat = [e for chunk in entries for e in (chunk if isinstance(chunk, list) else [chunk])]
        return [{"id": i, **fields} for i, fields in flat]
