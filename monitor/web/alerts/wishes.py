"""Reads requests to mute or acknowledge an alert from the body of a request."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from monitor.errors import HandlingError
from monitor.store.handling import LONGEST_MUTE_MS, Mute, check_mute
from monitor.web.answers import RefusedError

_MUTE = {"stream": str, "alert": str, "kind": str, "reason": str, "author": str, "minutes": (int, float)}
_WORDS = {"reason": str, "author": str}


def read_words(given: Mapping[str, Any]) -> tuple[str, str]:
    """Read the author and the reason.

    Raises:
        RefusedError: one is missing, or the body has other keys.
    """
    _check(given, _WORDS, ("author", "reason"))
    return given["author"], given["reason"]


def read_mute_wish(given: Mapping[str, Any], now_ms: int) -> Mute:
    """Read the mute that a client asks for, beginning now.

    Raises:
        RefusedError: this mute is not allowed.
    """
    _check(given, _MUTE, ("author", "reason", "minutes"))
    minutes = given["minutes"]
    if not 0 < minutes <= LONGEST_MUTE_MS / 60_000:
        raise RefusedError(400, f"minutes is {minutes}, expected more than 0 and at most {LONGEST_MUTE_MS // 60_000}")
    wish = Mute(
        secrets.token_hex(4), given["reason"], given["author"], now_ms, now_ms + max(1, round(60_000 * minutes)),
        stream=given.get("stream"), alert=given.get("alert", ""), kind=given.get("kind", ""),
    )  # fmt: skip
    try:
        return check_mute(wish)
    except HandlingError as error:
        raise RefusedError(400, str(error)) from None


def _check(given: Mapping[str, Any], known: Mapping[str, Any], needed: tuple[str, ...]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise RefusedError(400, f"{unknown[0][:40]!r} is not known here: expected {', '.join(known)}")
    for name in needed:
        if name not in given:
            raise RefusedError(400, f"{name} is missing: expected {', '.join(needed)}")
    for name, value in given.items():
        if not isinstance(value, known[name]) or isinstance(value, bool):
            kind = "text" if known[name] is str else "a number"
            raise RefusedError(400, f"{name} is {type(value).__name__}, expected {kind}")
