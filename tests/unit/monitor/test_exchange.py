"""One HTTP exchange ends in time, and what came of it is told apart, against real sockets that misbehave."""

from __future__ import annotations

import logging
import socket
import threading
import time

import pytest

from monitor.alerts.addresses import address, beneath, hide_addresses, shown
from monitor.alerts.exchange import LEFT_BEHIND, Exchange
from monitor.errors import ConfigError
from monitor.testing.receivers import Receiver, status

TIMEOUT = 0.8
OUTCOMES = {
    "good": ("taken", ""),
    "hangs": ("again", "did not answer within 0.8 seconds"),
    "drips": ("again", "it answered 500"),
    "drips headers": ("again", "did not answer within 0.8 seconds"),
    "floods": ("again", "it answered 500: xxx"),
    "garbage": ("again", "its answer is not HTTP"),
    "cuts": ("again", "its answer is not HTTP"),
    "redirects": ("again", "it answered 302, a redirect to http://127.0.0.1:1/...; redirects are not followed"),
    "refuses": ("refused", "it answered 400: no such route"),
    "fails": ("again", "it answered 500: out of order"),
    "asks to wait": ("again", "it answered 429"),
}


@pytest.mark.parametrize("behaviour", OUTCOMES)
def test_an_exchange_ends_in_time_and_says_what_happened(behaviour):
    with Receiver(behaviour) as receiver:
        exchange = Exchange(TIMEOUT)
        began = time.monotonic()
        outcome = exchange("POST", f"{receiver.url}/hook", b"{}").outcome
        assert time.monotonic() - began < TIMEOUT + 0.5
        assert outcome.status == OUTCOMES[behaviour][0]
        assert OUTCOMES[behaviour][1] in outcome.why
        assert receiver.requests[0].body == b"{}"


@pytest.mark.parametrize(
    ("code", "expected"),
    [(200, "taken"), (204, "taken"), (301, "again"), (307, "again"), (400, "refused"), (401, "refused"),
     (404, "refused"), (408, "again"), (410, "refused"), (413, "refused"), (425, "again"), (429, "again"),
     (500, "again"), (503, "again"), (599, "again")],
)  # fmt: skip
def test_only_what_would_be_refused_again_is_refused(code, expected):
    with Receiver(status(code)) as receiver:
        assert Exchange(5)("POST", receiver.url, b"{}").outcome.status == expected


def test_a_redirect_is_not_followed():
    with Receiver("good") as target, Receiver(status(307, Location=target.url)) as receiver:
        Exchange(5)("POST", receiver.url, b"{}")
        assert not target.requests


def test_how_long_a_receiver_asks_to_wait_is_read():
    for header, expected in (("7", 7.0), ("soon", None), ("-3", None), ("9" * 400, 999999999.0), ("²", None)):
        behaviour = status(503, Retry_After=header) if header.isascii() else status(503)
        with Receiver(behaviour) as receiver:
            assert Exchange(5)("POST", receiver.url, b"{}").outcome.retry_after == expected


def test_a_connection_that_is_refused_and_a_name_that_is_not_known_are_told_without_the_token():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused = Exchange(5)("POST", f"http://user:hunter2@127.0.0.1:{port}/hunter2?t=hunter2", b"{}").outcome
    unknown = Exchange(5)("POST", "http://nowhere.invalid/hunter2", b"{}").outcome
    assert (refused.status, unknown.status) == ("again", "again")
    assert "it cannot be reached" in refused.why
    assert "hunter2" not in refused.why + unknown.why


def test_a_failure_of_tls_is_told_and_repeated():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_in_plain_text():
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer_in_plain_text, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/hunter2"
        outcome = Exchange(5)("POST", url, b"{}").outcome
    assert outcome.status == "again"
    assert "it cannot be reached ([SSL" in outcome.why
    assert "hunter2" not in outcome.why


def test_a_name_service_that_hangs_holds_up_nobody_and_sends_nothing_late(monkeypatch):
    release = threading.Event()
    real = socket.getaddrinfo

    def slow(*arguments, **more):
        release.wait()
        return real(*arguments, **more)

    with Receiver("good") as receiver:
        exchange = Exchange(0.2)
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        answers = [exchange("POST", receiver.url, b"{}") for _ in range(LEFT_BEHIND + 1)]
        assert "did not answer within" in answers[0].why
        assert "earlier calls still hang" in answers[-1].why
        release.set()
        for _ in range(LEFT_BEHIND):  # each one left behind gives its place back when it ends
            assert exchange._free.acquire(timeout=5)
        assert receiver.requests == []


def test_no_log_line_shows_an_address(caplog):
    caplog.set_level(logging.DEBUG)
    with Receiver("good") as receiver:
        Exchange(5)("POST", f"{receiver.url}/services/hunter2?token=hunter2", b"{}")
        assert receiver.requests
    assert "hunter2" not in caplog.text


def test_addresses_are_shown_without_their_secrets():
    assert shown("https://u:hunter2@hooks.example.com:8443/T/hunter2?x=hunter2#hunter2") == (
        "https://hooks.example.com:8443/..."
    )
    assert shown("http://[::1]:9093/x") == "http://[::1]:9093/..."
    assert shown("http://host:port/hunter2") == "an address that cannot be read"
    assert shown("hunter2") == "an address without a host"
    hidden = hide_addresses("see https://a.example/hunter2, or http://b:1/hunter2?x=hunter2")
    assert hidden == "see https://a.example/... or http://b:1/..."


@pytest.mark.parametrize(
    "url", ["ftp://host/hunter2", "hunter2", "http:///hunter2", "http://h:99999/hunter2", "http://h/a b"]
)
def test_an_address_that_cannot_be_called_is_refused_without_showing_it(url):
    with pytest.raises(ConfigError, match=r"delivery\.webhook_url: .*expected http:// or https://") as error:
        address(url, "delivery.webhook_url")
    assert "hunter2" not in str(error.value)


def test_a_path_goes_beneath_a_base_address_and_its_query_stays():
    assert beneath("http://am:9093/prefix/?token=x", "/api/v2/alerts") == "http://am:9093/prefix/api/v2/alerts?token=x"
