"""Builds the rules of judging from the settings and the artifact."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from line_plugin.math.conformal import CELL_EDGES
from monitor.config import AlertConfig
from monitor.errors import ConfigError
from monitor.math import nulls
from monitor.math.budget import Budget, Level
from monitor.math.lifecycle import AlertRules
from monitor.math.nulls import Nulls
from monitor.math.state import Rules
from monitor.store.counts import CELLS, OVERFLOW

RISK = 0.05
"""The probability that the bounds on the null masses fail, for all experts together.

The bounds of classes have it again.
"""


def rules(
    config: AlertConfig,
    calibration_samples: int | Sequence[int],
    *,
    artifact: str = "",
    tpr: float = 0.95,
    experts: tuple[str, ...] = ("line",),
) -> Rules:
    """Build everything that judging needs besides the counts.

    Args:
        config: the budget, and the rules of alerts.
        calibration_samples: how many calibration samples the artifact has; for several models, one number for each.
        artifact: content hash of the artifact; a class calibration of another one is refused. "" accepts any.
        tpr: the share of ID samples that the artifact's threshold keeps; the others are flagged.
        experts: the artifact's experts, all calibrated on those samples. The bounds of all of them hold together.

    Raises:
        ConfigError: the class calibration cannot be read or is another artifact's, or no cell ends at ``1 - tpr``.
    """
    sizes = [calibration_samples] if isinstance(calibration_samples, int) else calibration_samples
    classes = _classes(config.class_calibration, artifact, len(experts))
    return Rules(
        budget=budget(config),
        nulls=nulls.together(sizes, config.masses, risk=RISK / len(experts)),
        class_nulls=classes,
        flag_cells=_flag_cells(tpr),
        unwatched=(OVERFLOW,),
        experts=experts,
        alerts=AlertRules(
            silence_after=config.silence_seconds or math.inf,
            critical_rate=config.critical_rate,
            resolve_after=config.resolve_after,
        ),
    )


def budget(config: AlertConfig) -> Budget:
    """The budget, split over the levels that are watched. Single classes take part only if they are calibrated."""
    levels: tuple[Level, ...] = ("stream", "everything")
    if config.class_calibration:
        levels = (*levels, "class")
    return Budget(config.requests, dict.fromkeys(levels, 1.0))


def _flag_cells(tpr: float) -> int:
    """How many cells lie beyond the threshold."""
    for n, edge in enumerate(CELL_EDGES[:-1], start=1):
        if math.isclose(edge, 1 - tpr, abs_tol=1e-9):
            return n
    known = ", ".join(f"{1 - edge:g}" for edge in CELL_EDGES[:-1])
    raise ConfigError(
        f"the artifact is calibrated with tpr {tpr:g}, and the monitor counts flagged inputs at one of {known} only: "
        "run `openood calibrate --tpr` with one of these"
    )


def _classes(path: str, artifact: str, experts: int) -> dict[int, Nulls | tuple[Nulls, ...]]:
    if not path:
        return {}
    try:
        document = json.loads(Path(path).read_bytes())
        other = str(document["artifact"])
        counts = {int(label): [_samples(n) for n in cells] for label, cells in document["classes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"alerts.class_calibration {path} cannot be read ({error}): "
            "write it with `ood-monitor replay --save-classes`"
        ) from error
    if artifact and other != artifact:
        raise ConfigError(
            f"alerts.class_calibration {path} was made with artifact {other[:12]}, and this one is {artifact[:12]}: "
            "write it again with `ood-monitor replay --save-classes`"
        )
    wrong = next((len(cells) for cells in counts.values() if len(cells) != experts * CELLS), None)
    if wrong is not None:
        raise ConfigError(
            f"alerts.class_calibration {path} holds {wrong} cells a class, expected {experts * CELLS}: "
            "write it again with `ood-monitor replay --save-classes`"
        )
    risk = RISK / max(1, len(counts)) / experts

    def bounds(cells: list[int]) -> Nulls | tuple[Nulls, ...]:
        each = [nulls.of_class(cells[e * CELLS : (e + 1) * CELLS], risk=risk) for e in range(experts)]
        return each[0] if experts == 1 else tuple(each)

    return {label: bounds(cells) for label, cells in counts.items()}


def _samples(count: object) -> int:
    """A count of the class calibration. One below 0 would bound its cell by 0: each input there is certainly OOD."""
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"{count!r} samples in a cell given, expected a whole number from 0")
    return count
