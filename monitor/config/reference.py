"""Writes the settings as a page for people: ``docs/reference/settings.md``."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from monitor.config.ingest import IngestConfig
from monitor.config.sections import MonitorConfig, ProcessSettings
from monitor.config.urls import SecretUrl, show_url

PROCESSES: dict[str, type[ProcessSettings]] = {"run": MonitorConfig, "ingest": IngestConfig}
"""The commands that start a process, and the class of its settings."""

ABOUT = {
    "run": """\
A process holds a worker that counts, and an evaluator that judges when it is its turn. `check`, `replay`, `alerts` and
the other commands read the same file. `configs/monitor.yml` is an example with every key.
""",
    "ingest": """\
The server that takes embeddings over HTTP. `http.port` must be given. `configs/ingest.yml` is an example with every
key.
""",
}

INTRODUCTION = """\
<!-- Written by `make docs` from monitor/config. Do not edit it here. -->
# Table of settings

Every key of the settings files with its type, its default and the environment variable that overrides it.
[Settings and secrets](../monitor.md#settings-and-secrets) says in which order the file, the folder of secrets and the
environment are read, and [Settings](config.md) shows the files. In a variable, a list or a mapping is JSON.
"""

UNITS = {"seconds": "seconds", "ms": "milliseconds", "bytes": "bytes"}
"""The unit that the last word of a key gives to its value."""

NAMES: dict[Any, str] = {
    bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path", SecretStr: "secret text",
    SecretUrl: "URL, a secret",
}  # fmt: skip


BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
"""The words for pydantic's bounds."""


def page() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for command, settings in PROCESSES.items():
        parts += [f"## `ood-monitor {command}`\n", ABOUT[command], *_sections(settings)]
    return "\n".join(parts)


def _sections(settings: type[ProcessSettings]) -> Iterator[str]:
    for name, field in settings.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None:
            raise TypeError(f"{name} is not a section, and this page has no place for it")
        of_list = get_origin(field.annotation) is not None
        yield f"### `{name}`\n"
        about = inspect.getdoc(inner) or ""
        yield (
            f"A list: {field.description}. Each entry has these keys; no variable sets them.\n"
            if of_list
            else about + "\n"
        )
        yield "| key | type | default | meaning | variable |\n|---|---|---|---|---|"
        for key, held in inner.model_fields.items():
            variable = "" if of_list else f"`{settings.environment}__{name.upper()}__{key.upper()}`"
            yield f"| `{key}` | {_kind(key, held)} | {_default(held)} | {_cell(held.description or '')} | {variable} |"
        yield ""


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, or that each entry of its list is."""
    for found in (annotation, *get_args(annotation)):
        if isinstance(found, type) and get_origin(found) is None and issubclass(found, BaseModel):
            return found
    return None


def _kind(key: str, field: FieldInfo) -> str:
    """The type in words, with its unit and its bounds."""
    words = _type(field.annotation)
    unit = UNITS.get(key.rsplit("_", 1)[-1])
    if unit and words in ("number", "whole number"):
        words += f" of {unit}"
    return _cell(", ".join([words, *_bounds(field.metadata)]))


def _type(annotation: Any) -> str:
    kind, inner = get_origin(annotation), [a for a in get_args(annotation) if a is not type(None)]
    if kind is Literal:
        named = [f"`{a}`" for a in inner]
        return " or ".join([", ".join(named[:-1]), named[-1]])
    if kind in (Union, types.UnionType):
        return " or ".join(map(_type, inner))
    if kind in (list, tuple):
        return f"list of {_type(inner[0])}"
    if kind is dict:
        return "mapping" if inner[1] is Any else f"mapping of {_type(inner[1])}"
    return NAMES[annotation]


def _bounds(metadata: Sequence[Any]) -> Iterator[str]:
    for bound in metadata:
        for name, words in BOUNDS.items():
            if (value := getattr(bound, name, None)) is not None:
                yield f"{words} {value}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr) or value in ("", None):
        return "empty"
    if isinstance(value, SecretUrl):
        return f"`{show_url(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (list, tuple)):
        return f"`[{', '.join(value)}]`"
    return "`{}`" if isinstance(value, Mapping) else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
