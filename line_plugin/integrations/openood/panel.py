"""The panel as a ``BasePostprocessor``. Importing this module imports upstream OpenOOD."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from line_plugin.errors import unknown_name
from line_plugin.integrations.openood import compat
from line_plugin.method.panel import Panel
from line_plugin.method.panel_fit import EXPERTS, split_names
from line_plugin.networks.fingerprint import fingerprint
from line_plugin.networks.head import Head, device_of
from line_plugin.networks.tap import forward

compat.import_upstream()

from openood.postprocessors import BasePostprocessor  # noqa: E402

_SETTINGS = ("experts", "prototypes", "head")


class PanelPostprocessor(BasePostprocessor):  # type: ignore[misc]
    """The panel for OpenOOD's Evaluator: ``Evaluator(net, 'cifar10', postprocessor=PanelPostprocessor())``.

    Works on any network that ends in a ``Linear``. It has no settings to search.

    Args:
        config: upstream's Config with ``postprocessor.postprocessor_args``; wins over the arguments below.
        experts: names with a plus in between. prototypes: how many for each class. Both are as in
            :class:`line_plugin.Panel`.
        head: module path of the ``Linear``; without it, the network is traced to find it.

    Attributes:
        panel: the fitted :class:`line_plugin.Panel`; ``postprocessor.panel.save(path)`` keeps it for a monitor.
    """

    def __init__(
        self, config: Any = None, *, experts: str = "+".join(EXPERTS), prototypes: int = 10, head: str | None = None
    ) -> None:
        super().__init__(config)
        given = (config.postprocessor.get("postprocessor_args") or {}) if config is not None else {}
        values: dict[str, Any] = {"experts": experts, "prototypes": prototypes, "head": head} | dict(given)
        for name in values:
            if name not in _SETTINGS:
                raise unknown_name("panel setting", name, _SETTINGS)
        self.head: str | None = values["head"]
        self.panel = Panel(split_names(values["experts"]), values["prototypes"])
        self.APS_mode, self.hyperparam_search_done, self.setup_flag = False, False, False

    def setup(self, net: nn.Module, id_loader_dict: Mapping[str, Any], ood_loader_dict: Mapping[str, Any]) -> None:
        """Fit on ``id_loader_dict['train']``, once for each network."""
        if self.panel.fitted and self.panel.provenance.model_sha256 == fingerprint(net):
            self.panel.to(device_of(net))
            return
        settings = self.panel.settings
        self.panel = Panel(settings.experts, settings.prototypes)
        self.panel.fit(net, id_loader_dict["train"], head=self.head)
        self.setup_flag = True

    def postprocess(self, net: nn.Module, data: Tensor) -> tuple[Tensor, Tensor]:
        """The network's own argmax (N,) int64 and the confidence (N,) float32, high = ID, of images (N, C, H, W)."""
        path = self.panel.provenance.head
        features, logits = forward(net, Head(path, net.get_submodule(path)), data)  # type: ignore[arg-type]
        return logits.argmax(dim=1), self.panel.score(features)

    def __getstate__(self) -> dict[str, Any]:
        """Pickles on the CPU, so that a fit from a GPU can be loaded on any machine."""
        return {**self.__dict__, "panel": copy.copy(self.panel).to("cpu") if self.panel.fitted else self.panel}
