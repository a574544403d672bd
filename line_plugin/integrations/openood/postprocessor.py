"""LINe as a ``BasePostprocessor``. Importing this module imports upstream OpenOOD."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from line_plugin.errors import SettingsError, unknown_name
from line_plugin.integrations.openood import compat
from line_plugin.math.percentiles import clip_at_percentile
from line_plugin.method.line import LINe
from line_plugin.networks.fingerprint import fingerprint
from line_plugin.networks.head import Head, device_of
from line_plugin.networks.tap import forward, tap_batches

compat.import_upstream()

from openood.postprocessors import BasePostprocessor  # noqa: E402
from openood.utils import comm  # noqa: E402
from tqdm import tqdm  # noqa: E402

_SETTINGS = ("p_w", "p_a", "clip", "clip_percentile")
_AUTO = "auto"
_Batch = tuple[Tensor, Tensor, Tensor]  # features (N, D), the network's own argmax (N,), labels (N,)
_Scored = tuple[NDArray[np.int_], NDArray[np.float32], NDArray[np.int_]]


class LINePostprocessor(BasePostprocessor):  # type: ignore[misc]
    """LINe for OpenOOD's Evaluator: ``Evaluator(net, 'cifar10', postprocessor=LINePostprocessor(p_w=90))``.

    Works on any network that ends in a ``Linear``, on the network's own device; ``return_feature`` and ``get_fc`` are
    not needed. It holds no network, hook or loader, so upstream's script can store it.

    Args:
        config: upstream's Config with ``postprocessor.postprocessor_args`` and ``postprocessor_sweep``; wins over
            the arguments below.
        p_w, p_a, clip: as in :class:`line_plugin.LINe`; ``None`` turns one off. ``clip="auto"`` chooses the clip from
            the training images (:meth:`line_plugin.LINe.auto`).
        clip_percentile: if given, ``clip`` is this percentile of the ID validation features.
        head: module path of the ``Linear``; without it, the network is traced to find it.
        sweep: values to try for each setting, ``{"p_w_list": [...], ...}``; turns the search on.

    Attributes:
        line: the fitted :class:`line_plugin.LINe`; ``postprocessor.line.save(path)`` keeps it for a monitor.
    """

    def __init__(
        self,
        config: Any = None,
        *,
        p_w: float | None = 90.0,
        p_a: float | None = 90.0,
        clip: float | Literal["auto"] | None = 1.0,
        clip_percentile: float | None = None,
        head: str | None = None,
        sweep: Mapping[str, list[float | None]] | None = None,
    ) -> None:
        super().__init__(config)
        given = config.postprocessor if config is not None else {}
        values: dict[str, Any] = {"p_w": p_w, "p_a": p_a, "clip": clip, "clip_percentile": clip_percentile}
        values |= {"head": head} | (given.get("postprocessor_args") or {})
        for name in values:
            if name not in (*_SETTINGS, "head"):
                raise unknown_name("LINe setting", name, (*_SETTINGS, "head"))
        self.head: str | None = values.pop("head")
        self.settings: dict[str, Any] = values
        self.line = self._unfitted()
        self.args_dict = dict(given.get("postprocessor_sweep") or sweep or {})
        self._swept = [_swept_name(key) for key in self.args_dict]
        self.APS_mode = bool(given.get("APS_mode", bool(sweep)))
        self.hyperparam_search_done = False
        self.setup_flag = False
        self._seen: dict[int, tuple[Any, list[_Batch]]] | None = None  # by id of the loader, which is kept too
        self._by_p_w: dict[float | None, LINe] = {}
        self._clips: dict[float, float] = {}  # clip_percentile: clip
        self._chosen: float | None = None  # the settings that clip="auto" stands for

    def setup(self, net: nn.Module, id_loader_dict: Mapping[str, Any], ood_loader_dict: Mapping[str, Any]) -> None:
        """Fit on ``id_loader_dict['train']``, once for each network.

        Upstream skips this for an object that was set up before, even with another network. Here another network, or
        the same one with other weights, is fitted (and searched) again.
        """
        net.eval()
        weights = fingerprint(net)
        if self.setup_flag and self.line.provenance.model_sha256 == weights:
            self.line.to(device_of(net))
            return
        loader = tqdm(id_loader_dict["train"], desc="Setup: ", disable=not comm.is_main_process())
        self.line = self._unfitted().fit(net, loader, head=self.head)
        self._chosen = self.line.settings.clip
        self.line.provenance = replace(self.line.provenance, model_sha256=weights)
        self._by_p_w, self._clips = {}, self._measure_clips(net, id_loader_dict)
        self._apply()
        if self.setup_flag:  # for another network
            self.hyperparam_search_done = False
        self.setup_flag = True

    def _unfitted(self) -> LINe:
        p_w, p_a, clip = (self.settings[name] for name in ("p_w", "p_a", "clip"))
        return LINe.auto(p_w, p_a) if clip == _AUTO else LINe(p_w, p_a, clip)

    def _measure_clips(self, net: nn.Module, id_loader_dict: Mapping[str, Any]) -> dict[float, float]:
        """The clip of every percentile that may be asked for, from one pass over ``id_loader_dict['val']``."""
        tried = (
            v
            for key, name in zip(self.args_dict, self._swept, strict=True)
            if name == "clip_percentile"
            for v in self.args_dict[key]
        )
        wanted = {p for p in (self.settings["clip_percentile"], *tried) if p is not None}
        if not wanted:
            return {}
        batches = tap_batches(net, id_loader_dict["val"], head=self.line.provenance.head)
        features = torch.cat([batch.features.cpu() for batch in batches])
        return {p: clip_at_percentile(features, p) for p in wanted}

    def _apply(self) -> None:
        """Applies ``settings`` to a fitted ``line``: makes the masks again, without any images."""
        p_w, p_a, clip, percentile = (self.settings[name] for name in _SETTINGS)
        if percentile is not None:
            if percentile not in self._clips:
                known = ", ".join(f"{p:g}" for p in sorted(self._clips)) or "none"
                raise SettingsError(f"clip_percentile={percentile:g} was not measured (known: {known}): sweep it")
            clip = self._clips[percentile]
        elif clip == _AUTO:
            clip = self._chosen
        # The percentiles of WP take most of the time. An earlier fit with this p_w has them.
        base = self._by_p_w.get(p_w, self.line)
        self.line = self._by_p_w[p_w] = base.with_settings(p_w, p_a, clip)

    def postprocess(self, net: nn.Module, data: Tensor) -> tuple[Tensor, Tensor]:
        """Class and confidence of a batch.

        Args:
            net: the network of :meth:`setup`.
            data: (N, C, H, W) on the network's device.

        Returns:
            ``(pred, conf)``: (N,) int64, the network's own argmax, from which upstream computes ACC (LINe's internal
            class is that of :meth:`line_plugin.LINe.predict`), and (N,) float32, high = ID.
        """
        features, classes = self._forward(net, data)
        return classes, self.line.score(features)

    def inference(self, net: nn.Module, data_loader: Any, progress: bool = True) -> _Scored:
        """Classes, confidences and labels of a loader, as upstream returns them."""
        rows = [
            (classes, self.line.score(features).cpu(), labels)
            for features, classes, labels in self._batches(net, data_loader, progress)
        ]
        classes, confidence, labels = (torch.cat(column).numpy() for column in zip(*rows, strict=True))
        return classes.astype(int), confidence, labels.astype(int)

    def _batches(self, net: nn.Module, data_loader: Any, progress: bool) -> Iterator[_Batch]:
        """Forwards a loader, or during a search returns its kept features.

        Both are batch by batch, so that they round alike.
        """
        if self._seen is not None and id(data_loader) in self._seen:
            yield from self._seen[id(data_loader)][1]
            return
        kept: list[_Batch] = []
        device = device_of(net)
        net.eval()
        for batch in tqdm(data_loader, disable=not progress or not comm.is_main_process()):
            features, classes = self._forward(net, batch["data"].to(device))
            if self._seen is not None:
                kept.append((features.cpu(), classes.cpu(), batch["label"]))
            yield features, classes.cpu(), batch["label"]
        if self._seen is not None:
            self._seen[id(data_loader)] = (data_loader, kept)

    def _forward(self, net: nn.Module, data: Tensor) -> tuple[Tensor, Tensor]:
        path = self.line.provenance.head
        head = Head(path, net.get_submodule(path))  # type: ignore[arg-type]
        features, logits = forward(net, head, data)
        return features, logits.argmax(dim=1)

    @contextlib.contextmanager
    def searching(self) -> Iterator[None]:
        """Keeps the features of the validation sets during upstream's search.

        The search scores the same two loaders for every combination, and nothing else runs in between.
        """
        self._seen, self._by_p_w = {}, {}
        try:
            yield
        finally:
            self._seen, self._by_p_w = None, {}

    def set_hyperparam(self, hyperparam: list[Any]) -> None:
        """Set the swept settings, in the order of ``postprocessor_sweep``, and make the masks again."""
        if len(hyperparam) != len(self._swept):
            raise SettingsError(f"{len(hyperparam)} values given, expected one for each of {', '.join(self._swept)}")
        self.settings |= dict(zip(self._swept, hyperparam, strict=True))
        if self.line.fitted:
            self._apply()

    def get_hyperparam(self) -> list[Any]:
        """The settings, in the order of ``postprocessor_sweep``; all of them if nothing is swept."""
        return [self.settings[name] for name in self._swept or _SETTINGS]

    def __getstate__(self) -> dict[str, Any]:
        """Pickles on the CPU, so that a fit from a GPU can be loaded on any machine."""
        state = {**self.__dict__, "_seen": None, "_by_p_w": {}}
        if self.line.fitted:
            state["line"] = copy.copy(self.line).to("cpu")
        return state


def _swept_name(key: str) -> str:
    """Accepts ``p_w_list`` and ``p_w``, since upstream's configs write both."""
    name = key.removesuffix("_list")
    if name not in _SETTINGS:
        raise unknown_name("LINe setting in postprocessor_sweep", name, _SETTINGS)
    return name
