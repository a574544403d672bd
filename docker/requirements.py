"""``python docker/requirements.py EXTRA...``: what the images install, one requirement a line.

They are those of pyproject.toml and of these extras, with its bounds; an extra that names another one is followed.
tests/deploy/test_image.py runs the commands of `ood-monitor` with nothing else in reach. With ``--locked LOCKFILE``
they are the entries of that file that these requirements need, each with one version and the hashes of its files:
`make lock` writes it.
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


def entries(lock: str) -> dict[str, tuple[str, set[str]]]:
    """Name to its lines in a lock file, without comments, and to the names that it is there for; "-r" is us."""
    found: dict[str, tuple[str, set[str]]] = {}
    for text in re.split(r"^(?=\S)", lock, flags=re.MULTILINE):
        if text.strip():
            kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
            whom = re.findall(r"^ +# +(?:via )?(\S+)", text.replace("# via\n", "\n"), re.MULTILINE)
            found[name_of(text)] = ("\n".join(kept), set(whom))
    return found


def locked(lock: str, wanted: list[str]) -> list[str]:
    """The entries of a lock file that the requirements need, those of their dependencies included.

    Raises:
        SystemExit: the file lacks one of them.
    """
    found, names = entries(lock), {name_of(line) for line in wanted}
    if missing := sorted(names - set(found)):
        raise SystemExit(f"the lock file has no {', '.join(missing)}: `make lock` writes it anew")
    while more := {name for name, (_, whom) in found.items() if whom & names} - names:
        names |= more
    return [text for name, (text, _) in found.items() if name in names]


def main(arguments: list[str]) -> None:
    """Print what was asked for."""
    extras, _, lockfile = " ".join(arguments).partition("--locked ")
    wanted = requirements(Path("pyproject.toml"), extras.split())
    print("\n".join(locked(Path(lockfile).read_text(encoding="utf-8"), wanted) if lockfile else wanted))


if __name__ == "__main__":
    main(sys.argv[1:])
