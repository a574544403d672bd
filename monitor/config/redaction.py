"""The last line of defence: replaces secrets by ``***`` in every line for people."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from pydantic import BaseModel, SecretStr

from monitor.config.urls import SecretUrl, is_redis, show_url, split_url

HIDDEN = "***"
_SHORT = 4
"""A shorter secret is replaced only as a whole word. Otherwise no number could be read any more."""
_PATH = 8
"""A shorter path of a URL is replaced only with the whole URL, since ``/a`` is in every line."""


class Redactor:
    """Replaces secrets, and their URL-encoded, base64, JSON and Python forms.

    Args:
        secrets: as they are configured; empty ones are left out.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(_match, longest_first))) if forms else None

    def __repr__(self) -> str:
        return "Redactor(...)"

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text


def secrets_of(config: BaseModel) -> list[str]:
    """Collect all secrets in the settings, including those in URLs."""
    return sorted({secret for secret in _walk(config) if secret})


def _walk(value: Any) -> Iterator[str]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _walk(getattr(value, name))
    elif isinstance(value, Mapping):
        for held in value.values():
            yield from _walk(held)
    elif isinstance(value, (list, tuple)):
        for held in value:
            yield from _walk(held)
    elif isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, SecretUrl):
        yield from _secrets_in(value)


def _secrets_in(url: SecretUrl) -> Iterator[str]:
    """Return the secret parts of a URL: user, password, path and query, and the URL as a whole."""
    if show_url(url) == url or not url:
        return
    yield str(url)
    parts = split_url(url)
    if parts is None:  # which part is which is not certain, so all of it is
        rest = url.partition("://")[2] or url
        yield rest
        yield rest.rpartition("@")[0]
        return
    redis = is_redis(parts.scheme)
    users = parts.netloc.rpartition("@")[0]
    user, _, password = users.partition(":")
    secret = password or ("" if redis else user)  # in https://TOKEN@host the user is the secret
    yield from (secret, unquote(secret))
    if parts.query:
        yield parts.query
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if "password" in name or (not redis and len(value) >= _SHORT):
            yield value
    if not redis:
        path = parts.path.rstrip("/")
        yield from (text for text in (path, parts.fragment) if len(text) >= _PATH)
        yield from (part for part in path.split("/") if _is_token(part))


def _is_token(part: str) -> bool:
    return len(part) >= 2 * _PATH or (len(part) >= _PATH and any(c.isdigit() for c in part))


def _match(form: str) -> str:
    escaped = re.escape(form)
    return rf"(?<!\w){escaped}(?!\w)" if len(form) < _SHORT else escaped


def _forms(secret: str) -> Iterator[str]:
    """Return the forms in which libraries write a text: as it is, quoted, percent-encoded, or in base64."""
    yield secret
    if len(secret) < _SHORT:
        return
    raw = secret.encode("utf-8", "surrogateescape")
    yield from (repr(secret)[1:-1], repr(raw)[2:-1])
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    for encoded in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), encoded)
    yield raw.hex()
    for before in range(3):
        yield from _in_base64(raw, before)


def _in_base64(raw: bytes, before: int) -> Iterator[str]:
    """Return the part of a longer text's base64 that depends only on ``raw``, after ``before`` bytes (modulo 3)."""
    text = base64.b64encode(bytes(before) + raw).decode()
    first = (0, 2, 3)[before]
    last = text.index("=") - 1 if "=" in text else len(text)
    core = text[first:last]
    if len(core) >= _SHORT:
        yield core
        yield core.translate(str.maketrans("+/", "-_"))
