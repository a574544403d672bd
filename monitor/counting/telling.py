"""Logs records that cannot be scored: one line a minute for each reason, however many there are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from monitor.messages.reading import UNFORESEEN
from monitor.messages.reasons import ADVICE, REASONS
from monitor.messages.record import Record
from monitor.messages.text import printable

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0


class Told:
    """Logs the first record of each reason, then once a minute another one with how many came in between.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def rejected(self, records: Iterable[tuple[Record, str, str]]) -> None:
        """Log rejections ``(record, reason, detail)``."""
        for record, reason, detail in records:
            now, kind = self._clock(), reason
            if detail.startswith(UNFORESEEN):
                kind = detail.split(":", 1)[0]  # with the type of the exception
            if kind in self._at and now - self._at[kind] < EVERY_SECONDS:
                self._silent[kind] = self._silent.get(kind, 0) + 1
                continue
            self._at[kind] = now
            silent = self._silent.pop(kind, 0)
            more = f" {silent} more were rejected for this reason since the last such line." if silent else ""
            log.warning(
                "%s/%s offset %s: the record cannot be scored and goes to the dead letters (%s: %s). Got: %s. "
                "To do: %s.%s",
                printable(record.topic), record.partition, record.offset, reason, REASONS.get(reason, "?"),
                printable(detail), ADVICE.get(reason, "?"), more,
                extra={
                    "topic": record.topic, "partition": record.partition, "offset": record.offset, "reason": reason,
                },
            )  # fmt: skip
