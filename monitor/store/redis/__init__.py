"""The store in Redis. Its scripts are in ``monitor/store/lua``, its key names in ``keys.py``."""

from __future__ import annotations

from monitor.store.redis.handling import RedisHandling
from monitor.store.redis.judging import RedisJudging
from monitor.store.redis.watching import RedisWatching


class RedisStore(RedisJudging, RedisWatching, RedisHandling):
    """The :class:`monitor.store.protocol.Store` of one group in one Redis.

    :class:`monitor.store.redis.base.RedisBase` says what it is made of.
    """
