"""The settings of LINe, the published settings by name, and the record of a fit's origin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from line_plugin.errors import SettingsError


@dataclass(frozen=True)
class LINeSettings:
    """The three settings of LINe; ``None`` turns one off, as in the paper's ablation.

    Attributes:
        p_w: weight percentile (WP) in [0, 100].
        p_a: activation percentile (AP) in [0, 100].
        clip: activation clipping threshold delta (AC), in units of the features.
    """

    p_w: float | None = 90.0
    p_a: float | None = 90.0
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        for name in ("p_w", "p_a"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 100:
                raise SettingsError(f"{name}={value} given, expected a percentile from 0 to 100, or None for off")
        if self.clip is not None and not (math.isfinite(self.clip) and self.clip > 0):
            raise SettingsError(f"clip={self.clip} given, expected a positive number, or None for off")


def describe(settings: Mapping[str, Any], state: str) -> str:
    """The text for people that names a LINe's settings and state."""
    shown = ", ".join(f"{k}={format(v, 'g') if isinstance(v, float) else v}" for k, v in settings.items())
    return f"LINe({shown}; {state})"


PRESETS: dict[str, LINeSettings] = {
    "cifar10-densenet": LINeSettings(p_w=90, p_a=90, clip=1.0),
    "cifar100-densenet": LINeSettings(p_w=90, p_a=10, clip=1.0),
    "imagenet-resnet50": LINeSettings(p_w=10, p_a=10, clip=0.8),
}
"""The paper's three published settings."""


@dataclass(frozen=True)
class Provenance:
    """The origin of a fit, stored in the artifact.

    Attributes:
        class_names: K names, empty if unknown.
        head: module path of the ``Linear`` (``"fc"``).
        model_sha256, data_sha256: fingerprints of the weights and of the training images, empty if unknown.
        extra: anything else worth storing, as JSON.
    """

    class_names: tuple[str, ...] = ()
    head: str = ""
    model_sha256: str = ""
    data_sha256: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
