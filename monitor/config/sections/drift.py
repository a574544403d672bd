"""Settings of slow drift: traffic that no longer looks like the calibration set."""

from __future__ import annotations

from pydantic import Field, model_validator

from monitor.config.sections.base import Section
from monitor.math.drift import SIMULATIONS, allowed


class DriftConfig(Section):
    """Slow drift is reported as information and never pages by itself (``delivery.information``)."""

    window: int = Field(20_000, ge=0, description="inputs of a stream that are compared together; 0: no comparison")
    size: float = Field(0.1, gt=0, description="population stability index that is reported; .25 is a large one")
    requests_per_false_information: float = Field(
        1_000_000, ge=1000, description="at most one window is falsely called different per this many requests"
    )
    look_seconds: float = Field(60, gt=0, description="time between two checks of the counts")

    @model_validator(mode="after")
    def _fine_enough(self) -> DriftConfig:
        if self.window and allowed(self.window, self.requests_per_false_information) < 1 / (1 + SIMULATIONS):
            most = self.window * (1 + SIMULATIONS) / 2
            raise ValueError(
                f"window {self.window} is too small for one false window in "
                f"{self.requests_per_false_information:g} requests: enlarge it, or lower "
                f"requests_per_false_information to {most:g} or less"
            )
        return self
