"""LINe out-of-distribution detection: exact, fast, and registered in OpenOOD.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from line_plugin.errors import LinePluginError
from line_plugin.version import __version__

if TYPE_CHECKING:
    from line_plugin.integrations.openood import register
    from line_plugin.integrations.openood.postprocessor import LINePostprocessor as LINePostprocessor
    from line_plugin.math.contributions import ClassSums
    from line_plugin.method.calibration import Calibration
    from line_plugin.method.line import LINe
    from line_plugin.method.loading import load_artifact
    from line_plugin.method.panel import Panel
    from line_plugin.method.settings import PRESETS, LINeSettings

__all__ = [
    "PRESETS",
    "Calibration",
    "ClassSums",
    "LINe",
    "LINeSettings",
    "LinePluginError",
    "Panel",
    "__version__",
    "load_artifact",
    "register",
]

_HOMES = {
    "LINe": "line_plugin.method.line",
    "Panel": "line_plugin.method.panel",
    "load_artifact": "line_plugin.method.loading",
    "LINeSettings": "line_plugin.method.settings",
    "PRESETS": "line_plugin.method.settings",
    "Calibration": "line_plugin.method.calibration",
    "ClassSums": "line_plugin.math.contributions",
    "register": "line_plugin.integrations.openood",
    # Not in __all__: its base class is OpenOOD's, and `import *` must not need OpenOOD.
    "LINePostprocessor": "line_plugin.integrations.openood",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'line_plugin' has no attribute {name!r}")
    import importlib

    try:
        home = importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        from line_plugin.optional import explain_missing

        if (missing := explain_missing(error, f"line_plugin.{name}")) is not None:
            raise missing from None
        raise
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
