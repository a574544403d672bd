"""People's side: a receiver beside Alertmanager that does harm, and Alertmanager itself away."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.chaos.faults import Fault
from tests.chaos.receiver import Receiver
from tests.chaos.stage import Stage


class BadReceiver(Fault):
    """A webhook that misbehaves while Alertmanager works: it must delay nobody."""

    lasts, allowance = 4.0, 10.0

    def settings(self, stage: Any) -> dict[str, dict[str, Any]]:
        self.receiver = Receiver(self.respond)
        return {"delivery": {"webhook_url": self.receiver.url}}

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        raise NotImplementedError

    def clean(self, stage: Stage) -> None:
        self.receiver.close()


class Hangs(BadReceiver):
    name, about = "receiver-hangs", "a webhook that takes the request and never answers"

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        time.sleep(60)


class Drips(BadReceiver):
    name, about = "receiver-drips", "a webhook that answers a byte every two seconds"

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: " + b"x" * 60:
            request.wfile.write(bytes([byte]))
            request.wfile.flush()
            time.sleep(2)


class Fails(BadReceiver):
    name, about = "receiver-500", "a webhook that answers 500 to everything"

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        request.send_error(500)


class NotHttp(BadReceiver):
    name, about = "receiver-not-http", "a webhook whose answer is not HTTP"

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


class AlertmanagerKilled(Fault):
    name, about = "alertmanager-killed", "Alertmanager killed, and started again"
    lasts, allowance, blind = 12.0, 45.0, True

    def inject(self, stage: Stage) -> None:
        stage.servers.alertmanager.kill()

    def heal(self, stage: Stage) -> None:
        stage.servers.restart_alertmanager()
