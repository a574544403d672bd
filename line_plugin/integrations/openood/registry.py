"""``register()`` adds the methods ``line`` and ``panel`` to upstream OpenOOD."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from line_plugin.integrations.openood import compat
from line_plugin.networks.head import device_of
from line_plugin.shipped import config_dir

NAMES = ("line", "panel")
_MARK = "_line_plugin_registered"


def register() -> None:
    """Register LINe and the panel in upstream OpenOOD as ``line`` and ``panel``. Calling it again changes nothing.

    Afterwards ``Evaluator(net, id_name, postprocessor_name='line')`` works on the network's device, with or without
    CUDA. A ``postprocessors/line.yml`` in the caller's ``config_root`` wins over the one shipped here.

    Raises:
        OpenOODError: upstream is not installed.
    """
    compat.import_upstream()
    from openood.evaluation_api import Evaluator
    from openood.evaluation_api import postprocessor as by_name
    from openood.postprocessors import utils as by_config

    if getattr(Evaluator, _MARK, False):
        return
    for name in NAMES:
        by_name.postprocessors[name] = _class_of(name)
    _rebind(by_name.get_postprocessor, _named)  # reads by_name.postprocessors
    _rebind(by_config.get_postprocessor, _configured)  # the older pipelines: its table is a local variable
    for method in ("__init__", "eval_ood", "eval_acc", "hyperparam_search"):
        setattr(Evaluator, method, _on_the_networks_device(getattr(Evaluator, method)))
    Evaluator.eval_acc = _with_known_predictions(Evaluator.eval_acc)
    Evaluator.hyperparam_search = _forwarding_once(Evaluator.hyperparam_search)
    setattr(Evaluator, _MARK, True)


def _class_of(name: str) -> Any:
    if name == "panel":
        from line_plugin.integrations.openood.panel import PanelPostprocessor

        return PanelPostprocessor
    from line_plugin.integrations.openood.postprocessor import LINePostprocessor

    return LINePostprocessor


def _rebind(function: Callable[..., Any], wrap: Callable[[Any], Any]) -> None:
    """Replaces ``function`` by ``wrap(function)`` in all of upstream's loaded modules."""
    wrapped = functools.wraps(function)(wrap(function))
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "openood":
            for key, value in list(vars(module).items()):
                if value is function:
                    setattr(module, key, wrapped)


def _named(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_postprocessor(config_root: str, postprocessor_name: str, id_data_name: str) -> Any:
        name = postprocessor_name
        if name in NAMES and not Path(config_root, "postprocessors", f"{name}.yml").exists():
            config_root = str(config_dir())  # otherwise upstream would look for line.yml on its own GitHub
        return original(config_root, postprocessor_name, id_data_name)

    return get_postprocessor


def _configured(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_postprocessor(config: Any) -> Any:
        name = config.postprocessor.name
        return _class_of(name)(config) if name in NAMES else original(config)

    return get_postprocessor


def _on_the_networks_device(method: Callable[..., Any]) -> Callable[..., Any]:
    """Send upstream's batches to the device of the network instead of CUDA."""

    @functools.wraps(method)
    def on_device(self: Any, *args: Any, **kwargs: Any) -> Any:
        net = self.net if hasattr(self, "net") else args[0] if args else kwargs["net"]
        with compat.running(device_of(net)):
            return method(self, *args, **kwargs)

    return on_device


def _forwarding_once(search: Callable[[Any], None]) -> Callable[[Any], None]:
    """Upstream decodes and forwards both validation sets again for every combination. LINe needs them once."""

    @functools.wraps(search)
    def hyperparam_search(self: Any) -> None:
        if not _is_line(self.postprocessor):
            return search(self)
        with self.postprocessor.searching():
            return search(self)

    return hyperparam_search


def _with_known_predictions(eval_acc: Callable[..., float]) -> Callable[..., float]:
    """Upstream forwards ID-test again for ACC.

    This skips it, since our ``pred`` is the network's own argmax already.
    """

    @functools.wraps(eval_acc)
    def with_predictions(self: Any, data_name: str = "id") -> float:
        scores = self.scores
        if isinstance(self.postprocessor, tuple(_class_of(name) for name in NAMES)):
            if scores["id_preds"] is None and scores["id"]["test"] is not None:
                scores["id_preds"], scores["id_labels"] = _predictions(scores["id"]["test"])
            for name, scored in scores["csid"].items():
                if scores["csid_preds"][name] is None and scored is not None:
                    scores["csid_preds"][name], scores["csid_labels"][name] = _predictions(scored)
        return eval_acc(self, data_name)

    return with_predictions


def _predictions(scored: Any) -> tuple[torch.Tensor, torch.Tensor]:
    pred, _confidence, label = scored
    return torch.from_numpy(pred), torch.from_numpy(label)


def _is_line(postprocessor: Any) -> bool:
    from line_plugin.integrations.openood.postprocessor import LINePostprocessor

    return isinstance(postprocessor, LINePostprocessor)
