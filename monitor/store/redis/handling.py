"""Mutes and acknowledgements in Redis."""

from __future__ import annotations

from typing import Any

from monitor.errors import HandlingError
from monitor.store.connection import read_clock, translate_redis_errors
from monitor.store.handling import (
    MOST_MUTES,
    MUTE_KEPT_MS,
    Acknowledgement,
    Handling,
    Mute,
    check_acknowledgement,
    check_mute,
    read_handling,
    stale,
)
from monitor.store.keys import Keys
from monitor.store.redis.base import RedisBase

MOST_KEPT = 5 * MOST_MUTES
"""How many mutes are kept at most, including those that have ended."""

TIDY_AT = 200
"""From this many acknowledgements on, those whose episode is over are looked for and removed."""


def fetch_handling(client: Any, keys: Keys) -> Handling:
    """Read which alerts are muted and which are acknowledged, over any connection."""
    with translate_redis_errors():
        pipe = client.pipeline(transaction=False)
        pipe.hgetall(keys.mutes)
        pipe.hgetall(keys.acknowledged)
        mutes, acknowledged = pipe.execute()
    return read_handling(read_clock(client, keys.mutes), mutes, acknowledged)


class RedisHandling(RedisBase):
    """Mutes and acknowledgements."""

    def handling(self) -> Handling:
        """Return which alerts are muted and which are acknowledged."""
        return fetch_handling(self._client, self.keys)

    def mute(self, wanted: Mute) -> Mute:
        """Set a mute, and return it as it is stored."""
        mute = check_mute(wanted)
        with translate_redis_errors():
            arguments = [mute.id, mute.text(), *(str(n) for n in (self.now_ms(), MOST_MUTES, MOST_KEPT, MUTE_KEPT_MS))]
            reply = self._scripts["mute"](keys=[self.keys.mutes], args=arguments)
        if reply[0] == "full":
            raise HandlingError(f"{MOST_MUTES} mutes are in force already: end one of them first")
        return mute

    def unmute(self, name: str) -> bool:
        """End a mute now. Returns False if no mute with this id is in force."""
        now = str(self.now_ms())
        with translate_redis_errors():
            return bool(self._scripts["unmute"](keys=[self.keys.mutes], args=[name, now]))

    def acknowledge(self, fingerprint: str, author: str, reason: str) -> Acknowledgement:
        """Note that somebody takes care of a firing alert."""
        now = self.now_ms()
        check_acknowledgement(Acknowledgement("", author, reason, now))
        keys = [self.keys.alert(fingerprint), self.keys.acknowledged]
        with translate_redis_errors():
            reply = self._scripts["acknowledge"](keys=keys, args=[fingerprint, author, reason, str(now)])
        if reply[0] != "ok":
            what = "fires no more" if reply[0] == "over" else "is not known"
            raise HandlingError(f"the alert {fingerprint[:64]!r} {what}: only one that fires can be acknowledged")
        self._tidy()
        return Acknowledgement(str(reply[1]), author, reason, now)

    def unacknowledge(self, fingerprint: str) -> bool:
        """Withdraw the acknowledgement of an alert. Returns False if there was none."""
        with translate_redis_errors():
            return bool(self._client.hdel(self.keys.acknowledged, fingerprint))

    def _tidy(self) -> None:
        """Remove acknowledgements of episodes that are over, once there are many."""
        held = self.handling().acknowledged
        if len(held) < TIDY_AT:
            return
        with translate_redis_errors():
            pipe = self._client.pipeline(transaction=False)
            for name in held:
                pipe.hmget(self.keys.alert(name), "status", "episode")
            found = pipe.execute()
            firing = [
                {"fingerprint": name, "episode": episode}
                for name, (status, episode) in zip(held, found, strict=True)
                if status == "firing"
            ]
            gone = stale(held, firing)
            if gone:
                self._client.hdel(self.keys.acknowledged, *gone)
