"""Connects to Redis: one server, a socket, a cluster, or a master behind sentinels, with or without TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.config.redis_url import RedisAddress, parse_redis_url
from monitor.config.sections import RedisConfig
from monitor.errors import StoreError
from monitor.store.refusals import translate

if TYPE_CHECKING:
    from redis.retry import Retry


def connect_to(config: RedisConfig) -> Any:
    """Connect to the Redis that the settings name; see :func:`connect`."""
    return connect(
        config.url,
        username=config.username,
        password=config.password.get_secret_value(),
        ca_file=config.ca_file,
        cert_file=config.cert_file,
        key_file=config.key_file,
        key_password=config.key_password.get_secret_value(),
        sentinel_password=config.sentinel_password.get_secret_value(),
        socket_timeout=config.socket_timeout_seconds,
    )


def connect(
    url: str,
    *,
    username: str = "",
    password: str = "",
    ca_file: str = "",
    cert_file: str = "",
    key_file: str = "",
    key_password: str = "",
    sentinel_password: str = "",
    socket_timeout: float = 2.0,
    retries: int = 3,
) -> Any:
    """Make a redis-py client. If Redis is down, a call fails in well under a second.

    Args:
        url: see ``redis.url`` in the settings.
        username: a user of Redis' ACL.
        password: of that user.
        ca_file: the authorities that Redis' certificate is checked against.
        cert_file: the certificate of this client.
        key_file: the key of that certificate.
        key_password: decrypts the key.
        sentinel_password: for the sentinels, if they ask for one.
        socket_timeout: seconds to wait for an answer.
        retries: how often a call is repeated. This is safe, since no script applies itself twice.

    Raises:
        StoreError: the URL or a file cannot be read, or Redis refuses the connection.
        StoreUnavailableError: a cluster cannot be reached now to ask for its nodes.
    """
    try:
        address = parse_redis_url(url)
    except ValueError as error:
        raise StoreError(f"redis.{error}") from None
    common = {
        "decode_responses": True,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": socket_timeout,
        **{key: text for key, text in (("username", username), ("password", password)) if text},
        **_tls(address, ca_file, cert_file, key_file, key_password),
    }
    with translate_redis_errors():
        if address.kind == "cluster":
            return _connect_cluster(address, common, _retry(retries))
        if address.kind == "sentinel":
            return _connect_sentinel(address, common, retries, sentinel_password)
        return _connect_server(url, common, _retry(retries))


def _retry(retries: int) -> Retry:
    from redis.backoff import ExponentialWithJitterBackoff
    from redis.retry import Retry

    return Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.25), retries)


def _tls(address: RedisAddress, ca_file: str, cert_file: str, key_file: str, key_password: str) -> dict[str, Any]:
    if not address.tls:
        return {}
    _try_files(ca_file, cert_file, key_file, key_password)
    named = {
        "ssl_ca_certs": ca_file,
        "ssl_certfile": cert_file,
        "ssl_keyfile": key_file,
        "ssl_password": key_password,
    }
    return {"ssl_cert_reqs": "required", **{key: value for key, value in named.items() if value}}


def _try_files(ca_file: str, cert_file: str, key_file: str, key_password: str) -> None:
    """Read the TLS files once. OpenSSL calls a wrong file ``PEM lib``, and would ask the terminal for a password."""
    import ssl

    for key, name in (("ca_file", ca_file), ("cert_file", cert_file), ("key_file", key_file)):
        try:
            Path(name or ".").stat()
        except OSError as error:
            raise StoreError(f"redis.{key} {name} cannot be read ({error.strerror})") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
    except OSError:
        raise StoreError(f"redis.ca_file {ca_file} holds no certificates: expected text in the format PEM") from None
    try:
        if cert_file:
            context.load_cert_chain(cert_file, key_file or None, lambda: key_password)
    except (OSError, ValueError):
        raise StoreError(
            f"redis.cert_file {cert_file} and its key {key_file} cannot be used: either redis.key_file belongs to "
            "another certificate, or redis.key_password does not open it"
        ) from None


def _connect_server(url: str, common: dict[str, Any], retry: Retry) -> Any:
    from redis import Redis

    return Redis.from_url(url, retry=retry, **common)


def _connect_cluster(address: RedisAddress, common: dict[str, Any], retry: Retry) -> Any:
    from redis import cluster

    make: Any = cluster.ClusterNode
    nodes = [make(host, port) for host, port in address.hosts]
    return cluster.RedisCluster(startup_nodes=nodes, ssl=address.tls, retry=retry, **{**_user(address), **common})


def _connect_sentinel(address: RedisAddress, common: dict[str, Any], retries: int, password: str) -> Any:
    from redis import sentinel

    tls = {"ssl": True} if address.tls else {}
    theirs = {key: value for key, value in common.items() if key not in ("username", "password")} | tls
    theirs |= {"retry": _retry(0), **({"password": password} if password else {})}  # there are other sentinels to ask
    make: Any = sentinel.Sentinel
    asked = make(address.hosts, sentinel_kwargs=theirs)
    settings = {**_user(address), **common, **tls, "retry": _retry(retries)}
    return asked.master_for(address.master, db=address.database, **settings)


def _user(address: RedisAddress) -> dict[str, Any]:
    named = (("username", address.username), ("password", address.password))
    return {key: text for key, text in named if text}


def read_clock(client: Any, key: str) -> int:
    """Read the time (ms) of the server that holds a key. In a cluster, servers may have different clocks."""
    from redis.cluster import RedisCluster

    asked: Any = client
    where = {"target_nodes": asked.get_node_from_key(key)} if isinstance(client, RedisCluster) else {}
    with translate_redis_errors():
        seconds, microseconds = asked.time(**where)
    return int(seconds) * 1000 + int(microseconds) // 1000


@contextmanager
def translate_redis_errors() -> Iterator[None]:
    """Translate Redis errors into this package's, by whether waiting helps; see :mod:`monitor.store.refusals`."""
    from redis.exceptions import RedisClusterException, RedisError

    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise translate(error) from error
