"""Ends with 0 if the worker of this container is healthy: what HEALTHCHECK runs. With or without TLS."""

from __future__ import annotations

import http.client
import os
import ssl
import sys

PORT = int(os.environ.get("OOD_MONITOR__HTTP__PORT", "9100"))
SECONDS = 2.0


def answers(connection: http.client.HTTPConnection) -> bool:
    """Whether /-/healthy says 200."""
    connection.request("GET", "/-/healthy")
    return connection.getresponse().status == http.client.OK


def healthy() -> bool:
    """Ask in plain text, and if that is not what is spoken there, over TLS. On loopback no certificate is checked."""
    try:
        return answers(http.client.HTTPConnection("127.0.0.1", PORT, timeout=SECONDS))
    except (http.client.HTTPException, ConnectionResetError):
        unchecked = ssl._create_unverified_context()  # noqa: S323, SLF001
        return answers(http.client.HTTPSConnection("127.0.0.1", PORT, timeout=SECONDS, context=unchecked))


if __name__ == "__main__":
    try:
        sys.exit(0 if healthy() else 1)
    except OSError as error:
        sys.exit(f"the worker does not answer on port {PORT}: {error}")
