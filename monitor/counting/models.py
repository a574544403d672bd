"""The models whose embeddings one worker scores. Several models share the false-alert budget.

The model of a record is decided before the record is read, by its topic and its ``model`` header. If there are several
models, a stream is counted as ``NAME/STREAM``, so that a stream never mixes the cells of two calibrations.
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
"""Separates the name of a model from its stream."""


@dataclass(frozen=True)
class Model:
    """One model that a worker scores.

    Attributes:
        scorer: scores with its artifact.
        contract: checks its records.
        name: its name; empty if it is the only model.
        takes: the values of the ``model`` header that mean this model; if empty, it takes all, and records without one.
        topics: the topics of its records; empty for all.
    """

    scorer: Scorer
    contract: Contract
    name: str = ""
    takes: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()


class Models:
    """All models of a worker. A record belongs to the first one that takes it.

    Args:
        models: at least one. Several must have names, and the same experts and threshold, so that their cells can be
            counted side by side.

    Attributes:
        takes_all: whether every record belongs to the first model.

    Raises:
        ConfigError: the models cannot be counted together. The message says which differ and what to do.
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
        """Make a single model that takes every record."""
        return cls([Model(scorer, contract)])

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __getitem__(self, index: int) -> Model:
        return self._models[index]

    @property
    def first(self) -> Model:
        """The first model. Ask it for what all models share."""
        return self._models[0]

    @property
    def artifact(self) -> str:
        """Content hash of the artifact; if there are several, one hash over their names and hashes."""
        if len(self._models) == 1:
            return self.first.scorer.artifact
        text = "\n".join(f"{m.name} {m.scorer.artifact}" for m in self._models)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of calibration samples of each model."""
        return tuple(m.scorer.calibration.n for m in self._models)

    def of_stream(self, stream: str) -> Model | None:
        """Return the model of a stream; None if it belongs to no model, such as the monitor's own streams."""
        if len(self._models) == 1:
            return self.first
        name, separator, _ = stream.partition(SEPARATOR)
        return self._by_name.get(name) if separator else None

    def index_of(self, record: Record) -> int:
        """Return the index of the first model that takes a record's topic and header; -1 if there is none."""
        if self.takes_all:
            return 0
        given = named_model(record) if self._by_header else None
        for n, m in enumerate(self._models):
            if (not m.topics or record.topic in m.topics) and (not m.takes or given in m.takes):
                return n
        return -1


def named_model(record: Record) -> str | None:
    """Read the ``model`` header of a record. If it comes twice, the last one counts."""
    given: str | None = None
    for name, value in record.headers:
        if value is not None and header_name(name) == "model":
            given = value.decode("utf-8", "replace")
    return given


def _words(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
