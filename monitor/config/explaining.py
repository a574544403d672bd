"""Explains pydantic's errors in one line for people. Values of secrets and sections are never quoted."""

from __future__ import annotations

import difflib
from typing import Any, get_origin

from pydantic import BaseModel, SecretStr

from monitor.config.sections import MonitorConfig, ProcessSettings
from monitor.config.urls import SecretUrl, show_url

_KINDS: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a section"}

MOVED = {"telemetry": "it is called 'http' now, and serves the status page, too; port and host mean what they meant"}
"""Sections of earlier versions, with what replaced them."""


def explain_error(error: Any, model: type[BaseModel] = MonitorConfig) -> str:
    """Explain one error of pydantic. For an unknown key, name the nearest known one."""
    location = [str(part) for part in error["loc"]]
    name = ".".join(location)
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"unknown key {name!r}: {_hint(location, model)}"
    if error["type"] in ("missing", "model_type"):
        return f"{name} is missing" if error["type"] == "missing" else f"{name} must be a section with keys"
    if is_secret(location, model=model):
        if error["type"] == "string_type":
            got = _kind(error.get("input"))
            return f"{name} must be text, but YAML reads {got} there: put it in quotes ({location[-1]}: '...')"
        return f"{name}: {message}"
    if not location or (
        len(location) < 2 and issubclass(model, ProcessSettings)
    ):  # a whole section: it may hold secrets
        return f"{name}: {message}".removeprefix(": ")
    return f"{name}: {message} (got {_shown(error.get('input'))})"


def _hint(location: list[str], model: type[BaseModel]) -> str:
    if location[0] in MOVED and model is MonitorConfig:
        return MOVED[location[0]]
    known = known_keys(location[:-1], model)
    near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(known)}"


def known_keys(section: list[str], model: type[BaseModel] = MonitorConfig) -> list[str]:
    """Return the keys of a section, or the names of the sections."""
    for part in section:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        # Python 3.10 takes tuple[...] for a type, but not for a class.
        if get_origin(inner) is not None or not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)


def is_secret(
    location: list[str], types: tuple[type, ...] = (SecretStr, SecretUrl), model: type[BaseModel] = MonitorConfig
) -> bool:
    """Whether a key holds a secret, by its type."""
    annotation: Any = model
    for part in location:
        fields = getattr(annotation, "model_fields", {})
        annotation = fields[part].annotation if part in fields else None
    return annotation in types


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    kinds: dict[type, str] = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a section",
    }
    return kinds.get(type(value), "something else")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(show_url(value) if "://" in value else value)
    return repr(value) if isinstance(value, (bool, int, float)) else _kind(value)
