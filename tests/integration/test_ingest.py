"""``ood-monitor ingest`` as a process: what it answered 202 is in Kafka, and no sender harms it or another sender."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import httpx
import pytest

from monitor.cli.exit_codes import ExitCode
from monitor.testing import launcher
from tests.cluster import REPOSITORY, read_topic
from tests.ingest import IngestServer, Senders, attributes
from tests.kafka.certificates import authority, signed
from tests.monitor_support import embeddings

pytestmark = pytest.mark.slow

_names = itertools.count()


@pytest.fixture
def topic(broker):
    name = f"ingest-{next(_names)}"
    launcher.create_topic(broker.address, name, 3)
    return name


def ids_in(address, topic):
    return [dict(r.headers)["ce_id"].decode() for r in read_topic(address, topic)]


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
def test_posts_are_counted_by_a_worker_under_their_stream_and_a_repeated_one_is_counted_twice(
    cluster, tmp_path, client
):
    if client == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    c = cluster()
    c.start_worker()
    rows = embeddings(20, seed=5)
    with IngestServer(tmp_path, c.bootstrap, c.topic, kafka={"client": client}) as server:
        server.wait_until_ready()
        with httpx.Client() as sender:
            for n, row in enumerate(rows):
                assert sender.post(server.url, content=row.tobytes(), headers=attributes(f"r{n}")).status_code == 202
            # What a sender does whose answer was lost on the way: at least once is not exactly once.
            sender.post(server.url, content=rows[0].tobytes(), headers=attributes("r0"))
        c.sent = 21
        c.wait_until_counted()
        assert server.metric("ood_monitor_ingest_events_total") == 21
        assert server.stop() == ExitCode.DONE
    counted = c.store.totals()
    assert {stream for stream, *_ in counted} == {"resnet"}
    assert sum(counted.values()) == 21
    assert c.store.rejected() == {}
    assert sorted(ids_in(c.bootstrap, c.topic)).count("r0") == 2


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
def test_a_broker_that_stands_still_while_senders_post_loses_nothing_that_was_answered_202(tmp_path, client):
    if client == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    with launcher.start_broker() as broker:
        launcher.create_topic(broker.address, "t", 3)
        settings = {"kafka": {"client": client}, "queue": {"ack_seconds": 1.0}}
        with IngestServer(tmp_path, broker.address, "t", **settings) as server:
            server.wait_until_ready()
            with Senders(server.url) as senders:
                server.wait(lambda: len(senders.accepted) > 200)
                broker.process.send_signal(signal.SIGSTOP)
                server.wait(lambda: senders.answers.get(503, 0) > 100)
                assert httpx.get(f"{server.url}-/healthy").status_code == 200
                assert httpx.get(f"{server.url}-/ready").status_code == 503
                assert server.metric("ood_monitor_ingest_kafka_away") == 1
                assert server.metric("ood_monitor_ingest_pending_events") <= 6
                before = len(senders.accepted)
                broker.process.send_signal(signal.SIGCONT)
                server.wait(lambda: len(senders.accepted) > before + 200)
            assert server.stop() == ExitCode.DONE
        found = set(ids_in(broker.address, "t"))
    assert senders.accepted - found == set()
    assert set(senders.answers) == {202, 503}
    assert senders.slowest < 10


def test_a_broker_that_is_killed_and_comes_back_gets_every_event_that_is_answered_202_since(tmp_path):
    with launcher.start_broker() as broker:
        launcher.create_topic(broker.address, "t", 3)
        server = IngestServer(tmp_path, broker.address, "t", queue={"ack_seconds": 1.0})
        with server, Senders(server.url) as first:
            server.wait(lambda: len(first.accepted) > 100)
        server.process.wait()
        assert first.accepted - set(ids_in(broker.address, "t")) == set()
        with server:
            server.wait_until_ready()
            broker.kill()
            with Senders(server.url) as senders:
                server.wait(lambda: senders.answers.get(503, 0) > 50)
                assert not senders.accepted
                with launcher.start_broker(broker.port) as back:  # Tansu keeps its records in memory: it is empty
                    launcher.create_topic(back.address, "t", 3)
                    server.wait(lambda: len(senders.accepted) > 200, 120)
                    senders.__exit__()
                    assert senders.accepted - set(ids_in(back.address, "t")) == set()


def test_sigterm_under_load_loses_nothing_that_was_answered_202_and_leaves_no_sender_waiting(broker, topic, tmp_path):
    with IngestServer(tmp_path, broker.address, topic) as server:
        server.wait_until_ready()
        with Senders(server.url, threads=12) as senders:
            server.wait(lambda: len(senders.accepted) > 300)
            began = time.monotonic()
            assert server.stop() == ExitCode.DONE
            assert time.monotonic() - began < 15
        assert "no post is under way" in server.log()
        assert "given up" not in server.log()
    assert len(senders.accepted) > 300
    assert senders.accepted - set(ids_in(broker.address, topic)) == set()


def drip(port, text, every, seconds):
    """Send a text byte by byte; what was answered before the connection was closed, and after how long."""
    began, got = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as s:
        s.settimeout(every)
        for byte in itertools.chain(text, itertools.repeat(ord("x"))):
            if time.monotonic() - began > seconds:
                break
            try:
                s.sendall(bytes([byte]))
                piece = s.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if not piece:
                break
            got += piece
    return got, time.monotonic() - began


def test_slow_senders_are_cut_off_and_the_others_are_answered_meanwhile(broker, topic, tmp_path):
    bounds = {"header_seconds": 1.0, "body_seconds": 1.0}
    with IngestServer(tmp_path, broker.address, topic, bounds=bounds) as server:
        server.wait_until_ready()
        begin = b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        slow = [begin + b"x-slow: ", begin + b"content-length: 1000\r\n\r\n"] * 10
        found = []
        threads = [
            threading.Thread(target=lambda t=t: found.append(drip(server.port, t, 0.02, 20)), daemon=True) for t in slow
        ]
        with Senders(server.url, threads=2) as senders:
            for t in threads:
                t.start()
            for t in threads:
                t.join(60)
        assert len(found) == 20
        assert all(b" 408 " in got and seconds < 15 for got, seconds in found), found
        assert set(senders.answers) == {202}
        assert senders.slowest < 5


def test_a_flood_while_kafka_is_away_grows_no_memory_and_the_process_answers_on(tmp_path):
    with launcher.start_broker() as broker:
        launcher.create_topic(broker.address, "t", 3)
        megabyte, together = 900_000, 8_000_000
        settings = {
            "bounds": {"connections": 40, "body_bytes_together": together, "body_bytes": 1_000_000},
            "queue": {"max_bytes": together, "ack_seconds": 1.0},
        }
        with IngestServer(tmp_path, broker.address, "t", **settings) as server:
            server.wait_until_ready()
            broker.process.send_signal(signal.SIGSTOP)
            before = server.memory()
            with Senders(server.url, threads=20, body=b"x" * megabyte) as senders:
                server.wait(lambda: sum(senders.answers.values()) > 1000, 120)
                grown = server.memory() - before
                assert httpx.get(f"{server.url}-/healthy", timeout=10).status_code == 200
            assert set(senders.answers) == {503}
            assert grown < 4 * together + 20 * megabyte, f"{grown / 1e6:.0f} MB"
            assert server.metric("ood_monitor_ingest_pending_bytes") <= together
            broker.process.send_signal(signal.SIGCONT)
            server.wait(lambda: httpx.post(server.url, content=b"\0" * 32).status_code == 202)


def test_connections_beyond_the_bound_are_told_to_come_back_and_bodies_and_headers_are_bounded(broker, topic, tmp_path):
    with IngestServer(
        tmp_path, broker.address, topic, bounds={"connections": 5, "header_seconds": 30, "body_seconds": 30}
    ) as server:
        server.wait_until_ready()
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        assert httpx.post(server.url, content=b"\0" * 32).status_code == 202  # who asks for nothing makes room
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        for one in held:
            one.sendall(b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-length: 32\r\n\r\n")
            assert one.recv(100).startswith(b"HTTP/1.1 100 ")
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
            answer = s.makefile("rb").read()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 2" in head
        assert f"content-length: {len(body)}".encode() in head
        for one in (*held, *idle):
            one.close()
        server.wait(lambda: httpx.post(server.url, content=b"\0" * 32).status_code == 202)
        large = httpx.post(server.url, content=b"x" * 2_000_000)
        chunked = httpx.post(server.url, content=(b"x" * 100_000 for _ in range(20)))
        assert (large.status_code, chunked.status_code) == (413, 413)
        assert "larger than 1000000 bytes" in large.json()["error"]
        assert httpx.post(server.url, content=b"x", headers={"x-long": "y" * 100_000}).status_code == 431
        assert httpx.post(server.url, content=b"x", headers={"content-encoding": "gzip"}).status_code == 415
        assert httpx.get(server.url).status_code == 405
        assert httpx.get(f"{server.url}nowhere").status_code == 404


def test_a_batch_with_one_event_that_is_wrong_is_refused_whole_and_names_it(broker, topic, tmp_path):
    event = {"specversion": "1.0", "id": "a", "source": "s", "type": "t", "data": {"embedding": [1.0, 2.0]}}
    kind = {"content-type": "application/cloudevents-batch+json"}
    with IngestServer(tmp_path, broker.address, topic) as server:
        server.wait_until_ready()
        answer = httpx.post(server.url, json=[event, {**event, "id": ""}], headers=kind)
        assert answer.status_code == 400
        assert "event 1: " in answer.json()["error"]
        assert (
            httpx.post(server.url, json=[{**event, "id": f"b{n}"} for n in range(3)], headers=kind).status_code == 202
        )
    assert sorted(ids_in(broker.address, topic)) == ["b0", "b1", "b2"]


def test_a_token_is_asked_for_by_bearer_or_in_the_address_and_pages_of_other_sites_are_refused(broker, topic, tmp_path):
    token = "0123456789abcdef0123456789abcdef"
    with IngestServer(tmp_path, broker.address, topic, http={"token": token}) as server:
        server.wait_until_ready()  # a probe needs no token

        def post(url=server.url, **headers):
            return httpx.post(url, content=b"\0" * 32, headers=headers).status_code

        assert post() == post(authorization="Bearer wrong") == httpx.get(f"{server.url}metrics").status_code == 401
        assert post(authorization=f"Bearer {token}") == 202
        assert post(server.url.replace("://", f"://any:{token}@")) == 202
        assert post(authorization=f"Bearer {token}", origin="https://example.com") == 403
    assert token not in server.log()
    with IngestServer(tmp_path, broker.address, topic) as server:
        server.wait_until_ready()
        assert httpx.post(server.url, content=b"\0" * 32, headers={"host": "rebound.example.com"}).status_code == 421


def test_with_client_certificates_only_those_who_have_one_post_and_probes_need_none(broker, topic, tmp_path):
    ours, theirs = authority(tmp_path, "ours"), authority(tmp_path, "theirs")
    certificate, key = signed(tmp_path, "server", ours, "IP:127.0.0.1")
    mine, stranger = signed(tmp_path, "mine", ours, "DNS:mine"), signed(tmp_path, "stranger", theirs, "DNS:stranger")
    http = {"tls_certfile": str(certificate), "tls_keyfile": str(key), "tls_client_cafile": str(ours)}

    def context(pair=None):
        made = ssl.create_default_context(cafile=str(ours))
        if pair:
            made.load_cert_chain(*map(str, pair))
        return made

    with IngestServer(tmp_path, broker.address, topic, http=http) as server:
        server.wait_until_ready(verify=context())
        assert httpx.post(server.url, content=b"\0" * 32, verify=context()).status_code == 401
        assert httpx.post(server.url, content=b"\0" * 32, verify=context(mine)).status_code == 202
        with pytest.raises(httpx.TransportError):
            httpx.post(server.url, content=b"\0" * 32, verify=context(stranger))


def test_a_topic_that_is_missing_is_told_and_waited_for(broker, tmp_path):
    name = f"late-{next(_names)}"
    with IngestServer(tmp_path, broker.address, name, queue={"ack_seconds": 1.0}) as server:
        server.wait(lambda: "was not found" in httpx.get(f"{server.url}-/ready").text)
        assert httpx.post(server.url, content=b"\0" * 32, timeout=30).status_code == 503
        server.wait(lambda: f"topic '{name}' does not exist" in server.log())
        launcher.create_topic(broker.address, name, 1)
        server.wait_until_ready()
        server.wait(lambda: httpx.post(server.url, content=b"\0" * 32).status_code == 202)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OOD_INGEST__HTTP__HOST": "0.0.0.0"}, "not a loopback address"),
        ({"OOD_INGEST__KAFKA__TOPICS": "x"}, "did you mean OOD_INGEST__KAFKA__TOPIC"),
        ({}, "cannot be listened on"),
    ],
)
def test_what_is_wrong_with_the_settings_ends_it_with_one_line(tmp_path, variables, expected):
    server = IngestServer(tmp_path, "127.0.0.1:9", "t")
    with socket.create_server(("127.0.0.1", server.port)):
        command = [sys.executable, "-m", "monitor.cli", "ingest", "--config", str(server.path)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert ended.returncode == ExitCode.FAILED
    assert len(ended.stderr.splitlines()) == 1
    assert expected in ended.stderr
