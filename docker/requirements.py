"""``python docker/requirements.py EXTRA...``: what the images install, one requirement a line.

They are those of pyproject.toml and of these extras, with its bounds; an extra that names another one is followed.
tests/deploy/test_image.py runs the commands of `ood-monitor` with nothing else in reach.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from pathlib import Path

import tomllib

SEPARATE = {"torch"}
"""Installed before all others, from an index of its own, by the image for GPUs."""


def requirements(pyproject: Path, extras: list[str], separate: Collection[str] = SEPARATE) -> list[str]:
    """The requirements of the image, less those that are installed separately.

    Raises:
        SystemExit: pyproject.toml has no such extra.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional, ours = project["optional-dependencies"], project["name"]
    found, open_, seen = list(project["dependencies"]), list(extras), set()
    while open_:
        extra = open_.pop()
        if extra not in optional:
            raise SystemExit(f"no such extra: {extra}; there are {', '.join(sorted(optional))}")
        if extra in seen:
            continue
        seen.add(extra)
        for line in optional[extra]:
            if name_of(line) == ours:
                open_ += [name.strip() for name in line.partition("[")[2].partition("]")[0].split(",")]
            else:
                found.append(line)
    return sorted({line for line in found if name_of(line) not in separate})


def name_of(requirement: str) -> str:
    """``numpy>=1.26`` is of ``numpy``."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    print("\n".join(requirements(Path("pyproject.toml"), sys.argv[1:])))
