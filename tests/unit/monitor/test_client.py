"""What the serving side sends is what the monitor reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from monitor.messages import Contract, Record
from monitor.publishing.publisher import EmbeddingPublisher
from monitor.publishing.tap import Tap, request


class FakeProducer:
    """Keeps what is sent; refuses when told to."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full = False

    def partitions_for(self, _topic):
        return {0, 1, 2}

    def send(self, topic, *, value, key, headers, partition, timestamp_ms):
        if self.full:
            from kafka.errors import KafkaTimeoutError

            raise KafkaTimeoutError("buffer full")
        self.records.append(Record(topic, partition, len(self.records), timestamp_ms, key, value, tuple(headers)))


@pytest.fixture
def producer():
    return FakeProducer()


@pytest.fixture
def publisher(producer):
    return EmbeddingPublisher("", "t", source="here", model="small", producer=producer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_what_is_published_is_read_back_as_it_was(publisher, producer, dtype):
    features = torch.rand(5, 8).to(dtype)
    assert publisher.publish(features, stream="tenant", ids=list("abcde"), times_ms=[1000 + n for n in range(5)]) == 5
    found = [e for r in producer.records for e in Contract(8, model="small").read(r)]
    assert [e.id for e in found] == list("abcde")
    assert [e.time_ms for e in found] == [1000 + n for n in range(5)]
    assert {e.stream for e in found} == {"tenant"}
    read = np.stack([np.frombuffer(e.vector, "<f4") for e in found])
    assert (read == features.to(torch.float32).numpy()).all()


def test_one_stream_is_spread_over_the_partitions(publisher, producer):
    publisher.publish(np.zeros((7, 8), "f4"), stream="one")
    assert [r.partition for r in producer.records] == [0, 1, 2, 0, 1, 2, 0]


def test_what_the_buffer_refuses_is_dropped_and_counted_and_serving_goes_on(publisher, producer):
    producer.full = True
    assert publisher.publish(np.zeros((3, 8), "f4"), stream="one") == 0
    assert (publisher.sent, publisher.dropped) == (0, 3)


def test_a_vector_without_rows_is_refused(publisher):
    with pytest.raises(ValueError, match=r"expected \(N, D\)"):
        publisher.publish(np.zeros(8, "f4"), stream="one")


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
    model(x)
    tap.remove()
    model(x)
    found = [e for r in producer.records for e in Contract(8).read(r)]
    assert [e.id for e in found][:2] == ["r1", "r2"]
    assert [e.stream for e in found] == ["tenant-9", "tenant-9", "own", "own"]
    assert found[0].vector == model.body(x)[0].detach().numpy().tobytes()


def test_a_monitor_that_fails_does_not_fail_the_model(publisher, monkeypatch, caplog):
    def broken(*_args, **_more):
        raise RuntimeError("no broker")

    monkeypatch.setattr(publisher, "publish", broken)
    model = Net().eval()
    Tap(model, publisher, stream="own", head="fc")
    assert model(torch.rand(2, 4)).shape == (2, 3)
    assert "could not be published" in caplog.text
