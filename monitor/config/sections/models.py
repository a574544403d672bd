"""Settings of the models: one artifact, or several that each score their own records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from monitor.config.sections.base import Section


class ModelConfig(Section):
    """The artifact that scores, and the device."""

    artifact: Path | None = Field(
        None, description="fitted and calibrated artifact of LINe or the panel; left out if models: names several"
    )
    device: str = Field("cpu", description="cpu, or a device of torch (openood-line[torch]): cuda, cuda:0")
    threads: int = Field(1, ge=0, description="CPU threads that score; 0 for one on each core")

    @field_validator("artifact", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return value or None


class ServedModel(Section):
    """One of several models whose records one worker scores."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="begins the names of its streams: NAME/STREAM"
    )
    artifact: Path = Field(description="its artifact")
    model: tuple[str, ...] = Field(
        (), description="values of the model header of its records; empty: any value, or no header"
    )
    topics: tuple[str, ...] = Field(
        (), validate_default=True, description="the topics of kafka.topics with its records; empty: all"
    )

    @field_validator("model", "topics", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("topics")
    @classmethod
    def _some_records(cls, given: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not given and not info.data.get("model", (given,)):
            raise PydanticCustomError(
                "no_records", "model and topics are missing, expected one or both: which records are its own?"
            )
        return given

    def takes(self, topic: str, model: str | None) -> bool:
        """Whether it takes a record of this topic with this model header (None if it has none)."""
        return (not self.topics or topic in self.topics) and (not self.model or model in self.model)


def find_contradiction(models: Sequence[ServedModel], topics: Sequence[str]) -> str:
    """Find what is wrong with how records of these topics are assigned to models; empty if nothing is wrong.

    Args:
        models: in order; a record belongs to the first one that takes it.
        topics: the topics that are read.
    """
    for n, m in enumerate(models):
        if strange := [topic for topic in m.topics if topic not in topics]:
            return (
                f"models: {m.name} takes records of topic {strange[0]!r}, which is not read: name it in kafka.topics, "
                "or correct it"
            )
        if all(any(e.takes(t, v) for e in models[:n]) for t in m.topics or topics for v in m.model or (None,)):
            return (
                f"models: {m.name} can never get a record, since entries before it take all of its own: move it before "
                "them, or correct its model and topics"
            )
    for topic in topics:
        if not any(not m.topics or topic in m.topics for m in models):
            return (
                f"models: no entry takes records of topic {topic!r}: name it in topics of one, or leave it out of "
                "what is read (kafka.topics)"
            )
    return ""
