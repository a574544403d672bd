"""Access control and security headers for all routes at once, so that no route can forget them.

- A client shows the token (``Authorization: Bearer ...``; in a browser, as the password of any user) or a certificate.
  Health probes need neither.
- A web page of another site must not act here through somebody's browser. So the Host header must be a name that is
  known (against DNS rebinding), and requests that change something must be JSON from a page of our own (CSRF).
- Our pages load nothing from other hosts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.web.answers import BODY_BYTES, RefusedError, error_answer
from monitor.web.gate import Gate, Header

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/-/healthy", "/-/ready"})
"""Health probes. They need no token and no known Host, and answer one sentence."""

RUNNING = 16
"""How many requests are answered at once. Probes and event streams do not count."""

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every answer. ``cache-control: no-store`` is added if a route does not set its own."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: clients must show it, unless it is empty. It is never shown.
        certificates: whether clients must show a certificate of the authority in the settings.
        hosts: allowed Host names in lower case. Addresses and ``localhost`` are always allowed.
    """

    token: str = field(default="", repr=False)
    certificates: bool = False
    hosts: frozenset[str] = frozenset()

    def refuse(self, scope: Scope) -> None:
        """Raise if a request may not be answered.

        Raises:
            RefusedError: the sentence names what is missing.
        """
        headers = headers_of(scope)
        if scope["path"] in OPEN_PATHS and scope["method"] in SAFE:
            return
        self.identify(scope, headers)
        changes = scope["method"] not in SAFE
        if changes or not (self.token or self.certificates):
            self.refuse_host(headers.get("host", ""))
        if changes:
            _refuse_foreign(headers)

    def identify(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raise unless the client shows the token or certificate that the settings ask for.

        Raises:
            RefusedError: the sentence names what is missing.
        """
        if self.certificates and not scope.get("state", {}).get("certified"):
            raise RefusedError(401, "a client certificate is needed, of the authority in http.tls_client_cafile")
        if self.token and not self._knows_token(headers.get("authorization", "")):
            # Chromium looks at the first challenge alone: the one that browsers know comes first.
            asks = {"www-authenticate": 'Basic realm="ood-monitor", Bearer realm="ood-monitor"'}
            raise RefusedError(401, "the token of http.token is needed: Authorization: Bearer TOKEN", asks)

    def _knows_token(self, given: str) -> bool:
        scheme, _, value = given.partition(" ")
        shown = value.strip()
        if scheme.lower() == "basic":
            shown = _password(shown)
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(_digest(shown), _digest(self.token))

    def refuse_host(self, given: str) -> None:
        """Refuse unknown Host names: an attacker may own a name that resolves to this process."""
        name = _host_of(given)
        if name == "localhost" or name in self.hosts or _is_address(name):
            return
        raise RefusedError(
            421, "the Host header names a host that is not known here: use an address, or add it to http.allowed_hosts"
        )


def _refuse_foreign(headers: Mapping[str, str]) -> None:
    """Refuse changes that are not JSON from our own origin: a form on another site cannot send JSON."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(415, "expected Content-Type: application/json")
    origin = headers.get("origin", "")
    if origin and _netloc(origin) != headers.get("host", "").lower():
        raise RefusedError(403, "the request comes from a page of another site, which may not change anything here")


class Guard(Gate):
    """Refuses forbidden requests, bounds the number answered at once, and gives each answer our headers.

    Args:
        app: the application that answers allowed requests.
        access: which requests are allowed.
        redact: removes secrets from a text.
        streams: paths of event streams, which bound their own number.
    """

    def __init__(self, app: ASGIApp, access: Access, redact: object = None, streams: frozenset[str] = frozenset()):
        super().__init__(app)
        self._access, self._streams = access, streams
        self._redact = redact if callable(redact) else str
        self._running, self._said_at = 0, float("-inf")

    def admit(self, scope: Scope) -> None:
        """Refuse who may not ask, and bodies that are too large."""
        self._access.refuse(scope)
        _refuse_body(headers_of(scope))

    def answer_refused(self, scope: Scope, refused: RefusedError) -> Response:
        """Answer in one sentence without secrets. The connection is closed if a body was not read."""
        close = {"connection": "close"} if refused.status == 413 else {}
        return error_answer(refused.status, self._redact(refused.sentence), {**refused.headers, **close})

    def answer_fault(self, scope: Scope, error: Exception) -> Response:
        """Log the fault at most once a minute, so that a client that repeats its request does not fill the log."""
        if time.monotonic() - self._said_at > 60:
            self._said_at = time.monotonic()
            log.error(
                "a request to %s failed; this is logged at most once a minute", scope["path"][:200], exc_info=error
            )
        return error_answer(500, "this is a fault of the monitor; its log says more", {"connection": "close"})

    def missing_headers(self, message: Message) -> list[Header]:
        """Return our headers that an answer does not have yet."""
        there = {name.lower() for name, _ in message.get("headers", ())}
        wanted = {**HEADERS, "cache-control": "no-store"}
        return [(k.encode(), v.encode()) for k, v in wanted.items() if k.encode() not in there]

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered, unless too many are worked on already."""
        counts = scope["path"] not in OPEN_PATHS | self._streams
        if counts and self._running >= RUNNING:
            raise RefusedError(503, f"{RUNNING} requests are worked on already: try again", {"retry-after": "1"})
        self._running += counts
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= counts


async def answer_http_error(_request: object, error: Exception) -> object:
    """Answer what Starlette itself refuses: an unknown path, or a method that a path does not have."""
    assert isinstance(error, HTTPException)  # noqa: S101  registered for that class
    words = {404: "there is nothing at this path", 405: "this path does not know that method"}
    return error_answer(error.status_code, words.get(error.status_code, error.detail), error.headers)


def _refuse_body(headers: Mapping[str, str]) -> None:
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 9 or int(length) > BODY_BYTES:
        raise RefusedError(413, f"the body is larger than {BODY_BYTES} bytes")


def headers_of(scope: Scope) -> dict[str, str]:
    """Return headers by lower-case name. A header that is given twice becomes one text, which nothing accepts."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _host_of(header: str) -> str:
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
