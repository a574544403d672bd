"""The API of alerts: current alerts, their changes, mutes and acknowledgements. docs/http.md lists the routes."""

from __future__ import annotations

from monitor.web.alerts.routes import routes

__all__ = ["routes"]
