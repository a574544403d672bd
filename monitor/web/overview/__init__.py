"""What the store and the process know, as one JSON document for people: bounded, and made every few seconds at most."""

from __future__ import annotations

from monitor.web.overview.routes import routes

__all__ = ["routes"]
