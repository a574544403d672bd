"""The panel: one confidence from LINe and three other experts, which make different errors."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from line_plugin.errors import SettingsError
from line_plugin.method.fit import check_weight, gather_features, gather_network
from line_plugin.method.line import LINe
from line_plugin.method.panel_file import read_panel, write_panel
from line_plugin.method.panel_fit import EXPERTS, FittedPanel, Gathered, PanelSettings
from line_plugin.method.panel_scores import PanelScores
from line_plugin.method.settings import LINeSettings, Provenance
from line_plugin.networks.fingerprint import fingerprint

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class Panel(PanelScores):
    """Computes a confidence for OOD detection from a panel of experts over penultimate features.

    The confidence is the sum of the experts' scores, each in units of its own spread
    (:mod:`line_plugin.math.experts.combination`). The expert ``line`` is LINe; the others are in
    :mod:`line_plugin.math.experts`. The panel stays near the best single method even on networks on which one of its
    experts alone does badly. Fit it once; then it is only read, and several threads may score with it. The confidence
    is high for ID inputs, and about 0 for a typical one.

    Args:
        experts: their names; all of :data:`~line_plugin.method.panel_fit.EXPERTS` by default.
        prototypes: how many prototypes each class has, for the expert of that name. Fewer need less memory.
        line: LINe's settings; by default the fit chooses its clip, as in :meth:`LINe.auto`.
        seed: seed of the sample of training rows and of that choice.

    Example:
        >>> import torch
        >>> from line_plugin import Panel
        >>> features, labels = torch.rand(600, 8), torch.arange(600) % 3
        >>> panel = Panel().fit_features(features, labels, torch.randn(3, 8), torch.zeros(3))
        >>> panel.score(features[:2]).shape
        torch.Size([2])
    """

    def __init__(
        self,
        experts: Sequence[str] = EXPERTS,
        prototypes: int = 10,
        line: LINeSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.settings = PanelSettings(tuple(experts), prototypes, seed)
        self.line_settings = line
        self.provenance = Provenance()
        self.calibration, self.evidence_calibrations, self.expert_calibrations = None, {}, {}
        self.content_sha256 = ""
        self._fitted = None

    # -- fitting ---------------------------------------------------------------------------------------------------

    def fit(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        *,
        head: str | None = None,
        device: torch.device | str | None = None,
        class_names: Sequence[str] = (),
    ) -> Self:
        """Fits in one batched forward pass without gradients.

        It needs memory for class sums (K x D), second moments (D x D) and at most 32,768 rows.

        Args:
            model: a classifier that ends in a ``Linear``; it is put in eval mode and moved to ``device``.
            loader: batches ``(images, labels, ...)`` or dicts with ``data`` and ``label``; negative labels are ignored.
            head: module path of the ``Linear``; if it is not given, the first batch is traced to find it.
            device: the device to run on; by default the model's own.
            class_names: K names, for error messages and the artifact.

        Raises:
            HeadError: the model has no usable head.
            FitError: a label is wrong, a class has no image, or an expert gives all rows the same score.
        """
        gathered, linear, path = gather_network(model, loader, self._gather, head=head, device=device)
        provenance = Provenance(class_names=tuple(class_names), head=path, model_sha256=fingerprint(model))
        return self.fit_gathered(gathered, linear.weight, linear.bias, provenance)

    def fit_features(
        self,
        features: Tensor,
        labels: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        class_names: Sequence[str] = (),
    ) -> Self:
        """Fits from penultimate features; arguments and errors are those of :meth:`LINe.fit_features`."""
        weight = check_weight(weight)
        gathered = gather_features(features, labels, weight, self._gather)
        return self.fit_gathered(gathered, weight, bias, Provenance(class_names=tuple(class_names)))

    def _gather(self, num_classes: int, width: int) -> Gathered:
        return Gathered.nothing(num_classes, width, self.settings)

    def fit_gathered(
        self, gathered: Gathered, weight: Tensor, bias: Tensor | None, provenance: Provenance | None = None
    ) -> Self:
        """Fits from a ``Gathered.nothing(K, D, panel.settings)`` that a pass filled.

        Errors are those of :meth:`fit`.
        """
        given, seed = self.line_settings, self.settings.seed
        line = LINe.auto(seed=seed) if given is None else LINe(given.p_w, given.p_a, given.clip)
        line.fit_sums(gathered.sums, weight, bias, provenance=provenance, sample=gathered.for_line())
        device = line.device
        self._fitted = FittedPanel.make(line.to("cpu"), gathered, self.settings).to(device)
        self.provenance, self.content_sha256 = line.provenance, ""
        self.calibration, self.evidence_calibrations, self.expert_calibrations = None, {}, {}
        return self

    def with_settings(self, experts: Sequence[str]) -> Panel:
        """The same fit with some of the experts that were fitted. The calibration is dropped.

        Raises:
            SettingsError: an expert is unknown or was not fitted.
        """
        state = self._state
        missing = [name for name in experts if name in EXPERTS and name not in state.scales]
        if missing:
            raise SettingsError(
                f"expert {missing[0]!r} was not fitted, only {', '.join(state.scales)}: fit again with it"
            )
        other = Panel(experts, self.settings.prototypes, self.line_settings, self.settings.seed)
        other._fitted, other.provenance = state, self.provenance
        return other

    # -- the artifact ----------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> str:
        """Writes the artifact and returns its content hash. Equal fits give equal bytes."""
        self.content_sha256 = write_panel(
            path,
            self._state,
            self.settings,
            self.provenance,
            self.calibration,
            self.evidence_calibrations,
            self.expert_calibrations,
        )
        return self.content_sha256

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Panel:
        """Reads and verifies an artifact.

        Raises:
            ArtifactError: the file does not exist or is of another kind; ArtifactCorruptError: its bytes have changed;
                ArtifactVersionError: a newer release wrote it.
        """
        found = read_panel(path)
        panel = cls(found.settings.experts, found.settings.prototypes, found.fitted.line.settings, found.settings.seed)
        panel._fitted = found.fitted.to(device)
        panel.provenance, panel.content_sha256 = found.provenance, found.digest
        panel.calibration, panel.evidence_calibrations = found.calibration, found.evidence_calibrations
        panel.expert_calibrations = found.expert_calibrations
        return panel

    def __repr__(self) -> str:
        state = f"K={self.num_classes}, D={self.width}, {self.num_samples} images" if self.fitted else "not fitted"
        return f"Panel({' + '.join(self.settings.experts)}; {state})"
