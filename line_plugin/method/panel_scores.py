"""The methods of a fitted panel that only read it: its size, chosen clip, scores, explanations and calibration."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from line_plugin.errors import NotFittedError, SettingsError, unknown_name
from line_plugin.math.clip_choice import LeaveOut
from line_plugin.method.calibration import Calibration
from line_plugin.method.explanation import ExpertOpinion, PanelExplanation, p_values_of
from line_plugin.method.line import LINe
from line_plugin.method.panel_fit import FittedPanel, PanelSettings
from line_plugin.method.settings import Provenance

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


WHOLE = "panel"
"""The confidence of the panel as a whole, for code that collects evidence."""


class PanelScores:
    """The part of :class:`line_plugin.Panel` that reads a fit and does not change it.

    Attributes:
        settings: which experts; provenance: the origin of the fit.
        calibration: None until :meth:`calibrate`.
        evidence_calibrations: by name and on the same inputs, the calibration of each score that collects evidence of
            its own in the monitor; empty until :meth:`calibrate`.
        expert_calibrations: the calibration of every expert, by name and on the same inputs; empty until
            :meth:`calibrate`. An artifact of an earlier release has only those of the experts that collect evidence.
        content_sha256: the hash of the artifact that was read or written, empty if there is none.
    """

    settings: PanelSettings
    provenance: Provenance
    calibration: Calibration | None
    evidence_calibrations: dict[str, Calibration]
    expert_calibrations: dict[str, Calibration]
    content_sha256: str
    _fitted: FittedPanel | None

    @property
    def _state(self) -> FittedPanel:
        if self._fitted is None:
            raise NotFittedError("this Panel is not fitted: call fit, fit_features or Panel.load first")
        return self._fitted

    @property
    def fitted(self) -> bool:
        """Whether it can score."""
        return self._fitted is not None

    @property
    def line(self) -> LINe:
        """The fitted LINe among the experts; it predicts the class."""
        return self._state.line

    @property
    def choice(self) -> LeaveOut | None:
        """How LINe's clip was chosen, with all candidates; None if its settings were given."""
        return self.line.choice

    @property
    def num_classes(self) -> int:
        """K."""
        return self.line.num_classes

    @property
    def width(self) -> int:
        """D."""
        return self.line.width

    @property
    def num_samples(self) -> int:
        """How many labelled images the fit used."""
        return self.line.num_samples

    @property
    def device(self) -> torch.device:
        """The device on which scoring runs."""
        return self.line.device

    def to(self, device: torch.device | str) -> Self:
        """Moves the scoring state to ``device``."""
        self._fitted = self._state.to(device)
        return self

    def score(self, features: Tensor) -> Tensor:
        """The confidence of each row.

        Args:
            features: (N, D) float32, float16 or bfloat16 (computed in float32), N >= 0, on any device.

        Returns:
            (N,) float32 on the device of ``features``; high = ID.

        Raises:
            WidthError, NonFiniteError, NotFittedError.
        """
        return self.predict(features)[1]

    def predict(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The class and the confidence of each row.

        On a CPU with numba a row's bits depend on that row alone. Elsewhere batches may differ by 1e-5.

        Returns:
            ``(classes, confidence)``: (N,) int64, as :meth:`LINe.predict` gives them, and (N,) float32, high = ID.
        """
        classes, each = self._score_each(features)
        return classes, _added(each).to(features.device, torch.float32)

    def predict_experts(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`predict`, with the score of each expert, for code such as the monitor that uses experts one by one.

        Returns:
            ``(classes, confidence, each)``: (N,) int64, (N,) float32 and (N, E) float32, high = ID, one column for each
            of ``settings.experts``.

        Raises:
            WidthError, NonFiniteError, NotFittedError.
        """
        classes, each = self._score_each(features)
        confidence, columns = (t.to(features.device, torch.float32) for t in (_added(each), torch.stack(each, dim=1)))
        return classes, confidence, columns

    def score_experts(self, features: Tensor) -> dict[str, Tensor]:
        """The score of each expert, (N,) float64 by name: 0 is typical, and 1 % of training rows have -1 or less.

        Their sum is the confidence. Raises the errors of :meth:`score`.
        """
        _, each = self._score_each(features)
        return dict(zip(self.settings.experts, each, strict=True))

    def _score_each(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        with torch.no_grad():
            classes, found = self._state.score(features, self.settings.experts)
        return classes, [found[name] for name in self.settings.experts]

    def explain(self, features: Tensor) -> tuple[PanelExplanation, ...]:
        """Explains the confidence of each row: the score of each expert, the lowest one, and LINe's neurons.

        Args:
            features: as in :meth:`score`, but a few rows (:meth:`LINe.explain`).

        Returns:
            One :class:`line_plugin.method.explanation.PanelExplanation` for each row.

        Raises:
            WidthError, NonFiniteError, NotFittedError.
        """
        classes, confidence, each = (t.cpu() for t in self.predict_experts(features))
        chances = p_values_of(self.calibration, confidence)
        by_expert = self.expert_p_values(each)
        lines = self.line.explain(features)
        names = self.provenance.class_names
        return tuple(
            PanelExplanation(
                predicted=c,
                class_name=names[c] if names else "",
                confidence=float(confidence[row]),
                p_value=chances[row],
                experts=tuple(
                    ExpertOpinion(name, float(each[row, e]), by_expert[name][row])
                    for e, name in enumerate(self.settings.experts)
                ),
                line=lines[row],
            )
            for row, c in enumerate(classes.tolist())
        )

    def expert_p_values(self, each: Tensor) -> dict[str, list[float | None]]:
        """The p-values of each expert, by name, for scores (N, E) of :meth:`predict_experts`; None if uncalibrated."""
        columns = zip(self.settings.experts, each.unbind(dim=1), strict=True)
        return {name: p_values_of(self.expert_calibrations.get(name), column) for name, column in columns}

    @property
    def default_evidence(self) -> tuple[str, ...]:
        """The scores that collect evidence of their own unless others are chosen."""
        several = len(self.settings.experts) > 1 and "line" in self.settings.experts
        return (WHOLE, "line") if several else (WHOLE,)

    def calibrate(
        self, features: Tensor, tpr: float = 0.95, source: str = "", evidence: Sequence[str] | None = None
    ) -> Calibration:
        """Scores held-out ID features and keeps the calibration, like :meth:`LINe.calibrate`. :meth:`save` stores it.

        Args:
            features: (n, D), from held-out ID inputs.
            tpr: the share of ID samples to keep.
            source: the name of these inputs, for people.
            evidence: the scores that collect evidence of their own in the monitor: :data:`WHOLE`, experts, or both.

        Raises:
            SettingsError: ``evidence`` is empty, or has an unknown name or the same name twice.
        """
        experts = self.settings.experts
        names, known = self.default_evidence if evidence is None else tuple(evidence), (WHOLE, *experts)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise unknown_name("evidence", unknown[0], known)
        if not names or len(set(names)) < len(names):
            raise SettingsError(
                f"evidence of {', '.join(names) or 'nobody'} given, expected each of {known} once at most"
            )
        classes, confidence, each = self.predict_experts(features)
        scores = dict(zip(known, (confidence, *each.unbind(dim=1)), strict=True))
        counts = torch.bincount(classes, minlength=self.num_classes).tolist()
        self.calibration = Calibration.from_scores(confidence, tpr, source, counts)
        self.evidence_calibrations = {name: Calibration.from_scores(scores[name], tpr, source) for name in names}
        self.expert_calibrations = {name: Calibration.from_scores(scores[name], tpr, source) for name in experts}
        self.content_sha256 = ""
        return self.calibration


def _added(each: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.add, each)
