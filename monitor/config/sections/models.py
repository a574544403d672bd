"""What scores: one artifact, or several of which each takes its own records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from monitor.config.sections.base import Section


class ModelConfig(Section):
    """What scores."""

    artifact: Path | None = Field(
        None, description="fitted and calibrated artifact of LINe or the panel; left out if models: names several"
    )
    device: str = Field("cpu", description="torch device: cpu, cuda, cuda:0")
    threads: int = Field(1, ge=0, description="torch CPU threads; 0 leaves torch's own choice")

    @field_validator("artifact", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return value or None


class ServedModel(Section):
    """One of several models whose records one worker scores."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="stands in front of its streams: NAME/STREAM"
    )
    artifact: Path = Field(description="its artifact")
    model: tuple[str, ...] = Field(min_length=1, description="values of the model header that are its own")

    @field_validator("model", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value
