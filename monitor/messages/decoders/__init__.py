"""One file a content type: each names its ``CONTENT_TYPES`` and has ``decode(value, headers, limits)``.

A decoder raises :class:`RecordError` with a reason for what it foresees, and keeps to the limits before it allocates.
A new decoder is one new module in this folder. Libraries are imported when the first record needs them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from monitor.errors import MissingLibraryError, RecordError

if TYPE_CHECKING:
    from monitor.messages.limits import Limits
    from monitor.messages.record import Payload

    Decoder = Callable[[bytes, Mapping[str, bytes], Limits], list[Payload]]

DEFAULT = "application/octet-stream"


@cache
def known() -> dict[str, Decoder]:
    """Content type to decoder."""
    found: dict[str, Decoder] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        loaded = importlib.import_module(module.name)
        found.update(dict.fromkeys(loaded.CONTENT_TYPES, loaded.decode))
    return found


def content_type(headers: Mapping[str, bytes]) -> str:
    """The media type without its parameters; :data:`DEFAULT` if none is given, empty if only parameters are."""
    given = headers.get("content-type", b"").decode("latin-1").strip()
    return given.split(";")[0].strip().lower() if given else DEFAULT


def is_raw(headers: Mapping[str, bytes]) -> bool:
    """Whether the value is decoded as the default is: not at all."""
    return known().get(content_type(headers)) is known()[DEFAULT]


def decode(value: bytes, headers: Mapping[str, bytes], limits: Limits) -> list[Payload]:
    """Decode by the ``content-type`` header.

    Raises:
        RecordError: ``unknown-content-type``, or what the decoder says.
    """
    given = content_type(headers)
    decoder = known().get(given)
    if decoder is None:
        raise RecordError("unknown-content-type", f"content type {given[:100]!r}, known: {', '.join(sorted(known()))}")
    try:
        return decoder(value, headers, limits)
    except MissingLibraryError as error:
        raise RecordError("unknown-content-type", f"{given}: {error}") from None


def need(library: str, package: str) -> MissingLibraryError:
    """The error for an optional library that is not installed."""
    return MissingLibraryError(f"{library} is not installed: pip install {package}")
