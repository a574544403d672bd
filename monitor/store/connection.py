"""The connection to Redis: how it is opened, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from monitor.errors import StoreError, StoreUnavailableError


@contextmanager
def translate_redis_errors() -> Iterator[None]:
    """Redis errors as this package's, told apart by whether trying again helps."""
    from redis import exceptions as raised

    try:
        yield
    except raised.AuthenticationError as error:
        raise StoreError(f"Redis refuses the password: {error}") from error
    except (raised.ConnectionError, raised.TimeoutError, raised.ReadOnlyError, raised.BusyLoadingError) as error:
        raise StoreUnavailableError(f"Redis cannot be reached: {error}") from error
    except raised.ResponseError as error:
        if str(error).startswith(("OOM", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN", "MISCONF")):
            raise StoreUnavailableError(f"Redis cannot write now: {error}") from error
        raise StoreError(f"Redis refuses: {error}") from error


def connect(url: str, *, password: str = "", socket_timeout: float = 2.0, retries: int = 3) -> Any:
    """A redis-py client whose one call blocks for well under a second when Redis is down.

    Raises:
        StoreError: the URL cannot be read.
    """
    import redis
    from redis.backoff import ExponentialWithJitterBackoff
    from redis.retry import Retry

    retry = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.25), retries)
    secret = {"password": password} if password else {}
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=socket_timeout,
            socket_connect_timeout=socket_timeout,
            retry=retry,
            **secret,
        )
    except ValueError as error:
        raise StoreError(f"redis url {url.rsplit('@', maxsplit=1)[-1]!r}: {error}") from None
