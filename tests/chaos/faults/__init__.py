"""What goes wrong: one small class a fault, found by name."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, ClassVar

from monitor.judging.settings import EvaluatorSettings
from tests.chaos.stage import Stage

LEASE_SECONDS = EvaluatorSettings("", "").lease_ms / 1000
"""For so long nobody judges after the worker that did has died."""


class Fault:
    """One thing that goes wrong, and is set right again.

    Attributes:
        name: how it is asked for.
        about: what happens, for the table.
        lasts: seconds between :meth:`inject` and :meth:`heal`.
        settings: of the monitor, beside the stage's own.
        allowance: seconds that a surge during the fault may be told later than one without, counted from the healing
            if the fault leaves nobody who could tell.
        blind: while it lasts nobody can see or tell, so what is told late is counted from the healing.
        must_tell: kinds of notices of which one must be told, if any; ``()`` for none.
        by_cell: the counts can be compared cell by cell with a recount; else their sums are.
        may_end: workers may end by themselves.
        long_only: too long for the short form.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    lasts: float = 6.0
    allowance: float = 10.0
    blind: bool = False
    must_tell: tuple[str, ...] = ()
    by_cell: bool = True
    may_end: bool = False

    def __init__(self, *, long: bool = False, kills: int = 0) -> None:
        self.long, self.kills = long, kills

    def settings(self, stage: Any) -> dict[str, dict[str, Any]]:
        """Settings of the monitor that this fault needs."""
        return {}

    def prepare(self, stage: Stage) -> None:
        """Before the workers start."""

    def inject(self, stage: Stage) -> None:
        """It goes wrong; may take as long as it takes."""

    def heal(self, stage: Stage) -> None:
        """It is set right."""

    def clean(self, stage: Stage) -> None:
        """After the scenario, whatever happened."""

    def lost_on_purpose(self, stage: Stage) -> int:
        """Records that the fault deleted before anybody could count them."""
        return 0


def all_faults() -> dict[str, type[Fault]]:
    """Every fault by its name, in the order of the files."""
    found: dict[str, type[Fault]] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        for value in vars(importlib.import_module(f"{__name__}.{module}")).values():
            if isinstance(value, type) and issubclass(value, Fault) and "name" in vars(value):
                found[value.name] = value
    return found
