"""The intervals and limits of counting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class WorkerSettings:
    """Intervals and limits of a worker. Times are in milliseconds."""

    bucket_ms: int = 1000
    max_records: int = 500
    poll_ms: int = 200
    start: str = "latest"
    examples: int = 5
    max_bad_share: float = 0.1
    bad_window: int = 2000
    at_bad_share: Literal["continue", "stop"] = "continue"
    dead_letters: str = ""
