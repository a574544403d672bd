"""Makes HTTP exchanges that end in time, even if the receiver hangs or drips.

A read timeout is not enough: it starts again with each byte, so a receiver that sends one byte a second is never late.
A deadline that we check between reads is not enough either: a name lookup, or slow headers, never give us the chance to
check. So each exchange runs in a thread of its own, and we stop waiting for that thread at the deadline. An abandoned
thread sends nothing more, and it ends at its next byte or timeout.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from line_plugin.optional import say_missing
from monitor.alerts.addresses import hide_addresses, shown
from monitor.alerts.sink import TAKEN, Outcome
from monitor.errors import MissingLibraryError

if TYPE_CHECKING:
    import ssl

    import httpx

LEFT_BEHIND = 4
"""How many exchanges of a sink may hang at once, for instance in a name lookup. Above that, no more are started."""

BODY = 2048
"""How many bytes of an answer are read."""

_WAIT_AND_REPEAT = frozenset({408, 425, 429})


@dataclass
class Answer:
    """The answer of a receiver.

    Attributes:
        status: the HTTP status; 0 if there was no answer.
        why: why there was no answer, a clause for people.
        headers: of the answer, with names in lower case.
        body: the beginning of the body, on one line; it is only read if the status is not 2xx.
        url: the address that was called. It may hold a token and is never shown as it is.
    """

    url: str
    status: int = 0
    why: str = ""
    headers: Mapping[str, str] | None = None
    body: str = ""

    def header(self, name: str) -> str:
        """Return a header of the answer; empty if the answer does not have it."""
        return (self.headers or {}).get(name, "")

    @property
    def outcome(self) -> Outcome:
        """Say whether the receiver accepted the alert, and if not, whether to try again."""
        body = f": {self.body}" if self.body else ""
        if not self.status:
            return Outcome("again", self.why)
        if 200 <= self.status < 300:
            return TAKEN
        if 300 <= self.status < 400:
            to = shown(self.header("location")) if self.header("location") else "nowhere"
            why = f"it answered {self.status}, a redirect to {to}; redirects are not followed: set the address itself"
            return Outcome("again", why)
        why = f"it answered {self.status}{body}"
        if 400 <= self.status < 500 and self.status not in _WAIT_AND_REPEAT:
            return Outcome("refused", why)
        return Outcome("again", why, _seconds(self.header("retry-after")))

    def clock(self) -> float | None:
        """The receiver's time when it answered, in seconds since the epoch; ``None`` if the answer has no date."""
        found = _date(self.header("date"))
        return found.timestamp() if found else None


class Exchange:
    """Calls a receiver, and takes at most ``timeout`` seconds from the name lookup to the end of the answer.

    Args:
        timeout: seconds for the whole exchange.

    Raises:
        MissingLibraryError: httpx is not installed.
    """

    def __init__(self, timeout: float) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingLibraryError(say_missing("httpx", "delivery")) from None
        import logging

        # httpx writes each address at INFO, tokens included.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._timeout = timeout
        self._trust: ssl.SSLContext = httpx.create_ssl_context()
        self._free = threading.BoundedSemaphore(LEFT_BEHIND)

    def __call__(self, method: str, url: str, body: bytes = b"") -> Answer:
        """Call the receiver, and return its answer or the reason why there is none. Raises nothing."""
        import httpx

        answer, done = Answer(url), threading.Event()
        if not self._free.acquire(blocking=False):
            answer.why = f"{LEFT_BEHIND} earlier calls still hang, perhaps in the name service"
            return answer
        deadline = time.monotonic() + self._timeout
        client = httpx.Client(verify=self._trust, timeout=self._timeout, follow_redirects=False)

        def run() -> None:
            try:
                _call(client, answer, method, body, deadline)
            except Exception as error:
                answer.why = _describe(error, self._timeout)
            finally:
                self._free.release()
                done.set()

        threading.Thread(target=run, name="delivery-exchange", daemon=True).start()
        finished = done.wait(self._timeout)
        with suppress(Exception):
            client.close()
        if finished or answer.status:
            return answer
        return Answer(url, why=f"it did not answer within {self._timeout:g} seconds")


def _call(client: httpx.Client, answer: Answer, method: str, body: bytes, deadline: float) -> None:
    def goes_on(_name: str, _info: Mapping[str, Any]) -> None:
        """Called by the client before each of its steps, so that an abandoned exchange does not send late."""
        if time.monotonic() > deadline:
            raise TimeoutError

    headers = {"Accept-Encoding": "identity", "User-Agent": "ood-monitor"}
    if body:
        headers["Content-Type"] = "application/json"
    with client.stream(
        method, answer.url, content=body or None, headers=headers, extensions={"trace": goes_on}
    ) as response:
        answer.headers = {name.lower(): value for name, value in response.headers.items()}
        answer.status = response.status_code
        if 200 <= response.status_code < 300:
            return
        read = b""
        for piece in response.iter_raw(256):
            read += piece
            answer.body = _one_line(read[:BODY])
            if len(read) >= BODY or time.monotonic() > deadline:
                return


def _describe(error: Exception, timeout: float) -> str:
    import httpx

    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return f"it did not answer within {timeout:g} seconds"
    detail = hide_addresses(" ".join(str(error).split()))[:200] or type(error).__name__
    if isinstance(error, httpx.RemoteProtocolError):
        return f"its answer is not HTTP ({detail})"
    if isinstance(error, httpx.NetworkError):
        return f"it cannot be reached ({detail})"
    return f"it cannot be called ({type(error).__name__}: {detail})"


def _one_line(body: bytes) -> str:
    text = hide_addresses(" ".join(body.decode("utf-8", "replace").split()))[:300]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _seconds(text: str) -> float | None:
    """Read a ``Retry-After`` header, which holds seconds or a date."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    found = _date(text) if text else None
    return max(0.0, found.timestamp() - time.time()) if found else None
