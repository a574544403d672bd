"""What the serving side sends is what the monitor reads, and serving never hears of Kafka."""

from __future__ import annotations

import logging
import os
import threading

import numpy as np
import pytest
import torch
from torch import nn

from monitor.errors import ConfigError
from monitor.messages import Contract
from monitor.publishing import complaints
from monitor.publishing import publisher as publishing
from monitor.publishing.complaints import Complaints
from monitor.publishing.producers import SendError
from monitor.publishing.publisher import EmbeddingPublisher
from monitor.publishing.tap import Tap, request
from tests.producers import MemoryProducer


@pytest.fixture
def producer():
    return MemoryProducer()


@pytest.fixture
def publisher(producer):
    made = EmbeddingPublisher("", "t", source="here", model="small", producer=producer)
    yield made
    made.close(5)


def read(producer, **contract):
    found = [e for r in producer.records for e in Contract(8, **contract).read(r)]
    return sorted(found, key=lambda e: e.id)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_what_is_published_is_read_back_as_it_was(publisher, producer, dtype):
    features = torch.rand(5, 8).to(dtype)
    assert publisher.publish(features, stream="tenant", ids=list("abcde"), times_ms=[1000 + n for n in range(5)]) == 5
    assert publisher.flush(10)
    found = read(producer, model="small")
    assert [e.id for e in found] == list("abcde")
    assert [e.time_ms for e in found] == [1000 + n for n in range(5)]
    assert {e.stream for e in found} == {"tenant"}
    assert (np.stack([np.frombuffer(e.vector, "<f4") for e in found]) == features.to(torch.float32).numpy()).all()
    assert (publisher.sent, publisher.pending, publisher.dropped) == (5, 0, 0)


def test_one_stream_is_spread_over_the_partitions(publisher, producer):
    publisher.publish(np.zeros((7, 8), "f4"), stream="one")
    assert publisher.flush(10)
    assert [r.partition for r in producer.records] == [0, 1, 2, 0, 1, 2, 0]


def test_sent_is_what_was_acknowledged_and_what_does_not_fit_is_dropped_with_one_line(producer, caplog):
    producer.answering = False
    publisher = EmbeddingPublisher("", "t", producer=producer, max_pending=10)
    with caplog.at_level(logging.WARNING):
        assert [publisher.publish(np.zeros((4, 8), "f4"), stream="one") for _ in range(4)] == [4, 4, 2, 0]
    assert (publisher.sent, publisher.pending, publisher.dropped) == (0, 10, 6)
    assert not publisher.flush(0.05)
    lines = [r.getMessage() for r in caplog.records if "were dropped" in r.getMessage()]
    assert lines == ["2 embeddings for topic 't' were dropped, 10 are waiting for Kafka: 2 so far"]
    producer.answering = True
    assert publisher.flush(10)
    assert (publisher.sent, publisher.pending, publisher.dropped) == (10, 0, 6)
    publisher.close(5)


def test_what_kafka_has_not_acknowledged_when_the_publisher_closes_is_dropped_and_said(producer, caplog):
    producer.answering = False
    publisher = EmbeddingPublisher("k:9092", "t", producer=producer)
    publisher.publish(np.zeros((4, 8), "f4"), stream="one")
    publisher.close(0.05)
    producer.answering = True
    producer.serve(0)
    assert (publisher.sent, publisher.pending, publisher.dropped) == (0, 0, 4)
    assert "4 embeddings for topic 't' were dropped: Kafka at k:9092" in caplog.text
    assert publisher.publish(np.zeros((1, 8), "f4"), stream="one") == 0
    assert publisher.dropped == 5


def test_a_refusal_that_may_be_mended_is_tried_again_and_one_that_cannot_is_dropped_after_a_few(producer, monkeypatch):
    monkeypatch.setattr("monitor.publishing.flight.REST_SECONDS", 0.0)
    producer.refusals = [SendError("no permission", patient=True)] * 30
    publisher = EmbeddingPublisher("", "t", producer=producer)
    publisher.publish(np.zeros((1, 8), "f4"), stream="one")
    assert publisher.flush(10)
    assert (publisher.sent, publisher.dropped) == (1, 0)
    producer.refusals = [SendError("whatever")] * 5
    publisher.publish(np.zeros((1, 8), "f4"), stream="one")
    assert publisher.flush(10)
    assert (publisher.sent, publisher.dropped) == (1, 1)
    publisher.close(5)


class Dies(MemoryProducer):
    """Says of one message that it is of no use any more, and never anything of the others."""

    def serve(self, seconds):
        with self._lock:
            first, self._held = self._held[:1], []
        for _topic, _partition, message, answer in first:
            answer(message, SendError("fatal", rebuild=True))
        return ""


def test_a_producer_that_is_of_no_use_any_more_is_opened_again_and_what_it_had_is_sent(monkeypatch):
    good = MemoryProducer()
    opened = iter([Dies(), good])
    monkeypatch.setattr(publishing, "open_producer", lambda *_: next(opened))
    monkeypatch.setattr("monitor.publishing.sending.BACKOFF_SECONDS", (0.0, 0.0))
    publisher = EmbeddingPublisher("k", "t")
    publisher.publish(np.zeros((3, 8), "f4"), stream="one", ids=["a", "b", "c"])
    assert publisher.flush(10)
    assert [e.id for e in read(good)] == ["a", "b", "c"]
    publisher.close(5)


def test_connecting_that_raises_anything_is_logged_and_tried_again(monkeypatch, caplog):
    producer, failures = MemoryProducer(), [ValueError("Unrecognized configs: {'linger': 3}"), OSError("no route")]

    def open_it(*_):
        if failures:
            raise failures.pop(0)
        return producer

    monkeypatch.setattr(publishing, "open_producer", open_it)
    monkeypatch.setattr("monitor.publishing.sending.BACKOFF_SECONDS", (0.0, 0.0))
    publisher = EmbeddingPublisher("k:9092", "t", linger=3)
    publisher.publish(np.zeros((3, 8), "f4"), stream="one")
    assert publisher.flush(10)
    assert (publisher.sent, publisher.dropped) == (3, 0)
    assert "cannot be sent to topic 't' of Kafka at k:9092: ValueError: Unrecognized configs" in caplog.text
    publisher.close(5)


def test_a_topic_that_is_missing_is_waited_for_and_the_line_says_how_to_create_it(producer, caplog):
    numbers, producer.numbers = producer.numbers, []
    publisher = EmbeddingPublisher("k:9092", "t", producer=producer)
    publisher.publish(np.zeros((3, 8), "f4"), stream="one")
    assert not publisher.flush(0.1)
    assert "kafka-topics.sh --bootstrap-server k:9092 --create --topic t" in caplog.text
    producer.numbers = numbers
    assert publisher.flush(10)
    publisher.close(5)


@pytest.mark.parametrize("stream", ["\udc80 surrogate", "line\nbreak \x1b[31m", "日本" * 200, "a" * 10_000, "emoji 🦀"])
def test_any_stream_and_any_id_can_be_published_and_are_read_by_the_monitor(publisher, producer, stream):
    publisher.publish(np.zeros((1, 8), "f4"), stream=stream, ids=[stream])
    publisher.publish(np.zeros((1, 8), "f4"), stream=stream + "!", ids=[7])
    assert publisher.flush(10)
    found = read(producer, model="small")
    assert len({e.stream for e in found}) == 2
    if len(stream) < 50 and stream.isprintable():
        assert stream in {e.stream for e in found}


@pytest.mark.parametrize("more", [{"ids": ["a"]}, {"times_ms": [1, 2, 3]}])
def test_ids_and_times_of_another_length_are_refused(publisher, more):
    with pytest.raises(ValueError, match="expected one each"):
        publisher.publish(np.zeros((2, 8), "f4"), stream="one", **more)


def test_a_vector_without_rows_is_refused(publisher):
    with pytest.raises(ValueError, match=r"expected \(N, D\)"):
        publisher.publish(np.zeros(8, "f4"), stream="one")


@pytest.mark.parametrize("arguments", [{"client": "librdkafka"}, {"max_pending": 0}, {"producer": object()}])
def test_arguments_that_could_never_be_right_are_refused_by_the_constructor(arguments):
    with pytest.raises(ConfigError):
        EmbeddingPublisher("k", "t", **arguments)


def test_a_kind_of_complaint_is_written_at_once_and_then_once_a_minute_with_how_often_it_happened(caplog):
    now = [0.0]
    said = Complaints(logging.getLogger("x"), clock=lambda: now[0])
    for second in range(0, 125, 5):
        now[0] = float(second)
        said.warn("queue", f"dropped at {second}")
    said.settle("queue", "it is over")
    said.settle("queue", "it is over")
    said.warn("queue", "again")
    assert [r.getMessage() for r in caplog.records] == [
        "dropped at 0",
        "dropped at 60 (11 more of these since the last such line)",
        "dropped at 120 (11 more of these since the last such line)",
        "it is over",
        "again",
    ]
    assert complaints.EVERY_SECONDS == 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_publishes_through_a_connection_of_its_own(monkeypatch):
    opened = []

    def open_it(*_):
        opened.append(MemoryProducer())
        return opened[-1]

    monkeypatch.setattr(publishing, "open_producer", open_it)
    publisher = EmbeddingPublisher("k", "t")
    publisher.publish(np.zeros((2, 8), "f4"), stream="one")
    assert publisher.flush(10)
    publisher._outbox._changed.acquire()  # a fork may come at any moment, also while another thread holds the lock
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        publisher.publish(np.zeros((3, 8), "f4"), stream="one")
        flushed = publisher.flush(10)
        os.write(writes, f"{flushed} {publisher.sent} {len(opened)} {len(opened[-1].records)}".encode())
        os._exit(0)
    publisher._outbox._changed.release()
    os.close(writes)
    with os.fdopen(reads) as answer:
        assert answer.read() == "True 3 2 3"
    os.waitpid(child, 0)
    assert publisher.sent == 2
    publisher.close(5)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.body(x))


def test_a_tap_sends_what_enters_the_head_under_the_request_s_names(publisher, producer):
    model = Net().eval()
    x = torch.rand(2, 4)
    tap = Tap(model, publisher, stream="own", example=x)
    assert tap.head.path == "fc"
    with request(["r1", "r2"], stream="tenant-9"):
        model(x)
    with torch.inference_mode():
        model(x)
    tap.remove()
    model(x)
    assert publisher.flush(10)
    found = [e for r in producer.records for e in Contract(8).read(r)]
    assert [e.id for e in found][:2] == ["r1", "r2"]
    assert [e.stream for e in found] == ["tenant-9", "tenant-9", "own", "own"]
    assert found[0].vector == model.body(x)[0].detach().numpy().tobytes()


def test_a_tap_sends_from_a_compiled_network(publisher, producer):
    model = Net().eval()
    Tap(model, publisher, stream="own", head="fc")
    compiled = torch.compile(model, backend="eager")
    with torch.inference_mode(), request(["r1", "r2"]):
        compiled(torch.rand(2, 4))
    assert publisher.flush(10)
    assert [e.id for e in read(producer)] == ["r1", "r2"]


def test_a_monitor_that_fails_does_not_fail_the_model_and_says_so_once(publisher, monkeypatch, caplog):
    def broken(*_args, **_more):
        raise RuntimeError("no broker")

    monkeypatch.setattr(publisher, "publish", broken)
    model = Net().eval()
    Tap(model, publisher, stream="own", head="fc")
    for _ in range(3):
        assert model(torch.rand(2, 4)).shape == (2, 3)
    assert caplog.text.count("an embedding could not be published: RuntimeError: no broker") == 1


def test_threads_that_publish_at_once_are_all_sent(publisher, producer):
    def run(k):
        for n in range(50):
            publisher.publish(np.full((1, 8), k, "f4"), stream="s", ids=[f"{k}-{n}"])

    threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert publisher.flush(20)
    assert {e.id for e in read(producer)} == {f"{k}-{n}" for k in range(8) for n in range(50)}
    assert publisher.sent == 400
