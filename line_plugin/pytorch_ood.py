"""The public names of what is in :mod:`line_plugin.integrations` for pytorch-ood."""

from line_plugin.integrations.pytorch_ood import LINeDetector
from line_plugin.integrations.pytorch_ood_panel import PanelDetector

__all__ = ["LINeDetector", "PanelDetector"]
