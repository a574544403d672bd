"""Settings of judging: buckets, streams, alerts, and how the monitor watches itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from monitor.config.sections.base import Section
from monitor.math.budget import requests_in


class BucketConfig(Section):
    """How records are grouped in time before they are judged."""

    seconds: float = Field(1.0, gt=0, description="width of a bucket, in event time")
    idle_seconds: float = Field(
        10.0, gt=0, description="a partition without records for longer than this keeps no bucket open"
    )
    hold_seconds: float = Field(
        60.0, gt=0, description="a partition that others overtook this long ago keeps no bucket open"
    )


class StreamConfig(Section):
    """How many streams are watched, and when they are forgotten."""

    limit: int = Field(2000, ge=1, description="streams counted by name; further ones are counted together as one")
    forget_seconds: float = Field(604_800, gt=0, description="a stream that sent nothing for this long is forgotten")


class WatchConfig(Section):
    """When the monitor raises an alert because it may be blind."""

    stalled_seconds: float = Field(
        120, gt=0, description="an alert is raised if nothing was judged, read or reported for this long"
    )
    max_lag_seconds: float = Field(
        300, gt=0, description="an alert is raised if a partition is behind its end for this long"
    )
    redis_seconds: float = Field(30, gt=0, description="if Redis cannot be reached for this long, an alert is raised")
    gap_seconds: float = Field(3600, gt=0, description="an alert about lost records is resolved after this time")


class CanaryConfig(Section):
    """The canary: synthetic OOD embeddings the monitor sends to itself, to check that it would notice a surge."""

    seconds: float = Field(0, ge=0, description="time between two canaries; 0: none")
    timeout_seconds: float = Field(
        120, gt=0, description="an alert is raised if a canary is not detected within this time"
    )
    samples: int = Field(20, ge=5, le=1000, description="embeddings in one canary")


class AlertConfig(Section):
    """How many false alerts are affordable."""

    requests_per_false_alert: float = Field(
        100_000, ge=100, description="budget: at most one false alert per this many requests, over all streams"
    )
    days_per_false_alert: float | None = Field(None, gt=0, description="the same budget in days; needs the rate")
    requests_per_second: float | None = Field(
        None, gt=0, description="the mean rate of all streams together; needed with days_per_false_alert"
    )
    silence_seconds: float = Field(
        300, ge=0, description="an alert is raised if a stream sends nothing for this long; 0: never"
    )
    masses: Literal["expectation", "nominal", "simultaneous"] = Field(
        "expectation", description="how far the calibration set is trusted; see docs/alerting.md"
    )
    class_calibration: str = Field(
        "",
        description="JSON of `ood-monitor replay --save-classes`; without it no single class raises an alert by itself",
    )
    critical_rate: float = Field(0.25, gt=0, le=1, description="severity is critical above this flag rate")
    resolve_after: float = Field(100_000, gt=1, description="the least mean number of requests to a wrong resolve")
    examples: int = Field(5, ge=0, le=100, description="most OOD request ids kept per stream and bucket")

    @model_validator(mode="after")
    def _budget(self) -> AlertConfig:
        if (self.days_per_false_alert is None) != (self.requests_per_second is None):
            raise ValueError("days_per_false_alert and requests_per_second go together: give both or neither")
        return self

    @property
    def requests(self) -> float:
        """Requests per affordable false alert."""
        if self.days_per_false_alert is not None and self.requests_per_second is not None:
            return requests_in(self.days_per_false_alert, self.requests_per_second)
        return self.requests_per_false_alert
