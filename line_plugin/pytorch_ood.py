"""The public names of the pytorch-ood detectors in :mod:`line_plugin.integrations`."""

from line_plugin.integrations.pytorch_ood import LINeDetector
from line_plugin.integrations.pytorch_ood_panel import PanelDetector

__all__ = ["LINeDetector", "PanelDetector"]
