"""Runs before every route: checks access, and answers refusals and faults in JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.web.answers import RefusedError

Header = tuple[bytes, bytes]


class Gate(ABC):
    """ASGI middleware. A server says who may come in and how it answers those who may not, in a class of its own.

    Args:
        app: the application that answers allowed requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    @abstractmethod
    def admit(self, scope: Scope) -> None:
        """Raise if a request may not be answered.

        Raises:
            RefusedError: the sentence names what is missing.
        """

    @abstractmethod
    def answer_refused(self, scope: Scope, refused: RefusedError) -> Response:
        """Answer a request that was refused, here or by a route."""

    @abstractmethod
    def answer_fault(self, scope: Scope, error: Exception) -> Response:
        """Answer a request on which the program failed. The log says more than the answer."""

    def missing_headers(self, message: Message) -> Iterable[Header]:
        """Return headers that the begin of an answer must have besides its own."""
        return ()

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have an allowed request answered by the application."""
        await self._app(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        started = complete = False

        async def send_noted(message: Message) -> None:
            nonlocal started, complete
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *self.missing_headers(message)]
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            self.admit(scope)
            await self.pass_on(scope, receive, send_noted)
            return
        except RefusedError as refused:
            answer = self.answer_refused(scope, refused)
        except Exception as error:
            answer = self.answer_fault(scope, error)
        if started and not complete:
            raise ConnectionAbortedError
        if not started:
            await answer(scope, receive, send_noted)
