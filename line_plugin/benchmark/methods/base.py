"""The interface of a method: what the runner calls, and the data it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from line_plugin.method.settings import Provenance

Setting = float | int | str | None


@dataclass(frozen=True)
class FeatureSet:
    """One set: features (N, D) float32 that enter the head, the network's argmax (N,) int64, labels (N,) int64."""

    name: str
    features: Tensor
    predicted: NDArray[np.int64]
    labels: NDArray[np.int64]
    key: str


@dataclass(frozen=True)
class FitData:
    """The data for fitting a method: ID train and ID val features, and the head (K, D), (K,) float32 on the CPU."""

    train: FeatureSet
    val: FeatureSet
    weight: Tensor
    bias: Tensor
    provenance: Provenance = field(default_factory=Provenance)

    @cached_property
    def train_labels(self) -> Tensor:
        """The labels of the training features, (N,) int64."""
        return torch.from_numpy(self.train.labels)

    def logits(self, features: Tensor) -> Tensor:
        """The network's logits (N, K) of features (N, D)."""
        return functional.linear(features, self.weight, self.bias)

    def head(self) -> nn.Linear:
        """The head as a module of its own, for detectors that take one."""
        linear = nn.Linear(self.weight.shape[1], self.weight.shape[0])
        linear.load_state_dict({"weight": self.weight, "bias": self.bias})
        return linear.requires_grad_(False)


class Method(ABC):
    """A post-hoc method over penultimate features.

    A subclass with a ``name`` and an ``about`` is a method of the benchmark, in any file of this folder.

    Attributes:
        name: its name on the command line: OpenOOD's name if OpenOOD has the method.
        about: one line about it, with the venue of its paper in parentheses at the end.
        needs: what it reads, separated by commas: ``logits``, ``features``, ``bank`` (it keeps training features),
            ``gradients``. Like ``name``, ``about``, ``state`` and ``source`` it is a plain string that is read from the
            source.
        state: how many numbers it keeps in addition to the head, as a formula of K classes, D features, N training
            images and its own settings; ``0`` if it keeps none.
        source: ``own``, or the library that computes the score.
        settings: current hyper-parameters.
        sweep: values to choose from, as in OpenOOD's YAML files. The first key varies fastest, as in OpenOOD.
        origin: where the settings come from, a clause; empty if the user gave them.
        searched: whether OpenOOD chooses among them by default (its ``APS_mode``).
    """

    name: ClassVar[str] = ""
    about: ClassVar[str] = ""
    needs: ClassVar[str] = ""
    state: ClassVar[str] = ""
    source: ClassVar[str] = ""
    defaults: ClassVar[dict[str, Setting]] = {}
    sweep: ClassVar[dict[str, tuple[Setting, ...]]] = {}
    searched: ClassVar[bool] = False

    def __init__(self) -> None:
        self.settings: dict[str, Setting] = dict(self.defaults)
        self.origin = ""
        self._data: FitData | None = None

    @classmethod
    def merge(cls, base: Mapping[str, Setting], given: Mapping[str, Setting]) -> dict[str, Setting]:
        """Combine the settings of a benchmark or paper with the user's, which win."""
        return {**base, **given}

    @property
    def data(self) -> FitData:
        """The data it was fitted on."""
        if self._data is None:
            raise RuntimeError(f"{type(self).__name__} scores before it was fitted")
        return self._data

    def fit(self, data: FitData) -> None:
        """Keep the data, then compute everything that depends on the settings."""
        self._data = data
        self.refit()

    def set(self, settings: dict[str, Setting]) -> None:
        """Change settings, and compute everything again that depends on them. A sweep calls this for each point."""
        self.settings.update(settings)
        if self._data is not None:
            self.refit()

    def refit(self) -> None:  # noqa: B027 - most methods derive nothing
        """Compute the state from ``self.data`` under the current settings. Does nothing by default."""

    def remarks(self) -> list[str]:
        """Sentences for the user on the origin of the settings and what the fit chose; empty if the user gave them."""
        return [f"{self.name}: {self.origin}."] if self.origin else []

    def record(self) -> dict[str, Any]:
        """The choices of the fit, as JSON."""
        return {}

    @abstractmethod
    def score(self, features: Tensor) -> Tensor:
        """Confidence (N,) of features (N, D) float32; high = ID."""

    def sweep_points(self) -> Iterator[dict[str, Setting]]:
        """Every combination of the sweep, the first setting varying fastest."""
        keys = list(self.sweep)
        for values in product(*(self.sweep[k] for k in reversed(keys))):
            yield dict(zip(keys, reversed(values), strict=True))


def number(settings: dict[str, Setting], key: str) -> float:
    """A setting that must be a number."""
    from line_plugin.errors import SettingsError

    value = settings[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingsError(f"setting {key}={value!r} given, expected a number")
    return float(value)


def switch(settings: dict[str, Setting], key: str) -> bool:
    """A setting that is on (true, 1) or off (false, 0, ``off`` on the command line)."""
    from line_plugin.errors import SettingsError

    known = {"true": True, "1": True, "on": True, "false": False, "0": False, "none": False, "off": False}
    text = str(settings[key]).lower()
    if text not in known:
        raise SettingsError(f"setting {key}={settings[key]!r} given, expected true or false")
    return known[text]


def count(settings: dict[str, Setting], key: str, least: int = 1) -> int:
    """A setting that must be a whole number, at least ``least``."""
    from line_plugin.errors import SettingsError

    value = number(settings, key)
    if value != int(value) or value < least:
        raise SettingsError(f"setting {key}={value:g} given, expected a whole number from {least}")
    return int(value)


def fraction(settings: dict[str, Setting], key: str) -> float:
    """A percentile setting in [0, 100] as the share pytorch-ood expects."""
    from line_plugin.errors import SettingsError

    value = number(settings, key)
    if not 0 <= value <= 100:
        raise SettingsError(f"setting {key}={value:g} given, expected a percentile from 0 to 100")
    return value / 100
