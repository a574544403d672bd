"""Parses the URL of Redis. Errors say what is wrong, and never quote the URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote

from monitor.config.urls import split_url

SCHEMES = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("socket", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
}
OPTIONS = {
    "db", "username", "password", "client_name", "health_check_interval", "max_connections", "protocol",
    "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs",
    "ssl_check_hostname", "ssl_min_version", "ssl_ciphers",
}  # fmt: skip
"""Options of redis-py that are allowed in the query of a URL of one server or socket."""
_PORTS = {"server": 6379, "cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True)
class RedisAddress:
    """The address of a Redis, and the login for it.

    Attributes:
        kind: ``server``, local ``socket``, ``cluster``, or ``sentinel`` (a master that sentinels name).
        tls: whether the connection is encrypted.
        hosts: hosts and ports; empty for a socket.
        database: the number of the database.
        master: the name under which sentinels know the master.
        username: empty for the default user.
        password: empty for none.
    """

    kind: Literal["server", "socket", "cluster", "sentinel"]
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    database: int = 0
    master: str = ""
    username: str = ""
    password: str = field(default="", repr=False)


def parse_redis_url(url: str) -> RedisAddress:
    """Parse a URL of Redis.

    Raises:
        ValueError: the URL cannot be read. The message never quotes it.
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in SCHEMES:
        raise ValueError(f"url is not one of Redis: expected it to begin with one of {', '.join(SCHEMES)}, then ://")
    parts = split_url(url)
    if parts is None:
        raise ValueError(
            f"url cannot be read: expected {_expected(scheme)}. In a URL the characters / ? # @ : % of a password must "
            "be percent-encoded; it is simpler to give it as password or password_file"
        )
    kind, tls = SCHEMES[scheme]
    users, _, hosts = parts.netloc.rpartition("@")
    username, _, password = users.partition(":")
    found = tuple(_host(h, _PORTS[kind]) for h in hosts.split(",")) if hosts else ()
    if kind == "server" and len(found) != 1:
        raise ValueError("url names several hosts: expected one, or redis+cluster:// or redis+sentinel://")
    if kind in ("cluster", "sentinel") and parts.query:
        raise ValueError(f"url has a query, which {scheme}:// does not take: expected {_expected(scheme)}")
    options = _read_options(parts.query)
    username, password = options.get("username", unquote(username)), options.get("password", unquote(password))
    master, database = ("", 0) if kind == "socket" else _read_path(scheme, parts.path)
    return RedisAddress(kind, tls, found, database, master, username, password)  # type: ignore[arg-type]


def _read_options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if set(options) - OPTIONS:
        raise ValueError(f"url has an option that is not known: expected some of {', '.join(sorted(OPTIONS))}")
    return options


def _read_path(scheme: str, text: str) -> tuple[str, int]:
    """Read the name of the master, if there is one, and the number of the database."""
    kind, path, master = SCHEMES[scheme][0], [p for p in text.split("/") if p], ""
    if kind == "sentinel":
        if not path:
            raise ValueError(f"url does not name the master: expected {_expected(scheme)}")
        master, path = path[0], path[1:]
    if len(path) > 1 or not all(p.isascii() and p.isdigit() for p in path):
        raise ValueError(f"url does not end with the number of a database: expected {_expected(scheme)}")
    database = int(path[0]) if path else 0
    if kind == "cluster" and database:
        raise ValueError(f"url names database {database}: a Redis Cluster has only database 0")
    return master, database


def _expected(scheme: str) -> str:
    forms = {
        "socket": "unix:///PATH/OF/SOCKET?db=0",
        "cluster": f"{scheme}://HOST:6379,HOST:6379",
        "sentinel": f"{scheme}://HOST:26379,HOST:26379/MASTER/0",
        "server": f"{scheme}://HOST:6379/0",
    }
    return forms[SCHEMES[scheme][0]]


def _host(text: str, port: int) -> tuple[str, int]:
    name, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, number = text, str(port)
    if not 0 < int(number) < 65536:
        raise ValueError(f"url has port {number}: expected 1 to 65535")
    return name.strip("[]"), int(number)
