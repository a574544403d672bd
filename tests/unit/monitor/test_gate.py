"""What stands before the routes of both servers: refusals are answered, and a fault never looks like a whole answer."""

from __future__ import annotations

import anyio
import pytest
from starlette.responses import PlainTextResponse

from monitor.web.answers import RefusedError, error_answer
from monitor.web.gate import Gate

START = {"type": "http.response.start", "status": 200, "headers": []}


class Fence(Gate):
    """Lets nobody to /closed, and marks every answer."""

    def admit(self, scope):
        if scope["path"] == "/closed":
            raise RefusedError(403, "nobody may come in here")

    def answer_refused(self, scope, refused):
        return error_answer(refused.status, refused.sentence)

    def answer_fault(self, scope, error):
        return PlainTextResponse(f"a fault: {type(error).__name__}", 500)

    def missing_headers(self, message):
        return [(b"x-marked", b"yes")]


def answered(*, path="/", before=(), fails=False):
    """What is sent if the application sends ``before``, and then fails or not."""
    sent = []

    async def app(_scope, _receive, send):
        for message in before:
            await send(dict(message))
        if fails:
            raise RuntimeError("broken")

    async def send(message):
        sent.append(message)

    async def once():
        await Fence(app)({"type": "http", "method": "GET", "path": path, "headers": []}, None, send)

    anyio.run(once)
    return [(m.get("status"), m.get("body"), m.get("more_body", False)) for m in sent], sent


def test_who_may_not_come_in_is_answered_and_the_application_never_hears_of_it():
    (begin, body), sent = answered(path="/closed", before=[START])
    assert begin[0] == 403
    assert b"nobody may come in here" in body[1]
    assert (b"x-marked", b"yes") in sent[0]["headers"]


def test_a_fault_before_an_answer_is_answered_and_every_answer_has_the_headers():
    (begin, body), sent = answered(fails=True)
    assert (begin[0], body[1]) == (500, b"a fault: RuntimeError")
    assert (b"x-marked", b"yes") in sent[0]["headers"]


def test_a_fault_within_an_answer_breaks_the_connection_off_so_that_nobody_takes_it_for_whole():
    part = {"type": "http.response.body", "body": b"half", "more_body": True}
    with pytest.raises(ConnectionAbortedError):
        answered(before=[START, part], fails=True)


def test_a_fault_behind_a_whole_answer_adds_nothing_to_it():
    whole = {"type": "http.response.body", "body": b"whole"}
    messages, _ = answered(before=[START, whole], fails=True)
    assert messages == [(200, None, False), (None, b"whole", False)]
