"""The FastAPI example serves, and its embeddings arrive."""

from __future__ import annotations

import importlib.util
import io
import time

import pytest
import torch
from PIL import Image

from monitor.messages import Contract, Record
from monitor.testing import launcher
from tests.cluster import REPOSITORY, read_topic

pytest.importorskip("fastapi", reason="fastapi is not installed")
testclient = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")


def example_app(monkeypatch, kafka, topic):
    monkeypatch.setenv("KAFKA", kafka)
    monkeypatch.setenv("TOPIC", topic)
    spec = importlib.util.spec_from_file_location("fastapi_app", REPOSITORY / "examples" / "fastapi_app.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example.app


def test_requests_are_answered_while_kafka_is_away_and_their_embeddings_arrive_once_it_is_back(monkeypatch):
    port = launcher.free_port()
    app = example_app(monkeypatch, f"127.0.0.1:{port}", "late")
    image = torch.rand(3, 32, 32)
    began = time.monotonic()
    with testclient.TestClient(app) as client:
        assert time.monotonic() - began < 2
        for n in range(3):
            assert client.post("/predict", json=image.tolist(), headers={"x-request-id": f"r{n}"}).status_code == 200
        assert time.monotonic() - began < 10
        with launcher.start_broker(port) as broker:
            launcher.create_topic(broker.address, "late", 2)
            until = time.monotonic() + 60
            while len(read_topic(broker.address, "late")) < 3:
                assert time.monotonic() < until
            names = {dict(r.headers)["ce_id"] for r in read_topic(broker.address, "late")}
    assert names == {b"r0", b"r1", b"r2"}


def test_a_request_is_answered_and_its_embedding_is_in_the_topic(cluster, monkeypatch):
    c = cluster()
    app = example_app(monkeypatch, c.bootstrap, c.topic)
    image = torch.rand(3, 32, 32)
    with testclient.TestClient(app) as client:
        answer = client.post("/predict", json=image.tolist(), headers={"x-request-id": "r1", "x-tenant": "acme"})
    assert answer.json()["id"] == "r1"
    (found,) = c.records()
    record = Record(
        found.topic, found.partition, found.offset, found.timestamp, found.key, found.value, tuple(found.headers)
    )
    (embedding,) = Contract(512).read(record)
    assert (embedding.id, embedding.stream) == ("r1", "acme")


def test_an_image_file_is_prepared_and_answered_and_what_is_no_image_is_refused_in_one_sentence(monkeypatch):
    app = example_app(monkeypatch, f"127.0.0.1:{launcher.free_port()}", "nowhere")
    file = io.BytesIO()
    Image.new("RGBA", (40, 30), "red").save(file, "PNG")
    with testclient.TestClient(app) as client:
        send = lambda body: client.post("/predict/image", content=body, headers={"x-request-id": "r1"})  # noqa: E731
        answer = send(file.getvalue())
        assert (answer.status_code, answer.json()["id"]) == (200, "r1")
        for spoiled in (b"no image", file.getvalue()[:60]):
            refused = send(spoiled)
            assert refused.status_code == 422
            assert "send a PNG or JPEG file" in refused.json()["detail"]
        assert send(bytes(5_000_001)).status_code == 422
