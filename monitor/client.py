"""The public door to the publishing side: ``from monitor.client import EmbeddingPublisher, Tap, request``."""

from __future__ import annotations

from monitor.publishing.publisher import EmbeddingPublisher, Tap, request

__all__ = ["EmbeddingPublisher", "Tap", "request"]
