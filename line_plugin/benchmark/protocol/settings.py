"""Which settings a method starts from: those of the command line, of your YAML file, of a paper, or its own.

The first of these that says something about a setting wins:

1. what is given with ``--set`` (or ``--preset``, ``--auto``),
2. ``methods`` of the benchmark's YAML file,
3. ``published`` of it, if the network is the one that the paper published them for,
4. the method's defaults; LINe's are the rule that chooses from the training images.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from line_plugin.benchmark import methods
from line_plugin.benchmark.methods.base import Method, Setting
from line_plugin.benchmark.protocol.spec import Benchmark
from line_plugin.networks.recognition import is_architecture


def create(name: str, benchmark: Benchmark, model: nn.Module, given: Mapping[str, Setting] | None = None) -> Method:
    """A method with the settings that it starts from on this benchmark and network.

    Args:
        given: settings that the user names; they win.

    Raises:
        SettingsError: an unknown method or setting.
    """
    base, origin = _start(name, benchmark, model)
    merged = methods.find(name).merge(base, given or {})
    method = methods.create(name, merged)
    method.origin = "" if given else origin  # with settings of their own, users know where they come from
    return method


def _start(name: str, benchmark: Benchmark, model: nn.Module) -> tuple[Mapping[str, Setting], str]:
    """What the benchmark says about the method on this network, and why in a clause."""
    published = benchmark.published.get(name)
    if name in benchmark.methods or published is None:
        return benchmark.methods.get(name, {}), ""
    if is_architecture(model, published.network, benchmark.num_classes):
        return published.settings, f"its settings are those that were published for this network ({published.network})"
    return {}, f"no settings were published for this network, only for {published.network}"
