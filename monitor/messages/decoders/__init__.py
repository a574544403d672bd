"""The decoders, one file for each format, with ``FORMAT``, ``CONTENT_TYPES`` and ``decode(value, headers, wanted)``.

A decoder raises :class:`RecordError` with a reason if it cannot read a value, and checks the limits before it
allocates. A new decoder is one new module in this folder. Libraries are imported when the first record needs them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from monitor.errors import MissingLibraryError, RecordError
from monitor.messages.documents import Document

if TYPE_CHECKING:
    from monitor.messages.record import Payload
    from monitor.messages.wanted import Wanted

    Decoder = Callable[[bytes | Document, Mapping[str, bytes], Wanted], list[Payload]]

RAW, ENVELOPE = "raw", "cloudevents"
UNSPECIFIC = ("", "application/octet-stream", "binary/octet-stream")
"""Content types that only say that there are bytes. ``messages.format`` says which format those have."""

SHARED = {"v2-protobuf": ("application/protobuf", "application/x-protobuf")}
"""Content types shared by several formats. They stand for this one if ``messages.format`` names it."""


@cache
def known() -> dict[str, str]:
    """Return the format of each known content type."""
    return {kind: name for name, module in _modules().items() for kind in module.CONTENT_TYPES}


@cache
def formats() -> dict[str, Decoder]:
    """Return the decoder module of each format."""
    return {name: module.decode for name, module in _modules().items()}


@cache
def _modules() -> dict[str, Any]:
    loaded = [importlib.import_module(m.name) for m in pkgutil.iter_modules(__path__, f"{__name__}.")]
    return {module.FORMAT: module for module in loaded}


def content_type(headers: Mapping[str, bytes]) -> str:
    """Return the media type without its parameters; empty if none is given, ``;`` if there are only parameters."""
    given = headers.get("content-type", b"").decode("latin-1").strip()
    return (given.split(";")[0].strip().lower() or ";") if given else ""


def format_of(headers: Mapping[str, bytes], default: str = RAW) -> str:
    """Return the format in which a value with these headers is read.

    Args:
        headers: of the record.
        default: ``messages.format``, for content types that only say that there are bytes.

    Raises:
        RecordError: ``unknown-content-type``.
    """
    given = content_type(headers)
    if given in UNSPECIFIC and "inference-header-content-length" in headers:
        return "v2-json"
    if given in UNSPECIFIC or given in SHARED.get(default, ()):
        return default
    found = known().get(given)
    if found is None:
        raise RecordError("unknown-content-type", f"content type {given[:100]!r}, known: {', '.join(sorted(known()))}")
    return found


def is_envelope(headers: Mapping[str, bytes], default: str = RAW) -> bool:
    """Whether the value is a CloudEvents envelope, which must be opened before anything is known about the record."""
    given = content_type(headers)
    return known().get(given) == ENVELOPE or (given in UNSPECIFIC and format_of(headers, default) == ENVELOPE)


def decode(value: bytes | Document, headers: Mapping[str, bytes], wanted: Wanted, default: str = RAW) -> list[Payload]:
    """Decode a value by its ``content-type`` header.

    Args:
        value: bytes, or the JSON object from an envelope.
        headers: those of the record or the envelope.
        wanted: the settings of decoders.
        default: the format of values whose content type does not name one.

    Raises:
        RecordError: ``unknown-content-type``, or a reason of the decoder.
    """
    name = format_of(headers, default)
    if isinstance(value, dict) and name not in ("json", "v2-json", ENVELOPE):
        raise RecordError("undecodable", f"a JSON object was got, expected bytes of format {name}: send 'data_base64'")
    try:
        return formats()[name](value, headers, wanted)
    except MissingLibraryError as error:
        raise RecordError("unknown-content-type", f"{content_type(headers) or name}: {error}") from None


def need(library: str, package: str) -> MissingLibraryError:
    """Make the error for an optional library that is not installed."""
    return MissingLibraryError(f"{library} is not installed: pip install {package}")
