"""LINe as a guest of upstream OpenOOD: a postprocessor, its registration, a launcher and an evaluation.

Importable without OpenOOD; only what needs it asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from line_plugin.openood.evaluation import evaluate_with_openood
from line_plugin.openood.registry import register

if TYPE_CHECKING:
    from line_plugin.openood.postprocessor import LINePostprocessor as LINePostprocessor

# LINePostprocessor is left out: `import *` must not need OpenOOD.
__all__ = ["evaluate_with_openood", "register"]


def __getattr__(name: str) -> Any:
    if name == "LINePostprocessor":  # its base class is upstream's
        from line_plugin.openood.postprocessor import LINePostprocessor

        return LINePostprocessor
    raise AttributeError(f"module 'line_plugin.openood' has no attribute {name!r}")
