"""Methods that shape the penultimate activations and take the energy of the head, from pytorch-ood.

pytorch-ood shapes feature maps. Pooled features (N, D) are passed as (N, D, 1, 1); OpenOOD shapes pooled features too.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from line_plugin.benchmark.methods.base import Method, fraction, number
from line_plugin.errors import SettingsError


class _Shaping(Method):
    searched = True
    _detector: Any

    def _head(self, maps: Tensor) -> Tensor:
        return self.data.logits(maps.flatten(1))

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_feature_maps(features[:, :, None, None])
        return -scores


class React(_Shaping):
    """ReAct. Its threshold is a percentile of the ID validation features, as in OpenOOD."""

    name = "react"
    about = "activations clipped at a percentile of ID validation features (NeurIPS 2021)"
    needs = "features"
    state = "1"
    source = "pytorch-ood"

    defaults = {"percentile": 90}
    sweep = {"percentile": (85, 90, 95, 99)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import ReAct

        self._detector = ReAct(None, self._head, percentile=fraction(self.settings, "percentile"))
        features = self.data.val.features
        # OpenOOD takes every validation image, labelled or not.
        self._detector.fit_feature_maps(features, torch.zeros(len(features), dtype=torch.int64))


class Vra(_Shaping):
    """VRA. Both thresholds are percentiles of all ID validation features together, as in OpenOOD.

    pytorch-ood's own fit takes a threshold for each feature. Given all values as one feature, it finds OpenOOD's two.
    """

    name = "vra"
    about = "activations clipped below and above (NeurIPS 2023)"
    needs = "features"
    state = "2"
    source = "pytorch-ood"

    defaults = {"percentile_high": 90, "percentile_low": 10}
    sweep = {"percentile_high": (85, 90, 95, 99), "percentile_low": (1, 5, 10, 15)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import VRA

        low, high = (fraction(self.settings, key) for key in ("percentile_low", "percentile_high"))
        if low > high:
            raise SettingsError(f"vra percentile_low={100 * low:g} given, expected at most {100 * high:g}")
        self._detector = VRA(None, self._head, lower_percentile=low, upper_percentile=high)
        values = self.data.val.features.reshape(-1, 1, 1, 1)
        self._detector.fit_feature_maps(values, torch.zeros(len(values), dtype=torch.int64))


class Ash(_Shaping):
    """ASH-B on pooled features, OpenOOD's variant."""

    variant: ClassVar[str] = "ash-b"

    name = "ash"
    about = "ASH-B: pruned and binarised activations (ICLR 2023)"
    needs = "features"
    state = "0"
    source = "pytorch-ood"

    defaults = {"percentile": 90}
    sweep = {"percentile": (65, 70, 75, 80, 85, 90, 95)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import ASH

        self._detector = ASH(None, self._head, variant=self.variant, percentile=fraction(self.settings, "percentile"))


class AshS(Ash):
    """ASH-S on pooled features: prunes them and scales the rest up.

    OpenOOD has its code and no postprocessor for it.
    """

    name = "ash-s"
    about = "ASH-S: pruned and sharpened activations (ICLR 2023)"
    needs = "features"
    state = "0"
    source = "pytorch-ood"
    variant = "ash-s"


class AshP(Ash):
    """ASH-P on pooled features: prunes them and keeps the rest as it was.

    OpenOOD has its code and no postprocessor for it.
    """

    name = "ash-p"
    about = "ASH-P: pruned activations (ICLR 2023)"
    needs = "features"
    state = "0"
    source = "pytorch-ood"
    variant = "ash-p"


class Lts(Method):
    """The logits, scaled by the whole of the activations over their top share ``p``. OpenOOD does not have it."""

    name = "lts"
    about = "logits scaled by the top share of the activations (MVA 2025)"
    needs = "features, logits"
    state = "0"
    source = "pytorch-ood"

    defaults = {"p": 0.05}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import LTS

        share = number(self.settings, "p")
        if not 0 < share <= 1:
            raise SettingsError(f"lts p={share:g} given, expected a share above 0 up to 1")
        self._detector = LTS(None, self.data.logits, p=share)

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_features(features)
        return -scores


class Scale(_Shaping):
    """SCALE on pooled features."""

    name = "scale"
    about = "activations scaled by their top share (ICLR 2024)"
    needs = "features"
    state = "0"
    source = "pytorch-ood"

    defaults = {"percentile": 85}
    sweep = {"percentile": (65, 70, 75, 80, 85, 90, 95)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import SCALE

        self._detector = SCALE(None, self._head, percentile=fraction(self.settings, "percentile"))
