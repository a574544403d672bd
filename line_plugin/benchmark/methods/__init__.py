"""The methods the runner knows, by OpenOOD's names. A new method is one new file and one line here.

Importing this module imports no torch, so that ``openood list`` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from line_plugin.errors import SettingsError, unknown_name

if TYPE_CHECKING:
    from line_plugin.benchmark.methods.base import Method

_MODULES = {
    "line": ("line", "LINe: important neurons and weights of the predicted class (CVPR 2023)"),
    "msp": ("logits", "maximum softmax probability (ICLR 2017)"),
    "mls": ("logits", "maximum logit (ICML 2022)"),
    "ebo": ("logits", "energy (NeurIPS 2020)"),
    "gen": ("logits", "generalised entropy (CVPR 2023)"),
    "klm": ("logits", "KL matching to class-typical posteriors (ICML 2022)"),
    "react": ("shaping", "activations clipped at a percentile of ID validation features (NeurIPS 2021)"),
    "ash": ("shaping", "ASH-B: pruned and binarised activations (ICLR 2023)"),
    "scale": ("shaping", "activations scaled by their top share (ICLR 2024)"),
    "dice": ("dice", "weights sparsified by mean contribution (ECCV 2022)"),
    "knn": ("neighbours", "distance to the k-th nearest training feature (ICML 2022)"),
    "vim": ("subspace", "virtual logit from the residual subspace (CVPR 2022)"),
    "mds": ("subspace", "Mahalanobis distance to the class means (NeurIPS 2018)"),
    "she": ("subspace", "simplified Hopfield energy (ICLR 2023)"),
}


def names() -> dict[str, str]:
    """Method names with a line about each."""
    return {name: about for name, (_, about) in _MODULES.items()}


def create(name: str, settings: dict[str, float | int | str | None] | None = None) -> Method:
    """A method by name, with settings over its defaults.

    Raises:
        SettingsError: unknown method or setting; the nearest known one is offered.
    """
    if name not in _MODULES:
        raise unknown_name("method", name, _MODULES)
    import importlib

    module = importlib.import_module(f"{__name__}.{_MODULES[name][0]}")
    method: Method = module.METHODS[name]()
    for key, value in (settings or {}).items():
        if key not in method.settings:
            if not method.settings:
                raise SettingsError(f"method {name!r} has no settings, got {key!r}")
            raise unknown_name(f"setting of {name}", key, method.settings)
        method.settings[key] = value
    return method
