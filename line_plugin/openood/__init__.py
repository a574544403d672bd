"""The public name of :mod:`line_plugin.integrations.openood`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from line_plugin.integrations.openood import __all__ as __all__
from line_plugin.integrations.openood import __getattr__ as __getattr__

if TYPE_CHECKING:
    from line_plugin.integrations.openood import LINePostprocessor as LINePostprocessor
    from line_plugin.integrations.openood import PanelPostprocessor as PanelPostprocessor
    from line_plugin.integrations.openood import evaluate_with_openood as evaluate_with_openood
    from line_plugin.integrations.openood import register as register
