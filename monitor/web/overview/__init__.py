"""Builds the JSON document behind the status page from what the store and the process know."""

from __future__ import annotations

from monitor.web.overview.routes import routes

__all__ = ["routes"]
