"""docker/compose.yml as `docker compose` reads it: variables filled in, merges done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
EXAMPLE = FOLDER / ".env.example"


def example() -> dict[str, str]:
    """The variables of docker/.env.example."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def read(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with these variables.

    Raises:
        KeyError: one that must be given is not.
    """
    document = yaml.safe_load((FOLDER / "compose.yml").read_text())
    return {k: v for k, v in _filled(document, variables).items() if k != "x-confined"}


def _filled(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {k: _filled(v, variables) for k, v in node.items()}
    if isinstance(node, list):
        return [_filled(v, variables) for v in node]
    return fill(node, variables) if isinstance(node, str) else node


def fill(text: str, variables: Mapping[str, str]) -> str:
    """``${NAME}``, ``${NAME:-default}``, ``${NAME:?what it is}`` and ``$$``."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name, kind, rest = found["name"], found["kind"], found["rest"]
        value = variables.get(name, "")
        if not value and kind == ":?":
            raise KeyError(f"{name}: {rest}")
        return value or rest or ""

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}", one, text)
