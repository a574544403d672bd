"""The end of the line: what stands behind Alertmanager and notes when it was told what."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Told:
    """One alert of one notification."""

    at: float
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str

    @property
    def kind(self) -> str:
        named = {"OODSurge": "ood", "StreamSilent": "silence", "MonitorHeartbeat": "heartbeat"}
        return self.labels.get("kind") or named.get(self.labels.get("alertname", ""), "other")

    @property
    def stream(self) -> str | None:
        """The stream that it is about; ``None`` for everything together."""
        return self.labels.get("stream") or None


Respond = Callable[[BaseHTTPRequestHandler], None]


class Receiver:
    """A web server that keeps what it is sent. ``respond`` answers in another way than with 200."""

    def __init__(self, respond: Respond | None = None) -> None:
        self.told: list[Told] = []
        self.requests = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                receiver.requests += 1
                if respond is not None:
                    with contextlib.suppress(ConnectionError):  # whoever waits gives up, as it should
                        respond(self)
                    return
                receiver.note(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def note(self, body: bytes) -> None:
        at = time.time()
        for a in json.loads(body)["alerts"]:
            self.told.append(Told(at, a["status"], a["labels"], a["annotations"], a["startsAt"]))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
