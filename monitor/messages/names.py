"""The names of headers, and which part of a record names its stream: ``messages.stream_from``."""

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
    """A header's name without case and without CloudEvents' prefix."""
    return name.lower().removeprefix("ce_")


def text(headers: Mapping[str, bytes], name: str) -> str | None:
    """A header as text, ``None`` if it is absent.

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
        kind: ``key``, ``topic``, ``header``, ``field`` of the decoded document, or ``constant`` for none.
        name: of the header or the field.
        prefix: stands in front of every stream but the canary's: of one of several models, its name.
    """

    kind: Kind = "key"
    name: str = ""
    prefix: str = ""

    @classmethod
    def parse(cls, given: str, prefix: str = "") -> StreamFrom:
        """From ``key``, ``topic``, ``constant``, ``header:NAME`` or ``field:NAME``.

        Raises:
            ConfigError: it is none of these.
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
        """The stream that a record is counted under; a long name is cut, a reserved one is marked.

        A canary keeps the stream that its key names: it has to be told from traffic whatever the settings are.

        Args:
            record: for its key and topic.
            headers: by name.
            field: what the decoded document holds in the field.
            default: for a record that names none.
            longest: characters of a stream, at most.

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
        """The stream that a key names.

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
    """Whether the key is one that the monitor's own canary has."""
    return bool(record.key) and record.key.startswith(_CANARY)  # type: ignore[union-attr]  # it is not empty
