"""Alerts for programs: as they stand, as they change, and what people do about them. docs/http.md lists the routes."""

from __future__ import annotations

from monitor.web.alerts.routes import routes

__all__ = ["routes"]
