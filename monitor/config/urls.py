"""Shows URLs to people: scheme, host and port, but never a user, a password, a path or a query.

The path of a webhook is often its password (``/services/T000/B000/XXXX``), and a query may be, too.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_HOST = r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.%]+\])(?::\d{1,5})?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DATABASE = re.compile(r"(?:/[A-Za-z0-9._-]{1,100})?(?:/\d{1,5})?/?")


def show_url(url: str) -> str:
    """Write ``scheme://host:port/...``, the part of a URL that may be printed. If in doubt, show less.

    For Redis the path is shown, too: it names a database, a master or a socket.
    """
    if not url:
        return ""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return "..."
    parts = split_url(url)
    if parts is None:
        return f"{scheme[1]}://..."
    hosts = parts.netloc.rpartition("@")[2]
    if is_redis(scheme[1]):
        query = "?..." if parts.query or parts.fragment else ""
        return f"{scheme[1]}://{hosts}{parts.path}{query}"
    more = "/..." if parts.path.strip("/") or parts.query or parts.fragment else parts.path
    return f"{scheme[1]}://{hosts}{more}"


def is_redis(scheme: str) -> bool:
    """Whether this is the scheme of a Redis URL."""
    return scheme in ("unix", "redis", "rediss") or scheme.startswith(("redis+", "rediss+"))


def split_url(url: str) -> SplitResult | None:
    """Split a URL; ``None`` if it is not certain which part is which.

    A password with an unescaped ``/``, ``?``, ``#`` or ``@`` would end up in the path or the host, so neither may be
    shown.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if any(c.isspace() or not c.isprintable() for c in url):
        return None
    hosts = parts.netloc.rpartition("@")[2]
    if "@" in parts.path + parts.query + parts.fragment:
        return None
    if parts.scheme == "unix":
        return None if hosts else parts
    if is_redis(parts.scheme) and not _DATABASE.fullmatch(parts.path):
        return None
    return parts if _HOSTS.fullmatch(hosts) else None


class SecretUrl(str):
    """A URL that holds a secret. It is text, but it is never shown whole if the settings are printed.

    A line for people that names the URL takes :func:`show_url` of it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"SecretUrl({show_url(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        shown = core_schema.plain_serializer_function_ser_schema(show_url, when_used="json")
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(), serialization=shown)
