"""The public names of the publishing side: ``from monitor.client import EmbeddingPublisher, Tap, request``."""

from __future__ import annotations

from monitor.publishing.publisher import EmbeddingPublisher
from monitor.publishing.tap import Tap, request

__all__ = ["EmbeddingPublisher", "Tap", "request"]
