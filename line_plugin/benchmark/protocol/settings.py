"""Decides which settings a method starts with: from the command line, your YAML file, a paper, or its own.

The first of these that has a setting wins:

1. ``--set`` on the command line (or ``--preset``, ``--auto``),
2. ``methods`` in the benchmark's YAML file,
3. ``published`` in the same file, if the paper published them for this network,
4. the method's defaults; LINe's default is the rule that chooses from the training images.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from line_plugin.benchmark import methods
from line_plugin.benchmark.methods.base import Method, Setting
from line_plugin.benchmark.protocol.spec import Benchmark
from line_plugin.networks.recognition import is_architecture


def create(name: str, benchmark: Benchmark, model: nn.Module, given: Mapping[str, Setting] | None = None) -> Method:
    """Create a method with its starting settings for this benchmark and network.

    Args:
        given: the user's settings, which win.

    Raises:
        SettingsError: the method or a setting is unknown.
    """
    base, origin = _start(name, benchmark, model)
    merged = methods.find(name).merge(base, given or {})
    method = methods.create(name, merged)
    method.origin = "" if given else origin  # users know the origin of their own settings
    return method


def _start(name: str, benchmark: Benchmark, model: nn.Module) -> tuple[Mapping[str, Setting], str]:
    """Return the benchmark's settings for a method on this network, and their origin as a clause."""
    published = benchmark.published.get(name)
    if name in benchmark.methods or published is None:
        return benchmark.methods.get(name, {}), ""
    if is_architecture(model, published.network, benchmark.num_classes):
        return published.settings, f"its settings are those that were published for this network ({published.network})"
    return {}, f"no settings were published for this network, only for {published.network}"
