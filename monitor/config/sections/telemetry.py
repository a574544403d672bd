"""What is shown over HTTP."""

from __future__ import annotations

from pydantic import Field

from monitor.config.sections.base import Section


class TelemetryConfig(Section):
    """Metrics for Prometheus."""

    port: int = Field(0, ge=0, le=65535, description="0: no metrics endpoint")
    host: str = "127.0.0.1"
