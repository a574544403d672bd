"""The public name of :mod:`line_plugin.integrations.pytorch_ood`."""

from line_plugin.integrations.pytorch_ood import LINeDetector

__all__ = ["LINeDetector"]
