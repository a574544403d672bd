"""Addresses of receivers. Their path, user and query may hold tokens, so only scheme, host and port are ever shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from monitor.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import SecretStr


def reveal(value: SecretStr | str) -> str:
    """Return the text of a setting, whether it is a secret or not."""
    return value if isinstance(value, str) else value.get_secret_value()


def shown(url: str) -> str:
    """Show an address to people: its scheme, host and port only."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an address that cannot be read"
    if not parts.scheme or not host:
        return "an address without a host"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}/..."


def hide_addresses(text: str) -> str:
    """Cut every address in a text down to its scheme, host and port."""
    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+", lambda found: shown(found.group()), text)


def address(value: SecretStr | str, setting: str) -> str:
    """Return the address in a setting; empty if it is not set.

    Raises:
        ConfigError: it is not an address that can be called.
    """
    url = reveal(value).strip()
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ConfigError(f"{setting}: got {shown(url)}, expected http:// or https:// with a host and no spaces")
    return url


def beneath(base: str, path: str) -> str:
    """Append ``path`` to a base address and keep the query of the base."""
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}{path}", fragment=""))
