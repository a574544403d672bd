"""The thread that answers HTTP. The counting loop never waits for it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from monitor.config.sections.http import HttpConfig

log = logging.getLogger(__name__)


class Serving:
    """An HTTP server in a thread of its own.

    Args:
        app: the application to serve.
        http: the settings of the server. It listens as soon as this object exists.

    Raises:
        ConfigError: the address is taken, or a TLS file cannot be used.
    """

    def __init__(self, app: ASGIApp, http: HttpConfig) -> None:
        from monitor.web.server import Bounds, listen, make_server

        self._bounds = Bounds()
        self._server = make_server(app, http, self._bounds)
        self._listening = listen(http.host, http.port)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def close(self, timeout: float = 3.0) -> None:
        """Stop within ``seconds``. Requests in progress are finished if possible."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._listening.close()

    def _run(self) -> None:
        from monitor.web.server import serve

        try:
            serve(self._server, self._listening, self._bounds.header_seconds)
        except Exception:
            log.exception("nothing is served over HTTP any more; counting and alerts go on. Restart this process")
