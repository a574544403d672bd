"""The status page: one HTML document with its styles and scripts, as they lie in ``static``. Nothing is built."""

from __future__ import annotations

from monitor.web.page.routes import routes

__all__ = ["routes"]
