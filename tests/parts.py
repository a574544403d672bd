"""What each extra of pyproject.toml installs, and a process in which nothing else can be imported."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def declared(extras: Iterable[str]) -> list[str]:
    """The requirements of the package itself and of these extras, those that they name in turn included."""
    made = runpy.run_path(str(ROOT / "docker/requirements.py"))
    return made["requirements"](ROOT / "pyproject.toml", list(extras), separate=())


def installed(wanted: Iterable[str]) -> set[str]:
    """Names of these requirements and of all that they need, in turn."""
    found: set[str] = set()
    open_ = [Requirement(line) for line in wanted]
    while open_:
        requirement = open_.pop()
        name = canonicalize_name(requirement.name)
        for extra in requirement.extras or {""}:
            if f"{name}[{extra}]" in found:
                continue
            found.add(f"{name}[{extra}]")
            try:
                needs = distribution(name).requires or ()
            except PackageNotFoundError:
                continue
            lines = [Requirement(line) for line in needs]
            open_ += [r for r in lines if r.marker is None or r.marker.evaluate({"extra": extra})]
    return {entry.partition("[")[0] for entry in found}


class Refusing(MetaPathFinder):
    """Finds what must not be found, and says so as Python does."""

    def __init__(self, there: set[str], also: Iterable[str] = ()) -> None:
        owners = packages_distributions()
        ours = there | {"openood-line", *also}
        self._hidden = {module for module, names in owners.items() if not {canonicalize_name(n) for n in names} & ours}

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Never a module; ``None`` leaves it to the others."""
        top = name.partition(".")[0]
        if top in self._hidden or ("tests" in name.split(".") and top != "tests"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def allow_only(*extras: str) -> None:
    """From now on this process imports nothing but what these extras install."""
    sys.meta_path.insert(0, Refusing(installed(declared(extras))))
