"""Settings of the log of ``ood-monitor run``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from monitor.config.sections.base import Section


class LoggingConfig(Section):
    """The log on stderr."""

    format: Literal["text", "json"] = Field(
        "text", description="text for people; json: one JSON object on each line, in UTC"
    )
