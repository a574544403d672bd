"""The status page: one HTML document with the styles and scripts in ``static``. There is no build step."""

from __future__ import annotations

from monitor.web.page.routes import routes

__all__ = ["routes"]
