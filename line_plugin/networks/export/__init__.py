"""Exports a classifier to a file for model servers, with the outputs ``logits`` and ``embedding`` (the head's input).

A model server that returns both can be monitored without further code. :func:`export_network` writes the file and
compares it with the network. :func:`read_about` reads which network a file holds. Each format is one file in
``formats``.
"""

from __future__ import annotations

from line_plugin.networks.export.about import About, head_digest, read_about
from line_plugin.networks.export.exporting import Exported, export_network
from line_plugin.networks.export.formats import FORMATS, format_of

__all__ = ["FORMATS", "About", "Exported", "export_network", "format_of", "head_digest", "read_about"]
