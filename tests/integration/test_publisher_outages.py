"""A served model publishes on, fast, whatever its Kafka does: on real brokers, and on a listener that says nothing."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from monitor.publishing.publisher import EmbeddingPublisher
from monitor.testing import launcher
from tests.cluster import read_topic

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(0).random((8, 64)).astype("f4")
SLOWEST_SECONDS = 0.25
"""Far above what publishing takes on a busy machine, far below any timeout of a Kafka client."""
_names = itertools.count()


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def client(request):
    if request.param == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    return request.param


class Served:
    """A publisher whose every call is timed."""

    def __init__(self, address, topic, **settings):
        began = time.perf_counter()
        self.publisher = EmbeddingPublisher(address, topic, **settings)
        self.slowest = time.perf_counter() - began
        self.published = 0

    def publish(self, calls):
        for _ in range(calls):
            began = time.perf_counter()
            ids = [str(self.published + n) for n in range(len(ROWS))]
            self.publisher.publish(ROWS, stream="s", ids=ids)
            self.slowest = max(self.slowest, time.perf_counter() - began)
            self.published += len(ROWS)

    def counts(self):
        p = self.publisher
        return p.sent, p.pending, p.dropped


def ids_in(address, topic):
    return sorted(int(dict(r.headers)["ce_id"]) for r in read_topic(address, topic))


def test_what_was_published_before_the_broker_came_up_is_all_there(client):
    port, topic = launcher.free_port(), f"early-{next(_names)}"
    served = Served(f"127.0.0.1:{port}", topic, client=client)
    served.publish(50)
    assert served.counts() == (0, 400, 0)
    with launcher.start_broker(port) as broker:
        launcher.create_topic(broker.address, topic, 3)
        served.publish(50)
        assert served.publisher.flush(60)
        served.publisher.close(10)
        assert served.counts() == (800, 0, 0)
        assert ids_in(broker.address, topic) == list(range(800))
    assert served.slowest < SLOWEST_SECONDS


def test_a_broker_that_stands_still_and_goes_on_loses_nothing_and_delays_nobody(client, broker):
    topic = f"still-{next(_names)}"
    launcher.create_topic(broker.address, topic, 3)
    served = Served(broker.address, topic, client=client)
    served.publish(10)
    assert served.publisher.flush(60)
    broker.process.send_signal(signal.SIGSTOP)
    try:
        served.publish(200)
        assert not served.publisher.flush(0.2)
    finally:
        broker.process.send_signal(signal.SIGCONT)
    assert served.publisher.flush(60)
    served.publisher.close(10)
    assert served.counts() == (1680, 0, 0)
    assert sorted(set(ids_in(broker.address, topic))) == list(range(1680))
    assert served.slowest < SLOWEST_SECONDS


@contextlib.contextmanager
def listener_that_says_nothing():
    """Takes connections, reads, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(64) as threads:
        taken = []

        def swallow(connection):
            with contextlib.suppress(OSError):
                while connection.recv(65536):
                    pass

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])
                    threads.submit(swallow, taken[-1])

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", taken
        finally:
            server.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for connection in taken:
                connection.close()


def test_a_broker_that_takes_connections_and_says_nothing_costs_the_queue_and_no_time(client):
    with listener_that_says_nothing() as (address, taken):
        served = Served(address, "t", client=client, max_pending=100)
        until = time.monotonic() + 30
        while not taken:  # the publisher is in the middle of its attempt
            assert time.monotonic() < until
            time.sleep(0.01)
        served.publish(20)
        assert served.counts() == (0, 100, 60)
        began = time.perf_counter()
        served.publisher.close(0.3)
        assert time.perf_counter() - began < 0.3 + SLOWEST_SECONDS
        assert served.counts() == (0, 0, 160)
        assert served.slowest < SLOWEST_SECONDS


def test_settings_that_kafka_or_its_library_refuses_are_logged_and_nothing_is_raised(client, broker, caplog):
    wrong = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
    user = {"sasl_plain_username": "u", "sasl_plain_password": "wrong"}
    if client == "confluent-kafka":
        user = {"sasl_username": "u", "sasl_password": "wrong"}
    unknown = Served(broker.address, "t", client=client, no_such_setting=1)
    refused = Served(broker.address, "t", client=client, **wrong, **user)
    until = time.monotonic() + 60
    for served in (unknown, refused):
        served.publish(5)
    while caplog.text.count("cannot be sent to topic 't'") < 2:
        assert time.monotonic() < until, caplog.text
        time.sleep(0.05)
    assert "no_such_setting" in caplog.text or "no.such.setting" in caplog.text
    for served in (unknown, refused):
        assert served.counts() == (0, 40, 0)
        served.publisher.close(0.1)
        assert served.slowest < SLOWEST_SECONDS
