"""The methods of the benchmark, one file for each family. A new method is one new file, and no other line changes.

A method is a subclass of :class:`.base.Method` with ``name`` and ``about``, and optionally ``needs``, ``state`` and
``source``, all plain strings. They are read from the source, so that ``openood list`` does not import torch. A file is
imported when its method is created.
"""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from line_plugin.errors import SettingsError, unknown_name

if TYPE_CHECKING:
    from line_plugin.benchmark.methods.base import Method


def names() -> dict[str, str]:
    """List method names in alphabetical order, with a line about each."""
    return {name: found.about for name, found in sorted(_discover().items())}


def described() -> dict[str, Described]:
    """List method names in alphabetical order, with the description in their source."""
    return {name: Described(f.about, f.venue, f.needs, f.state, f.source) for name, f in sorted(_discover().items())}


def create(name: str, settings: dict[str, float | int | str | None] | None = None) -> Method:
    """Create a method by name, with settings that override its defaults.

    Raises:
        SettingsError: an unknown method or setting. The message names the nearest known one.
    """
    method = find(name)()
    for key, value in (settings or {}).items():
        if key not in method.settings:
            if not method.settings:
                raise SettingsError(f"method {name!r} has no settings, got {key!r}")
            raise unknown_name(f"setting of {name}", key, method.settings)
        method.settings[key] = value
    return method


def find(name: str) -> type[Method]:
    """Find the class of a method.

    Raises:
        SettingsError: an unknown method. The message names the nearest known one.
    """
    known = _discover()
    if name not in known:
        raise unknown_name("method", name, known)
    module = importlib.import_module(f"{__name__}.{known[name].module}")
    method: type[Method] = getattr(module, known[name].class_name)
    return method


@dataclass(frozen=True)
class Described:
    """The description of a method. A text that its class does not have is empty.

    Attributes:
        about: one line about it.
        venue: the venue of its paper, from the parentheses at the end of ``about``.
        needs, state, source: as in :class:`.base.Method`.
    """

    about: str
    venue: str
    needs: str
    state: str
    source: str


@dataclass(frozen=True)
class _Found(Described):
    """A method before it is imported: its file, its class, and the description in the class."""

    module: str
    class_name: str


def _discover() -> dict[str, _Found]:
    """Find every method in the files of this folder, by name."""
    found: dict[str, _Found] = {}
    for file in (file for folder in __path__ for file in sorted(Path(folder).glob("*.py"))):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(statement, ast.ClassDef):
                continue
            texts = _read_texts(statement)
            name, about = texts.get("name"), texts.get("about")
            if not name or not about:
                continue
            if name in found:
                raise SettingsError(
                    f"two methods are named {name!r}, in {found[name].module}.py and in {file.name}: rename one of them"
                )
            venue = about[about.rindex("(") + 1 : -1] if about.endswith(")") and "(" in about else ""
            needs, state, source = (texts.get(key, "") for key in ("needs", "state", "source"))
            found[name] = _Found(about, venue, needs, state, source, file.stem, statement.name)
    return found


def _read_texts(definition: ast.ClassDef) -> dict[str, str]:
    """Read the attributes of a class that are assigned a plain string in its body."""
    texts = {}
    for statement in definition.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=attribute)], value=ast.Constant(value=str(text))):
                texts[attribute] = text
            case ast.AnnAssign(target=ast.Name(id=attribute), value=ast.Constant(value=str(text))):
                texts[attribute] = text
    return texts
