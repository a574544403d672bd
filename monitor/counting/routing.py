"""Routes records to their models. Each model reads and scores its own, and the results are put in one table again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from monitor.counting.models import Models, named_model
from monitor.counting.scoring import Scored
from monitor.messages.limits import Limits
from monitor.messages.reading import Reader
from monitor.messages.record import Record
from monitor.messages.rows import Rejected, Rows
from monitor.messages.text import printable


class Router:
    """Does for several models what :class:`Reader` and a scorer do for one.

    Args:
        models: the models.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._readers = [Reader(m.contract) for m in models]

    @property
    def room(self) -> int:
        """Vectors that are read at once, at most."""
        return min(reader.room for reader in self._readers)

    def read(self, records: Sequence[Record], rows: Rows, now_ms: int | None, room: int) -> Rejected:
        """See :meth:`Reader.read`. A record that belongs to no model is rejected, or skipped if the settings say so."""
        if self._models.takes_all:
            return self._readers[0].read(records, rows, now_ms, room)
        rejected: Rejected = []
        stop = len(rows) + room
        for index, run in itertools.groupby(records, self._models.index_of):
            if len(rows) >= stop:
                break
            mine, first, taken = list(run), len(rows), rows.taken
            if index >= 0:
                rejected += self._readers[index].read(mine, rows, now_ms, stop - first)
                rows.model_of += [index] * (len(rows) - first)
            else:
                self._pass_over(mine, rows, rejected)
            if rows.taken - taken < len(mine):
                break
        return rejected

    def _pass_over(self, records: Sequence[Record], rows: Rows, rejected: Rejected) -> None:
        rows.taken += len(records)
        contract = self._models.first.contract  # all are the same but for the width and the streams' prefix
        names = ", ".join(m.name for m in self._models)
        by_topic = any(m.topics for m in self._models)
        for record in records:
            if contract.other_models == "skip" or contract.skips(record):
                rows.skipped.append(record)
                continue
            given = named_model(record)
            got = "no model header" if given is None else f"model {printable(given, 100)!r}"
            where, what = (f" in topic {record.topic}", "what") if by_topic else ("", "a model that")
            detail = f"{got}{where} was got, expected {what} an entry of models lists ({names})"
            rejected.append((record, "wrong-model", printable(detail)))

    def score(self, rows: Rows, magnitude: float = Limits.magnitude) -> Scored:
        """Score each row with its own model."""
        if len(self._readers) == 1:
            return self._models.first.scorer.score(rows.vectors, magnitude)
        n = len(rows)
        model_of = np.array(rows.model_of, np.int64)
        found = Scored(
            np.full(n, np.nan, np.float32),
            np.zeros(n, np.int64),
            np.zeros((n, len(self._models.first.scorer.experts)), np.int64),
            np.zeros(n, np.bool_),
            np.zeros(n, np.bool_),
            np.zeros(n, np.int64),
        )
        for index in np.unique(model_of).tolist():
            mine = np.flatnonzero(model_of == index)
            part = self._models[index].scorer.score([rows.vectors[k] for k in mine.tolist()], magnitude)
            found.confidence[mine], found.predicted[mine], found.cells[mine] = (
                part.confidence, part.predicted, part.cells,
            )  # fmt: skip
            found.finite[mine], found.in_range[mine], found.expert[mine] = part.finite, part.in_range, part.expert
        return found

    def name_expert(self, rows: Rows, row: int, expert: int) -> str:
        """Name the expert that finds a row most OOD; empty if there is only one."""
        index = rows.model_of[row] if rows.model_of else 0
        return self._models[index].scorer.name_expert(expert)
