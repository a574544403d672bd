"""From the settings and the artifact to the rules that the mathematics folds with."""

from __future__ import annotations

import json
import math
from pathlib import Path

from monitor.config import AlertConfig
from monitor.errors import ConfigError
from monitor.math import nulls
from monitor.math.budget import Budget, Level
from monitor.math.lifecycle import AlertRules
from monitor.math.nulls import Nulls
from monitor.math.state import Rules

RISK = 0.05
"""Probability that the bounds on the classes' null masses fail, all of them together."""


def rules(config: AlertConfig, calibration_samples: int) -> Rules:
    """Everything the fold needs to know besides counts.

    Args:
        config: the budget and how an alert lives.
        calibration_samples: n behind the artifact's cell bounds.

    Raises:
        ConfigError: the class calibration cannot be read.
    """
    classes = _classes(config.class_calibration)
    return Rules(
        budget=budget(config),
        nulls=nulls.pooled(calibration_samples, config.masses),
        class_nulls=classes,
        alerts=AlertRules(
            silence_after=config.silence_seconds or math.inf,
            critical_rate=config.critical_rate,
            resolve_after=config.resolve_after,
        ),
    )


def budget(config: AlertConfig) -> Budget:
    """The budget over the levels that are watched: single classes only where they have a calibration of their own."""
    levels: tuple[Level, ...] = ("stream", "everything")
    if config.class_calibration:
        levels = (*levels, "class")
    return Budget(config.requests, dict.fromkeys(levels, 1.0))


def _classes(path: str) -> dict[int, Nulls]:
    if not path:
        return {}
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        counts = {int(label): [int(n) for n in cells] for label, cells in document["classes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"alerts.class_calibration {path} cannot be read ({error}): "
            "write it with `ood-monitor replay --save-classes`"
        ) from error
    return {label: nulls.of_class(cells, risk=RISK / len(counts)) for label, cells in counts.items()}
