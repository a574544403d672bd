"""Scores batches with LINe or the panel: copies rows once into one matrix; scores have the bits of the benchmark's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from line_plugin.errors import LinePluginError
from monitor.counting import tensors
from monitor.counting.members import Members
from monitor.counting.tensors import Staging
from monitor.errors import ModelError
from monitor.messages.limits import Limits

if TYPE_CHECKING:
    from line_plugin import LINe, Panel
    from line_plugin.method.scorer import LineScorer, PanelScorer


@dataclass(frozen=True)
class Scored:
    """One batch: (N,) arrays. ``confidence`` float32, high = ID; ``predicted`` the class.

    ``cells`` (N, E) is the cell of each expert, 0 the most OOD; (N,) stands for a single expert. ``expert`` is the
    panel's expert with the lowest score of the row.

    A row with NaN or Inf has ``finite`` False. A finite row has ``in_range`` False if a number is beyond the largest
    magnitude, or if its confidence is not finite. The other entries of such rows mean nothing.
    """

    confidence: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]
    cells: npt.NDArray[np.int64]
    finite: npt.NDArray[np.bool_]
    in_range: npt.NDArray[np.bool_]
    expert: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if self.cells.ndim == 1:
            object.__setattr__(self, "cells", self.cells[:, None])
        if len(self.expert) != len(self.cells):
            object.__setattr__(self, "expert", np.zeros(len(self.cells), np.int64))

    @property
    def cell(self) -> npt.NDArray[np.int64]:
        """The cell of the first expert, (N,)."""
        return self.cells[:, 0]

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """The rows that count."""
        return self.finite & self.in_range


class Scorer:
    """Scores bytes with a fitted and calibrated LINe or Panel.

    Only one thread may use it, because of its staging memory.

    Raises:
        ModelError: the artifact has no calibration, or a panel does not name the scores that collect evidence.
    """

    def __init__(self, line: LINe | Panel | LineScorer | PanelScorer) -> None:
        if line.calibration is None:
            raise ModelError(
                "the artifact holds no calibration: write it with `openood calibrate` on held-out ID images"
            )
        self.line = line
        self.calibration = line.calibration
        self._members = Members.of(line)
        device = getattr(line, "device", None)
        self._staging = Staging(line.width, pinned=True) if device is not None and device.type == "cuda" else None

    @classmethod
    def load(cls, artifact: str | Path, device: str = "cpu", threads: int = 0) -> Scorer:
        """Read an artifact. On the CPU torch is not imported, unless numba's kernels cannot be used.

        Args:
            artifact: file of ``LINe.save`` or ``Panel.save``.
            device: the device that scores.
            threads: how many score on the CPU; 0 for one for each core, or for torch's own choice if it scores.

        Raises:
            ModelError: the artifact cannot be used.
            MissingLibraryError: neither numba nor torch can score it.
        """
        from line_plugin.kernels.cpu import set_threads
        from line_plugin.method.scorer import load_scorer

        set_threads(threads)
        try:
            found = load_scorer(artifact) if device == "cpu" else None
            if found is not None:
                return cls(found)
            loaded = tensors.load(artifact, device)
        except LinePluginError as error:
            raise ModelError(str(error)) from error
        set_threads(threads)  # torch is imported now
        return cls(loaded)

    @property
    def width(self) -> int:
        """D."""
        return self.line.width

    @property
    def experts(self) -> tuple[str, ...]:
        """The names of the scores that collect evidence in their own cells. LINe has one; a panel may have several."""
        return self._members.names

    def name_expert(self, expert: int) -> str:
        """The name of :attr:`Scored.expert`; "" for LINe."""
        return self._members.experts[expert] if len(self._members.experts) > 1 else ""

    @property
    def artifact(self) -> str:
        """The content hash of the artifact, which is in every alert and metric."""
        return self.line.content_sha256

    def class_name(self, predicted: int) -> str:
        """The name of a class for people."""
        names = self.line.provenance.class_names
        return names[predicted] if 0 <= predicted < len(names) else str(predicted)

    def score(self, vectors: Sequence[bytes], magnitude: float = Limits.magnitude) -> Scored:
        """Scores N vectors of D little-endian float32, if their elements are numbers up to ``magnitude``.

        The rows are joined once. The matrix is a view of that memory, from which it goes to the device. The scores are
        complete before this returns, so the next call may use the same memory.
        """
        n = len(vectors)
        matrix: npt.NDArray[np.float32]
        if self._staging is not None:
            matrix = self._staging.join(vectors)
        else:
            matrix = np.frombuffer(bytearray().join(vectors), dtype="<f4").reshape(n, self.width)
        finite, in_range = _judged(matrix, magnitude)
        usable = finite & in_range
        confidence = np.full(n, np.nan, np.float32)
        predicted, expert = np.zeros(n, np.int64), np.zeros(n, np.int64)
        cells = np.zeros((n, len(self.experts)), np.int64)
        rows = matrix if usable.all() else matrix[usable]
        if len(rows):
            classes, values, each = self._members.predict(rows)
            confidence[usable], predicted[usable] = values, classes
            cells[usable], expert[usable] = self._members.place(values, each)
            in_range[usable] = np.isfinite(confidence[usable])
        return Scored(confidence, predicted, cells, finite, in_range, expert)


def _judged(matrix: npt.NDArray[np.float32], magnitude: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which rows are finite, and which have no element beyond ``magnitude``. Takes two passes if all rows are good."""
    n = len(matrix)
    # A NaN makes both comparisons false.
    if not n or (matrix.max() <= magnitude and matrix.min() >= -magnitude):
        return np.ones(n, np.bool_), np.ones(n, np.bool_)
    finite: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(matrix), axis=1)
    beyond = np.abs(matrix) > magnitude
    return finite, ~finite | ~np.logical_or.reduce(beyond, axis=1)


Batch = TypeVar("Batch")


class ScoringThread(Generic[Batch]):
    """Scores batches one after the other in a separate thread, while the caller polls and counts.

    Every batch goes through that thread, even a small one. A batch on the caller's thread would fill the scorer's
    memory while another batch is still being read from it.

    Args:
        score: the function that scores a batch. It is never called twice at the same time.
    """

    def __init__(self, score: Callable[[Batch], Scored]) -> None:
        self._score = score
        self._thread = ThreadPoolExecutor(1, "scoring")

    def begin(self, batch: Batch) -> Future[Scored]:
        """Starts scoring a batch and returns a future. Its ``result`` raises the errors of scoring."""
        return self._thread.submit(self._score, batch)

    def close(self) -> None:
        """Finish the batch that is being scored, drop those that wait, and end the thread."""
        self._thread.shutdown(cancel_futures=True)
