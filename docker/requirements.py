"""``python docker/requirements.py EXTRA...``: what the images install beside torch, one requirement a line.

They are those of pyproject.toml, with its bounds, less what only `openood` imports. tests/deploy/test_image.py runs the
commands of `ood-monitor` with nothing else in reach.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import tomllib

OF_OPENOOD = {"torchvision", "pillow", "pytorch-ood", "scikit-learn", "matplotlib", "jinja2"}
"""Imported by the benchmark, by fitting on images and by the report, none of which a worker does."""

SEPARATE = {"torch"}
"""Installed before all others, from an index of its own."""


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """The requirements of the image.

    Raises:
        SystemExit: pyproject.toml has no such extra.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    unknown = sorted(set(extras) - set(optional))
    if unknown:
        raise SystemExit(f"no such extra: {', '.join(unknown)}; there are {', '.join(sorted(optional))}")
    wanted = project["dependencies"] + [line for extra in extras for line in optional[extra]]
    return [line for line in wanted if name_of(line) not in OF_OPENOOD | SEPARATE]


def name_of(requirement: str) -> str:
    """``numpy>=1.26`` is of ``numpy``."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    print("\n".join(requirements(Path("pyproject.toml"), sys.argv[1:])))
