"""Ends with 0 if the process of this container is healthy: what HEALTHCHECK runs. With or without TLS.

``healthy.py PORT``; without one, that of OOD_MONITOR__HTTP__PORT.
"""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import sys

SECONDS = 2.0
"""For the whole answer. HEALTHCHECK waits for three."""


def answers(connection: http.client.HTTPConnection) -> bool:
    """Whether /-/healthy says 200; what else it says, the log of health checks keeps."""
    connection.request("GET", "/-/healthy")
    answer = connection.getresponse()
    print(answer.read(500).decode("utf-8", "replace").strip())
    return answer.status == http.client.OK


def healthy(port: int) -> bool:
    """Ask in plain text, and if that is not what is spoken there, over TLS. On loopback no certificate is checked."""
    try:
        return answers(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS))
    except (http.client.HTTPException, ConnectionResetError):
        unchecked = ssl._create_unverified_context()  # noqa: S323
        return answers(http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=unchecked))


def give_up(*_: object) -> None:
    """The time is up."""
    raise TimeoutError(f"no whole answer in {SECONDS:g} s")


def main(port: int) -> None:
    """Ask once.

    Raises:
        SystemExit: 0 if it is healthy, else 1.
    """
    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        sys.exit(0 if healthy(port) else 1)
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"port {port} of this container does not answer: {error}")


if __name__ == "__main__":
    main(int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("OOD_MONITOR__HTTP__PORT", "9100")))
