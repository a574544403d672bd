"""Names of headers, and the part of a record that names its stream (``messages.stream_from``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from monitor.errors import ConfigError, RecordError
from monitor.messages.record import Record
from monitor.messages.text import CANARY, stream_name, valid

Kind = Literal["key", "topic", "constant", "header", "field"]

_CANARY = CANARY.encode()


def header_name(name: str) -> str:
    """Normalize a header's name: lower case, without CloudEvents' prefix."""
    return name.lower().removeprefix("ce_")


def text(headers: Mapping[str, bytes], name: str) -> str | None:
    """Read a header as text; ``None`` if it is absent.

    Raises:
        RecordError: ``bad-header``.
    """
    value = headers.get(name)
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise RecordError("bad-header", f"header {name[:40]} is not UTF-8") from None


@dataclass(frozen=True)
class StreamFrom:
    """The part of a record that names its stream.

    Attributes:
        kind: ``key``, ``topic``, ``header``, ``field`` (of the decoded document), or ``constant`` (all records are one
            stream).
        name: name of the header or field.
        prefix: is put before all streams except the canary's. If there are several models, it is the model's name.
    """

    kind: Kind = "key"
    name: str = ""
    prefix: str = ""

    @classmethod
    def parse(cls, given: str, prefix: str = "") -> StreamFrom:
        """Read the setting: ``key``, ``topic``, ``constant``, ``header:NAME`` or ``field:NAME``.

        Raises:
            ConfigError: the text is none of these.
        """
        kind, colon, name = (part.strip() for part in given.partition(":"))
        if kind in ("key", "topic", "constant") and not colon:
            return cls(cast("Kind", kind), prefix=prefix)
        if kind == "header" and name:
            return cls("header", header_name(name), prefix)
        if kind == "field" and name and name not in ("embedding", "embedding_base64", "outputs", "time"):
            return cls("field", name, prefix)
        raise ConfigError(
            f"messages.stream_from is {given[:60]!r}, expected key, topic, constant, header:NAME or field:NAME"
        )

    def of(self, record: Record, headers: Mapping[str, bytes], field: str | None, default: str, longest: int) -> str:
        """Return the stream that a record is counted under. A long name is cut, and a reserved one is marked.

        A canary keeps the stream named by its key, so that it differs from traffic with any settings.

        Args:
            record: its key and topic may name the stream.
            headers: the headers by name.
            field: content of the field in the decoded document.
            default: the stream of a record that does not name one.
            longest: how many characters the name of a stream may have.

        Raises:
            RecordError: ``bad-key`` or ``bad-header``.
        """
        if self.kind == "key" or is_canary(record):
            return self.of_key(record.key, default, longest)
        if self.kind == "topic":
            return self.prefix + stream_name(record.topic, longest)
        given = text(headers, self.name) if self.kind == "header" else field
        return self.prefix + (stream_name(valid(given), longest) if given else default)

    def of_key(self, key: bytes | None, default: str, longest: int) -> str:
        """Return the stream named by a key.

        Raises:
            RecordError: ``bad-key``.
        """
        if not key:
            return self.prefix + default
        try:
            name = stream_name(key.decode("utf-8"), longest)
        except UnicodeDecodeError as error:
            raise RecordError("bad-key", f"the key is not UTF-8 ({error.reason} at byte {error.start})") from None
        return name if key.startswith(_CANARY) else self.prefix + name


def is_canary(record: Record) -> bool:
    """Whether the key belongs to the monitor's own canary."""
    return bool(record.key) and record.key.startswith(_CANARY)  # type: ignore[union-attr]  # it is not empty
