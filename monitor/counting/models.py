"""The models whose embeddings one worker scores: one, or several that share the streams' evidence and the budget.

Which model a record belongs to is decided before it is read, by its topic and its ``model`` header. A stream of one of
several models is counted as ``NAME/STREAM``, so that a stream never holds the cells of two calibrations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.errors import ConfigError
from monitor.messages.names import header_name

if TYPE_CHECKING:
    from monitor.counting.scoring import Scorer
    from monitor.messages.contract import Contract
    from monitor.messages.record import Record

SEPARATOR = "/"
"""Between the name of a model and its stream."""


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        scorer: its artifact.
        contract: what a record of it must be.
        name: empty if there is one alone.
        takes: values of the ``model`` header that are its own; empty for any, and for records without one.
        topics: that its records come from; empty for all.
    """

    scorer: Scorer
    contract: Contract
    name: str = ""
    takes: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()


class Models:
    """All models of a worker, in the order in which records are offered to them.

    Args:
        models: at least one; several have names, and the same experts and threshold, so that their cells can be
            counted side by side.

    Attributes:
        takes_all: every record belongs to the first one.

    Raises:
        ConfigError: they cannot share evidence; the message says which differ and how to go on.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        if not models:
            raise ConfigError("no model given, expected at least one")
        self._models = tuple(models)
        self._by_name = {m.name: m for m in models}
        self._by_header = any(m.takes for m in models)
        first = models[0]
        self.takes_all = len(models) == 1 and not first.takes and not first.topics
        for other in models[1:]:
            for what, one, another, mend in (
                ("experts", first.scorer.experts, other.scorer.experts, "--evidence"),
                ("a threshold at a TPR of", first.scorer.calibration.tpr, other.scorer.calibration.tpr, "--tpr"),
            ):
                if one != another:
                    raise ConfigError(
                        f"models {first.name} and {other.name} cannot share evidence: {first.name} has {what} "
                        f"{_words(one)}, {other.name} {_words(another)}. Calibrate them alike (`openood calibrate "
                        f"{mend}`), or give each a worker and a group of its own"
                    )

    @classmethod
    def single(cls, scorer: Scorer, contract: Contract) -> Models:
        """One model that takes every record."""
        return cls([Model(scorer, contract)])

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __getitem__(self, index: int) -> Model:
        return self._models[index]

    @property
    def first(self) -> Model:
        """The first one; what all share can be asked of it."""
        return self._models[0]

    @property
    def artifact(self) -> str:
        """Content hash of the artifact; of several, the hash of their names and hashes."""
        if len(self._models) == 1:
            return self.first.scorer.artifact
        text = "\n".join(f"{m.name} {m.scorer.artifact}" for m in self._models)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Calibration samples of each."""
        return tuple(m.scorer.calibration.n for m in self._models)

    def of_stream(self, stream: str) -> Model | None:
        """The model that a stream belongs to; None if it is of no model here, such as the monitor's own."""
        if len(self._models) == 1:
            return self.first
        name, separator, _ = stream.partition(SEPARATOR)
        return self._by_name.get(name) if separator else None

    def index_of(self, record: Record) -> int:
        """Which model a record belongs to: the first one that takes its topic and its header; -1 for none."""
        if self.takes_all:
            return 0
        given = named_model(record) if self._by_header else None
        for n, m in enumerate(self._models):
            if (not m.topics or record.topic in m.topics) and (not m.takes or given in m.takes):
                return n
        return -1


def named_model(record: Record) -> str | None:
    """What the ``model`` header of a record holds; of one that comes twice the last counts."""
    given: str | None = None
    for name, value in record.headers:
        if value is not None and header_name(name) == "model":
            given = value.decode("utf-8", "replace")
    return given


def _words(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
