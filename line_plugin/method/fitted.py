"""The methods of a fitted LINe that only read it: its size, its chosen clip, scores, explanations and calibration."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from line_plugin.errors import NotFittedError
from line_plugin.kernels.scorer import Scorer
from line_plugin.math.clip_choice import LeaveOut
from line_plugin.math.contributions import ClassSums
from line_plugin.math.decomposition import MaskedHead
from line_plugin.method.auto import choice_of
from line_plugin.method.calibration import Calibration
from line_plugin.method.explanation import Explanation, explain_rows
from line_plugin.method.fit import Fitted
from line_plugin.method.settings import LINeSettings, Provenance

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class FittedLine:
    """The part of :class:`line_plugin.LINe` that reads a fit and does not change it.

    Attributes:
        settings: the three settings; provenance: the origin of the fit.
        calibration: None until :meth:`calibrate`.
        content_sha256: the hash of the artifact that was read or written, empty if there is none.
    """

    settings: LINeSettings
    provenance: Provenance
    calibration: Calibration | None
    content_sha256: str
    _fitted: Fitted | None

    @property
    def _state(self) -> Fitted:
        if self._fitted is None:
            raise NotFittedError("this LINe is not fitted: call fit, fit_features or LINe.load first")
        return self._fitted

    @property
    def fitted(self) -> bool:
        """Whether it can score."""
        return self._fitted is not None

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self._state.weight.shape[0])

    @property
    def width(self) -> int:
        """D."""
        return int(self._state.weight.shape[1])

    @property
    def head(self) -> tuple[Tensor, Tensor]:
        """Weight (K, D) and bias (K,) of the head, float32, on :attr:`device`."""
        return self._state.weight, self._state.bias

    @property
    def num_samples(self) -> int:
        """How many labelled images the fit used."""
        return self._state.sums.num_samples

    @property
    def choice(self) -> LeaveOut | None:
        """How :meth:`auto` chose the clip, with all candidates; None if the settings were given."""
        return choice_of(self.provenance.extra)

    @property
    def sums(self) -> ClassSums:
        """The class sums of the fit, on the CPU."""
        return self._state.sums

    @property
    def device(self) -> torch.device:
        """The device on which scoring runs."""
        return self._state.weight.device

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

        On a CPU with numba a row's bits depend on that row alone. The same holds on CUDA with the Triton kernels, which
        are off by default. Elsewhere batches may differ by 1e-5. If no compiled code is cached, the first call compiles
        for some seconds and logs that.

        Returns:
            ``(classes, confidence)``: (N,) int64, the argmax of the head on the *clipped* features (the network's own
            argmax can differ), and (N,) float32, high = ID.
        """
        with torch.no_grad():
            classes, confidence = self._state.scorer.predict(self.prepare(features), self.settings.clip)
            return classes.to(features.device), confidence.to(features.device)

    def prepare(self, features: Tensor) -> Tensor:
        """Checks features (N, D) and returns them in float32 on :attr:`device`. Raises the errors of :meth:`score`."""
        self._state.check_features(features, self.provenance.head)
        return features.detach().to(self.device, torch.float32)

    @property
    def scorer(self) -> Scorer:
        """The scoring rule of the fit, for code that needs more than its confidence, such as the panel."""
        return self._state.scorer

    def explain(self, features: Tensor) -> tuple[Explanation, ...]:
        """Explains the confidence of each row: its class, and what each neuron adds to logit and confidence.

        It is meant for a few inputs. Each row takes some K x D products in float64 on the CPU, and its explanation
        keeps about ten vectors of length D.

        Args:
            features: as in :meth:`score`.

        Returns:
            One :class:`line_plugin.method.explanation.Explanation` for each row.

        Raises:
            WidthError, NonFiniteError, NotFittedError.
        """
        classes, confidence = (t.cpu() for t in self.predict(features))
        state = self._state
        return explain_rows(
            features.detach().to("cpu", torch.float32),
            classes,
            confidence,
            MaskedHead(state.weight.cpu(), state.bias.cpu(), state.floors.cpu()),
            delta=self.settings.clip,
            class_names=self.provenance.class_names,
            calibration=self.calibration,
        )

    def calibrate(self, features: Tensor, tpr: float = 0.95, source: str = "") -> Calibration:
        """Scores held-out ID features and keeps the calibration; :meth:`save` stores it.

        Args:
            features: (n, D), from ID inputs that the network was *not* trained on.
            tpr: the share of ID inputs to keep.
            source: the name of these inputs, for people.
        """
        classes, confidence = self.predict(features)
        counts = torch.bincount(classes, minlength=self.num_classes).tolist()
        self.calibration = Calibration.from_scores(confidence, tpr, source, counts)
        self.content_sha256 = ""
        return self.calibration
