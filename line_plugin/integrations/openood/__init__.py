"""Makes LINe and the panel usable in upstream OpenOOD: postprocessors, registration, a launcher and an evaluation.

This can be imported without OpenOOD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from line_plugin.integrations.openood.evaluation import evaluate_with_openood
    from line_plugin.integrations.openood.panel import PanelPostprocessor as PanelPostprocessor
    from line_plugin.integrations.openood.postprocessor import LINePostprocessor as LINePostprocessor
    from line_plugin.integrations.openood.registry import register

# The postprocessors are left out: `import *` must not need OpenOOD.
__all__ = ["evaluate_with_openood", "register"]

_HOMES = {
    "LINePostprocessor": "line_plugin.integrations.openood.postprocessor",
    "PanelPostprocessor": "line_plugin.integrations.openood.panel",
    "evaluate_with_openood": "line_plugin.integrations.openood.evaluation",
    "register": "line_plugin.integrations.openood.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'line_plugin.openood' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
